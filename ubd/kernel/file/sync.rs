// SPDX-License-Identifier: GPL-2.0

//! What was written to a file, and whether the disk has it.
//!
//! C header: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use super::File;
use kernel::{bindings, error, prelude::*};

extern "C" {
    fn ubd_file_sync(file: *mut bindings::file, lost: *mut bool) -> i32;
    fn ubd_file_invalidate_failed_writeback(file: *mut bindings::file, error: *mut i32) -> i32;
}

/// Why a file could not be synced.
#[derive(Clone, Copy)]
pub(crate) struct SyncError {
    /// The error.
    pub(crate) error: Error,
    /// Whether what was written before may be lost, so that a later sync that succeeds says
    /// nothing of it.
    pub(crate) lost: bool,
}

impl From<SyncError> for Error {
    fn from(e: SyncError) -> Self {
        e.error
    }
}

impl File {
    /// Makes all that was written to the file durable, as `fdatasync(2)`.
    ///
    /// May sleep. Returns an error once for every write-back that failed since the last call.
    pub(crate) fn sync(&self) -> Result<(), SyncError> {
        let mut lost = false;
        // SAFETY: By the type invariant the file is open.
        let result = unsafe { ubd_file_sync(self.as_ptr(), &mut lost) };
        error::to_result(result).map_err(|error| SyncError { error, lost })
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
        let mut folder = KVec::new();
        match path.iter().rposition(|c| *c == b'/') {
            Some(at) => {
                folder.extend_from_slice(path.get(..=at).unwrap_or_default(), GFP_KERNEL)?
            }
            None => folder.push(b'.', GFP_KERNEL)?,
        }
        folder.push(0, GFP_KERNEL)?;
        let folder = CStr::from_bytes_with_nul(&folder).map_err(|_| EINVAL)?;
        let folder = Self::filp_open(folder, bindings::O_RDONLY | bindings::O_DIRECTORY)?;
        // SAFETY: By the type invariant the folder is open.
        match error::to_result(unsafe { bindings::vfs_fsync(folder.as_ptr(), 0) }) {
            Err(e) if e == EINVAL => Ok(()),
            result => result,
        }
    }
}
