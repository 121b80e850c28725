// SPDX-License-Identifier: GPL-2.0

//! Calls of the host's kernel.
//!
//! To wait in one is to have all of User-mode Linux wait, or a processor of it. So those that may
//! have to are made by threads of the host, and the one who calls sleeps until an interrupt says
//! that the call has ended.
//!
//! C header: [`arch/um/include/shared/os.h`](srctree/arch/um/include/shared/os.h)

use kernel::{
    ffi::{c_int, c_long, c_uint},
    prelude::*,
};

extern "C" {
    fn ubd_host_call(call: *mut Call) -> c_long;
    fn ubd_host_do(call: *mut Call) -> c_long;
}

/// `enum ubd_host_op` of `call.h`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Op {
    Open,
    Close,
    Stat,
    StatPath,
    ReadLink,
    Lock,
    #[expect(dead_code)]
    Read,
    #[expect(dead_code)]
    Write,
    Zeros,
    Punch,
    ZeroRange,
    Truncate,
    Sync,
    SyncAll,
    SyncFolder,
    NextData,
    NextHole,
}

/// `struct ubd_host_stat` of `call.h`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Stat {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) allocated: u64,
    pub(super) space_left: u64,
    pub(super) mtime: i64,
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) block_size: u32,
    pub(super) logical_block_size: u32,
    pub(super) physical_block_size: u32,
    pub(super) optimal_io_size: u32,
    pub(super) in_memory: bool,
    pub(super) knows_data: bool,
    pub(super) says_space: bool,
    pub(super) rotational: bool,
    pub(super) punches: bool,
    pub(super) refuses_writes: bool,
}

/// `struct ubd_host_call` of `call.h`.
#[repr(C)]
struct Call {
    op: Op,
    fd: c_int,
    path: *const u8,
    buf: *mut c_void,
    count: c_uint,
    arg: c_uint,
    pos: u64,
    len: u64,
    result: c_long,
    done: *mut c_void,
    waiter: *mut c_void,
}

/// What a call is made with, beside what it does. What is not set it does not look at.
#[derive(Default)]
pub(super) struct Arguments<'a> {
    /// An open file's descriptor.
    pub(super) fd: c_int,
    pub(super) path: Option<&'a CStr>,
    pub(super) buf: Option<&'a mut [u8]>,
    pub(super) stat: Option<&'a mut Stat>,
    pub(super) arg: u32,
    pub(super) pos: u64,
    pub(super) len: u64,
}

impl Op {
    /// Makes the call, which unless it `waits` the host does at once. What it has no use for is
    /// ignored, what it needs and is not there is `EINVAL`.
    ///
    /// May sleep. Returns what the host does.
    pub(super) fn call(self, arguments: Arguments<'_>, waits: bool) -> Result<u64> {
        let Arguments {
            fd,
            path,
            buf,
            stat,
            arg,
            pos,
            len,
        } = arguments;
        let wants_path = matches!(self, Self::Open | Self::StatPath | Self::SyncFolder);
        let wants_stat = matches!(self, Self::Stat | Self::StatPath);
        let wants_buf = matches!(self, Self::ReadLink);
        // Those take vectors, which are not passed here.
        let vectors = matches!(self, Self::Read | Self::Write);
        if wants_path && path.is_none()
            || wants_stat && stat.is_none()
            || wants_buf && buf.is_none()
            || vectors
        {
            return Err(EINVAL);
        }
        let len = match &buf {
            Some(buf) => buf.len() as u64,
            None => len,
        };
        let mut call = Call {
            op: self,
            fd,
            path: path.map_or(core::ptr::null(), |path| path.as_char_ptr()),
            buf: match (buf, stat) {
                (Some(buf), _) => buf.as_mut_ptr().cast(),
                (None, Some(stat)) => core::ptr::from_mut(stat).cast(),
                (None, None) => core::ptr::null_mut(),
            },
            count: 0,
            arg,
            pos,
            len,
            result: 0,
            done: core::ptr::null_mut(),
            waiter: core::ptr::null_mut(),
        };
        // SAFETY: What the call points to is valid for what it does, as was seen above, and until
        // it has ended, for which both wait.
        let result = unsafe {
            match waits {
                true => ubd_host_call(&mut call),
                false => ubd_host_do(&mut call),
            }
        };
        number(result as isize).map(|n| n as u64)
    }
}

/// What a call has returned.
pub(super) fn number(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::from_errno(result as i32))
}
