// SPDX-License-Identifier: GPL-2.0

//! What comes when mkdir or rmdir of a folder has ended, and configfs' locks are given back.

use super::place::Place;
use crate::ubd::{kernel::configfs_item::Item, kernel::task_work::DeferredDrop, options::Letters};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::{Arc, SetOnce},
};

/// What comes at the end of mkdir, or when it has failed.
pub(super) struct Made {
    pub(super) folder: SetOnce<Item>,
    pub(super) removal: Arc<DeferredDrop<Removal>>,
}

impl Drop for Made {
    fn drop(&mut self) {
        let published = self.folder.as_ref().map(Item::publish);
        if let Some(Ok(())) = published {
            self.removal.detaches.xchg(true, Full);
        }
    }
}

/// What comes at the end of rmdir.
pub(super) struct Removal {
    pub(super) place: Place,
    /// Whether there was a folder: mkdir may have failed.
    pub(super) detaches: Atomic<bool>,
}

impl Drop for Removal {
    fn drop(&mut self) {
        let slot = &self.place.slot;
        // There is nowhere left to read it.
        slot.last_error().clear();
        if !self.detaches.load(Relaxed) {
            return;
        }
        if let Err(e) = slot.detach() {
            pr_warn!(
                "ubd{}: stays attached without its folder in configfs: {e:?}\n",
                Letters(self.place.unit)
            );
        }
        slot.dependency().removed();
    }
}
