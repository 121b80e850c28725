// SPDX-License-Identifier: GPL-2.0

//! Attaches units.

use super::{Slot, State, Units};
use crate::ubd::{
    files::open::{self, bytes, Label},
    files::usage::Usage,
    gendisk::disk::Disk,
    kernel::configfs_item::DependencyGuard,
    kernel::killable_thread::{self, Waiter},
    options::{Abbreviated, Flags, Letters, Options},
};
use kernel::{fmt, prelude::*, str::CString, sync::atomic::Relaxed, sync::Arc};

impl Units {
    /// Attaches a unit, and says in the kernel log how that went. Files are seen as the calling
    /// task sees them.
    ///
    /// May sleep. Returns `EBUSY` when the unit is not detached, `EINTR` when the calling task was
    /// killed, after which the unit will not be attached, and what opening its files and making its
    /// disk does. The module must stay from then on: it has a thread of its own.
    pub(crate) fn attach(units: &Arc<Self>, options: &Options<'_>, usage: Usage) -> Result {
        let letters = Letters(options.unit);
        let slot = Slot::new(units.clone(), options.unit)?;
        let unit = slot.unit.clone();
        let attach = || {
            let attaching = Attaching::new(slot, options)?;
            let mut options = Owned::new(options)?;
            options.flags.sync |= units.sync.load(Relaxed);
            let name = CString::try_from_fmt(fmt!("ubd{letters}-attach"))?;
            killable_thread::run(&name, move |waiter| attaching.run(&options, usage, waiter))
        };
        attach().inspect_err(|e| {
            unit.last_error
                .keep_if_none(fmt!("ubd{letters}: not attached: {e:?}"));
        })
    }
}

/// A unit that is being attached. When this is dropped it is detached again, unless it is attached.
struct Attaching {
    slot: Slot<Arc<Units>>,
    _in_use: DependencyGuard,
}

impl Attaching {
    fn new(slot: Slot<Arc<Units>>, options: &Options<'_>) -> Result<Self> {
        let in_use = DependencyGuard::new(slot.dependency())?;
        let unit = &*slot.unit;
        let mut state = unit.state.lock();
        if state.0 != State::Detached {
            drop(state);
            unit.last_error
                .say(fmt!("{}: device already configured", Label(options)));
            return Err(EBUSY);
        }
        state.0 = State::Attaching;
        drop(state);
        unit.last_error.clear();
        Ok(Self {
            slot,
            _in_use: in_use,
        })
    }

    /// Opens the files, makes the disk, and attaches the unit; or undoes all, when `waiter` is gone
    /// by then.
    fn run(self, options: &Owned, usage: Usage, waiter: &Waiter) -> Result {
        let result = self.attach(options, usage, waiter);
        // Before others can attach the same files. Who has attached waits no more by now, and for
        // nobody else's files either.
        if result.is_err() {
            killable_thread::flush_delayed_fput();
        }
        result
    }

    fn attach(&self, options: &Owned, usage: Usage, waiter: &Waiter) -> Result {
        let options = options.borrow();
        let label = Label(&options);
        let Slot { units, unit } = &self.slot;
        let last_error = &unit.last_error;
        let image = open::open(&options, usage, last_error).inspect_err(|e| {
            pr_err!("{label}: not set up: {e:?}\n");
        })?;
        if !waiter.is_killed() {
            let disk = Disk::new(
                &options,
                image,
                &unit.dependency,
                units.workqueue.clone(),
                units.slow_workqueue.clone(),
                units.detacher.clone(),
            )
            .inspect_err(|e| {
                last_error.say(fmt!("{label}: no disk could be made: {e:?}"));
            })?;
            let disk = Arc::new(disk, GFP_KERNEL)?;
            // To look for partitions it was opened.
            killable_thread::flush_delayed_fput();
            // Whoever has opened it in the meantime keeps it.
            if waiter.commit() || disk.claim().is_err() {
                announce(options.unit, &disk);
                last_error.clear();
                unit.set(State::Attached, Some(disk));
                return Ok(());
            }
        }
        last_error.say(fmt!(
            "{label}: not attached, for who asked for it was killed"
        ));
        Err(EINTR)
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        let mut state = self.slot.unit.state.lock();
        if state.0 == State::Attaching {
            state.0 = State::Detached;
        }
    }
}

/// [`Options`] with texts of their own.
pub(super) struct Owned {
    unit: usize,
    flags: Flags,
    file: KVec<u8>,
    backing: Option<KVec<u8>>,
    serial: Option<KVec<u8>>,
    create: bool,
}

impl Owned {
    fn new(options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            unit: options.unit,
            flags: options.flags,
            file: bytes(options.file)?,
            backing: options.backing.map(bytes).transpose()?,
            serial: options.serial.map(bytes).transpose()?,
            create: options.create,
        })
    }

    /// Those by which a unit like `disk` is made of files that are open.
    pub(super) fn of(disk: &Disk) -> Result<Self> {
        let identity = disk.identity();
        Ok(Self {
            unit: identity.unit,
            flags: identity.flags,
            file: bytes(&disk.image().top()?.path)?,
            backing: None,
            serial: Some(bytes(&identity.serial)?),
            create: false,
        })
    }

    pub(super) fn borrow(&self) -> Options<'_> {
        Options {
            unit: self.unit,
            flags: self.flags,
            file: &self.file,
            backing: self.backing.as_deref(),
            serial: self.serial.as_deref(),
            create: self.create,
        }
    }
}

/// Says what a new unit is, in one line.
fn announce(unit: usize, disk: &Disk) {
    pr_info!(
        "ubd{}: {} bytes, {}\n",
        Letters(unit),
        disk.image().size(),
        Files(disk)
    );
}

/// A unit's files and flags: `file over backing file, flags rs`.
struct Files<'a>(&'a Disk);

impl fmt::Display for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(disk) = self;
        for (i, layer) in disk.image().layers().iter().enumerate() {
            let over = if i == 0 { "" } else { " over " };
            f.write_fmt(fmt!("{over}{}", Abbreviated(&layer.path)))?;
        }
        let flags = disk.flags();
        if flags != Default::default() {
            f.write_fmt(fmt!(", flags {flags}"))?;
        }
        Ok(())
    }
}
