// SPDX-License-Identifier: GPL-2.0

//! Files that are not written any more, and where a file lies.

use super::{Access, File};
use core::ptr::NonNull;
use kernel::{bindings, prelude::*, str::CString};

impl File {
    /// Opens the same file once more, for reading only, whatever its path leads to by now. It has
    /// no lock.
    ///
    /// May sleep. Returns what opening a file does, and `ENOENT` where the host has no `/proc`.
    pub(crate) fn reopen(&self) -> Result<Self> {
        let path = CString::try_from_fmt(fmt!("/proc/self/fd/{}", self.fd))?;
        Self::open(&path, Access::Read)
    }

    /// Whether the file is in a file system on `disk`: one of the host's never is.
    ///
    /// # Safety
    ///
    /// None; it is as unsafe as that of the other files.
    pub(in crate::ubd::kernel) unsafe fn is_on(&self, _disk: NonNull<bindings::gendisk>) -> bool {
        false
    }
}
