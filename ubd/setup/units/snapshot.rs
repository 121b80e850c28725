// SPDX-License-Identifier: GPL-2.0

//! Puts a new COW file over the files of a unit in use: a snapshot of its disk.
//!
//! The disk stays, and whoever has it open. What can take long is done beforehand, by a kernel
//! thread, as with files that are opened; requests are held for the rest.

use super::{attach::Owned, Slot, State, Units, BUSY};
use crate::ubd::{
    engine::last_close::LastClose,
    files::snapshot::Snapshot,
    gendisk::disk::Disk,
    kernel::configfs_item::DependencyGuard,
    kernel::killable_thread::{self, Waiter},
    options::{Abbreviated, Letters},
};
use kernel::{prelude::*, str::CString, sync::Arc};

impl Units {
    /// Has a unit in use write to a new COW file at `path` from now on, over the files that it has,
    /// and says so in the kernel log. What it had written is durable, and stays as it is. The disk
    /// has `size` bytes then, or as many as before if that is 0. Runs `made` on it before somebody
    /// else can detach it.
    ///
    /// May sleep, for long. The path is seen as the calling task sees it. When it returns an error
    /// the unit has the files that it had: `ENXIO` when it is not attached, `EBUSY` while somebody
    /// else attaches, detaches or resets it or makes a snapshot, and when memory is swapped out to
    /// it; what [`Snapshot::prepare`] and [`Snapshot::seal`] do, and `EINTR` when the calling task
    /// was killed.
    pub(crate) fn snapshot(
        units: &Arc<Self>,
        unit: usize,
        path: KVec<u8>,
        size: u64,
        made: impl FnOnce(&Disk),
    ) -> Result {
        let slot = Slot::new(units.clone(), unit)?;
        let snapshotting = Arc::new(Snapshotting::new(slot)?, GFP_KERNEL)?;
        let name = CString::try_from_fmt(fmt!("ubd{}-snapshot", Letters(unit)))?;
        let thread = snapshotting.clone();
        killable_thread::run(&name, move |waiter| thread.run(&path, size, waiter))
            .and_then(|()| {
                made(snapshotting.disk()?);
                Ok(())
            })
            .inspect_err(|e| {
                snapshotting
                    .slot
                    .unit
                    .last_error
                    .keep_if_none(fmt!("ubd{}: no snapshot was made: {e:?}", Letters(unit)));
            })
    }
}

/// A unit that a snapshot is made of. When this is dropped it is attached as before.
struct Snapshotting {
    disk: Option<Arc<Disk>>,
    slot: Slot<Arc<Units>>,
    _in_use: DependencyGuard,
}

impl Snapshotting {
    fn new(slot: Slot<Arc<Units>>) -> Result<Self> {
        let in_use = DependencyGuard::new(slot.dependency())?;
        let unit = &slot.unit;
        let fail = |e, why: &str| {
            unit.last_error.keep(fmt!(
                "ubd{}: no snapshot was made: {why}",
                Letters(unit.number)
            ));
            e
        };
        let mut state = unit.state.lock();
        let disk = match &*state {
            (State::Attached, Some(disk)) => Ok(disk.clone()),
            (State::Attached | State::Detached, _) => Err((ENXIO, "it is not attached")),
            _ => Err((EBUSY, BUSY)),
        };
        if disk.is_ok() {
            state.0 = State::Snapshotting;
        }
        drop(state);
        let disk = disk.map_err(|(e, why)| fail(e, why))?;
        Ok(Self {
            disk: Some(disk),
            slot,
            _in_use: in_use,
        })
    }

    fn disk(&self) -> Result<&Disk> {
        self.disk.as_deref().ok_or(EIO)
    }

    fn run(&self, path: &[u8], size: u64, waiter: &Waiter) -> Result {
        let last_error = &self.slot.unit.last_error;
        last_error.clear();
        let result = self.snapshot(path, size, waiter);
        // What others want to read, or what they want to make in its place.
        killable_thread::flush_delayed_fput();
        result.inspect(|()| last_error.clear())
    }

    fn snapshot(&self, path: &[u8], size: u64, waiter: &Waiter) -> Result {
        let disk = self.disk()?;
        let unit = &*self.slot.unit;
        let last_error = &unit.last_error;
        let letters = Letters(unit.number);
        let options = Owned::of(disk)?;
        let options = options.borrow();
        let fail = |e, why: &str| {
            last_error.say(fmt!("ubd{letters}: no snapshot was made: {why}: {e:?}"));
            e
        };
        if disk.is_swapped_to() {
            // Who waits for memory could wait for what is held, and be waited for by the files.
            return Err(fail(EBUSY, "memory is swapped out to it"));
        }
        let on_disk = |file: &_| disk.has_file(file);
        let old = disk.image();
        let mut snapshot = Snapshot::prepare(old, &options, path, size, last_error, on_disk)?;
        // What is durable by then nobody has to wait for.
        disk.flush()
            .map_err(|e| fail(e, "it could not be flushed"))?;
        if !waiter.commit() {
            return Err(fail(EINTR, "who asked for it was killed"));
        }
        let held = disk.exchange(
            snapshot.image(),
            || snapshot.take_settings(),
            || snapshot.seal(&options, last_error),
        )?;
        snapshot.finish();
        disk.take_size();
        pr_info!(
            "ubd{letters}: snapshot: {} is written from now on, requests were held for {} us\n",
            Abbreviated(snapshot.path()?),
            held.as_micros_ceil()
        );
        Ok(())
    }
}

impl Drop for Snapshotting {
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
