// SPDX-License-Identifier: GPL-2.0

//! Tells those who watch a unit when its space runs low, and when it fails.
//!
//! What there is to tell is found where a request ends, in any context; it is told by a work item.

use crate::ubd::{
    files::image::Image, //
    kernel::gen_disk::Events,
    kernel::workqueue::Workqueue,
};
use kernel::{
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::{Arc, Mutex},
    workqueue::{Work, WorkItem},
};

/// The folder of the disk in sysfs with the attributes that can be polled.
pub(crate) const FOLDER: &CStr = c"ubd";

/// What is told of a unit.
#[pin_data]
pub(crate) struct Watch {
    /// Held while something is told. `None` when there is nothing to tell of.
    #[pin]
    watched: Mutex<Option<Watched>>,
    /// Whether there is less space left than there should be, as was told.
    low: Atomic<bool>,
    /// Whether it was told that the unit has failed.
    failed: Atomic<bool>,
    #[pin]
    work: Work<Self>,
}

struct Watched {
    image: Arc<Image>,
    events: Arc<Events>,
}

impl_has_work! {
    impl HasWork<Self> for Watch { self.work }
}

impl WorkItem for Watch {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if let Some(watched) = &*this.watched.lock() {
            this.look(watched);
        }
    }
}

impl Watch {
    /// Of a unit that there is nothing to tell of. May sleep. Returns `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                watched <- new_mutex!(None, "ubd_watch"),
                low: Atomic::new(false),
                failed: Atomic::new(false),
                work <- new_work!("ubd_watch"),
            }),
            GFP_KERNEL,
        )
    }

    /// Begins to tell of `image`, and looks at it once. May sleep, for the file system.
    pub(crate) fn start(&self, image: Arc<Image>, events: Arc<Events>) {
        let watched = Watched { image, events };
        let mut slot = self.watched.lock();
        self.look(&watched);
        *slot = Some(watched);
    }

    /// Tells of `image` from now on, which has taken the place of the other one, and that the unit
    /// has other files. May sleep, for the file system.
    pub(crate) fn replace(&self, image: Arc<Image>) {
        let mut slot = self.watched.lock();
        let Some(watched) = &mut *slot else { return };
        let old = core::mem::replace(&mut watched.image, image);
        watched.events.tell(FOLDER, c"file", c"UBD_FILE=changed");
        self.look(watched);
        drop(slot);
        drop(old);
    }

    /// Tells nothing any more, and does not have the image any more. May sleep.
    pub(crate) fn stop(&self) {
        let watched = self.watched.lock().take();
        drop(watched);
    }

    /// Whether there is less space left than there should be.
    pub(crate) fn is_low(&self) -> bool {
        self.low.load(Relaxed)
    }

    /// Has it told, on `workqueue`, if there may be anything new to tell of `image`. May be called
    /// in any context.
    #[inline]
    pub(crate) fn check(this: &Arc<Self>, image: &Image, workqueue: &Workqueue) {
        if image.wants_look() || image.has_failed() && !this.failed.load(Relaxed) {
            Self::queue(this, workqueue);
        }
    }

    /// Has it looked whether there is anything new to tell, on `workqueue`. May be called in any
    /// context.
    pub(crate) fn queue(this: &Arc<Self>, workqueue: &Workqueue) {
        // If it is queued it has not begun.
        let _ = workqueue.enqueue(this.clone());
    }

    fn look(&self, watched: &Watched) {
        let Watched { image, events } = watched;
        if image.has_failed() && !self.failed.xchg(true, Full) {
            events.tell(FOLDER, c"state", c"UBD_STATE=failed");
        }
        let low = image.is_space_low();
        if !self.low.xchg(low, Full) && low {
            events.tell(FOLDER, c"space", c"UBD_SPACE=low");
        }
    }
}
