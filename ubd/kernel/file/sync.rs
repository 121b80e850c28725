// SPDX-License-Identifier: GPL-2.0

//! What was written to a file, and whether the disk has it.
//!
//! C header: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use super::{File, SyncError, DIRECT_PIECES};
use crate::ubd::kernel::file_terms::folder_of;
use core::ops::Range;
use kernel::{bindings, error, ffi::c_uint, prelude::*};

extern "C" {
    fn ubd_file_sync(file: *mut bindings::file, start: i64, end: i64, lost: *mut bool) -> i32;
    fn ubd_file_sync_all(file: *mut bindings::file, lost: *mut bool) -> i32;
    fn ubd_file_write_direct(
        file: *mut bindings::file,
        pieces: *const bindings::kvec,
        count: c_uint,
        pos: i64,
        durable: bool,
        lost: *mut bool,
    ) -> isize;
    fn ubd_file_forget(file: *mut bindings::file, pos: i64, len: i64);
    fn ubd_file_invalidate_failed_writeback(file: *mut bindings::file, error: *mut i32) -> i32;
}

impl File {
    /// Makes all that was written to the file durable, as `fdatasync(2)`.
    ///
    /// May sleep. Returns an error once for every write-back that failed since the last call.
    pub(crate) fn sync(&self) -> Result<(), SyncError> {
        self.sync_range(0..1 << 63)
    }

    /// As [`Self::sync`], of what was written to these bytes. What lies elsewhere may be made
    /// durable, too; and a write-back that failed is reported wherever it was.
    pub(crate) fn sync_range(&self, bytes: Range<u64>) -> Result<(), SyncError> {
        let position = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let (start, end) = (position(bytes.start), position(bytes.end.saturating_sub(1)));
        let mut lost = false;
        // SAFETY: By the type invariant the file is open.
        let result = unsafe { ubd_file_sync(self.as_ptr(), start, end, &mut lost) };
        error::to_result(result).map_err(|error| SyncError { error, lost })
    }

    /// As [`Self::sync`], and makes the file's times durable, too, as `fsync(2)`.
    pub(crate) fn sync_all(&self) -> Result<(), SyncError> {
        let mut lost = false;
        // SAFETY: By the type invariant the file is open.
        let result = unsafe { ubd_file_sync_all(self.as_ptr(), &mut lost) };
        error::to_result(result).map_err(|error| SyncError { error, lost })
    }

    /// Writes the first `len` bytes of `pages`, of which there are [`DIRECT_PIECES`] at most, at
    /// `pos` (bytes), past the page cache, and returns how many of them were written. With
    /// `durable` they are on stable storage then, as with `O_DSYNC`, and nothing else needs be.
    /// What the page cache has of these bytes is written before and forgotten.
    ///
    /// `pos`, `len` and the memory must be [aligned](super::DirectAlignment). May sleep. Returns
    /// `EINVAL` or `EOPNOTSUPP` for a file that does not take it, `EBADF` for one that is not open
    /// for writing, and what writing does.
    pub(crate) fn write_direct<'a, const N: usize>(
        &self,
        pages: impl Iterator<Item = &'a KBox<[u8; N]>>,
        len: usize,
        pos: u64,
        durable: bool,
    ) -> Result<usize, SyncError> {
        let unwritten = |error| SyncError { error, lost: false };
        self.check_open_for_writing().map_err(unwritten)?;
        let pos = i64::try_from(pos).map_err(|_| unwritten(EFBIG))?;
        let mut pieces = [bindings::kvec::default(); DIRECT_PIECES];
        let (mut count, mut left) = (0, len);
        for (piece, page) in pieces.iter_mut().zip(pages) {
            piece.iov_base = page.as_ptr().cast_mut().cast();
            piece.iov_len = left.min(N);
            count += c_uint::from(piece.iov_len != 0);
            left -= piece.iov_len;
        }
        if left != 0 {
            return Err(unwritten(EINVAL));
        }
        let mut lost = false;
        // SAFETY: The file is open for writing and by the type invariants can be written by
        // iterators. The pieces are in memory of `kmalloc()`, which can be mapped to pages, and
        // which lives, and is not written, until this returns: for so long the I/O takes.
        let n = unsafe {
            ubd_file_write_direct(
                self.as_ptr(),
                pieces.as_ptr(),
                count,
                pos,
                durable,
                &mut lost,
            )
        };
        usize::try_from(n).map_err(|_| SyncError {
            error: Error::from_errno(n as i32),
            lost,
        })
    }

    /// Drops what the page cache has of the `len` bytes at `pos`, for a file that is used past it:
    /// its writes then end where its device says so, and not in a thread. May sleep.
    pub(crate) fn forget(&self, pos: u64, len: u64) {
        if let (Ok(pos), Ok(len @ 1..)) = (i64::try_from(pos), i64::try_from(len)) {
            // SAFETY: By the type invariant the file is open.
            unsafe { ubd_file_forget(self.as_ptr(), pos, len) };
        }
    }

    /// Makes sure that what is read from now on is what the disk has: where the page cache has
    /// failed to write something, it is read again. Returns why it had failed, if it had.
    ///
    /// May sleep. Returns `EBUSY` if the file is mapped, and what writing it does.
    pub(crate) fn invalidate_failed_writeback(&self) -> Result<Option<Error>> {
        let mut reason = 0;
        // SAFETY: By the type invariant the file is open.
        error::to_result(unsafe {
            ubd_file_invalidate_failed_writeback(self.as_ptr(), &mut reason)
        })?;
        Ok(error::to_result(reason).err())
    }

    /// Makes the name of the new file at `path` durable, in the folder that holds it.
    ///
    /// May sleep. Returns what opening and syncing the folder does. Where folders can't be synced
    /// there is nothing to do.
    pub(crate) fn sync_name(path: &[u8]) -> Result {
        let folder = folder_of(path)?;
        let folder = Self::filp_open(&folder, bindings::O_RDONLY | bindings::O_DIRECTORY)?;
        // SAFETY: By the type invariant the folder is open.
        match error::to_result(unsafe { bindings::vfs_fsync(folder.as_ptr(), 0) }) {
            Err(e) if e == EINVAL => Ok(()),
            result => result,
        }
    }
}
