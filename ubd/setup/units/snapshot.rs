// SPDX-License-Identifier: GPL-2.0

//! Puts a new COW file over the files of a unit in use: a snapshot of its disk.
//!
//! The disk stays, and whoever has it open. What can take long is done beforehand, by a kernel
//! thread, as with files that are opened; requests are held for the rest.

use super::{in_use::InUse, Slot, State, Units};
use crate::ubd::{
    files::snapshot::Snapshot,
    gendisk::disk::Disk,
    kernel::killable_thread::{self, Waiter},
    options::{Abbreviated, Letters},
};
use kernel::{prelude::*, str::CString, sync::Arc};

const NOT_DONE: &str = "no snapshot was made";

impl Units {
    /// Has a unit in use write to a new COW file at `path` from now on, over the files that it has,
    /// and says so in the kernel log. What it had written is durable, and stays as it is. The disk
    /// has `size` bytes then, or as many as before if that is 0. Runs `made` on it before somebody
    /// else can detach it.
    ///
    /// May sleep, for long. The path is seen as the calling task sees it. When it returns an error
    /// the unit has the files that it had: `ENXIO` when it is not attached, `EBUSY` while somebody
    /// else attaches, detaches or resets it, makes a snapshot or the like, and when memory is
    /// swapped out to it; what [`Snapshot::prepare`] and [`Snapshot::seal`] do, and `EINTR` when
    /// the calling task was killed.
    pub(crate) fn snapshot(
        units: &Arc<Self>,
        unit: usize,
        path: KVec<u8>,
        size: u64,
        made: impl FnOnce(&Disk),
    ) -> Result {
        let slot = Slot::new(units.clone(), unit)?;
        let in_use = InUse::new(slot, State::Snapshotting, NOT_DONE)?;
        let in_use = Arc::new(in_use, GFP_KERNEL)?;
        let name = CString::try_from_fmt(fmt!("ubd{}-snapshot", Letters(unit)))?;
        let thread = in_use.clone();
        killable_thread::run(&name, move |waiter| run(&thread, &path, size, waiter))
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

fn run(in_use: &InUse, path: &[u8], size: u64, waiter: &Waiter) -> Result {
    let last_error = in_use.last_error();
    last_error.clear();
    let result = snapshot(in_use, path, size, waiter);
    // What others want to read, or what they want to make in its place.
    killable_thread::flush_delayed_fput();
    result.inspect(|()| last_error.clear())
}

fn snapshot(in_use: &InUse, path: &[u8], size: u64, waiter: &Waiter) -> Result {
    let disk = in_use.disk()?;
    let last_error = in_use.last_error();
    let letters = in_use.letters();
    let options = in_use.options()?;
    let options = options.borrow();
    let fail = |e, why: &str| {
        last_error.say(fmt!("ubd{letters}: {NOT_DONE}: {why}: {e:?}"));
        e
    };
    in_use.refuse_swap(NOT_DONE)?;
    let on_disk = |file: &_| disk.has_file(file);
    let mut snapshot = Snapshot::prepare(disk.image(), &options, path, size, last_error, on_disk)?;
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
