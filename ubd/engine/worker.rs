// SPDX-License-Identifier: GPL-2.0

//! The threads of a unit that carry out and end its requests.
//!
//! Every hardware queue has a [`Queue`] of what changes the disk and, with direct I/O, another one
//! of reads, which must not wait behind a write that does. The unit has one more for flushes and
//! for writes that must be durable before they end; those that come in while one flush runs share
//! the next.
//!
//! One thread is always there, and serves all queues but that of the flushes. When it has been at
//! work on one of them as another fills, that other one gets a thread of its own; so does the queue
//! of flushes when it is needed, and every request of the [`Pool`]: what has to wait for a disk. Of
//! direct I/O a thread does no more than the start. Threads that have had nothing to do for a while
//! end. They are started, and taken away, in a work of the driver's workqueue: to start one takes
//! memory, for which the kernel may have to write to this very unit.
//!
//! [`Queue`]: super::queue::Queue
//! [`Pool`]: super::pool::Pool

use crate::ubd::kernel::compat::smp_mb;
use crate::ubd::{
    engine::shared::{Shared, FLUSH},
    kernel::thread::{self, Body, Thread, Woken},
};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::Arc,
    time::msecs_to_jiffies,
};

/// How long a dirty page of the bitmap waits for a flush at most, in milliseconds.
const DIRTY_MS: u32 = 5000;

/// How long a thread that is not always there stays with nothing to do, in milliseconds.
const IDLE_MS: u32 = 10_000;

/// What a thread of a unit does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is always there, and serves the queues that have no thread.
    Main,
    /// It serves the queue of this number.
    Queue(usize),
    /// It serves the pool.
    Pool,
}

/// A thread of a unit.
pub(super) struct Worker {
    shared: Arc<Shared>,
    role: Role,
    /// Whether it has nothing more to do, and is to be taken away.
    pub(super) retired: Atomic<bool>,
}

impl Worker {
    pub(super) fn spawn(shared: &Arc<Shared>, name: &CStr, role: Role) -> Result<Thread<Self>> {
        let worker = Self {
            shared: shared.clone(),
            role,
            retired: Atomic::new(false),
        };
        Thread::spawn(name, Arc::new(worker, GFP_KERNEL)?)
    }

    fn run_main(&self) {
        let shared = &*self.shared;
        // Those which have a thread are that one's.
        let served = || shared.served().filter(|(_, queue)| !queue.has_thread());
        loop {
            shared.main_awake.store(false, Relaxed);
            served().for_each(|(_, queue)| queue.set_unnoticed());
            let woken = thread::wait(thread::FOREVER, || {
                served().any(|(_, queue)| !queue.is_empty())
            });
            shared.main_awake.store(true, Relaxed);
            let mut idle = true;
            for (number, queue) in served() {
                if !queue.is_empty() && queue.set_noticed_without_thread() {
                    idle = false;
                    shared.serve(number);
                }
            }
            if idle && woken == Woken::Stop {
                return;
            }
        }
    }

    /// Serves the queue of this number, until there has been nothing to do for a while.
    fn run_queue(&self, number: usize) {
        let shared = &*self.shared;
        let Some(queue) = shared.queues.get(number) else {
            return;
        };
        let flush = number == FLUSH;
        loop {
            let timed = flush && shared.timed.load(Relaxed);
            let timeout = jiffies(if timed { DIRTY_MS } else { IDLE_MS });
            queue.set_unnoticed();
            let woken = thread::wait(timeout, || {
                let changed = || shared.timed.load(Relaxed) != timed;
                !queue.is_empty()
                    || flush && (shared.flushes.any() || shared.swap.needs_check() || changed())
            });
            queue.set_noticed();
            if flush {
                shared.swap.check(&shared.image.get());
            }
            let timed_out = woken == Woken::TimedOut;
            let asked = flush && shared.flushes.any();
            if !queue.is_empty() || asked || timed && timed_out {
                match flush {
                    true => shared.serve_flushes(queue),
                    false => shared.serve(number),
                }
            } else if woken == Woken::Stop {
                return;
            } else if timed_out && !shared.swap.is_used() {
                break;
            }
        }
        queue.set_thread(None);
        queue.set_unnoticed();
        smp_mb(Full);
        // What came in meanwhile was left to this thread.
        let asked =
            || shared.flushes.any() || shared.timed.load(Relaxed) || shared.swap.needs_check();
        if flush && asked() || !queue.is_empty() {
            shared.wake_up_queue(number);
        }
    }

    /// Serves the pool, until there has been nothing to do for a while.
    fn run_pool(&self) {
        let Shared { pool, swap, .. } = &*self.shared;
        let task = kernel::current!();
        pool.end_start();
        while let Ok(rq) = pool.take_or_idle(task) {
            if let Some(rq) = rq {
                self.shared.serve_cold(rq);
                continue;
            }
            match thread::wait(jiffies(IDLE_MS), || pool.is_woken(task)) {
                Woken::Stop => return,
                Woken::TimedOut if !swap.is_used() && pool.leave(task) => return,
                _ => {}
            }
        }
    }
}

impl Body for Worker {
    /// A flush serves all that wait for one. Otherwise a disk is not to stand still while the one
    /// who has woken the thread goes on.
    fn is_batch(&self) -> bool {
        self.role == Role::Queue(FLUSH) || !self.shared.image.get().tries_direct_io()
    }

    fn run(&self) {
        match self.role {
            Role::Main => return self.run_main(),
            Role::Queue(number) => self.run_queue(number),
            Role::Pool => self.run_pool(),
        }
        self.retired.store(true, Relaxed);
        self.shared.start_starter();
    }
}

fn jiffies(milliseconds: u32) -> isize {
    isize::try_from(msecs_to_jiffies(milliseconds)).unwrap_or(thread::FOREVER)
}
