// SPDX-License-Identifier: GPL-2.0

//! Requests that have to wait for a disk: each has a thread for itself, so that none holds up what
//! is behind it.

use crate::ubd::kernel::{
    blk_mq::{Request, RequestStack, Requests},
    compat::{new_spinlock_irq, SpinLockIrq},
};
use kernel::{
    prelude::*,
    sync::aref::ARef,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
    task::Task,
};

/// The requests, and the threads that have none.
#[pin_data]
pub(crate) struct Pool {
    added: RequestStack,
    /// How many requests no thread has taken.
    waiting: Atomic<usize>,
    /// How many threads were started and have not looked for a request yet.
    starting: Atomic<usize>,
    #[pin]
    inner: SpinLockIrq<Inner>,
}

struct Inner {
    /// What was taken from [`Pool::added`], and by no thread.
    requests: Requests,
    /// Threads that sleep, or are about to. Its capacity does not change.
    idle: KVec<ARef<Task>>,
}

impl Pool {
    /// With no requests, and room for `threads` threads. May sleep. Returns `ENOMEM`.
    pub(crate) fn new(threads: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            added: RequestStack::new(),
            waiting: Atomic::new(0),
            starting: Atomic::new(0),
            inner <- new_spinlock_irq!(
                Inner {
                    requests: Requests::none(),
                    idle: KVec::with_capacity(threads, GFP_KERNEL)?,
                },
                "ubd_pool"
            ),
        })
    }

    /// Adds a request, and returns whether there is no thread for it. May be called in any context.
    pub(crate) fn add(&self, rq: Request) -> bool {
        self.waiting.fetch_add(1, Full);
        self.added.push(rq);
        match self.inner.lock().idle.pop() {
            Some(thread) => thread.wake_up(),
            None => return true,
        }
        false
    }

    /// How many more threads there should be.
    pub(crate) fn wanted(&self) -> usize {
        // In this order a thread that begins meanwhile is one too many at worst.
        let waiting = self.waiting.load(Acquire);
        waiting.saturating_sub(self.starting.load(Relaxed))
    }

    /// To be called before a thread is started.
    pub(crate) fn start(&self) {
        self.starting.fetch_add(1, Full);
    }

    /// To be called when a thread that was started is about to look for a request, or could not be
    /// started.
    pub(crate) fn end_start(&self) {
        self.starting.fetch_sub(1, Full);
    }

    /// Takes the oldest request.
    pub(crate) fn take(&self) -> Option<Request> {
        self.inner.lock().take(self)
    }

    /// Takes the oldest request. If there is none the calling thread counts as idle, until
    /// [`Self::add`] wakes it or it calls [`Self::leave`].
    ///
    /// Returns `EBUSY` if there are enough idle threads, and the caller is to end.
    pub(crate) fn take_or_idle(&self, thread: &Task) -> Result<Option<Request>> {
        let mut inner = self.inner.lock();
        let rq = inner.take(self);
        if rq.is_none() && !inner.is_idle(thread) {
            let added = inner.idle.push_within_capacity(ARef::from(thread));
            added.map_err(|_| EBUSY)?;
        }
        Ok(rq)
    }

    /// Whether the calling thread, which was idle, was woken by [`Self::add`].
    pub(crate) fn is_woken(&self, thread: &Task) -> bool {
        !self.inner.lock().is_idle(thread)
    }

    /// To be called by an idle thread that ends. Returns false if it must not: it was woken for a
    /// request.
    pub(crate) fn leave(&self, thread: &Task) -> bool {
        let mut inner = self.inner.lock();
        let idle = inner.is_idle(thread);
        inner.idle.retain(|idle| idle.pid() != thread.pid());
        idle
    }
}

impl Inner {
    fn take(&mut self, pool: &Pool) -> Option<Request> {
        if self.requests.is_empty() {
            self.requests = pool.added.take();
        }
        let rq = self.requests.next()?;
        pool.waiting.fetch_sub(1, Full);
        Some(rq)
    }

    fn is_idle(&self, thread: &Task) -> bool {
        self.idle.iter().any(|idle| idle.pid() == thread.pid())
    }
}
