// SPDX-License-Identifier: GPL-2.0

//! Units that go when nobody has them open any more.
//!
//! The last close is in the disk's `open_mutex`, which to detach the unit takes too. So a work item
//! does that, which finds out for itself whether somebody has opened the disk again. It must not be
//! on the workqueue with the rescuer: to detach a unit waits for threads that are started there.

use crate::ubd::kernel::workqueue::Workqueue;
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::{Arc, Mutex},
    workqueue::{Work, WorkItem},
};

/// What detaches units.
pub(crate) trait Detach: Send + Sync {
    /// Detaches a unit that is to go when nobody has it open, if nobody has. May sleep, for long.
    fn detach_unused(&self, unit: usize);
}

/// Has the units of a [`Detach`] detached, from [`Self::start`] on.
#[pin_data]
pub(crate) struct Detacher {
    #[pin]
    running: Mutex<Option<Running>>,
}

struct Running {
    units: Arc<dyn Detach>,
    workqueue: Arc<Workqueue>,
}

impl Detacher {
    /// May sleep. Returns `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                running <- new_mutex!(None, "ubd_detacher"),
            }),
            GFP_KERNEL,
        )
    }

    /// Has `units` detach on `workqueue`, until what this returns is dropped. May sleep.
    pub(crate) fn start(
        this: &Arc<Self>,
        units: Arc<dyn Detach>,
        workqueue: Arc<Workqueue>,
    ) -> Started {
        *this.running.lock() = Some(Running { units, workqueue });
        Started(this.clone())
    }
}

/// A [`Detacher`] that works. To drop it waits for what it does.
pub(crate) struct Started(Arc<Detacher>);

impl Drop for Started {
    fn drop(&mut self) {
        let Self(detacher) = self;
        // Not under the lock, which its work items take.
        let running = detacher.running.lock().take();
        if let Some(running) = &running {
            running.workqueue.flush();
        }
    }
}

/// Whether a unit is to go at its last close.
#[pin_data]
pub(crate) struct LastClose {
    unit: usize,
    detacher: Arc<Detacher>,
    wanted: Atomic<bool>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for LastClose { self.work }
}

impl WorkItem for LastClose {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let running = this.detacher.running.lock();
        let units = running.as_ref().map(|running| running.units.clone());
        drop(running);
        if let Some(units) = units {
            units.detach_unused(this.unit);
        }
    }
}

impl LastClose {
    /// Of a unit that is not to go. May sleep. Returns `ENOMEM`.
    pub(crate) fn new(unit: usize, detacher: Arc<Detacher>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                unit,
                detacher,
                wanted: Atomic::new(false),
                work <- new_work!("ubd_last_close"),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether the unit is to go at its last close.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Says whether it is; at once, if nobody has it open. May sleep.
    pub(crate) fn set_wanted(this: &Arc<Self>, wanted: bool) {
        this.wanted.xchg(wanted, Full);
        Self::closed(this);
    }

    /// Has the unit detached if it is to go. To be called when nobody may have it open any more.
    /// May sleep.
    pub(crate) fn closed(this: &Arc<Self>) {
        if !this.is_wanted() {
            return;
        }
        if let Some(running) = &*this.detacher.running.lock() {
            // If it is queued it has not begun.
            let _ = running.workqueue.enqueue(this.clone());
        }
    }
}
