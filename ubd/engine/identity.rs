// SPDX-License-Identifier: GPL-2.0

//! What the user said of a unit besides its files.

use crate::ubd::options::Flags;
use kernel::prelude::*;

/// What is shown of a unit that its files do not tell.
pub(crate) struct Identity {
    /// The unit's number.
    pub(crate) unit: usize,
    /// The flags of its option.
    pub(crate) flags: Flags,
    /// The serial number of its option, or nothing.
    pub(crate) serial: KVec<u8>,
}
