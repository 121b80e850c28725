// SPDX-License-Identifier: GPL-2.0

//! What comes when mkdir or rmdir of a folder has ended, and configfs' locks are given back.

use crate::ubd::{
    kernel::configfs_item::{Item, RemovalGuard},
    kernel::task_work::DeferredDrop,
    options::Letters,
    setup::units::{Slot, Units},
};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::Arc,
};

/// What comes at the end of mkdir, or when it has failed.
pub(super) struct Made {
    pub(super) folder: Item,
    pub(super) removal: Arc<DeferredDrop<Removal>>,
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.folder.publish().is_ok() {
            self.removal.detaches.xchg(true, Full);
        }
    }
}

/// What comes at the end of rmdir.
pub(super) struct Removal {
    pub(super) slot: Slot<Arc<Units>>,
    /// Whether there was a folder: mkdir may have failed.
    pub(super) detaches: Atomic<bool>,
}

impl Drop for Removal {
    fn drop(&mut self) {
        if !self.detaches.load(Relaxed) {
            return;
        }
        // Or else the removal of another folder of the unit does it.
        let Some(_in_use) = RemovalGuard::new(self.slot.dependency()) else {
            return;
        };
        if let Err(e) = self.slot.detach() {
            pr_warn!(
                "ubd{}: stays attached without its folder in configfs: {e:?}\n",
                Letters(self.slot.number())
            );
        }
    }
}
