// SPDX-License-Identifier: GPL-2.0

//! Takes the space of a whole disk while that is in use, where a user has asked for it.
//!
//! A work item does, a piece at a time, so that what else there is to do comes in between. It holds
//! the settings' lock meanwhile: so no other image takes the place of the one that is filled.

use crate::ubd::{
    engine::shared::Shared, //
    kernel::thread::Scope,
    kernel::workqueue::Workqueue,
    options::Letters,
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{Arc, Mutex},
    workqueue::{Work, WorkItem},
};

/// Takes the space of a unit's disk.
#[pin_data]
pub(crate) struct Filler {
    /// Held while a piece is filled. `None` when there is no unit any more.
    #[pin]
    unit: Mutex<Option<Arc<Shared>>>,
    workqueue: Arc<Workqueue>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Filler { self.work }
}

impl WorkItem for Filler {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let more = this.unit.lock().as_ref().is_some_and(|unit| fill(unit));
        if more {
            this.queue();
        }
    }
}

impl Filler {
    /// Begins with the disk of `unit`, if that is to be filled, in works of `workqueue`. May sleep.
    /// Returns `ENOMEM`.
    pub(crate) fn start(unit: &Arc<Shared>, workqueue: Arc<Workqueue>) -> Result<Arc<Self>> {
        let unit = Some(unit.clone());
        let filler = pin_init!(Self {
            unit <- new_mutex!(unit, "ubd_filler"),
            workqueue,
            work <- new_work!("ubd_filler"),
        });
        let filler = Arc::pin_init(filler, GFP_KERNEL)?;
        filler.queue();
        Ok(filler)
    }

    /// Goes on, with another image of the unit maybe. May be called in any context.
    pub(crate) fn queue(self: &Arc<Self>) {
        // If it is queued it has not begun.
        let _ = self.workqueue.enqueue(self.clone());
    }

    /// Ends it, and waits until it has ended. May sleep.
    pub(crate) fn stop(&self) {
        let unit = self.unit.lock().take();
        drop(unit);
    }
}

/// Fills the next piece. Returns whether there is more to do.
fn fill(unit: &Shared) -> bool {
    let _settings = unit.settings.lock();
    // A write may come to wait for this, and what is swapped out must not wait for memory.
    let _serves_io = Scope::serves_io();
    if unit.is_swapped_to() {
        return false;
    }
    unit.image.get().fill_next().unwrap_or_else(|e| {
        let letters = Letters(unit.identity.unit);
        pr_warn!("ubd{letters}: the space of its disk can't be taken any further: {e:?}\n");
        false
    })
}
