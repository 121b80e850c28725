// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for a thread of their unit.

use crate::ubd::kernel::{
    blk_mq::{Request, RequestStack, Requests},
    compat::{new_spinlock_irq, SpinLockIrq},
};
use kernel::{
    prelude::*,
    sync::aref::ARef,
    sync::atomic::{Atomic, Full, Relaxed},
    task::Task,
};

/// A stack of requests, and the thread that is there for it alone, if there is one.
#[pin_data]
pub(crate) struct Queue {
    requests: RequestStack,
    /// Whether somebody has been told of the requests, and will look at them before it sleeps.
    noticed: Atomic<bool>,
    /// Whether [`Self::thread`] is not `None`.
    has_thread: Atomic<bool>,
    #[pin]
    thread: SpinLockIrq<Option<ARef<Task>>>,
    /// Whether a thread is to be started for it.
    wants_thread: Atomic<bool>,
}

impl Queue {
    /// With no requests, and no thread.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            requests: RequestStack::new(),
            noticed: Atomic::new(false),
            has_thread: Atomic::new(false),
            thread <- new_spinlock_irq!(None, "ubd_queue"),
            wants_thread: Atomic::new(false),
        })
    }

    /// Adds a request. May be called in any context.
    pub(crate) fn push(&self, rq: Request) {
        self.requests.push(rq);
    }

    /// Takes all requests, oldest first.
    pub(crate) fn take(&self) -> Requests {
        self.requests.take()
    }

    /// Whether there are no requests.
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Says that somebody is to be told of what has changed, and returns whether nobody has been so
    /// far.
    ///
    /// What was changed before with a full barrier, as a request was added, is seen by whoever
    /// calls [`Self::set_unnoticed`] later, and then looks behind another one.
    pub(crate) fn notice(&self) -> bool {
        !self.noticed.load(Relaxed) && !self.noticed.xchg(true, Full)
    }

    /// To be called by the one who serves the queue, before it does.
    pub(crate) fn set_noticed(&self) {
        self.noticed.store(true, Relaxed);
    }

    /// To be called by the one who serves the queue, before its last look at it.
    pub(crate) fn set_unnoticed(&self) {
        self.noticed.store(false, Relaxed);
    }

    /// Whether it has a thread of its own.
    pub(crate) fn has_thread(&self) -> bool {
        self.has_thread.load(Relaxed)
    }

    /// As [`Self::set_noticed`], for the one who serves queues that have no thread of their own.
    /// Returns false, and changes nothing, if it has one.
    pub(crate) fn set_noticed_without_thread(&self) -> bool {
        let thread = self.thread.lock();
        if thread.is_none() {
            self.set_noticed();
        }
        thread.is_none()
    }

    /// Gives it a thread of its own, which is to be woken then, or takes that away. May be called
    /// in any context.
    pub(crate) fn set_thread(&self, thread: Option<ARef<Task>>) {
        let mut slot = self.thread.lock();
        self.has_thread.store(thread.is_some(), Relaxed);
        // Who has served it so far does not look again.
        self.noticed.store(false, Relaxed);
        *slot = thread;
    }

    /// Wakes its own thread, and returns whether it has one. May be called in any context.
    pub(crate) fn wake_thread(&self) -> bool {
        // Nobody ends a task that somebody can still wake.
        match &*self.thread.lock() {
            Some(thread) => thread.wake_up(),
            None => return false,
        }
        true
    }

    /// Asks for a thread to be started, or takes the request for one; returns whether there was
    /// one.
    pub(crate) fn want_thread(&self, wants: bool) -> bool {
        self.wants_thread.xchg(wants, Full)
    }
}
