// SPDX-License-Identifier: GPL-2.0

//! Multi-queue block drivers: their operations and their tag sets.
//!
//! In the shape of `kernel::block::mq`, with what that lacks: the contents of requests, error
//! completion, per-request data, hardware queues, and disks that a driver of files needs.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

pub(crate) use super::request::{Command, Flag, IoCompletionBatch, Request};
pub(crate) use super::request_stack::{RequestStack, Requests};

use super::request::{DirectData, RequestData};
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::{bindings, error, prelude::*, types::Opaque, uaccess::UserPtr};

/// What a blk-mq driver does with requests.
pub(crate) trait Operations: Sized + 'static {
    /// The driver's data of one disk.
    type QueueData: Send + Sync;

    /// Takes a request of hardware queue `queue`. With `last` unset more will follow, or
    /// [`Self::commit_rqs`].
    ///
    /// Called where sleeping is allowed, but by tasks that hold locks of the file systems above.
    fn queue_rq(data: &Self::QueueData, queue: usize, rq: Request, last: bool);

    /// Nothing follows what was queued on `queue` with `last` unset.
    fn commit_rqs(data: &Self::QueueData, queue: usize);

    /// Takes back a request whose I/O was started with [`Request::start_direct`], with the number
    /// of bytes that were done. Called in any context: must not sleep.
    fn done(data: &Self::QueueData, rq: Request, result: Result<usize>);

    /// Carries out an ioctl that the block layer does not know. May sleep. To return `ENOTTY` for
    /// one that is not known here either.
    fn ioctl(data: &Self::QueueData, command: u32, argument: UserPtr) -> Result;

    /// The first one opens the disk or a partition. May sleep; others who want to open or close it
    /// wait. If this returns an error that is why it can't be opened.
    fn opened(data: &Self::QueueData) -> Result;

    /// The last one who had the disk or a partition open has closed it, and what it had written has
    /// been sent. May sleep; who wants to open the disk waits.
    fn closed(data: &Self::QueueData);

    /// The disk's geometry for partition tables: heads, sectors, cylinders.
    fn geometry(data: &Self::QueueData) -> (u8, u8, u16);
}

/// The C functions behind [`Operations`].
struct Vtable<T: Operations>(PhantomData<T>);

impl<T: Operations> Vtable<T> {
    const OPS: bindings::blk_mq_ops = bindings::blk_mq_ops {
        queue_rq: Some(Self::queue_rq),
        queue_rqs: None,
        commit_rqs: Some(Self::commit_rqs),
        get_budget: None,
        put_budget: None,
        set_rq_budget_token: None,
        get_rq_budget_token: None,
        timeout: None,
        poll: None,
        complete: None,
        init_hctx: None,
        exit_hctx: None,
        init_request: Some(Self::init_request),
        exit_request: None,
        cleanup_rq: None,
        busy: None,
        map_queues: None,
        #[cfg(CONFIG_BLK_DEBUG_FS)]
        show_rq: None,
    };

    /// # Safety
    ///
    /// To be called by blk-mq only, for a disk made by [`super::gen_disk::GenDisk`].
    unsafe extern "C" fn queue_rq(
        hctx: *mut bindings::blk_mq_hw_ctx,
        bd: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: blk-mq calls with a valid request that it leaves to the driver, and which is
        // not null.
        let rq = unsafe { Request::start(NonNull::new_unchecked((*bd).rq)) };
        // SAFETY: As above, and the queue's data is the `T::QueueData` that the disk was made with
        // and keeps.
        let (queue, last, data) = unsafe {
            (
                (*hctx).queue_num as usize,
                (*bd).last,
                &*(*(*hctx).queue).queuedata.cast::<T::QueueData>(),
            )
        };
        T::queue_rq(data, queue, rq, last);
        bindings::BLK_STS_OK as bindings::blk_status_t
    }

    /// # Safety
    ///
    /// As for [`Self::queue_rq`].
    unsafe extern "C" fn commit_rqs(hctx: *mut bindings::blk_mq_hw_ctx) {
        // SAFETY: blk-mq calls with a valid hardware queue of a disk, whose data is the
        // `T::QueueData` that the disk was made with and keeps.
        let (queue, data) = unsafe {
            (
                (*hctx).queue_num as usize,
                &*(*(*hctx).queue).queuedata.cast::<T::QueueData>(),
            )
        };
        T::commit_rqs(data, queue);
    }

    /// # Safety
    ///
    /// To be called by blk-mq only, for a tag set made by [`TagSet`].
    unsafe extern "C" fn init_request(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _queue: u32,
        _node: i32,
    ) -> i32 {
        // SAFETY: blk-mq calls with a new request of the tag set, whose operations are those of
        // `T`.
        unsafe { RequestData::init(rq, Self::done) };
        0
    }

    /// # Safety
    ///
    /// `rq` must be a request of a tag set made by [`TagSet`] for `T`.
    unsafe fn done(rq: Request, result: Result<usize>) {
        // SAFETY: The queue is valid while it has a request, and its data is the `T::QueueData`
        // that the disk was made with, which the disk keeps until all requests have ended.
        let data = unsafe { &*(*rq.rq().q).queuedata.cast::<T::QueueData>() };
        T::done(data, rq, result);
    }
}

/// The tags and hardware queues of a disk.
///
/// # Invariants
///
/// `inner` is initialised by `blk_mq_alloc_tag_set()` for the operations of `T`.
#[pin_data(PinnedDrop)]
pub(crate) struct TagSet<T: Operations> {
    #[pin]
    inner: Opaque<bindings::blk_mq_tag_set>,
    operations: PhantomData<T>,
}

// SAFETY: A tag set may be used and freed by any thread.
unsafe impl<T: Operations> Send for TagSet<T> {}

// SAFETY: As above.
unsafe impl<T: Operations> Sync for TagSet<T> {}

impl<T: Operations> TagSet<T> {
    /// A tag set of `queues` hardware queues that take `depth` requests together, and whose
    /// [`Operations::queue_rq`] may sleep. Without `direct` there is no room for what
    /// [`Request::start_direct`] needs.
    ///
    /// May sleep. Returns `ENOMEM`.
    pub(crate) fn new(queues: u32, depth: u32, direct: bool) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(|set: *mut bindings::blk_mq_tag_set| {
                // SAFETY: `set` is ours to initialise; zeros are valid for all of its fields.
                unsafe { set.write_bytes(0, 1) };
                // SAFETY: It is initialised now.
                let inner = unsafe { &mut *set };
                inner.ops = &Vtable::<T>::OPS;
                inner.nr_hw_queues = queues;
                inner.nr_maps = 1;
                inner.queue_depth = depth;
                inner.numa_node = bindings::NUMA_NO_NODE;
                inner.cmd_size = match direct {
                    true => size_of::<DirectData>(),
                    false => size_of::<RequestData>(),
                } as u32;
                inner.flags = BLK_MQ_F_STACKING
                    | BLK_MQ_F_TAG_HCTX_SHARED
                    | BLK_MQ_F_BLOCKING
                    | BLK_MQ_F_NO_SCHED_BY_DEFAULT;
                // SAFETY: All that `blk_mq_alloc_tag_set()` reads is set.
                error::to_result(unsafe { bindings::blk_mq_alloc_tag_set(set) })
            }),
            operations: PhantomData,
        })
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::blk_mq_tag_set {
        self.inner.get()
    }
}

/// How many hardware queues there should be, `max` at most: one for each processor that is online.
/// Others are possible on many machines, and never come.
///
/// May be called in any context.
pub(crate) fn num_online_queues(max: u32) -> u32 {
    // SAFETY: It only looks at the mask of processors.
    unsafe { bindings::blk_mq_num_online_queues(max) }
}

// Of the anonymous enumeration in `include/linux/blk-mq.h`.
const BLK_MQ_F_STACKING: u32 = 1 << 2;
const BLK_MQ_F_TAG_HCTX_SHARED: u32 = 1 << 3;
const BLK_MQ_F_BLOCKING: u32 = 1 << 4;
const BLK_MQ_F_NO_SCHED_BY_DEFAULT: u32 = 1 << 6;

#[pinned_drop]
impl<T: Operations> PinnedDrop for TagSet<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the tag set is initialised, and its disks keep it.
        unsafe { bindings::blk_mq_free_tag_set(self.inner.get()) };
    }
}
