// SPDX-License-Identifier: GPL-2.0

//! What the threads of a unit share: its queues of requests, and what is done with each.

use crate::ubd::{
    engine::flushes::{Flush, Flushes},
    engine::identity::Identity,
    engine::io,
    engine::last_close::LastClose,
    engine::pool::Pool,
    engine::queue::Queue,
    engine::starter::Starter,
    engine::swap::Swap,
    engine::watch::Watch,
    files::image::Image,
    kernel::blk_mq::{Command, Flag, IoCompletionBatch, Request, RequestStack},
    kernel::configfs_item::Dependency,
    kernel::held::HeldArc,
    kernel::thread::Scope,
    kernel::workqueue::Workqueue,
    options::{Flags, Letters},
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::aref::ARef,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::rcu,
    sync::{Arc, Mutex, SetOnce},
    task::Task,
};

/// How many hardware queues a unit has at most. More than these do not write to one file at a time.
pub(crate) const HW_QUEUES: usize = 4;

/// Requests that a unit holds at a time. `blk_mq_alloc_rqs()` takes pages of which it fills half at
/// least: 128 requests, 32 KiB on most kernels, would take 64 KiB.
pub(crate) const QUEUE_DEPTH: u32 = 127;

/// The queue of a hardware queue's reads, or of all else.
const fn number(hw_queue: usize, reads: bool) -> usize {
    2 * hw_queue + reads as usize
}

pub(super) const fn is_of_reads(number: usize) -> bool {
    number % 2 == 1
}

/// The queue of flushes.
pub(super) const FLUSH: usize = 2 * HW_QUEUES;

const QUEUES: usize = FLUSH + 1;

/// What the threads of a unit share.
#[pin_data]
pub(crate) struct Shared {
    /// The unit's files.
    pub(crate) image: HeldArc<Image>,
    /// Held by the one who changes what is set of the image, and by the one who exchanges it.
    #[pin]
    pub(crate) settings: Mutex<()>,
    /// What else its user said of it.
    pub(crate) identity: Identity,
    /// What knows whether the disk is open.
    pub(crate) dependency: Arc<Dependency>,
    /// What is done at the last close.
    pub(crate) last_close: Arc<LastClose>,
    /// Of these the unit uses as many as it has hardware queues: see [`Self::served`].
    #[pin]
    pub(super) queues: [Queue; QUEUES],
    pub(super) hw_queues: usize,
    /// The thread that is always there.
    pub(super) main: SetOnce<ARef<Task>>,
    /// Whether it has been woken and will look at all its queues before it sleeps again.
    pub(super) main_awake: Atomic<bool>,
    #[pin]
    pub(super) pool: Pool,
    pub(super) starter: SetOnce<Arc<Starter>>,
    pub(super) workqueue: Arc<Workqueue>,
    /// For what may wait for memory.
    slow_workqueue: Arc<Workqueue>,
    /// What is told of the unit.
    pub(crate) watch: Arc<Watch>,
    /// Whether there are dirty pages that the flush thread is to write in a while.
    pub(super) timed: Atomic<bool>,
    #[pin]
    pub(super) flushes: Flushes,
    pub(super) swap: Swap,
}

impl Shared {
    /// For a unit of `hw_queues` hardware queues, [`HW_QUEUES`] at most.
    ///
    /// May sleep. Returns `ENOMEM`.
    pub(crate) fn new(
        image: Arc<Image>,
        identity: Identity,
        dependency: Arc<Dependency>,
        last_close: Arc<LastClose>,
        hw_queues: usize,
        workqueue: Arc<Workqueue>,
        slow_workqueue: Arc<Workqueue>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            image: HeldArc::new(image),
            settings <- new_mutex!((), "ubd_image_settings"),
            identity,
            dependency,
            last_close,
            queues <- pin_init::pin_init_array_from_fn(|_| Queue::new()),
            hw_queues,
            main: SetOnce::new(),
            main_awake: Atomic::new(false),
            pool <- Pool::new(QUEUE_DEPTH as usize),
            starter: SetOnce::new(),
            workqueue,
            slow_workqueue,
            watch: Watch::new()?,
            timed: Atomic::new(false),
            flushes <- Flushes::new(),
            swap: Swap::new(),
        })
    }

    /// The queues that the main thread serves as long as they have none of their own, with their
    /// numbers.
    pub(super) fn served(&self) -> impl Iterator<Item = (usize, &Queue)> {
        // Without direct I/O no read comes to a queue. Where it is given up some may be there.
        let direct = self.image.get().asks_direct_io();
        let step = if direct { 1 } else { 2 };
        let all = self.queues.iter().enumerate().take(2 * self.hw_queues);
        all.step_by(step)
    }

    /// Whether a write need not go to a thread, where it can be started without waiting: with
    /// direct I/O, and not where memory is swapped out, for which [`Self::serve`] has its own ways.
    #[inline]
    pub(crate) fn may_write_at_once(&self, rq: &Request) -> bool {
        !self.swap.is_used()
            && !rq.flags().contains(Flag::Swap)
            && self.image.of(rq).is_ok_and(Image::tries_direct_io)
    }

    /// Hands a request of hardware queue `hw_queue` to a thread. It starts when that is woken.
    pub(crate) fn add(&self, hw_queue: usize, rq: Request) {
        let number = number(hw_queue, rq.command() == Command::Read);
        match self.queues.get(number) {
            Some(queue) => queue.push(rq),
            None => rq.end(Err(EIO)),
        }
    }

    /// Has those queues of hardware queue `hw_queue` served that have requests.
    pub(crate) fn wake_up(&self, hw_queue: usize) {
        for number in [number(hw_queue, false), number(hw_queue, true)] {
            if self
                .queues
                .get(number)
                .is_some_and(|queue| !queue.is_empty())
            {
                self.wake_up_queue(number);
            }
        }
    }

    pub(super) fn wake_up_queue(&self, number: usize) {
        let Some(queue) = self.queues.get(number) else {
            return;
        };
        if !queue.notice() || queue.wake_thread() {
            return;
        }
        if number == FLUSH || !self.wake_up_main() {
            queue.want_thread(true);
            self.start_starter();
        }
    }

    /// Wakes the main thread, unless it is at work.
    pub(super) fn wake_up_main(&self) -> bool {
        if self.main_awake.xchg(true, Full) {
            return false;
        }
        if let Some(main) = self.main.as_ref() {
            main.wake_up();
        }
        true
    }

    pub(super) fn start_starter(&self) {
        if let Some(starter) = self.starter.as_ref() {
            // If it is queued it has not begun.
            let _ = self.workqueue.enqueue(starter.clone());
        }
    }

    /// Whether memory has been swapped out to the unit.
    pub(crate) fn is_swapped_to(&self) -> bool {
        self.swap.is_used()
    }

    /// The flags of the unit's option, without what is for no file that it has now: a COW file that
    /// came later is none whose header is data.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = self.identity.flags;
        flags.data &= self.image.get().top().is_ok_and(|top| top.map.is_none());
        flags
    }

    /// Whether every write has to be durable before it ends.
    pub(crate) fn is_sync(&self) -> bool {
        self.identity.flags.sync
    }

    /// Hands a flush, or a write that has to be durable before it ends, to the flush thread.
    pub(crate) fn add_flush(&self, rq: Request) {
        if let Some(queue) = self.queues.get(FLUSH) {
            queue.push(rq);
        }
        self.wake_up_queue(FLUSH);
    }

    /// See [`Flushes::mark_changed`].
    #[inline]
    pub(crate) fn mark_changed(&self) {
        self.flushes.mark_changed();
    }

    /// Has the flush thread make durable what was written by requests that have ended. Returns that
    /// flush, or `None` if there is nothing to be made durable.
    ///
    /// May sleep, but not for a file. Returns `ENOMEM`.
    pub(crate) fn start_flush(&self) -> Result<Option<Arc<Flush>>> {
        let flush = self.flushes.add(&self.image.get())?;
        if flush.is_some() {
            self.wake_up_queue(FLUSH);
        }
        Ok(flush)
    }

    /// Makes durable what was written by requests that have ended. It is the flush thread that
    /// does, so that a task that is killed does not cut it short; the task then goes on.
    ///
    /// May sleep, for long. Returns what [`Image::flush`] does, `ENOMEM`, or `EINTR` when the
    /// calling task was killed.
    pub(crate) fn flush(&self) -> Result {
        match self.start_flush()? {
            Some(flush) => flush.wait_killable(),
            None => Ok(()),
        }
    }

    /// Says that what was written is not durable, and that nobody will try again.
    pub(crate) fn report_flush_error(&self, when: &str, what: &str, e: Error) {
        pr_err!(
            "ubd{}: could not be flushed at its {when}, {} bitmap pages are {what}: {e:?}\n",
            Letters(self.identity.unit),
            self.image.get().dirty_pages()
        );
    }

    /// Hands a request that has to wait for a disk to a thread of its own. May be called in any
    /// context.
    pub(crate) fn add_cold(&self, rq: Request) {
        // The request may end at once, and the unit go. It waits for this.
        let _unit_stays = rcu::read_lock();
        if self.pool.add(rq) {
            self.start_starter();
        }
    }

    /// Has it told if there is anything new to tell of the unit. To be called when a request was
    /// carried out on `image` that changes it, in any context.
    #[inline]
    pub(crate) fn check_watch(&self, image: &Image) {
        Watch::check(&self.watch, image, &self.slow_workqueue);
    }

    /// Has the space that is left looked at. May be called in any context.
    pub(crate) fn look_at_space(&self) {
        Watch::queue(&self.watch, &self.slow_workqueue);
    }

    /// Carries out a request that has to wait for a disk. May sleep.
    pub(super) fn serve_cold(&self, rq: Request) {
        let result = self.image.of(&rq).and_then(|image| {
            let result = io::do_io(image, &rq);
            self.schedule_writeback(image);
            self.check_watch(image);
            result
        });
        if rq.command() != Command::Read {
            self.mark_changed();
        }
        rq.end(result);
    }

    /// Has dirty pages of the bitmap of `image`, if there are any, written in a while. May be
    /// called in any context.
    pub(crate) fn schedule_writeback(&self, image: &Image) {
        if !self.timed.load(Relaxed) && image.is_dirty() && !self.timed.xchg(true, Full) {
            self.wake_up_queue(FLUSH);
        }
    }

    /// To be called when memory has been swapped out to the unit.
    fn mark_swap_used(&self) {
        if !self.swap.set_used() {
            return;
        }
        // From now on there may be no memory to start them with.
        for (_, queue) in self.served() {
            queue.want_thread(true);
        }
        self.wake_up_queue(FLUSH);
        self.start_starter();
    }

    /// Carries out a request that changes a unit with swap on it. It must not be left to its file
    /// system to end a write: where that made room for it there is more to do at the end, in a
    /// thread that waits for memory. May sleep.
    fn do_swap(&self, image: &Image, rq: &Request) -> Result {
        let write = rq.command() == Command::Write;
        let block_device = || image.top().is_ok_and(|top| top.file.is_block_device());
        if !write && !block_device() && self.swap.set_punched() {
            self.wake_up_queue(FLUSH);
        }
        if write {
            io::settle(image, rq);
        }
        let no_reclaim = (write && self.swap.takes_reserves()).then(Scope::no_reclaim);
        let result = io::do_io(image, rq);
        drop(no_reclaim);
        if !self.swap.is_used() {
            // A new time is a change to the file system, for which its journal may have to take
            // memory. The first write has left one that tells that the file was changed.
            image.keep_times();
            self.mark_swap_used();
        }
        result
    }

    /// Carries out what is on a queue. May sleep.
    pub(super) fn serve(&self, number: usize) {
        let Some(queue) = self.queues.get(number) else {
            return;
        };
        // Before the image is looked up: as long as one of these has not ended it stays.
        let requests = queue.take();
        let image = &*self.image.get();
        let direct = image.tries_direct_io();
        let reads = is_of_reads(number);
        // Where one request can make another wait for long, what is done must not wait with it.
        let mut batch = IoCompletionBatch::new(image.is_in_memory());
        for rq in requests {
            let swap = direct && !reads && (self.swap.is_used() || rq.flags().contains(Flag::Swap));
            let rq = match !direct || swap {
                true => Some(rq),
                false => io::start_direct(image, rq),
            };
            let Some(rq) = rq else { continue };
            // A write waits here: threads for many of them take memory, of which there is none when
            // it is to be swapped out.
            if reads {
                self.add_cold(rq);
                continue;
            }
            let result = match swap {
                true => self.do_swap(image, &rq),
                false => io::do_io(image, &rq),
            };
            if !direct && rq.flags().contains(Flag::Swap) {
                self.mark_swap_used();
            }
            self.mark_changed();
            batch.end(rq, result);
        }
        drop(batch);
        self.schedule_writeback(image);
        self.check_watch(image);
    }

    /// Carries out what is on the queue of flushes and in [`Self::flushes`], and writes dirty
    /// pages. May sleep.
    pub(super) fn serve_flushes(&self, queue: &Queue) {
        self.swap.check(&self.image.get());
        let asked = self.flushes.take();
        let written = RequestStack::new();
        for rq in queue.take() {
            let result = self.image.of(&rq).and_then(|image| io::do_io(image, &rq));
            if rq.flags().contains(Flag::Swap) {
                self.mark_swap_used();
            }
            match result {
                Ok(()) => written.push(rq),
                Err(e) => rq.end(Err(e)),
            }
        }
        // Before the flush, and its looks at the marks: what gets dirty meanwhile is seen by
        // whoever makes it so.
        self.timed.xchg(false, Full);
        let (image, result) = self.flushes.flush(&self.image);
        if let Err(e) = result {
            // Nobody may ever ask for it again.
            if image.is_dirty() && !image.has_failed() {
                self.timed.store(true, Relaxed);
                image.report_writeback_error(e);
            }
        }
        self.check_watch(&image);
        for rq in written.take() {
            rq.end(result);
        }
        for flush in asked {
            flush.end(result);
        }
    }
}
