// SPDX-License-Identifier: GPL-2.0

//! Direct I/O: requests that a file's medium carries out on their own pages, while the one who
//! started them goes on.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::file::File;
use super::request::{Command, DirectData, Request};
use crate::ubd::kernel::compat::EOPNOTSUPP;
use kernel::{
    bindings, error,
    ffi::c_long,
    prelude::*,
    sync::atomic::{Atomic, Full},
};

/// How direct I/O is started: in a thread of the driver's own, or where it was submitted.
type Start = unsafe extern "C" fn(
    iocb: *mut bindings::kiocb,
    file: *mut bindings::file,
    bio: *mut bindings::bio,
    pos: i64,
    write: bool,
    complete: unsafe extern "C" fn(*mut bindings::kiocb, c_long),
) -> isize;

extern "C" {
    fn ubd_direct_start(
        iocb: *mut bindings::kiocb,
        file: *mut bindings::file,
        bio: *mut bindings::bio,
        pos: i64,
        write: bool,
        complete: unsafe extern "C" fn(*mut bindings::kiocb, c_long),
    ) -> isize;
    fn ubd_direct_at_once(file: *mut bindings::file, write: bool) -> bool;
    fn ubd_direct_may_start_here(file: *mut bindings::file, write: bool) -> bool;
    fn ubd_direct_start_at_once(
        iocb: *mut bindings::kiocb,
        file: *mut bindings::file,
        bio: *mut bindings::bio,
        pos: i64,
        write: bool,
        complete: unsafe extern "C" fn(*mut bindings::kiocb, c_long),
    ) -> isize;
    fn ubd_direct_end(iocb: *mut bindings::kiocb);
}

/// A request as a file sees it that carries it out.
///
/// # Invariants
///
/// While I/O goes on, `iocb` is in use by the file, of which it holds a reference, and `users`
/// counts the one who started it, until that is done with it, and the file.
pub(super) struct Direct {
    iocb: bindings::kiocb,
    users: Atomic<u32>,
    result: isize,
}

/// The error code with which an operation says that `ki_complete` will be called.
const EIOCBQUEUED: isize = -529;

impl File {
    /// Whether [`Request::start_direct_at_once`] is worth a try for reads, or for `write`s. May
    /// sleep.
    pub(crate) fn can_start_direct_at_once(&self, write: bool) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_direct_at_once(self.as_ptr(), write) }
    }
}

impl Request {
    /// Whether the request is a read or a write all of whose pages are those of one bio.
    pub(crate) fn has_one_bio(&self) -> bool {
        let data = matches!(self.command(), Command::Read | Command::Write);
        data && !self.rq().bio.is_null() && self.rq().bio == self.rq().biotail
    }

    /// Starts the read or write of a request [of one bio](Self::has_one_bio) at `pos` (bytes) of
    /// `file`, past the page cache. [`Operations::done`](super::blk_mq::Operations::done) is called
    /// when it has ended; that can be before this returns.
    ///
    /// May sleep. Not for the context of a submitter, whose own list of bios would keep what the
    /// file system waits for. Ends with `EINVAL` if it is another request, `EBADF` if the file is
    /// not open for it, and `EOPNOTSUPP` if that, or the tag set, has no direct I/O.
    pub(crate) fn start_direct(self, file: &File, pos: u64) {
        match self.check_direct(file, pos) {
            Ok(pos) => {
                // Nothing is given back.
                // SAFETY: It was checked.
                let _ = unsafe { self.started(ubd_direct_start, file, pos, false) };
            }
            Err(e) => self.done(Err(e)),
        }
    }

    /// As [`Self::start_direct`], where the request was submitted, if that can be done without
    /// waiting for anything; else the request is given back. What is found out only when the I/O
    /// has been started is an end with `EAGAIN`: then it can be started again elsewhere.
    ///
    /// May sleep, for memory, so that the caller is to have none waited for that takes I/O. Not for
    /// a file that does not say that it [can](File::can_start_direct_at_once).
    pub(crate) fn start_direct_at_once(self, file: &File, pos: u64) -> Option<Self> {
        let write = self.command() == Command::Write;
        match self.check_direct(file, pos) {
            // SAFETY: By the type invariant the file is open.
            Ok(pos) if unsafe { ubd_direct_may_start_here(file.as_ptr(), write) } => {
                // SAFETY: It was checked.
                unsafe { self.started(ubd_direct_start_at_once, file, pos, true) }
            }
            _ => Some(self),
        }
    }

    /// Whether it can be started at all, with its place as C has it, or what it is to end with.
    fn check_direct(&self, file: &File, pos: u64) -> Result<i64> {
        if self.command() == Command::Write {
            file.check_open_for_writing()?;
        }
        match i64::try_from(pos)? {
            _ if !self.has_room_for_direct() => Err(EOPNOTSUPP),
            pos if self.has_one_bio() => Ok(pos),
            _ => Err(EINVAL),
        }
    }

    /// Starts it with one of the two functions. If that gives `EAGAIN` and it `can_return`, it is
    /// given back.
    ///
    /// # Safety
    ///
    /// [`Self::check_direct`] must have returned `pos` for it.
    unsafe fn started(self, start: Start, file: &File, pos: i64, can_return: bool) -> Option<Self> {
        let (bio, write) = (self.rq().bio, self.command() == Command::Write);
        // SAFETY: By this function's requirement there is room for it.
        let (data, direct) = unsafe { self.into_direct() };
        // INVARIANT: The helper takes a reference to the file, and the count is two: this function
        // and the file.
        // SAFETY: The bio has pages, which are valid until the request ends, and that is when the
        // I/O has; the file is open for what is done with it.
        let result = unsafe {
            start(
                &raw mut (*direct).iocb,
                file.as_ptr(),
                bio,
                pos,
                write,
                Self::complete,
            )
        };
        if result == EIOCBQUEUED {
            // SAFETY: The count keeps the data until now.
            unsafe { Self::put(data) };
            return None;
        }
        // SAFETY: The file is done with it, and will not call `complete()`, so that nobody but this
        // function has the data, to which the request was given up above.
        unsafe {
            if can_return && result == EAGAIN.to_errno() as isize {
                ubd_direct_end(&raw mut (*direct).iocb);
                return Some(Self::from_data(data.cast()));
            }
            (*direct).result = result;
            Self::finish(data);
        }
        None
    }

    /// Gives the request up to its data, for two users.
    ///
    /// # Safety
    ///
    /// The request must [have room](Self::has_room_for_direct) for it.
    unsafe fn into_direct(self) -> (*mut DirectData, *mut Direct) {
        let data: *mut DirectData = self.into_data().cast();
        // SAFETY: The per-request data is valid and, as the request was given up to it, ours. By
        // this function's requirement there is room for all of it.
        let direct = unsafe { &raw mut (*data).direct };
        // SAFETY: As above; nobody else uses it yet.
        unsafe { (*direct).users = Atomic::new(2) };
        (data, direct)
    }

    fn has_room_for_direct(&self) -> bool {
        // SAFETY: The request is started, so its queue and the tag set of that are there.
        let tag_set = unsafe { &*(*self.rq().q).tag_set };
        tag_set.cmd_size as usize >= size_of::<DirectData>()
    }

    /// The file's call at the end of what was queued. In any context.
    ///
    /// # Safety
    ///
    /// `iocb` must be that of a request which [`Self::start_direct`] has started.
    unsafe extern "C" fn complete(iocb: *mut bindings::kiocb, result: c_long) {
        // SAFETY: By this function's requirement.
        let direct = unsafe { kernel::container_of!(iocb, Direct, iocb) };
        // SAFETY: As above: that is a part of a request's data.
        let data = unsafe { kernel::container_of!(direct, DirectData, direct) };
        // SAFETY: The one who started it looks at the result only after this has put it.
        unsafe {
            (*direct).result = result;
            Self::put(data);
        }
    }

    /// Ends one's use of what was started; the last one finishes it.
    ///
    /// # Safety
    ///
    /// `data` must be that of a request that was started, and the caller one of its two users.
    unsafe fn put(data: *mut DirectData) {
        // SAFETY: By this function's requirement it is valid until the count is zero.
        let last = unsafe { (*data).direct.users.fetch_sub(1, Full) } == 1;
        if last {
            // SAFETY: There are no other users.
            unsafe { Self::finish(data) };
        }
    }

    /// # Safety
    ///
    /// `data` must be that of a request whose I/O was started and has ended, with no users left.
    unsafe fn finish(data: *mut DirectData) {
        // SAFETY: By this function's requirement the request was given up to `data`, and nobody
        // else takes it up.
        let rq = unsafe { Self::from_data(data.cast()) };
        // SAFETY: As above. Drops what was taken at the start.
        let result = unsafe {
            ubd_direct_end(&raw mut (*data).direct.iocb);
            (*data).direct.result
        };
        rq.done(match usize::try_from(result) {
            Ok(n) => Ok(n),
            Err(_) => error::to_result(result as i32).map(|()| 0),
        });
    }

    fn done(self, result: Result<usize>) {
        let data = self.into_data();
        // SAFETY: The per-request data is valid, and as the request was given up to it, it can be
        // taken up. What was put in there may be called with it.
        unsafe { ((*data).done)(Self::from_data(data), result) };
    }
}
