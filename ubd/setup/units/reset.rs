// SPDX-License-Identifier: GPL-2.0

//! Makes units anew: back to the backing file.
//!
//! The disk goes, and comes back, as nothing in memory that is known of its bitmap holds any more.
//! The files stay open, and their locks with them. A kernel thread does it, as with files that are
//! opened.

use super::{attach::Owned, Slot, State, Units, BUSY};
use crate::ubd::{
    files::last_error::LastError, gendisk::disk::Disk, kernel::configfs_item::DependencyGuard,
    kernel::killable_thread, options::Letters,
};
use kernel::{prelude::*, str::CString, sync::Arc};

impl Units {
    /// Makes the COW file of a unit anew, so that its disk reads as the backing file, and says so
    /// in the kernel log.
    ///
    /// May sleep, for long. Returns `ENXIO` when the unit is not attached, `EBUSY` when its disk or
    /// a partition is open, or somebody else attaches, detaches or resets it; `EINVAL` when it has
    /// no COW file, and `EROFS` when that is not written; `EINTR` when the calling task was killed,
    /// without which it goes on. What its files and making its disk return: the unit is detached
    /// then, if what was written is gone.
    pub(crate) fn reset(units: &Arc<Self>, unit: usize) -> Result {
        let slot = Slot::new(units.clone(), unit)?;
        let resetting = Resetting::new(slot)?;
        let name = CString::try_from_fmt(fmt!("ubd{}-reset", Letters(unit)))?;
        killable_thread::run(&name, move |_| resetting.run())
    }
}

/// A unit that is being reset. When this is dropped it is attached again, or detached if its disk
/// is gone.
struct Resetting {
    disk: Option<Arc<Disk>>,
    slot: Slot<Arc<Units>>,
    _in_use: DependencyGuard,
}

impl Resetting {
    fn new(slot: Slot<Arc<Units>>) -> Result<Self> {
        let in_use = DependencyGuard::new(slot.dependency())?;
        let unit = slot.unit.clone();
        let fail = |e, why: &str| {
            unit.last_error
                .keep(fmt!("ubd{}: not reset: {why}", Letters(unit.number)));
            e
        };
        let disk = unit
            .take(State::Resetting, |_| true)
            .map_err(|e| fail(e, BUSY))?
            .ok_or_else(|| fail(ENXIO, "it is not attached"))?;
        let this = Self {
            disk: Some(disk),
            slot,
            _in_use: in_use,
        };
        this.disk()?
            .claim()
            .map_err(|e| fail(e, "the disk or a partition of it is open"))?;
        Ok(this)
    }

    fn disk(&self) -> Result<&Disk> {
        self.disk.as_deref().ok_or(EIO)
    }

    fn run(mut self) -> Result {
        let unit = self.slot.unit.clone();
        unit.last_error.clear();
        let result = self.reset(&unit.last_error);
        match result {
            Ok(()) => pr_info!("ubd{}: reset\n", Letters(unit.number)),
            // Before others can attach the same files.
            Err(_) => killable_thread::flush_delayed_fput(),
        }
        result
    }

    fn reset(&mut self, last_error: &LastError) -> Result {
        let letters = Letters(self.slot.unit.number);
        let options = Owned::of(self.disk()?)?;
        let limit = self.disk()?.image().limit();
        let image = self.disk()?.image().begin_reset().inspect_err(|e| {
            last_error.say(fmt!("ubd{letters}: not reset: {e:?}"));
        })?;
        // From here on what was written is gone.
        drop(self.disk.take());
        let Slot { units, unit } = &self.slot;
        let disk = image
            .finish_reset()
            .and_then(|()| image.set_limit(limit))
            .and_then(|()| {
                Disk::new(
                    &options.borrow(),
                    image,
                    &unit.dependency,
                    units.workqueue.clone(),
                    units.slow_workqueue.clone(),
                    units.detacher.clone(),
                )
            })
            .inspect_err(|e| {
                last_error.say(fmt!(
                    "ubd{letters}: detached, for its reset could not be finished: {e:?}"
                ));
            })?;
        // To look for partitions it was opened.
        killable_thread::flush_delayed_fput();
        self.disk = Some(Arc::new(disk, GFP_KERNEL)?);
        Ok(())
    }
}

impl Drop for Resetting {
    fn drop(&mut self) {
        let unit = &self.slot.unit;
        match self.disk.take() {
            Some(disk) => {
                disk.unclaim();
                unit.put_back(disk);
            }
            None => unit.set(State::Detached, None),
        }
    }
}
