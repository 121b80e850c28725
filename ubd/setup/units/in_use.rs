// SPDX-License-Identifier: GPL-2.0

//! What is done with the files of a unit that is in use, and stays so.

use super::{attach::Owned, Slot, State, Units, BUSY};
use crate::ubd::{
    engine::last_close::LastClose, files::last_error::LastError, gendisk::disk::Disk,
    kernel::configfs_item::DependencyGuard, options::Letters,
};
use kernel::{prelude::*, sync::Arc};

/// A unit with whose files something is done. When this is dropped it is attached as before.
pub(super) struct InUse {
    disk: Option<Arc<Disk>>,
    pub(super) slot: Slot<Arc<Units>>,
    _in_use: DependencyGuard,
}

impl InUse {
    /// Has the unit of `slot` be in the state `to`. `not_done` is for messages: `not switched`.
    ///
    /// May sleep. Returns `ENXIO` when it is not attached, `EBUSY` while somebody else does
    /// something with it.
    pub(super) fn new(slot: Slot<Arc<Units>>, to: State, not_done: &str) -> Result<Self> {
        let in_use = DependencyGuard::new(slot.dependency())?;
        let unit = &slot.unit;
        let fail = |e, why: &str| {
            unit.last_error
                .keep(fmt!("ubd{}: {not_done}: {why}", Letters(unit.number)));
            e
        };
        let mut state = unit.state.lock();
        let disk = match &*state {
            (State::Attached, Some(disk)) => Ok(disk.clone()),
            (State::Attached | State::Detached, _) => Err((ENXIO, "it is not attached")),
            _ => Err((EBUSY, BUSY)),
        };
        if disk.is_ok() {
            state.0 = to;
        }
        drop(state);
        let disk = disk.map_err(|(e, why)| fail(e, why))?;
        Ok(Self {
            disk: Some(disk),
            slot,
            _in_use: in_use,
        })
    }

    pub(super) fn disk(&self) -> Result<&Disk> {
        self.disk.as_deref().ok_or(EIO)
    }

    /// The options by which a unit like this is made of files that are open.
    pub(super) fn options(&self) -> Result<Owned> {
        Owned::of(self.disk()?)
    }

    pub(super) fn last_error(&self) -> &LastError {
        &self.slot.unit.last_error
    }

    pub(super) fn letters(&self) -> Letters {
        Letters(self.slot.unit.number)
    }

    /// Returns `EBUSY`, and says so, if memory is swapped out to the unit: who waits for memory
    /// could wait for requests that are held, and be waited for by the files.
    pub(super) fn refuse_swap(&self, not_done: &str) -> Result {
        if !self.disk()?.is_swapped_to() {
            return Ok(());
        }
        self.last_error().say(fmt!(
            "ubd{}: {not_done}: memory is swapped out to it: EBUSY",
            self.letters()
        ));
        Err(EBUSY)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let unit = &self.slot.unit;
        let last_close = self.disk.take().map(|disk| disk.last_close().clone());
        unit.state.lock().0 = State::Attached;
        // It may have come in between.
        if let Some(last_close) = last_close {
            LastClose::closed(&last_close);
        }
    }
}
