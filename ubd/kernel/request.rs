// SPDX-License-Identifier: GPL-2.0

//! Requests of a blk-mq driver, owned by it from `queue_rq()` to their end.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::cgroup::OnAccount;
use super::direct_io::Direct;
use super::iov_iter::IovIter;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kernel::{bindings, bits::bit_u32, impl_flags, prelude::*};

extern "C" {
    fn ubd_request_add_to_batch(
        rq: *mut bindings::request,
        batch: *mut bindings::io_comp_batch,
    ) -> bool;
    fn ubd_batch_end(batch: *mut bindings::io_comp_batch);
    #[cfg(CONFIG_UML)]
    fn ubd_request_end(rq: *mut bindings::request, status: bindings::blk_status_t);
}

#[cfg(not(CONFIG_UML))]
use bindings::blk_mq_end_request as ubd_request_end;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Fill the request's pages from the disk.
    Read,
    /// Put the request's pages on the disk.
    Write,
    /// Make every completed write durable.
    Flush,
    /// Forget the range.
    Discard,
    /// Make the range read as zeros.
    WriteZeroes,
    /// Something that this driver never said it could do.
    Other,
}

impl_flags!(
    /// How a request is to be done.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Flags(u32);

    /// One of [`Flags`].
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Flag {
        /// What is written must be durable before the request ends.
        ForcedUnitAccess = bit_u32(bindings::req_flag_bits___REQ_FUA),

        /// The space of what is zeroed must not be freed.
        NoUnmap = bit_u32(bindings::req_flag_bits___REQ_NOUNMAP),

        /// What is written is memory that is swapped out.
        Swap = bit_u32(bindings::req_flag_bits___REQ_SWAP),
    }
);

/// Per-request data: how a request waits for a thread.
#[repr(C)]
pub(super) struct RequestData {
    pub(super) node: bindings::llist_node,
    /// Gives a request whose direct I/O has ended back to the driver.
    pub(super) done: unsafe fn(Request, Result<usize>),
    /// See [`Request::set_mark`].
    mark: bool,
}

/// Per-request data of a [`TagSet`](super::blk_mq::TagSet) with direct I/O: how a request waits for
/// a file, too.
#[repr(C)]
pub(super) struct DirectData {
    pub(super) common: RequestData,
    pub(super) direct: Direct,
}

impl RequestData {
    /// Initialises the data of `rq`.
    ///
    /// # Safety
    ///
    /// `rq` must be a request of a [`TagSet`](super::blk_mq::TagSet), not yet in use, and `done`
    /// something that can be called in any context with every such request that was started.
    pub(super) unsafe fn init(rq: *mut bindings::request, done: unsafe fn(Request, Result<usize>)) {
        // SAFETY: The tag set gives every request room for a `RequestData` behind it.
        let data: *mut Self = unsafe { bindings::blk_mq_rq_to_pdu(rq) }.cast();
        // SAFETY: `data` is valid and ours to write.
        unsafe {
            (*data).node.next = core::ptr::null_mut();
            (*data).done = done;
            (*data).mark = false;
        }
    }
}

/// A request that the driver has started and not ended. It ends with an I/O error if it is
/// dropped.
///
/// # Invariants
///
/// `rq` is a started request of a [`TagSet`](super::blk_mq::TagSet), and nobody else ends it or
/// uses its per-request data.
pub(crate) struct Request {
    rq: NonNull<bindings::request>,
}

// SAFETY: Any thread may carry out and end a request.
unsafe impl Send for Request {}

impl Request {
    /// Takes over a request from the block layer and starts it.
    ///
    /// # Safety
    ///
    /// `rq` must be what `queue_rq()` of a [`TagSet`](super::blk_mq::TagSet) was called with.
    pub(super) unsafe fn start(rq: NonNull<bindings::request>) -> Self {
        // SAFETY: `queue_rq()` is called with a valid request that has not been started.
        unsafe { bindings::blk_mq_start_request(rq.as_ptr()) };
        // INVARIANT: It is started now, and the block layer leaves it to the driver.
        Self { rq }
    }

    /// # Safety
    ///
    /// `data` must be that of a request whose ownership was given up with [`Self::into_data`].
    pub(super) unsafe fn from_data(data: *mut RequestData) -> Self {
        // SAFETY: The per-request data stands behind its request.
        let rq = unsafe { bindings::blk_mq_rq_from_pdu(data.cast()) };
        Self {
            // INVARIANT: The request was started, and nobody else owns it.
            // SAFETY: `blk_mq_rq_from_pdu()` of a valid pointer is not null.
            rq: unsafe { NonNull::new_unchecked(rq) },
        }
    }

    /// Gives up the request; [`Self::from_data`] takes it up again.
    pub(super) fn into_data(self) -> *mut RequestData {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant the request is valid.
        unsafe { bindings::blk_mq_rq_to_pdu(this.rq.as_ptr()) }.cast()
    }

    pub(super) fn rq(&self) -> &bindings::request {
        // SAFETY: By the type invariant the request is valid, and the fields read here do not
        // change until it ends.
        unsafe { self.rq.as_ref() }
    }

    /// Keeps a mark with the request, which is what the driver takes it for.
    pub(crate) fn set_mark(&mut self, mark: bool) {
        // SAFETY: By the type invariant the request is valid, and nobody else uses its data.
        unsafe {
            let data: *mut RequestData = bindings::blk_mq_rq_to_pdu(self.rq.as_ptr()).cast();
            (*data).mark = mark;
        }
    }

    /// The mark that was set last, which may have been for another request.
    pub(crate) fn mark(&self) -> bool {
        // SAFETY: As above.
        unsafe {
            let data: *mut RequestData = bindings::blk_mq_rq_to_pdu(self.rq.as_ptr()).cast();
            (*data).mark
        }
    }

    /// What is asked for.
    pub(crate) fn command(&self) -> Command {
        match self.rq().cmd_flags & ((1 << bindings::REQ_OP_BITS) - 1) {
            bindings::req_op_REQ_OP_READ => Command::Read,
            bindings::req_op_REQ_OP_WRITE => Command::Write,
            bindings::req_op_REQ_OP_FLUSH => Command::Flush,
            bindings::req_op_REQ_OP_DISCARD => Command::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Command::WriteZeroes,
            _ => Command::Other,
        }
    }

    /// How it is to be done.
    pub(crate) fn flags(&self) -> Flags {
        Flags(self.rq().cmd_flags)
    }

    /// The first sector, of 512 bytes.
    pub(crate) fn sector(&self) -> u64 {
        self.rq().__sector
    }

    /// How long the request is, in bytes; 0 for a flush.
    pub(crate) fn bytes(&self) -> u32 {
        self.rq().__data_len
    }

    /// Has the calling kernel thread work on the account of the cgroup that the request came from,
    /// until what is returned is dropped. There must not be two at a time.
    #[inline]
    pub(crate) fn account(&self) -> OnAccount {
        // SAFETY: By the type invariant the request is valid.
        unsafe { OnAccount::of(self.rq.as_ptr()) }
    }

    /// Runs `f` on the pages of every bio of the request, in the order of the disk, until it
    /// returns an error. For reads and writes.
    pub(crate) fn try_for_each_bio(&self, mut f: impl FnMut(&mut IovIter<'_>) -> Result) -> Result {
        let write = self.command() == Command::Write;
        let mut bio = self.rq().bio;
        while !bio.is_null() {
            // SAFETY: The bios of a started request, with their pages, are valid until it ends,
            // and the pages are there to be filled unless it is a write.
            f(&mut unsafe { IovIter::from_bio(bio, write) })?;
            // SAFETY: As above.
            bio = unsafe { (*bio).bi_next };
        }
        Ok(())
    }

    /// Ends the request with the status that stands for `result`.
    ///
    /// May be called in any context.
    pub(crate) fn end(self, result: Result) {
        let status = match result {
            Ok(()) => bindings::BLK_STS_OK as bindings::blk_status_t,
            Err(e) => status(e),
        };
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant the request is started, and as `self` is gone nobody uses
        // it any more.
        unsafe { ubd_request_end(this.rq.as_ptr(), status) };
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the request is started, and not used after `self`.
        unsafe { ubd_request_end(self.rq.as_ptr(), status(EIO)) };
    }
}

/// The status that stands for an error of a file.
fn status(e: Error) -> bindings::blk_status_t {
    let errno = e.to_errno();
    let e = if errno == -(bindings::EDQUOT as i32) {
        // The block layer has one status for both, and knows but one of them.
        ENOSPC
    } else if e == EAGAIN || e == EBUSY || errno == -(bindings::EREMCHG as i32) {
        // From a file they are errors; as a status they would ask the block layer to try again.
        EIO
    } else {
        e
    };
    // SAFETY: A function of a number.
    unsafe { bindings::errno_to_blk_status(e.to_errno()) }
}

/// Requests that have succeeded and are ended together, which costs less than one by one.
///
/// # Invariants
///
/// The requests in `batch` were given up to it and succeeded.
pub(crate) struct IoCompletionBatch {
    batch: bindings::io_comp_batch,
    gathers: bool,
    requests: usize,
    bytes: u64,
}

impl IoCompletionBatch {
    /// When so many requests have gathered they are ended.
    const REQUESTS: usize = 16;

    /// When so many bytes of requests have gathered they are ended: as long ones take longer.
    const BYTES: u64 = 128 << 10;

    /// No requests. Unless `gathers`, each will be ended at once.
    pub(crate) fn new(gathers: bool) -> Self {
        Self {
            // INVARIANT: No requests.
            batch: pin_init::zeroed(),
            gathers,
            requests: 0,
            bytes: 0,
        }
    }

    /// Ends the request with the status that stands for `result`, soon or at the latest when
    /// [`Self::end_all`] is called, or `self` dropped.
    pub(crate) fn end(&mut self, rq: Request, result: Result) {
        if result.is_err() || !self.gathers {
            rq.end(result);
        } else {
            self.requests += 1;
            self.bytes += u64::from(rq.bytes());
            let rq = ManuallyDrop::new(rq);
            // SAFETY: The request is started and has succeeded; the batch is valid.
            // INVARIANT: If taken by the batch it is not used here any more.
            if !unsafe { ubd_request_add_to_batch(rq.rq.as_ptr(), &mut self.batch) } {
                ManuallyDrop::into_inner(rq).end(result);
            }
        }
        if self.requests >= Self::REQUESTS || self.bytes >= Self::BYTES {
            self.end_all();
        }
    }

    /// Ends all requests that have gathered.
    pub(crate) fn end_all(&mut self) {
        // SAFETY: By the type invariant the batch's requests are ours to end.
        unsafe { ubd_batch_end(&mut self.batch) };
        // INVARIANT: The batch is empty again.
        self.batch = pin_init::zeroed();
        self.requests = 0;
        self.bytes = 0;
    }
}

impl Drop for IoCompletionBatch {
    fn drop(&mut self) {
        self.end_all();
    }
}
