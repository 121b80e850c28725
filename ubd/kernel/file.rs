// SPDX-License-Identifier: GPL-2.0

//! Files opened by the kernel for its own use.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::helpers;
use super::iov_iter::IovIter;
use core::ptr::NonNull;
use kernel::{bindings, error, prelude::*};

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

/// An open file.
///
/// # Invariants
///
/// `0` is a file opened by `filp_open()`, which is closed when `self` is dropped. Outside of
/// [`File::open`] it can be read by its `read_iter` operation and, if it is open for writing,
/// written by its `write_iter` operation.
pub(crate) struct File(NonNull<bindings::file>);

// SAFETY: A `struct file` is reference counted and may be used and closed by any thread.
unsafe impl Send for File {}

// SAFETY: All methods call functions of the VFS, which does its own locking.
unsafe impl Sync for File {}

impl File {
    /// Opens the file at `path`, seen from the caller's root and working directory, with the
    /// caller's credentials. Reading it will not change its access time.
    ///
    /// May sleep. Returns what `open(2)` would, `EBUSY` for a block device that is claimed by
    /// others, `EACCES` for writing to one that is read-only, and `EINVAL` for what is neither a
    /// regular file nor a block device, or has no way to be read and written by iterators.
    pub(crate) fn open(path: &CStr, access: Access) -> Result<Self> {
        let flags = match access {
            Access::Read => bindings::O_RDONLY,
            Access::ReadWrite => bindings::O_RDWR,
            Access::Claim => bindings::O_RDWR | bindings::O_EXCL,
            Access::Create => bindings::O_RDWR | bindings::O_CREAT | bindings::O_EXCL,
        };
        // Only a look at first: to open a pipe is to wait for whoever writes to it, and to open a
        // device can be to act.
        if access != Access::Create {
            let found = Self::filp_open(path, bindings::O_PATH)?;
            if !(found.is_regular() || found.is_block_device()) {
                return Err(EINVAL);
            }
        }
        let file = Self::filp_open(path, flags | bindings::O_LARGEFILE | bindings::O_NONBLOCK)?;
        // SAFETY: The file is open, so its operations are there.
        let ops = unsafe { &*(*file.as_ptr()).f_op };
        if !(file.is_regular() || file.is_block_device())
            || ops.read_iter.is_none()
            || (access != Access::Read && ops.write_iter.is_none())
        {
            return Err(EINVAL);
        }
        // SAFETY: The file is open.
        if access != Access::Read && unsafe { helpers::ubd_file_is_read_only_device(file.as_ptr()) }
        {
            return Err(EACCES);
        }
        // SAFETY: The file is open.
        unsafe { helpers::ubd_file_no_atime(file.as_ptr()) };
        Ok(file)
    }

    fn filp_open(path: &CStr, flags: u32) -> Result<Self> {
        // SAFETY: `path` is a valid, terminated string for the duration of the call.
        let file = unsafe { bindings::filp_open(path.as_char_ptr(), flags as i32, 0o644) };
        // INVARIANT: `file` came from `filp_open()`; what else can be done with it, the caller
        // checks.
        let file = error::from_err_ptr(file)?;
        Ok(Self(NonNull::new(file).ok_or(EINVAL)?))
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.0.as_ptr()
    }

    fn format(&self) -> u32 {
        // SAFETY: By the type invariant the file is open.
        u32::from(unsafe { helpers::ubd_file_mode(self.as_ptr()) }) & bindings::S_IFMT
    }

    /// Whether this is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.format() == bindings::S_IFREG
    }

    /// Whether this is a block device.
    pub(crate) fn is_block_device(&self) -> bool {
        self.format() == bindings::S_IFBLK
    }

    /// The file's or the block device's length, in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: By the type invariant the file is open.
        let size = unsafe { helpers::ubd_file_size(self.as_ptr()) };
        u64::try_from(size).unwrap_or(0)
    }

    /// Identity and age of the file. May sleep.
    pub(crate) fn stat(&self) -> Result<Stat> {
        let mut stat: bindings::kstat = pin_init::zeroed();
        // SAFETY: The file is open, so that its path is valid, and `stat` is ours to write.
        error::to_result(unsafe {
            bindings::vfs_getattr(
                self.path_ptr(),
                &mut stat,
                bindings::STATX_MTIME | bindings::STATX_INO,
                0,
            )
        })?;
        let id = match self.is_block_device() {
            true => (0, stat.rdev.into()),
            false => (stat.dev, stat.ino),
        };
        Ok(Stat {
            id,
            mtime: stat.mtime.tv_sec,
        })
    }

    fn path_ptr(&self) -> *const bindings::path {
        // SAFETY: By the type invariant the file is open, and its path does not change while it is.
        unsafe { &raw const (*self.as_ptr()).__bindgen_anon_1.f_path }.cast()
    }

    /// Writes the file's absolute path, as the caller's root sees it, into `buf` and returns it.
    ///
    /// May sleep. Returns `ENAMETOOLONG` when it does not fit.
    pub(crate) fn path<'a>(&self, buf: &'a mut [u8]) -> Result<&'a [u8]> {
        let len = i32::try_from(buf.len())?;
        // SAFETY: The path is valid, and `buf` holds `len` bytes.
        let path = error::from_err_ptr(unsafe {
            bindings::d_path(self.path_ptr(), buf.as_mut_ptr().cast(), len)
        })?;
        // SAFETY: `d_path()` returns a terminated string that lies in `buf`.
        Ok(unsafe { CStr::from_char_ptr(path) }.to_bytes())
    }

    /// Takes a record lock on the whole file, as `fcntl(F_SETLK)` would, until the file is closed.
    ///
    /// May sleep, but does not wait for the lock: returns `EAGAIN` or `EACCES` when another
    /// process, or another `File`, holds one that conflicts.
    pub(crate) fn lock(&self, exclusive: bool) -> Result {
        // SAFETY: By the type invariant the file is open.
        error::to_result(unsafe { helpers::ubd_file_lock(self.as_ptr(), exclusive) })
    }

    /// Whether a read that must not block can be asked of this file's file system.
    pub(crate) fn can_read_nowait(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { helpers::ubd_file_nowait(self.as_ptr()) }
    }

    /// Whether the file lives in memory (tmpfs), where a read waits for nothing but a swap-in.
    pub(crate) fn is_in_memory(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { helpers::ubd_file_in_memory(self.as_ptr()) }
    }

    /// Reads at `pos` (bytes) until `buf` is full or the file ends, and returns how much was read.
    ///
    /// May sleep.
    pub(crate) fn read_at(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        let mut pos = i64::try_from(pos)?;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            // SAFETY: The file is open for reading, and `rest` is ours to write.
            let n = unsafe {
                bindings::kernel_read(
                    self.as_ptr(),
                    rest.as_mut_ptr().cast(),
                    rest.len(),
                    &mut pos,
                )
            };
            match usize::try_from(n) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) => return Err(Error::from_errno(n as i32)),
            }
        }
        Ok(done)
    }

    /// Writes all of `buf` at `pos` (bytes), into the page cache.
    ///
    /// May sleep. Returns `EIO` when the file took less.
    pub(crate) fn write_at(&self, buf: &[u8], pos: u64) -> Result {
        let mut pos = i64::try_from(pos)?;
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            // SAFETY: `kernel_write()` itself refuses a file that is not open for writing, and
            // `rest` is valid for reading.
            let n = unsafe {
                bindings::kernel_write(self.as_ptr(), rest.as_ptr().cast(), rest.len(), &mut pos)
            };
            match usize::try_from(n) {
                Ok(0) => return Err(EIO),
                Ok(n) => done += n,
                Err(_) => return Err(Error::from_errno(n as i32)),
            }
        }
        Ok(())
    }

    /// Reads at `pos` (bytes) into as much of `iter` as one call fills, advancing it, and returns
    /// how many bytes that was: 0 at the end of the file.
    ///
    /// With [`Through::CacheOnly`] it returns `EAGAIN` rather than sleep, or `EOPNOTSUPP` where the
    /// file system can't promise that; otherwise it may sleep.
    pub(crate) fn read_iter(
        &self,
        iter: &mut IovIter<'_>,
        pos: u64,
        through: Through,
    ) -> Result<usize> {
        let nowait = through == Through::CacheOnly;
        let direct = through == Through::Direct;
        let pos = i64::try_from(pos)?;
        // SAFETY: By the type invariants the file can be read this way, and the iterator stands on
        // live pages.
        let n = unsafe {
            helpers::ubd_file_read_iter(self.as_ptr(), iter.as_mut_ptr(), pos, nowait, direct)
        };
        usize::try_from(n).map_err(|_| Error::from_errno(n as i32))
    }

    /// Writes as much of `iter` as one call takes at `pos` (bytes), advancing it, and returns how
    /// many bytes that was.
    ///
    /// May sleep. `self` must be open for writing, or this returns `EBADF`.
    pub(crate) fn write_iter(
        &self,
        iter: &mut IovIter<'_>,
        pos: u64,
        through: Through,
    ) -> Result<usize> {
        let pos = i64::try_from(pos)?;
        let direct = through == Through::Direct;
        self.check_open_for_writing()?;
        // SAFETY: By the type invariants a file open for writing can be written this way, and the
        // iterator stands on live pages.
        let n =
            unsafe { helpers::ubd_file_write_iter(self.as_ptr(), iter.as_mut_ptr(), pos, direct) };
        usize::try_from(n).map_err(|_| Error::from_errno(n as i32))
    }

    /// Returns `EBADF` if the file is not open for writing.
    pub(super) fn check_open_for_writing(&self) -> Result {
        // SAFETY: The file is open, so its mode can be read.
        match unsafe { (*self.as_ptr()).f_mode } & FMODE_WRITE {
            0 => Err(EBADF),
            _ => Ok(()),
        }
    }

    /// What direct I/O to the file has to be aligned to; `None` if it has none. May sleep.
    pub(crate) fn direct_alignment(&self) -> Option<DirectAlignment> {
        let (mut memory, mut offset) = (0, 0);
        // SAFETY: By the type invariant the file is open; the numbers are ours to write.
        let found =
            unsafe { helpers::ubd_file_direct_alignment(self.as_ptr(), &mut memory, &mut offset) };
        (found && memory.is_power_of_two() && offset.is_power_of_two())
            .then_some(DirectAlignment { memory, offset })
    }

    /// Makes all that was written to the file durable, as `fdatasync(2)`.
    ///
    /// May sleep. Returns an error once for every write-back that failed since the last call.
    pub(crate) fn sync(&self) -> Result<(), SyncError> {
        let mut lost = false;
        // SAFETY: By the type invariant the file is open.
        let result = unsafe { helpers::ubd_file_sync(self.as_ptr(), &mut lost) };
        error::to_result(result).map_err(|error| SyncError { error, lost })
    }

    /// Makes sure that what is read from now on is what the disk has: where the page cache has
    /// failed to write something, it is read again. Returns why it had failed, if it had.
    ///
    /// May sleep. Returns `EBUSY` if the file is mapped, and what writing it does.
    pub(crate) fn forget_lost(&self) -> Result<Option<Error>> {
        let mut reason = 0;
        // SAFETY: By the type invariant the file is open.
        error::to_result(unsafe { helpers::ubd_file_forget_lost(self.as_ptr(), &mut reason) })?;
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

    /// Frees the `len` bytes at `pos`, which read as zeros from then on; the length stays.
    ///
    /// May sleep. Returns `EOPNOTSUPP` where the file system cannot.
    pub(crate) fn punch_hole(&self, pos: u64, len: u64) -> Result {
        self.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len)
    }

    /// Makes the `len` bytes at `pos` read as zeros, keeping their space allocated.
    ///
    /// May sleep. Returns `EOPNOTSUPP` where the file system cannot.
    pub(crate) fn zero_range(&self, pos: u64, len: u64) -> Result {
        self.fallocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, pos, len)
    }

    fn fallocate(&self, mode: u32, pos: u64, len: u64) -> Result {
        let (pos, len) = (i64::try_from(pos)?, i64::try_from(len)?);
        // SAFETY: By the type invariant the file is open; `vfs_fallocate()` refuses one that is
        // not open for writing, and any range that is none.
        error::to_result(unsafe { bindings::vfs_fallocate(self.as_ptr(), mode as i32, pos, len) })
    }

    /// Sets the length of a regular file, in bytes. May sleep.
    pub(crate) fn truncate(&self, len: u64) -> Result {
        let len = i64::try_from(len)?;
        // SAFETY: The path is valid while the file is open.
        error::to_result(unsafe { bindings::vfs_truncate(self.path_ptr(), len) })
    }

    /// Where the first data at or behind `pos` (bytes) is; `None` if all behind it is a hole. Where
    /// that can't be told, all is data.
    ///
    /// May sleep.
    pub(crate) fn next_data(&self, pos: u64) -> Option<u64> {
        let Ok(at) = i64::try_from(pos) else {
            return None;
        };
        if !self.is_regular() {
            return Some(pos);
        }
        // SAFETY: By the type invariant the file is open.
        let data = unsafe { helpers::ubd_file_next_data(self.as_ptr(), at) };
        if data == i64::from(ENXIO.to_errno()) {
            return None;
        }
        Some(u64::try_from(data).unwrap_or(pos))
    }

    /// Whether there is a hole in the `len` bytes at `pos`, or the file ends before they do. Space
    /// that was allocated and never written may count as one. Where that can't be told, there is
    /// none.
    ///
    /// May sleep.
    pub(crate) fn has_hole(&self, pos: u64, len: u64) -> bool {
        let (Ok(at), true) = (i64::try_from(pos), self.is_regular()) else {
            return false;
        };
        // SAFETY: By the type invariant the file is open.
        let hole = unsafe { helpers::ubd_file_next_hole(self.as_ptr(), at) };
        if hole == i64::from(ENXIO.to_errno()) {
            return len > 0;
        }
        u64::try_from(hole).is_ok_and(|hole| hole < pos + len)
    }

    /// Whether [`Self::punch_hole`] can be used on this file, which must be open for writing and
    /// not be in use by others yet. May sleep.
    pub(crate) fn can_punch_holes(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { helpers::ubd_file_can_punch(self.as_ptr()) }
    }

    /// Has what is written from now on leave the file's times as they are. May be called while the
    /// file is in use, not in interrupts.
    pub(crate) fn keep_times(&self) {
        // SAFETY: By the type invariant the file is open.
        unsafe { helpers::ubd_file_keep_times(self.as_ptr()) };
    }

    /// Has nothing read ahead, and pages read one at a time.
    pub(crate) fn set_no_readahead(&self) {
        // SAFETY: By the type invariant the file is open.
        unsafe { helpers::ubd_file_no_readahead(self.as_ptr()) };
    }

    /// What the device below wants I/O to be like.
    pub(crate) fn device_limits(&self) -> DeviceLimits {
        let mut limits = DeviceLimits::default();
        // SAFETY: By the type invariant the file is open; the fields are ours to write.
        unsafe {
            helpers::ubd_file_device_limits(
                self.as_ptr(),
                &mut limits.logical_block_size,
                &mut limits.physical_block_size,
                &mut limits.optimal_io_size,
                &mut limits.stable_writes,
            )
        };
        limits
    }

    /// Whether the file is on a medium that turns.
    pub(crate) fn is_rotational(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { helpers::ubd_file_is_rotational(self.as_ptr()) }
    }

    /// The unit in which the file's space is allocated, in bytes; 0 if it can't be told. May sleep.
    pub(crate) fn block_size(&self) -> u32 {
        // SAFETY: By the type invariant the file is open.
        unsafe { helpers::ubd_file_block_size(self.as_ptr()) }
    }

    /// Writes zeros to the `len` bytes at `pos`, allocating their space. May sleep.
    pub(crate) fn write_zeros(&self, pos: u64, len: u64) -> Result {
        if len == 0 {
            return Ok(());
        }
        let zeros = KVec::from_elem(0u8, ZEROS, GFP_KERNEL)?;
        let mut done = 0;
        while done < len {
            let n = (len - done).min(ZEROS as u64);
            self.write_at(zeros.get(..n as usize).ok_or(EIO)?, pos + done)?;
            done += n;
        }
        Ok(())
    }
}

/// How many zeros are written at a time, in bytes.
const ZEROS: usize = 32 << 10;

/// `FMODE_WRITE` of `include/linux/fs.h`, a macro with a cast that bindgen passes over.
const FMODE_WRITE: u32 = 1 << 1;

// Of `include/uapi/linux/falloc.h`, which has no bindings.
const FALLOC_FL_KEEP_SIZE: u32 = 0x01;
const FALLOC_FL_PUNCH_HOLE: u32 = 0x02;
const FALLOC_FL_ZERO_RANGE: u32 = 0x10;

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the file is open and this is its one user. The owner is
        // the one that `ubd_file_lock()` locks for, so that its locks go too.
        unsafe { bindings::filp_close(self.as_ptr(), self.as_ptr().cast()) };
    }
}
