// SPDX-License-Identifier: GPL-2.0

//! Files of User-mode Linux's host.

use super::call::{self, Arguments, Op};
use crate::ubd::kernel::{compat::ENAMETOOLONG, iov_iter::IovIter};
use kernel::{bindings, ffi::c_int, prelude::*};

mod limits;
mod sealed;
mod space;
mod sync;
mod times;

pub(crate) use crate::ubd::kernel::file_terms::{
    Access, DeviceLimits, DirectAlignment, Stat, SyncError, Through, DIRECT_PIECES,
};

extern "C" {
    fn ubd_host_rw_iter(
        fd: c_int,
        iter: *mut bindings::iov_iter,
        pos: i64,
        write: bool,
        wait: WaitFor,
    ) -> isize;
    fn ubd_host_rw(
        fd: c_int,
        buf: *mut c_void,
        len: usize,
        pos: i64,
        write: bool,
        wait: WaitFor,
    ) -> isize;
}

/// `enum ubd_host_wait` of `call_kern.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum WaitFor {
    May,
    MustNot,
    Never,
}

/// An open file.
///
/// # Invariants
///
/// `fd` is a file descriptor of the host's, open as `writable` says, which is closed when `self` is
/// dropped.
pub(crate) struct File {
    fd: c_int,
    /// Of `st_mode`.
    format: u32,
    writable: bool,
    in_memory: bool,
    reads_nowait: bool,
}

impl File {
    /// Whether files are those of a host, outside of the kernel's own file systems.
    pub(crate) const OUTSIDE: bool = true;

    /// Opens the file at `path`, seen as the process sees it that User-mode Linux is. Reading it
    /// will not change its access time, if it is that user's.
    ///
    /// May sleep. Returns what `open(2)` does, `EBUSY` for a block device that is claimed by
    /// others, `EACCES` for writing to one that is read-only, and `EINVAL` for what is neither a
    /// regular file nor a block device.
    pub(crate) fn open(path: &CStr, access: Access) -> Result<Self> {
        let arguments = Arguments {
            path: Some(path),
            // `enum ubd_host_access`.
            arg: match access {
                Access::Read => 0,
                Access::ReadWrite => 1,
                Access::Claim => 2,
                Access::Create => 3,
            },
            ..Arguments::default()
        };
        let fd = Op::Open.call(arguments, true)?;
        // INVARIANT: The file was opened so.
        let mut file = Self {
            fd: fd as c_int,
            format: 0,
            writable: access != Access::Read,
            in_memory: false,
            reads_nowait: false,
        };
        let stat = file.host_stat()?;
        file.format = stat.mode & bindings::S_IFMT;
        if !(file.is_regular() || file.is_block_device()) {
            return Err(EINVAL);
        }
        if file.writable && stat.refuses_writes {
            return Err(EACCES);
        }
        file.in_memory = stat.in_memory;
        file.reads_nowait = file.in_memory || file.probe_nowait();
        Ok(file)
    }

    /// The identity of the file at `path`, which is not opened for that. May sleep.
    pub(crate) fn id_at(path: &CStr) -> Result<(u32, u64)> {
        let mut stat = call::Stat::default();
        let arguments = Arguments {
            path: Some(path),
            stat: Some(&mut stat),
            ..Arguments::default()
        };
        Op::StatPath.call(arguments, true)?;
        Ok((stat.device as u32, stat.inode))
    }

    /// Makes a call for this file. One that is in memory the host does not wait for.
    fn call(&self, op: Op, arguments: Arguments<'_>) -> Result<u64> {
        let arguments = Arguments {
            fd: self.fd,
            ..arguments
        };
        op.call(arguments, !self.in_memory)
    }

    fn host_stat(&self) -> Result<call::Stat> {
        let mut stat = call::Stat::default();
        let arguments = Arguments {
            stat: Some(&mut stat),
            ..Arguments::default()
        };
        self.call(Op::Stat, arguments)?;
        Ok(stat)
    }

    /// Whether the host's file system can be asked for what it has at hand.
    fn probe_nowait(&self) -> bool {
        let mut byte = 0u8;
        let tried = self.rw((&raw mut byte).cast(), 1, 0, false, WaitFor::MustNot);
        !matches!(tried, Err(e) if e != EAGAIN)
    }

    fn rw(
        &self,
        buf: *mut c_void,
        len: usize,
        pos: u64,
        write: bool,
        wait: WaitFor,
    ) -> Result<usize> {
        let pos = i64::try_from(pos)?;
        // SAFETY: By the type invariant the file is open. The callers have `len` bytes of memory
        // there, to be read or written, until this returns.
        call::number(unsafe { ubd_host_rw(self.fd, buf, len, pos, write, wait) })
    }

    fn wait(&self) -> WaitFor {
        match self.in_memory {
            true => WaitFor::Never,
            false => WaitFor::May,
        }
    }

    /// Whether this is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.format == bindings::S_IFREG
    }

    /// Whether this is a block device.
    pub(crate) fn is_block_device(&self) -> bool {
        self.format == bindings::S_IFBLK
    }

    /// The file's or the block device's length, in bytes. May sleep.
    pub(crate) fn size(&self) -> u64 {
        self.host_stat().map_or(0, |stat| stat.size)
    }

    /// Identity and age of the file. May sleep.
    pub(crate) fn stat(&self) -> Result<Stat> {
        let stat = self.host_stat()?;
        Ok(Stat {
            id: (stat.device as u32, stat.inode),
            mtime: stat.mtime,
        })
    }

    /// Writes the file's absolute path, as the host has it, into `buf` and returns it.
    ///
    /// May sleep. Returns `ENAMETOOLONG` when it does not fit, and `ENOENT` where the host has no
    /// `/proc` to ask.
    pub(crate) fn path<'a>(&self, buf: &'a mut [u8]) -> Result<&'a [u8]> {
        // Which has its place in the host's memory.
        let mut path = KVec::from_elem(0u8, buf.len(), GFP_KERNEL)?;
        let arguments = Arguments {
            buf: Some(&mut path),
            ..Arguments::default()
        };
        let len = self.call(Op::ReadLink, arguments)? as usize;
        let (to, from) = (buf.get_mut(..len), path.get(..len));
        let (to, from) = to.zip(from).ok_or(ENAMETOOLONG)?;
        to.copy_from_slice(from);
        Ok(to)
    }

    /// Whether the file has no name any more. May sleep.
    pub(crate) fn is_unlinked(&self) -> bool {
        self.host_stat().is_ok_and(|stat| stat.links == 0)
    }

    /// Takes a lock on the whole file, until the file is closed, which record locks
    /// (`fcntl(F_SETLK)`) of other processes and this one shut each other out.
    ///
    /// May sleep, but does not wait for the lock: returns `EAGAIN` or `EACCES` when another
    /// process, or another `File`, holds one that conflicts.
    pub(crate) fn lock(&self, exclusive: bool) -> Result {
        let arguments = Arguments {
            arg: exclusive.into(),
            ..Arguments::default()
        };
        self.call(Op::Lock, arguments).map(drop)
    }

    /// Whether a read that must not block can be asked of this file's file system.
    pub(crate) fn can_read_nowait(&self) -> bool {
        self.reads_nowait
    }

    /// Whether the file lives in the host's memory (tmpfs), where a read waits for nothing but a
    /// swap-in.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// Reads at `pos` (bytes) until `buf` is full or the file ends, and returns how much was read.
    ///
    /// May sleep.
    pub(crate) fn read_at(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let (to, len) = (rest.as_mut_ptr().cast(), rest.len());
            match self.rw(to, len, pos + done as u64, false, self.wait())? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }

    /// Writes all of `buf` at `pos` (bytes), into the host's page cache.
    ///
    /// May sleep. Returns `EIO` when the file took less.
    pub(crate) fn write_at(&self, buf: &[u8], pos: u64) -> Result {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            let (from, len) = (rest.as_ptr().cast_mut().cast(), rest.len());
            match self.rw(from, len, pos + done as u64, true, self.wait())? {
                0 => return Err(EIO),
                n => done += n,
            }
        }
        Ok(())
    }

    /// Reads at `pos` (bytes) into the next `len` bytes of `iter`, or as many of them as one call
    /// fills, and returns how many bytes that was: 0 at the end of the file. That many `iter`
    /// advances.
    ///
    /// With [`Through::CacheOnly`] it returns `EAGAIN` rather than sleep, or `EOPNOTSUPP` where the
    /// host can't promise that; otherwise it may sleep.
    pub(crate) fn read_iter(
        &self,
        iter: &mut IovIter<'_>,
        len: usize,
        pos: u64,
        through: Through,
    ) -> Result<usize> {
        let wait = match through {
            _ if self.in_memory => WaitFor::Never,
            Through::CacheOnly => WaitFor::MustNot,
            _ => WaitFor::May,
        };
        let pos = i64::try_from(pos)?;
        iter.with_next(len, |next| {
            // SAFETY: By the type invariant the file is open, and the iterator stands on live
            // pages.
            unsafe { ubd_host_rw_iter(self.fd, next, pos, false, wait) }
        })
    }

    /// Writes `iter` at `pos` (bytes), or as much of it as one call takes, and returns how many
    /// bytes that was. That many `iter` advances.
    ///
    /// May sleep. `self` must be open for writing, or this returns `EBADF`.
    pub(crate) fn write_iter(
        &self,
        iter: &mut IovIter<'_>,
        pos: u64,
        _through: Through,
    ) -> Result<usize> {
        let pos = i64::try_from(pos)?;
        self.check_open_for_writing()?;
        iter.with_next(usize::MAX, |next| {
            // SAFETY: By the type invariant the file is open, and the iterator stands on live
            // pages.
            unsafe { ubd_host_rw_iter(self.fd, next, pos, true, self.wait()) }
        })
    }

    /// Returns `EBADF` if the file is not open for writing.
    fn check_open_for_writing(&self) -> Result {
        match self.writable {
            true => Ok(()),
            false => Err(EBADF),
        }
    }

    /// Nothing: that is for files that are used past the page cache.
    pub(crate) fn set_no_readahead(&self) {}
}

impl Drop for File {
    fn drop(&mut self) {
        // What is not durable by now is the host's.
        let _ = self.call(Op::Close, Arguments::default());
    }
}
