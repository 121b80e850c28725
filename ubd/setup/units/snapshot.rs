// SPDX-License-Identifier: GPL-2.0

//! Puts a new COW file over the files of a unit in use: a snapshot of its disk.
//!
//! The disk stays, and whoever has it open. What can take long is done beforehand, by a kernel
//! thread, as with files that are opened; requests are held for the rest.

use super::{in_use::InUse, State, Units};
use crate::ubd::{
    files::snapshot::Snapshot, gendisk::disk::Disk, kernel::killable_thread::Waiter,
    options::Abbreviated,
};
use kernel::{prelude::*, sync::Arc};

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
        let in_use = InUse::new(units, unit, State::Snapshotting, "no snapshot was made")?;
        let work = move |in_use: &InUse, waiter: &Waiter| snapshot(in_use, &path, size, waiter);
        in_use.run("snapshot", work, made)
    }
}

fn snapshot(in_use: &InUse, path: &[u8], size: u64, waiter: &Waiter) -> Result {
    let disk = in_use.disk()?;
    let last_error = in_use.last_error();
    let letters = in_use.letters();
    let options = in_use.options()?;
    let options = options.borrow();
    in_use.refuse_swap()?;
    let on_disk = |file: &_| disk.has_file(file);
    let mut snapshot = Snapshot::prepare(disk.image(), &options, path, size, last_error, on_disk)?;
    // What is durable by then nobody has to wait for.
    let durable = disk.flush().and_then(|()| disk.image().sync_times());
    durable.inspect_err(|e| {
        in_use.say(fmt!("it could not be flushed: {e:?}"));
    })?;
    in_use.decide(waiter)?;
    // It may have come to that meanwhile.
    in_use.refuse_swap()?;
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
