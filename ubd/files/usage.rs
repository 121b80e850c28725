// SPDX-License-Identifier: GPL-2.0

//! How the files of a unit are to be used, beside what its option says.

use crate::ubd::files::allocation::Ahead;
use kernel::prelude::*;

/// How the files of a unit are to be used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Past the page cache, if they can be.
    pub(crate) direct: bool,
    /// How many bytes of data there may be in the COW file; 0 for any number.
    pub(crate) limit: u64,
    /// How many bytes there should be left for it; 0 for any number.
    pub(crate) low_space: u64,
    /// When space is taken ahead of the writes.
    pub(crate) allocate: Ahead,
}

/// A number of bytes, as a user has written it. Returns `EINVAL` for what is none.
pub(crate) fn parse_bytes(text: &[u8]) -> Result<u64> {
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    text.trim_ascii().parse().map_err(|_| EINVAL)
}
