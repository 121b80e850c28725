// SPDX-License-Identifier: GPL-2.0

//! A unit's right to a folder.

use crate::ubd::{
    options::Letters,
    setup::units::{Slot, Units},
};
use kernel::{prelude::*, sync::atomic::Full, sync::Arc};

/// A unit's right to a folder, which no two have at a time. It is given back when it is dropped.
pub(super) struct Place {
    pub(super) units: Arc<Units>,
    pub(super) unit: usize,
    pub(super) slot: Slot<Arc<Units>>,
}

impl Place {
    pub(super) fn take(units: &Arc<Units>, unit: usize) -> Result<Self> {
        let slot = Slot::new(units.clone(), unit)?;
        if slot.has_folder().xchg(true, Full) {
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
        // There is nowhere left to read it.
        self.slot.last_error().clear();
        self.slot.has_folder().xchg(false, Full);
    }
}
