// SPDX-License-Identifier: GPL-2.0

//! When a file of the host was modified, which is the host's to say.

use super::File;
use crate::ubd::kernel::compat::EOPNOTSUPP;
use kernel::prelude::*;

impl File {
    /// Nothing: the host has no way to leave them.
    pub(crate) fn keep_times(&self) {}

    /// Whether the file can be written without a change of its times: no.
    pub(crate) fn can_keep_times(&self) -> bool {
        false
    }

    /// Returns `EOPNOTSUPP`.
    pub(crate) fn set_mtime(&self, _mtime: i64) -> Result {
        Err(EOPNOTSUPP)
    }

    /// Of no use where times can't be set.
    pub(crate) fn new_mtime(old: i64) -> i64 {
        old
    }
}
