// SPDX-License-Identifier: GPL-2.0

//! Requests of a blk-mq driver, owned by it from `queue_rq()` to their end.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::blk_mq::Operations;
use super::direct::Direct;
use super::helpers;
use super::iov_iter::IovIter;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use kernel::{bindings, prelude::*, types::Opaque};

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
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

/// Per-request data: how a request waits for a thread, or for a file.
#[repr(C)]
pub(super) struct RequestData {
    node: bindings::llist_node,
    work: bindings::work_struct,
    pub(super) direct: Direct,
}

impl RequestData {
    /// Initialises the data of `rq`.
    ///
    /// # Safety
    ///
    /// `rq` must be a request of a tag set made for `T`, not yet in use.
    pub(super) unsafe fn init<T: Operations>(rq: *mut bindings::request) {
        // SAFETY: The tag set gives every request room for a `RequestData` behind it.
        let data: *mut Self = unsafe { bindings::blk_mq_rq_to_pdu(rq) }.cast();
        // SAFETY: `data` is valid and ours to write.
        unsafe { (*data).node.next = core::ptr::null_mut() };
        // SAFETY: As above; the name and the class are static.
        unsafe {
            bindings::init_work_with_key(
                &raw mut (*data).work,
                Some(Self::work::<T>),
                false,
                c"ubd_request".as_char_ptr(),
                kernel::static_lock_class!().as_ptr(),
            )
        };
    }

    /// The work function: hands the request back to the driver, in a context that may sleep.
    ///
    /// # Safety
    ///
    /// `work` must be that of a request of a tag set made for `T`, which was queued by
    /// [`Request::queue_work`].
    unsafe extern "C" fn work<T: Operations>(work: *mut bindings::work_struct) {
        // SAFETY: By this function's requirement `work` is the field of a `RequestData`.
        let data = unsafe { kernel::container_of!(work, RequestData, work) };
        // SAFETY: That stands behind its request, whose ownership `queue_work()` gave up to us.
        let rq = unsafe { Request::<T>::from_data(data) };
        // SAFETY: The queue is valid while it has a request, and its data is what the disk was
        // made with, which the disk keeps until all works have ended.
        let disk = unsafe { &*(*rq.rq().q).queuedata.cast::<T::Data>() };
        T::work(disk, rq);
    }
}

/// A request that the driver has started and not ended. It ends with an I/O error if it is
/// dropped.
///
/// # Invariants
///
/// `rq` is a started request of a disk whose operations are `T`, and nobody else ends it or uses
/// its per-request data.
pub(crate) struct Request<T: Operations> {
    rq: NonNull<bindings::request>,
    operations: PhantomData<T>,
}

// SAFETY: Any thread may carry out and end a request.
unsafe impl<T: Operations> Send for Request<T> {}

impl<T: Operations> Request<T> {
    /// Takes over a request from the block layer and starts it.
    ///
    /// # Safety
    ///
    /// `rq` must be what `queue_rq()` of the operations of `T` was called with.
    pub(super) unsafe fn start(rq: NonNull<bindings::request>) -> Self {
        // SAFETY: `queue_rq()` is called with a valid request that has not been started.
        unsafe { bindings::blk_mq_start_request(rq.as_ptr()) };
        // INVARIANT: It is started now, and the block layer leaves it to the driver.
        Self {
            rq,
            operations: PhantomData,
        }
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
            operations: PhantomData,
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

    /// What is asked for.
    pub(crate) fn operation(&self) -> Operation {
        match self.rq().cmd_flags & ((1 << bindings::REQ_OP_BITS) - 1) {
            bindings::req_op_REQ_OP_READ => Operation::Read,
            bindings::req_op_REQ_OP_WRITE => Operation::Write,
            bindings::req_op_REQ_OP_FLUSH => Operation::Flush,
            bindings::req_op_REQ_OP_DISCARD => Operation::Discard,
            bindings::req_op_REQ_OP_WRITE_ZEROES => Operation::WriteZeroes,
            _ => Operation::Other,
        }
    }

    /// Whether the written data must be durable before the request ends.
    pub(crate) fn is_fua(&self) -> bool {
        // SAFETY: By the type invariant the request is valid.
        unsafe { helpers::ubd_request_fua(self.rq()) }
    }

    /// Whether a write is of memory that is swapped out.
    pub(crate) fn is_swap(&self) -> bool {
        self.rq().cmd_flags & REQ_SWAP != 0
    }

    /// Whether a write-zeroes request leaves it to the driver to free the space.
    pub(crate) fn may_unmap(&self) -> bool {
        self.rq().cmd_flags & REQ_NOUNMAP == 0
    }

    /// Where the request starts, in bytes from the disk's start.
    pub(crate) fn offset(&self) -> u64 {
        self.rq().__sector << kernel::block::SECTOR_SHIFT
    }

    /// How long the request is, in bytes; 0 for a flush.
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.rq().__data_len)
    }

    /// Has the calling kernel thread work on the account of the cgroup that the request came from,
    /// until what is returned is dropped. There must not be two at a time.
    #[inline]
    pub(crate) fn account(&self) -> OnAccount {
        if cfg!(not(CONFIG_BLK_CGROUP)) {
            return OnAccount(None);
        }
        let mut account = MaybeUninit::uninit();
        // SAFETY: By the type invariant the request is valid; the calling thread is a kernel
        // thread.
        unsafe { helpers::ubd_account_begin(self.rq.as_ptr(), account.as_mut_ptr()) };
        // SAFETY: Initialised by the call.
        OnAccount(Some(unsafe { account.assume_init() }))
    }

    /// Runs `f` on the pages of every bio of the request, in the order of the disk, until it
    /// returns an error. For reads and writes.
    pub(crate) fn try_for_each_bio(&self, mut f: impl FnMut(&mut IovIter<'_>) -> Result) -> Result {
        let write = self.operation() == Operation::Write;
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
        unsafe { bindings::blk_mq_end_request(this.rq.as_ptr(), status) };
    }

    /// Has [`Operations::work`] called for the request, on a thread of `queue`.
    pub(crate) fn queue_work(self, queue: &super::workqueue::Workqueue) {
        let data = self.into_data();
        // SAFETY: The work was initialised with its request, and is queued by its one owner only,
        // who has just given it up.
        unsafe { queue.enqueue(&raw mut (*data).work) };
    }
}

impl<T: Operations> Drop for Request<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the request is started, and not used after `self`.
        unsafe { bindings::blk_mq_end_request(self.rq.as_ptr(), status(EIO)) };
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

/// See [`Request::account`].
pub(crate) struct OnAccount(Option<helpers::Account>);

impl Drop for OnAccount {
    #[inline]
    fn drop(&mut self) {
        if let Some(account) = &mut self.0 {
            // SAFETY: Undoes what was done when it was made, by the same thread: the pointers in it
            // keep it from being sent to another.
            unsafe { helpers::ubd_account_end(account) };
        }
    }
}

/// Requests that have succeeded and are ended together, which costs less than one by one.
///
/// # Invariants
///
/// The requests in `batch` were given up to it and succeeded.
pub(crate) struct Completions<T: Operations> {
    batch: bindings::io_comp_batch,
    gathers: bool,
    requests: usize,
    bytes: u64,
    operations: PhantomData<T>,
}

impl<T: Operations> Completions<T> {
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
            operations: PhantomData,
        }
    }

    /// Ends the request with the status that stands for `result`, soon or at the latest when
    /// [`Self::end_all`] is called, or `self` dropped.
    pub(crate) fn end(&mut self, rq: Request<T>, result: Result) {
        if result.is_err() || !self.gathers {
            rq.end(result);
        } else {
            self.requests += 1;
            self.bytes += rq.len();
            let rq = ManuallyDrop::new(rq);
            // SAFETY: The request is started and has succeeded; the batch is valid.
            // INVARIANT: If taken by the batch it is not used here any more.
            if !unsafe { helpers::ubd_request_add_to_batch(rq.rq.as_ptr(), &mut self.batch) } {
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
        unsafe { helpers::ubd_batch_end(&mut self.batch) };
        // INVARIANT: The batch is empty again.
        self.batch = pin_init::zeroed();
        self.requests = 0;
        self.bytes = 0;
    }
}

impl<T: Operations> Drop for Completions<T> {
    fn drop(&mut self) {
        self.end_all();
    }
}

/// `REQ_NOUNMAP` of `include/linux/blk_types.h`, a cast that bindgen passes over.
const REQ_NOUNMAP: u32 = 1 << bindings::req_flag_bits___REQ_NOUNMAP;

/// `REQ_SWAP` of the same, likewise.
const REQ_SWAP: u32 = 1 << bindings::req_flag_bits___REQ_SWAP;

/// A list of requests that any number of contexts add to, and one takes from, with no lock.
///
/// # Invariants
///
/// The nodes of the list are those of requests whose ownership was given up to it.
pub(crate) struct RequestList<T: Operations> {
    head: Opaque<bindings::llist_head>,
    requests: PhantomData<Request<T>>,
}

// SAFETY: A `llist_head` may be used by any thread, and requests may move between threads.
unsafe impl<T: Operations> Send for RequestList<T> {}

// SAFETY: As above.
unsafe impl<T: Operations> Sync for RequestList<T> {}

impl<T: Operations> RequestList<T> {
    /// An empty list.
    pub(crate) fn new() -> Self {
        Self {
            // INVARIANT: No nodes.
            head: Opaque::new(bindings::llist_head {
                first: core::ptr::null_mut(),
            }),
            requests: PhantomData,
        }
    }

    /// Adds a request, and says whether the list was empty. May be called in any context.
    pub(crate) fn push(&self, rq: Request<T>) -> bool {
        let data = rq.into_data();
        // SAFETY: The node is that of a request that was given up to us; the head is valid.
        unsafe { helpers::ubd_llist_add(&raw mut (*data).node, self.head.get()) }
    }

    /// Whether there is nothing on the list.
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: The head is valid.
        unsafe { helpers::ubd_llist_empty(self.head.get()) }
    }

    /// Takes all requests, oldest first.
    pub(crate) fn take(&self) -> Batch<T> {
        Batch {
            // SAFETY: The head is valid.
            next: unsafe { helpers::ubd_llist_take(self.head.get()) },
            requests: PhantomData,
        }
    }
}

impl<T: Operations> Drop for RequestList<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Requests taken off a [`RequestList`].
///
/// # Invariants
///
/// `next` is null, or the node of a request that is owned by `self`, and so are those behind it.
pub(crate) struct Batch<T: Operations> {
    next: *mut bindings::llist_node,
    requests: PhantomData<Request<T>>,
}

impl<T: Operations> Batch<T> {
    /// Whether there are no more requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_null()
    }
}

impl<T: Operations> Iterator for Batch<T> {
    type Item = Request<T>;

    fn next(&mut self) -> Option<Request<T>> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: By the type invariant this is the node of a request's data.
        let data = unsafe { kernel::container_of!(self.next, RequestData, node) };
        // SAFETY: The request was given up to the list, and is taken up again once.
        let rq = unsafe { Request::from_data(data) };
        // SAFETY: The node is valid while the request is.
        self.next = unsafe { (*self.next).next };
        Some(rq)
    }
}

impl<T: Operations> Drop for Batch<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
