// SPDX-License-Identifier: GPL-2.0

//! What the requests of a disk are carried out on, exchanged while it is in use: its requests are
//! held for as long.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::compat::synchronize_rcu;
use super::request::Request;
use super::thread::Scope;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
    sync::{rcu, Arc, ArcBorrow},
};

/// A disk whose requests are held: those that were under way have ended, and those that come wait.
/// They go on when this is dropped. Until then the calling task's allocations start no I/O, which
/// could be for this disk.
///
/// # Invariants
///
/// `queue` is that of a disk which is there for `'a`, and frozen.
pub(crate) struct Held<'a> {
    queue: *mut bindings::request_queue,
    _serves_io: Scope,
    _disk: PhantomData<&'a bindings::gendisk>,
}

impl Held<'_> {
    /// Waits until the requests of a disk have ended, and holds those that come. May sleep, for
    /// long.
    ///
    /// # Safety
    ///
    /// `queue` must be that of a disk which was added, and is not deleted for as long as the result
    /// is used.
    pub(super) unsafe fn new(queue: *mut bindings::request_queue) -> Self {
        let serves_io = Scope::serves_io();
        // With no owner: lockdep would take what this task waits for meanwhile, in the file systems
        // below, for what file systems above wait for that have the same locks.
        // SAFETY: By this function's requirement.
        unsafe { bindings::blk_freeze_queue_start_non_owner(queue) };
        // SAFETY: As above.
        unsafe { bindings::blk_mq_freeze_queue_wait(queue) };
        // INVARIANT: By this function's requirement; it is frozen now.
        Self {
            queue,
            _serves_io: serves_io,
            _disk: PhantomData,
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the queue is there, and was frozen with no owner.
        unsafe { bindings::blk_mq_unfreeze_queue_non_owner(self.queue) };
    }
}

/// A reference to what the requests of one disk are carried out on. It is exchanged only while they
/// are held, so that who has a request needs no reference of its own.
///
/// # Invariants
///
/// `current` came from [`Arc::into_raw`], and has a reference. It is exchanged only while `queue`
/// is frozen, and the old one is put when a grace period of RCU has passed since. `queue` is null
/// until somebody asks with a request, and never changes after that.
pub(crate) struct HeldArc<T> {
    current: Atomic<*const T>,
    queue: Atomic<*mut bindings::request_queue>,
}

// SAFETY: It is a reference to a `T`.
unsafe impl<T: Send + Sync> Send for HeldArc<T> {}

// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for HeldArc<T> {}

impl<T> HeldArc<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self {
            current: Atomic::new(Arc::into_raw(value)),
            queue: Atomic::new(core::ptr::null_mut()),
        }
    }

    /// The value that `rq`, which is of the disk of this value, is to be carried out on. May be
    /// called in any context.
    ///
    /// Returns `EIO` for a request of another disk.
    #[inline]
    pub(crate) fn of<'a>(&'a self, rq: &'a Request) -> Result<&'a T> {
        let queue = rq.rq().q;
        if self.queue.load(Relaxed) != queue && !self.bind(queue) {
            return Err(EIO);
        }
        // SAFETY: By the type invariant it is exchanged only while the queue is frozen, which it is
        // not before the request has ended, and freed after that.
        Ok(unsafe { &*self.current.load(Relaxed) })
    }

    #[cold]
    fn bind(&self, queue: *mut bindings::request_queue) -> bool {
        match self.queue.cmpxchg(core::ptr::null_mut(), queue, Full) {
            Ok(_) => true,
            Err(bound) => bound == queue,
        }
    }

    /// The value as it is now, which may be exchanged at once: not for who changes it. May be
    /// called in any context.
    pub(crate) fn get(&self) -> Arc<T> {
        let _unchanged = rcu::read_lock();
        // SAFETY: By the type invariant it has a reference until a grace period has passed since it
        // was exchanged.
        unsafe { ArcBorrow::from_raw(self.current.load(Acquire)) }.into()
    }

    /// Exchanges the value, and returns the old one, which is to be dropped when requests go on.
    ///
    /// Returns `EINVAL`, and changes nothing, if it is another disk whose requests are held.
    pub(crate) fn replace(&self, new: Arc<T>, held: &Held<'_>) -> Result<Replaced<T>> {
        if !self.bind(held.queue) {
            return Err(EINVAL);
        }
        // INVARIANT: The queue is frozen, by the type invariant of `Held`.
        let old = self.current.xchg(Arc::into_raw(new), Full);
        // SAFETY: By the type invariant that has a reference, which is ours now.
        let old = ManuallyDrop::new(unsafe { Arc::from_raw(old) });
        // INVARIANT: It is put by `Replaced`.
        Ok(Replaced(old))
    }
}

impl<T> Drop for HeldArc<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it has a reference, and nobody uses it any more.
        drop(unsafe { Arc::from_raw(self.current.load(Relaxed)) });
    }
}

/// A value that is not in a [`HeldArc`] any more. To drop it waits for those who have just looked
/// there.
pub(crate) struct Replaced<T>(ManuallyDrop<Arc<T>>);

impl<T> Drop for Replaced<T> {
    fn drop(&mut self) {
        synchronize_rcu();
        // SAFETY: It is not used after this.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}
