// SPDX-License-Identifier: GPL-2.0

//! Has a unit in use have another backing file with the same contents.

use super::{in_use::InUse, State, Units};
use crate::ubd::{
    files::switch::Switch, gendisk::disk::Disk, kernel::killable_thread::Waiter,
    options::Abbreviated,
};
use kernel::{prelude::*, sync::Arc};

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
        let in_use = InUse::new(units, unit, State::Switching, "not switched")?;
        let work = move |in_use: &InUse, waiter: &Waiter| switch(in_use, &path, waiter);
        in_use.run("switch", work, made)
    }
}

fn switch(in_use: &InUse, path: &[u8], waiter: &Waiter) -> Result {
    let disk = in_use.disk()?;
    let last_error = in_use.last_error();
    let letters = in_use.letters();
    let options = in_use.options()?;
    let options = options.borrow();
    in_use.refuse_swap()?;
    let switch = Switch::prepare(disk.image(), &options, path, last_error)?;
    in_use.decide(waiter)?;
    // It may have come to that meanwhile.
    in_use.refuse_swap()?;
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
