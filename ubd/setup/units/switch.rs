// SPDX-License-Identifier: GPL-2.0

//! Has a unit in use have another backing file with the same contents.

use super::{in_use::InUse, Slot, State, Units};
use crate::ubd::{
    files::switch::Switch,
    gendisk::disk::Disk,
    kernel::killable_thread::{self, Waiter},
    options::{Abbreviated, Letters},
};
use kernel::{prelude::*, str::CString, sync::Arc};

const NOT_DONE: &str = "not switched";

impl Units {
    /// Has the COW file of a unit in use have the file at `path` as its backing file from now on,
    /// and says so in the kernel log. That its disk is the same is for the user to know. Runs
    /// `made` on its disk before somebody else can detach it.
    ///
    /// May sleep, for long. The path is seen as the calling task sees it. When it returns an error
    /// the unit has the files that it had: `ENXIO` when it is not attached, `EBUSY` while somebody
    /// else does something with its files, and when memory is swapped out to it; what
    /// [`Switch::prepare`] does, and `EINTR` when the calling task was killed.
    pub(crate) fn switch(
        units: &Arc<Self>,
        unit: usize,
        path: KVec<u8>,
        made: impl FnOnce(&Disk),
    ) -> Result {
        let slot = Slot::new(units.clone(), unit)?;
        let in_use = InUse::new(slot, State::Switching, NOT_DONE)?;
        let in_use = Arc::new(in_use, GFP_KERNEL)?;
        let name = CString::try_from_fmt(fmt!("ubd{}-switch", Letters(unit)))?;
        let thread = in_use.clone();
        killable_thread::run(&name, move |waiter| run(&thread, &path, waiter))
            .and_then(|()| {
                made(in_use.disk()?);
                Ok(())
            })
            .inspect_err(|e| {
                let last_error = in_use.last_error();
                last_error.keep_if_none(fmt!("ubd{}: {NOT_DONE}: {e:?}", Letters(unit)));
            })
    }
}

fn run(in_use: &InUse, path: &[u8], waiter: &Waiter) -> Result {
    let last_error = in_use.last_error();
    last_error.clear();
    let result = switch(in_use, path, waiter);
    // What others want to write.
    killable_thread::flush_delayed_fput();
    result.inspect(|()| last_error.clear())
}

fn switch(in_use: &InUse, path: &[u8], waiter: &Waiter) -> Result {
    let disk = in_use.disk()?;
    let last_error = in_use.last_error();
    let letters = in_use.letters();
    let options = in_use.options()?;
    let options = options.borrow();
    in_use.refuse_swap(NOT_DONE)?;
    let switch = Switch::prepare(disk.image(), &options, path, last_error)?;
    if !waiter.commit() {
        last_error.say(fmt!(
            "ubd{letters}: {NOT_DONE}: who asked for it was killed"
        ));
        return Err(EINTR);
    }
    let held = disk.exchange(
        switch.image(),
        || switch.name(&options, last_error),
        || Ok(()),
    )?;
    pr_info!(
        "ubd{letters}: switched to backing file {}, requests were held for {} us\n",
        Abbreviated(switch.path()?),
        held.as_micros_ceil()
    );
    Ok(())
}
