// SPDX-License-Identifier: GPL-2.0

//! Files that are not written any more, and where a file lies.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::File;
use core::ptr::NonNull;
use kernel::{bindings, error, prelude::*};

extern "C" {
    fn ubd_file_reopen(file: *mut bindings::file) -> *mut bindings::file;
    fn ubd_file_is_on_disk(file: *mut bindings::file, disk: *mut bindings::gendisk) -> bool;
}

impl File {
    /// Opens the same file once more, for reading only, whatever its path leads to by now. It has
    /// no lock, and reading it does not change its access time.
    ///
    /// May sleep. Returns what opening a file does.
    pub(crate) fn reopen(&self) -> Result<Self> {
        // SAFETY: By the type invariant the file is open.
        let file = error::from_err_ptr(unsafe { ubd_file_reopen(self.as_ptr()) })?;
        // INVARIANT: It was opened by `dentry_open()`, and has the operations of the same file.
        Ok(Self(NonNull::new(file).ok_or(EINVAL)?))
    }

    /// Whether the file is in a file system on `disk`, or on a partition of it. One that lies on
    /// something else, which lies on that disk, is not found.
    ///
    /// # Safety
    ///
    /// `disk` must have been added, and not be deleted meanwhile.
    pub(in crate::ubd::kernel) unsafe fn is_on(&self, disk: NonNull<bindings::gendisk>) -> bool {
        // SAFETY: The file is open; the disk is there by this function's requirement.
        unsafe { ubd_file_is_on_disk(self.as_ptr(), disk.as_ptr()) }
    }
}
