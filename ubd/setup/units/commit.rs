// SPDX-License-Identifier: GPL-2.0

//! Merges the COW file below the one that a unit in use writes into the file below that.
//!
//! What can be wrong is found out by a kernel thread for the task that asks, which it tells;
//! another one copies the data, in the background, and nobody waits for it. While it does the unit
//! is neither detached nor is anything else done with its files.

use super::{in_use::InUse, State, Units};
use crate::ubd::{
    files::commit::Merge,
    files::merging::{Merging, Outcome},
    gendisk::disk::Disk,
    kernel::killable_thread::{self, Waiter},
    options::Abbreviated,
};
use kernel::{prelude::*, str::CString, sync::Arc};

impl Units {
    /// Begins to merge the COW file below the one that a unit in use writes into the file below
    /// that, and says in the kernel log when it has begun and how it has ended. Then runs `made` on
    /// its disk, before somebody else can detach it, if it has come to its end.
    ///
    /// May sleep. Files are seen as the calling task sees them. Returns `ENXIO` when the unit is
    /// not attached, `EBUSY` while somebody else does something with its files, and when memory is
    /// swapped out to it; what [`Merge::prepare`] and [`Merge::retime`] do, and `EINTR` when the
    /// calling task was killed. Then there was none.
    pub(crate) fn commit(
        units: &Arc<Self>,
        unit: usize,
        made: impl FnOnce(&Disk) + Send + 'static,
    ) -> Result {
        let in_use = InUse::new(units, unit, State::Committing, "nothing is committed")?;
        in_use.begin("commit", move |in_use, waiter| begin(in_use, made, waiter))
    }
}

fn begin(in_use: InUse, made: impl FnOnce(&Disk) + Send + 'static, waiter: &Waiter) -> Result {
    let unit = in_use.slot.unit.clone();
    let letters = in_use.letters();
    let options = in_use.options()?;
    in_use.refuse_swap()?;
    let merge = Merge::prepare(in_use.disk()?.image(), &options.borrow(), &unit.last_error)?;
    let merging = Merging::new(Outcome::Running, unit.merging.lock().rate())?;
    let name = CString::try_from_fmt(fmt!("ubd{letters}-merge"))?;
    in_use.decide(waiter)?;
    merge.retime(&options.borrow(), &unit.last_error)?;
    let (from, to) = merge.paths()?;
    pr_info!(
        "ubd{letters}: commit: {} is being merged into {}\n",
        Abbreviated(from),
        Abbreviated(to)
    );
    let old = core::mem::replace(&mut *unit.merging.lock(), merging.clone());
    let job = Job {
        in_use,
        merge,
        merging,
    };
    killable_thread::start(&name, move || job.run(made)).inspect_err(|_| {
        *unit.merging.lock() = old;
    })
}

/// What the thread in the background does.
struct Job {
    in_use: InUse,
    merge: Merge,
    merging: Arc<Merging>,
}

impl Job {
    fn run(self, made: impl FnOnce(&Disk)) {
        let letters = self.in_use.letters();
        let outcome = match self.merge(made) {
            Ok(true) => Outcome::Done,
            Ok(false) => {
                pr_info!("ubd{letters}: commit: cancelled\n");
                Outcome::Cancelled
            }
            Err(e) => {
                self.in_use.keep_if_none(e);
                pr_err!("ubd{letters}: commit: ended with {e:?}, the files are what they were\n");
                Outcome::Failed
            }
        };
        let Self {
            in_use,
            merge,
            merging,
        } = self;
        drop(merge);
        // Before others can have the files, or do something with the unit.
        killable_thread::flush_delayed_fput();
        drop(in_use);
        merging.end(outcome);
    }

    fn merge(&self, made: impl FnOnce(&Disk)) -> Result<bool> {
        let Self {
            in_use,
            merge,
            merging,
        } = self;
        let disk = in_use.disk()?;
        let last_error = in_use.last_error();
        let options = in_use.options()?;
        let options = options.borrow();
        if !merge.copy(merging, &options, last_error)? {
            return Ok(false);
        }
        merge.flush(&options, last_error)?;
        in_use.refuse_swap()?;
        let held = disk.exchange(
            merge.image(),
            || merge.name(&options, last_error),
            || Ok(()),
        )?;
        let (from, to) = merge.paths()?;
        pr_info!(
            "ubd{}: commit: {} is all in {}, and not used any more; requests were held for {} us\n",
            in_use.letters(),
            Abbreviated(from),
            Abbreviated(to),
            held.as_micros_ceil()
        );
        made(disk);
        last_error.clear();
        Ok(true)
    }
}
