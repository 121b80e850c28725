// SPDX-License-Identifier: GPL-2.0

//! A unit's right to a folder.

use crate::ubd::{
    options::Letters,
    setup::units::{Slot, Units},
};
use kernel::{
    prelude::*,
    sync::atomic::{Full, Relaxed},
    sync::Arc,
};

/// A unit's right to a folder, which no two have at a time. It is given back when it is dropped,
/// which is when the unit has gone with its folder: the next one has nothing of it.
pub(super) struct Place {
    pub(super) units: Arc<Units>,
    pub(super) unit: usize,
    pub(super) slot: Slot<Arc<Units>>,
}

impl Place {
    /// May sleep. Returns `EEXIST` when the unit has a folder by its other name, `EBUSY` when it
    /// had one that has not gone altogether.
    pub(super) fn take(units: &Arc<Units>, unit: usize) -> Result<Self> {
        let slot = Slot::new(units.clone(), unit)?;
        if slot.has_folder().xchg(true, Full) {
            if slot.folder_goes().load(Relaxed) {
                return Err(EBUSY);
            }
            pr_err!(
                "ubd{}: has a folder in configfs by its other name\n",
                Letters(unit)
            );
            return Err(EEXIST);
        }
        Ok(Self {
            units: units.clone(),
            unit,
            slot,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slot.folder_goes().store(false, Relaxed);
        self.slot.has_folder().xchg(false, Full);
    }
}
