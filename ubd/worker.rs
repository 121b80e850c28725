// SPDX-License-Identifier: GPL-2.0

//! The threads of a unit that carry out and end its requests.
//!
//! Every hardware queue has a list and a [`Worker`] for what changes the disk, and with direct I/O
//! another pair for reads, which must not wait behind a write that does. The unit has a [`Flusher`]
//! for flushes and for writes that must be durable before they end; those that come in while one
//! flush runs share the next. Reads that have to wait for a disk run on a workqueue, each for
//! itself: none holds up what is behind it. Of direct I/O a thread does no more than the start.

use crate::ubd::{
    attributes::Identity,
    disk::Ubd,
    image::Image,
    io,
    kernel::blk_mq::{Completions, Operation, Request, RequestList},
    kernel::thread::{self, Body, Scope},
    kernel::workqueue::Workqueue,
};
use kernel::{
    prelude::*,
    str::CString,
    sync::aref::ARef,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::{Arc, SetOnce},
    task::Task,
    time::msecs_to_jiffies,
};

/// How long a dirty page of the bitmap waits for a flush at most, in milliseconds.
const DIRTY_MS: u32 = 5000;

/// A list of requests and the thread that serves it.
struct Queue {
    list: RequestList<Ubd>,
    thread: SetOnce<ARef<Task>>,
    /// Whether the thread has been woken and will look at the list before it sleeps again, so
    /// that nobody needs to wake it.
    awake: Atomic<bool>,
}

impl Queue {
    fn new() -> Self {
        Self {
            list: RequestList::new(),
            thread: SetOnce::new(),
            awake: Atomic::new(false),
        }
    }

    /// Wakes the thread, after something was put on the list.
    fn wake_up(&self) {
        // What it is woken for was made known with a full barrier, and there is one in `wait()`
        // between the store and the look at that: either it sees it, or this sees that it may
        // sleep.
        if self.awake.load(Relaxed) || self.awake.xchg(true, Full) {
            return;
        }
        if let Some(thread) = self.thread.as_ref() {
            thread.wake_up();
        }
    }

    /// Sleeps until woken, or for `timeout` jiffies, unless there is something on the list or
    /// `ready` says so. Returns true when the thread is to stop and the list is empty.
    fn wait(&self, timeout: isize, ready: impl FnOnce() -> bool) -> bool {
        self.awake.store(false, Relaxed);
        let stop = thread::wait(timeout, || !self.list.is_empty() || ready());
        self.awake.store(true, Relaxed);
        stop && self.list.is_empty()
    }
}

/// What the threads of a unit share.
pub(crate) struct Shared {
    /// The unit's files.
    pub(crate) image: Arc<Image>,
    /// What else its user said of it.
    pub(crate) identity: Identity,
    /// One for each hardware queue.
    queues: KVec<Queue>,
    /// With direct I/O, one for the reads of each.
    reads: KVec<Queue>,
    flushes: Queue,
    /// Whether the flusher knows that there are dirty pages, and will write them in a while.
    timed: Atomic<bool>,
    /// Whether memory has been swapped out to the unit.
    swap: Atomic<bool>,
    /// Whether the flusher is to look if that is well. It does, and no worker: to look for holes
    /// takes memory, which may be what waits for the workers.
    look: Atomic<bool>,
    /// Whether there were no holes when it looked, so that writes of swap fill none.
    filled: Atomic<bool>,
    /// Whether there may be holes since then.
    punched: Atomic<bool>,
    cold: Workqueue,
}

impl Shared {
    /// For a unit of `queues` hardware queues; `name` is that of its workqueue.
    ///
    /// May sleep. Returns `ENOMEM`.
    pub(crate) fn new(
        image: Arc<Image>,
        identity: Identity,
        queues: usize,
        name: &CStr,
    ) -> Result<Self> {
        let lists = |count| -> Result<KVec<Queue>> {
            let mut all = KVec::with_capacity(count, GFP_KERNEL)?;
            for _ in 0..count {
                all.push(Queue::new(), GFP_KERNEL)?;
            }
            Ok(all)
        };
        let reads = if image.tries_direct_io() { queues } else { 0 };
        Ok(Self {
            queues: lists(queues)?,
            reads: lists(reads)?,
            image,
            identity,
            flushes: Queue::new(),
            timed: Atomic::new(false),
            swap: Atomic::new(false),
            look: Atomic::new(false),
            filled: Atomic::new(false),
            punched: Atomic::new(false),
            cold: Workqueue::new(name)?,
        })
    }

    /// The lists of all hardware queues: those of the reads, or of all else.
    fn lists(&self, reads: bool) -> &[Queue] {
        if reads {
            &self.reads
        } else {
            &self.queues
        }
    }

    /// Hands a request to a worker of hardware queue `queue`. It starts when it is woken.
    pub(crate) fn add(&self, queue: usize, rq: Request<Ubd>) {
        match self.lists(rq.operation() == Operation::Read).get(queue) {
            Some(queue) => {
                queue.list.push(rq);
            }
            None => rq.end(Err(EIO)),
        }
    }

    /// Wakes those workers of hardware queue `queue` that have something to do.
    pub(crate) fn wake_up(&self, queue: usize) {
        for reads in [false, true] {
            if let Some(queue) = self.lists(reads).get(queue) {
                if !queue.list.is_empty() {
                    queue.wake_up();
                }
            }
        }
    }

    /// Whether every write has to be durable before it ends.
    pub(crate) fn is_sync(&self) -> bool {
        self.identity.flags.sync
    }

    /// Hands a flush, or a write that has to be durable before it ends, to the flusher, and wakes
    /// it.
    pub(crate) fn add_flush(&self, rq: Request<Ubd>) {
        self.flushes.list.push(rq);
        self.flushes.wake_up();
    }

    /// Hands a request that has to wait for a disk to a thread of its own. May be called in any
    /// context.
    pub(crate) fn add_cold(&self, rq: Request<Ubd>) {
        rq.queue_work(&self.cold);
    }

    /// Carries out a request that has to wait for a disk. May sleep.
    pub(crate) fn do_cold(&self, rq: Request<Ubd>) {
        let _serves_io = Scope::serves_io();
        let result = io::do_io(&self.image, &rq);
        self.note_dirty();
        rq.end(result);
    }

    /// Whether a write must not be left to its file system to end. Where that made room for it,
    /// there is more to do at the end, in a thread that waits for memory, which may be memory that
    /// is to be swapped out to this unit. The unit's own threads do not.
    fn is_for_swap(&self, rq: &Request<Ubd>) -> bool {
        self.swap.load(Relaxed) || rq.is_swap()
    }

    /// Carries out a request that changes a unit with swap on it. The memory that a write takes
    /// must not be what waits for it: it comes from the kernel's reserves. Those are not for pages
    /// of the page cache, nor for what a file system needs to fill a hole: it insists on that, and
    /// the kernel warns of who does so with the reserves open. May sleep.
    fn do_swap(&self, rq: &Request<Ubd>) -> Result {
        let write = rq.operation() == Operation::Write;
        let block_device = || self.image.top().is_ok_and(|top| top.file.is_block_device());
        if !write && !block_device() && !self.punched.xchg(true, Full) {
            self.have_looked();
        }
        let reserves = write && self.filled.load(Relaxed) && !self.punched.load(Relaxed);
        let no_reclaim = reserves.then(Scope::no_reclaim);
        let result = io::do_io(&self.image, rq);
        drop(no_reclaim);
        if !self.swap.load(Relaxed) {
            // A new time is a change to the file system, for which its journal may have to take
            // memory. The first write has left one that tells that the file was changed.
            self.image.keep_times();
            self.note_swap();
        }
        result
    }

    /// To be called when memory has been swapped out to the unit.
    fn note_swap(&self) {
        if !self.swap.load(Relaxed) && !self.swap.xchg(true, Full) {
            self.have_looked();
        }
    }

    /// Has the flusher look if swap on the unit is well.
    fn have_looked(&self) {
        self.look.xchg(true, Full);
        self.flushes.wake_up();
    }

    /// Returns why swap on the unit can hang, if it can; else has what is to be written for it take
    /// memory from the reserves. May sleep.
    fn look_at_swap(&self) -> Option<&'static str> {
        if !self.image.writes_direct() {
            return Some("through the page cache");
        }
        if self.punched.load(Relaxed) || self.image.has_holes() {
            return Some("its file has holes");
        }
        self.filled.store(true, Relaxed);
        None
    }

    /// Has dirty pages of the bitmap, if there are any, written in a while. May be called in any
    /// context.
    pub(crate) fn note_dirty(&self) {
        if !self.timed.load(Relaxed) && self.image.is_dirty() && !self.timed.xchg(true, Full) {
            self.flushes.wake_up();
        }
    }
}

/// A thread of a hardware queue.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    queue: usize,
    /// Which of its lists: that of the reads, or of all else.
    reads: bool,
    /// Whether requests are ended several at a time: where one can make another wait for long,
    /// what is done must not wait with it.
    batches: bool,
}

impl Worker {
    /// Starts the threads of all hardware queues of the unit `name`. May sleep. Returns `ENOMEM`.
    pub(crate) fn spawn_all(
        shared: &Arc<Shared>,
        name: &CStr,
    ) -> Result<KVec<thread::Thread<Self>>> {
        let mut all = KVec::new();
        for reads in [false, true] {
            for (queue, list) in shared.lists(reads).iter().enumerate() {
                let body = Self {
                    shared: shared.clone(),
                    queue,
                    reads,
                    batches: shared.image.is_in_memory(),
                };
                let suffix = if reads { "r" } else { "" };
                let name = CString::try_from_fmt(fmt!("{name}-{queue}{suffix}"))?;
                let thread = thread::Thread::spawn(&name, Arc::new(body, GFP_KERNEL)?)?;
                list.thread.populate(thread.task());
                all.push(thread, GFP_KERNEL)?;
            }
        }
        Ok(all)
    }
}

impl Body for Worker {
    /// A disk is not to stand still while the one who has woken the thread goes on.
    fn is_batch(&self) -> bool {
        !self.shared.image.tries_direct_io()
    }

    fn run(&self) {
        let shared = &*self.shared;
        let Some(queue) = shared.lists(self.reads).get(self.queue) else {
            return;
        };
        let image = &*shared.image;
        let direct = image.tries_direct_io();
        while !queue.wait(thread::FOREVER, || false) {
            let mut completions = Completions::new(self.batches);
            for rq in queue.list.take() {
                let swap = direct && !self.reads && shared.is_for_swap(&rq);
                let rq = match !direct || swap {
                    true => Some(rq),
                    false => io::start_direct(image, rq),
                };
                let Some(rq) = rq else { continue };
                // A write waits here: threads for many of them take memory, of which there is
                // none when it is to be swapped out.
                if self.reads {
                    shared.add_cold(rq);
                    continue;
                }
                let result = match swap {
                    true => shared.do_swap(&rq),
                    false => io::do_io(image, &rq),
                };
                if !direct && rq.is_swap() {
                    shared.note_swap();
                }
                completions.end(rq, result);
            }
            drop(completions);
            shared.note_dirty();
        }
    }
}

/// The thread that flushes.
pub(crate) struct Flusher(Arc<Shared>);

impl Flusher {
    /// Starts the thread. May sleep.
    pub(crate) fn spawn(shared: &Arc<Shared>, name: &CStr) -> Result<thread::Thread<Self>> {
        let body = Arc::new(Self(shared.clone()), GFP_KERNEL)?;
        let thread = thread::Thread::spawn(name, body)?;
        shared.flushes.thread.populate(thread.task());
        Ok(thread)
    }
}

impl Body for Flusher {
    /// A flush serves all that wait for one.
    fn is_batch(&self) -> bool {
        true
    }

    fn run(&self) {
        let Self(shared) = self;
        let list = &shared.flushes.list;
        let mut warned = false;
        loop {
            let timed = shared.timed.load(Relaxed);
            let timeout = if timed {
                isize::try_from(msecs_to_jiffies(DIRTY_MS)).unwrap_or(thread::FOREVER)
            } else {
                thread::FOREVER
            };
            let changed = || shared.timed.load(Relaxed) != timed || shared.look.load(Relaxed);
            if shared.flushes.wait(timeout, changed) {
                return;
            }
            let waiting = list.take();
            if shared.look.load(Relaxed) && shared.look.xchg(false, Full) && !warned {
                if let Some(why) = shared.look_at_swap() {
                    shared.image.warn_of_swap(why);
                    warned = true;
                }
            }
            if waiting.is_empty() && !timed {
                continue;
            }
            let written = RequestList::new();
            for rq in waiting {
                let result = io::do_io(&shared.image, &rq);
                if rq.is_swap() {
                    shared.note_swap();
                }
                match result {
                    Ok(()) => drop(written.push(rq)),
                    Err(e) => rq.end(Err(e)),
                }
            }
            // Before the flush, and its looks at the marks: what gets dirty meanwhile is seen by
            // whoever makes it so.
            shared.timed.xchg(false, Full);
            let result = shared.image.flush();
            if let Err(e) = result {
                // Nobody may ever ask for it again.
                if shared.image.is_dirty() && !shared.image.has_failed() {
                    shared.timed.store(true, Relaxed);
                    shared.image.say_dirty(e);
                }
            }
            for rq in written.take() {
                rq.end(result);
            }
        }
    }
}
