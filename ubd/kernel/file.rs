// SPDX-License-Identifier: GPL-2.0

//! Files opened by the kernel for its own use.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::iov_iter::IovIter;
use super::module;
use core::ptr::NonNull;
use kernel::{bindings, error, prelude::*};

mod limits;
mod sealed;
mod space;
mod sync;
mod times;

pub(crate) use super::file_terms::{
    Access, DeviceLimits, DirectAlignment, Stat, SyncError, Through, DIRECT_PIECES,
};

extern "C" {
    fn ubd_file_lock(file: *mut bindings::file, exclusive: bool) -> i32;
    fn ubd_file_no_atime(file: *mut bindings::file);
    fn ubd_file_size(file: *mut bindings::file) -> i64;
    fn ubd_file_mode(file: *mut bindings::file) -> u16;
    fn ubd_file_nowait(file: *mut bindings::file) -> bool;
    fn ubd_file_in_memory(file: *mut bindings::file) -> bool;
    fn ubd_file_is_unlinked(file: *mut bindings::file) -> bool;
    fn ubd_file_refuses_writes(file: *mut bindings::file) -> i32;
    fn ubd_file_is_missing_disk(file: *mut bindings::file, major: c_uint) -> bool;
    fn ubd_file_no_readahead(file: *mut bindings::file);
    fn ubd_file_read_iter(
        file: *mut bindings::file,
        iter: *mut bindings::iov_iter,
        pos: i64,
        nowait: bool,
        direct: bool,
    ) -> isize;
    fn ubd_file_write_iter(
        file: *mut bindings::file,
        iter: *mut bindings::iov_iter,
        pos: i64,
        direct: bool,
    ) -> isize;
}

/// An open file.
///
/// # Invariants
///
/// `0` is a file opened by `filp_open()` or `dentry_open()`, which is closed when `self` is
/// dropped. Outside of [`File::open`] it can be read by its `read_iter` operation and, if it is
/// open for writing, written by its `write_iter` operation.
pub(crate) struct File(NonNull<bindings::file>);

// SAFETY: A `struct file` is reference counted and may be used and closed by any thread.
unsafe impl Send for File {}

// SAFETY: All methods call functions of the VFS, which does its own locking.
unsafe impl Sync for File {}

impl File {
    /// Whether files are those of a host, outside of the kernel's own file systems.
    pub(crate) const OUTSIDE: bool = false;

    /// Opens the file at `path`, seen from the caller's root and working directory, with the
    /// caller's credentials. Reading it will not change its access time.
    ///
    /// May sleep, and waits as `open(2)` does until others have given back their leases on the
    /// file, or there is a signal. Returns what that would, `EBUSY` for a block device that is
    /// claimed by others, `EACCES` for writing to one that is read-only, `ENXIO` for a ubd that is
    /// not there, `ETXTBSY` for writing to a file that memory is swapped to, and `EINVAL` for what
    /// is neither a regular file nor a block device, or has no way to be read and written by
    /// iterators.
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
            // To open it would be to have this module loaded, and to wait for that, maybe while it
            // is being loaded.
            // SAFETY: The file is open.
            if unsafe { ubd_file_is_missing_disk(found.as_ptr(), module::MAJOR) } {
                return Err(ENXIO);
            }
        }
        let flags = flags | bindings::O_LARGEFILE;
        let file = match access {
            Access::Create => Self::filp_open(path, flags)?,
            // Who may not ask for it is told EPERM for that alone. What is set later is not known
            // to a file system whose times are set by a server.
            _ => match Self::filp_open(path, flags | bindings::O_NOATIME) {
                Err(e) if e == EPERM => Self::filp_open(path, flags)?,
                result => result?,
            },
        };
        // SAFETY: The file is open, so its operations are there.
        let ops = unsafe { &*(*file.as_ptr()).f_op };
        if !(file.is_regular() || file.is_block_device())
            || ops.read_iter.is_none()
            || (access != Access::Read && ops.write_iter.is_none())
        {
            return Err(EINVAL);
        }
        if access != Access::Read {
            // SAFETY: The file is open.
            error::to_result(unsafe { ubd_file_refuses_writes(file.as_ptr()) })?;
        }
        // SAFETY: The file is open.
        unsafe { ubd_file_no_atime(file.as_ptr()) };
        Ok(file)
    }

    /// The identity of the file at `path`, which is not opened for that. May sleep.
    pub(crate) fn id_at(path: &CStr) -> Result<(u32, u64)> {
        Ok(Self::filp_open(path, bindings::O_PATH)?.stat()?.id)
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
        u32::from(unsafe { ubd_file_mode(self.as_ptr()) }) & bindings::S_IFMT
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
        let size = unsafe { ubd_file_size(self.as_ptr()) };
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

    pub(super) fn path_ptr(&self) -> *const bindings::path {
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

    /// Whether the file has lost the name that it was opened by.
    pub(crate) fn is_unlinked(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_is_unlinked(self.as_ptr()) }
    }

    /// Takes a record lock on the whole file, as `fcntl(F_SETLK)` would, until the file is closed.
    ///
    /// May sleep, but does not wait for the lock: returns `EAGAIN` or `EACCES` when another
    /// process, or another `File`, holds one that conflicts.
    pub(crate) fn lock(&self, exclusive: bool) -> Result {
        // SAFETY: By the type invariant the file is open.
        error::to_result(unsafe { ubd_file_lock(self.as_ptr(), exclusive) })
    }

    /// Whether a read that must not block can be asked of this file's file system.
    pub(crate) fn can_read_nowait(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_nowait(self.as_ptr()) }
    }

    /// Whether the file lives in memory (tmpfs), where a read waits for nothing but a swap-in.
    pub(crate) fn is_in_memory(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_in_memory(self.as_ptr()) }
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

    /// Reads at `pos` (bytes) into the next `len` bytes of `iter`, or as many of them as one call
    /// fills, and returns how many bytes that was: 0 at the end of the file. That many `iter`
    /// advances, whatever the file system does.
    ///
    /// With [`Through::CacheOnly`] it returns `EAGAIN` rather than sleep, or `EOPNOTSUPP` where the
    /// file system can't promise that; otherwise it may sleep.
    pub(crate) fn read_iter(
        &self,
        iter: &mut IovIter<'_>,
        len: usize,
        pos: u64,
        through: Through,
    ) -> Result<usize> {
        let nowait = through == Through::CacheOnly;
        let direct = through == Through::Direct;
        let pos = i64::try_from(pos)?;
        iter.with_next(len, |next| {
            // SAFETY: By the type invariants the file can be read this way, and the iterator stands
            // on live pages.
            unsafe { ubd_file_read_iter(self.as_ptr(), next, pos, nowait, direct) }
        })
    }

    /// Writes `iter` at `pos` (bytes), or as much of it as one call takes, and returns how many
    /// bytes that was. That many `iter` advances, whatever the file system does: one that would
    /// get over the limit of its files takes what is below it and forgets the rest.
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
        iter.with_next(usize::MAX, |next| {
            // SAFETY: By the type invariants a file open for writing can be written this way, and
            // the iterator stands on live pages.
            unsafe { ubd_file_write_iter(self.as_ptr(), next, pos, direct) }
        })
    }

    /// Returns `EBADF` if the file is not open for writing.
    pub(super) fn check_open_for_writing(&self) -> Result {
        // SAFETY: The file is open, so its mode can be read.
        match unsafe { (*self.as_ptr()).f_mode } & FMODE_WRITE {
            0 => Err(EBADF),
            _ => Ok(()),
        }
    }

    /// Has nothing read ahead, and pages read one at a time.
    pub(crate) fn set_no_readahead(&self) {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_no_readahead(self.as_ptr()) };
    }
}

/// `FMODE_WRITE` of `include/linux/fs.h`, a macro with a cast that bindgen passes over.
const FMODE_WRITE: u32 = 1 << 1;

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the file is open and this is its one user. The owner is
        // the one that `ubd_file_lock()` locks for, so that its locks go too.
        unsafe { bindings::filp_close(self.as_ptr(), self.as_ptr().cast()) };
    }
}
