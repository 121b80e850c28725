// SPDX-License-Identifier: GPL-2.0

//! What is said of files, whoever has them.
//!
//! Files are those of the kernel's VFS (`file.rs`), or in User-mode Linux those of the host
//! (`host/file.rs`). Both give a `File` with the same methods, and these are the terms of them.

use kernel::{prelude::*, str::CString};

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// For reading only.
    Read,
    /// For reading and writing; the file must exist.
    ReadWrite,
    /// The same; if it is a block device, no file system and nobody else who claims it has it as
    /// long as it is open.
    Claim,
    /// For reading and writing; the file must not exist and is created, with mode 0644.
    Create,
}

/// What `stat` says of a file, as far as the driver cares.
#[derive(Clone, Copy)]
pub(crate) struct Stat {
    /// What tells it from other files: the device that holds the file, and its inode number there.
    /// Of a block device 0 and its own number, which all of its nodes have.
    pub(crate) id: (u32, u64),
    /// Time of the last modification, in whole seconds since 1970.
    pub(crate) mtime: i64,
}

/// How a file is read or written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// By the page cache.
    Cache,
    /// By the page cache, if that needs no waiting.
    CacheOnly,
    /// Past the page cache; offset, length and memory must be [aligned](DirectAlignment).
    Direct,
}

/// What direct I/O to a file has to be aligned to, in bytes: powers of two.
#[derive(Clone, Copy)]
pub(crate) struct DirectAlignment {
    /// Where the data is in memory.
    pub(crate) memory: u32,
    /// Where it starts in the file, and how long it is.
    pub(crate) offset: u32,
}

impl DirectAlignment {
    /// Whether a number of bytes is a multiple of what offset and length have to be; of several
    /// numbers at once, if they were combined with "or".
    #[inline]
    pub(crate) fn fits(self, bytes: u64) -> bool {
        bytes & u64::from(self.offset - 1) == 0
    }
}

/// What the block device of a file, or that holds the file, wants. Sizes are in bytes, and 0 where
/// there is nothing to tell.
#[derive(Clone, Copy, Default)]
pub(crate) struct DeviceLimits {
    /// The unit of all requests, of a file that is a device itself.
    pub(crate) logical_block_size: u32,
    /// What it writes without reading first.
    pub(crate) physical_block_size: u32,
    /// What requests are best a multiple of.
    pub(crate) optimal_io_size: u32,
    /// Whether the pages of a write must stay as they are until it has ended.
    pub(crate) stable_writes: bool,
}

/// Into how many pieces of memory a direct write can be: `UBD_DIRECT_PIECES` of `helpers.h`.
pub(crate) const DIRECT_PIECES: usize = 16;

/// Why a file could not be synced, or written so that nothing has to be synced.
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

/// The path of the folder that has the file at `path`.
///
/// May sleep. Returns `ENOMEM`, and `EINVAL` for a path with a zero byte.
pub(super) fn folder_of(path: &[u8]) -> Result<CString> {
    let mut folder = KVec::new();
    match path.iter().rposition(|c| *c == b'/') {
        Some(at) => folder.extend_from_slice(path.get(..=at).unwrap_or_default(), GFP_KERNEL)?,
        None => folder.push(b'.', GFP_KERNEL)?,
    }
    folder.push(0, GFP_KERNEL)?;
    let folder = CStr::from_bytes_with_nul(&folder).map_err(|_| EINVAL)?;
    Ok(CString::try_from(folder)?)
}
