// SPDX-License-Identifier: GPL-2.0

//! When a file was modified.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::File;
use kernel::{bindings, error, prelude::*};

extern "C" {
    fn ubd_file_keep_times(file: *mut bindings::file);
    fn ubd_file_can_keep_times(file: *mut bindings::file) -> bool;
    fn ubd_file_set_mtime(file: *mut bindings::file, mtime: i64) -> i32;
    fn ubd_now() -> i64;
}

impl File {
    /// Has what is written from now on leave the file's times as they are, where its file system
    /// [can](Self::can_keep_times). May be called while the file is in use, not in interrupts.
    pub(crate) fn keep_times(&self) {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_keep_times(self.as_ptr()) };
    }

    /// Whether the file can be written without a change of its times.
    pub(crate) fn can_keep_times(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_can_keep_times(self.as_ptr()) }
    }

    /// Sets the time of the last modification to `mtime`, in seconds since 1970. Makes nothing
    /// durable.
    ///
    /// May sleep. Returns what `utimensat(2)` does, `EPERM` for who neither owns the file nor is
    /// root.
    pub(crate) fn set_mtime(&self, mtime: i64) -> Result {
        // SAFETY: By the type invariant the file is open, so that its path is valid.
        error::to_result(unsafe { ubd_file_set_mtime(self.as_ptr(), mtime) })
    }

    /// The time of a modification made now, in seconds since 1970, which is another one than `old`
    /// also in the 32 bits that a header has.
    pub(crate) fn new_mtime(old: i64) -> i64 {
        // SAFETY: It may be called in any context.
        let now = unsafe { ubd_now() };
        now + i64::from(now as u32 == old as u32)
    }
}
