// SPDX-License-Identifier: GPL-2.0

//! What is done with the files of a unit that is in use, and stays so.

use super::{attach::Owned, Slot, State, Unit, Units, BUSY};
use crate::ubd::{
    engine::last_close::LastClose,
    files::last_error::LastError,
    gendisk::disk::Disk,
    kernel::configfs_item::DependencyGuard,
    kernel::killable_thread::{self, Waiter},
    options::Letters,
};
use kernel::{fmt, prelude::*, str::CString, sync::Arc};

/// A unit with whose files something is done. When this is dropped it is attached as before.
pub(super) struct InUse {
    disk: Option<Arc<Disk>>,
    pub(super) slot: Slot<Arc<Units>>,
    /// What there is to say when it fails: `not switched`.
    not_done: &'static str,
    _in_use: DependencyGuard,
}

impl InUse {
    /// Has the unit `number` be in the state `to`.
    ///
    /// May sleep. Returns `ENXIO` when it is not attached, `EBUSY` while somebody else does
    /// something with it.
    pub(super) fn new(
        units: &Arc<Units>,
        number: usize,
        to: State,
        not_done: &'static str,
    ) -> Result<Self> {
        let slot = Slot::new(units.clone(), number)?;
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
            not_done,
            _in_use: in_use,
        })
    }

    /// Has a kernel thread, whose name ends with `name`, do `work` with the files of the unit, and
    /// waits for its end; then runs `made` on its disk, before somebody else can detach it.
    ///
    /// May sleep. Files are seen as the calling task sees them. Returns what `work` does, and
    /// `EINTR` when the calling task was killed before [`Self::decide`].
    pub(super) fn run(
        self,
        name: &str,
        work: impl FnOnce(&Self, &Waiter) -> Result + Send + 'static,
        made: impl FnOnce(&Disk),
    ) -> Result {
        let this = Arc::new(self, GFP_KERNEL)?;
        let thread = this.clone();
        wait_for(&this.slot.unit, name, this.not_done, move |waiter| {
            let result = work(&thread, waiter);
            // What others want to read, or what they want to make in its place.
            killable_thread::flush_delayed_fput();
            result.inspect(|()| thread.last_error().clear())
        })?;
        made(this.disk()?);
        Ok(())
    }

    /// As [`Self::run`], with work that goes on behind that of the thread.
    pub(super) fn begin(
        self,
        name: &str,
        work: impl FnOnce(Self, &Waiter) -> Result + Send + 'static,
    ) -> Result {
        let unit = self.slot.unit.clone();
        let not_done = self.not_done;
        wait_for(&unit, name, not_done, move |waiter| {
            work(self, waiter).inspect_err(|_| {
                // What others want to write.
                killable_thread::flush_delayed_fput();
            })
        })
    }

    /// To be called once by what a thread does, when all is done that can take long: what comes
    /// then the task waits for. Returns `EINTR`, and says so, if that was killed.
    pub(super) fn decide(&self, waiter: &Waiter) -> Result {
        if waiter.commit() {
            return Ok(());
        }
        self.say(fmt!("who asked for it was killed"));
        Err(EINTR)
    }

    /// Says in the kernel log why it is not done.
    pub(super) fn say(&self, why: fmt::Arguments<'_>) {
        self.last_error()
            .say(fmt!("ubd{}: {}: {why}", self.letters(), self.not_done));
    }

    pub(super) fn disk(&self) -> Result<&Disk> {
        self.disk.as_deref().ok_or(EIO)
    }

    /// Keeps `e`, unless there is a message, which says more.
    pub(super) fn keep_if_none(&self, e: Error) {
        keep_if_none(&self.slot.unit, self.not_done, e);
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
    pub(super) fn refuse_swap(&self) -> Result {
        if !self.disk()?.is_swap() {
            return Ok(());
        }
        self.say(fmt!("memory is swapped out to it: EBUSY"));
        Err(EBUSY)
    }
}

/// Has a kernel thread do `work` for `unit`, and waits for its end.
fn wait_for(
    unit: &Unit,
    name: &str,
    not_done: &str,
    work: impl FnOnce(&Waiter) -> Result + Send + 'static,
) -> Result {
    let letters = Letters(unit.number);
    unit.last_error.clear();
    let name = CString::try_from_fmt(fmt!("ubd{letters}-{name}"))?;
    killable_thread::run(&name, work).inspect_err(|e| keep_if_none(unit, not_done, *e))
}

fn keep_if_none(unit: &Unit, not_done: &str, e: Error) {
    let letters = Letters(unit.number);
    unit.last_error
        .keep_if_none(fmt!("ubd{letters}: {not_done}: {e:?}"));
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
