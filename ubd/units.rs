// SPDX-License-Identifier: GPL-2.0

//! The table of units.

use crate::ubd::{
    disk::{Disk, DRIVER_NAME, MAJOR},
    kernel::gen_disk::Major,
    kernel::platform::Driver,
    open::{self, Label},
    options::{letter, Brief, Options, Setting, UNITS},
};
use kernel::{
    fmt, new_mutex,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    sync::Mutex,
};

/// All units, and what they have in common.
#[pin_data(PinnedDrop)]
pub(crate) struct Units {
    /// Each with a lock of its own: to attach one can take long.
    #[pin]
    table: [Mutex<Option<Disk>>; UNITS],
    /// Whether units from here on are as if they had the flag `s`.
    sync: Atomic<bool>,
    // After the disks.
    #[pin]
    _driver: Driver,
    _major: Major<MAJOR>,
}

impl Units {
    /// An empty table. May sleep. Returns `EBUSY` when another driver has the major number, and
    /// what registering a driver does.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _major: Major::register(c"ubd").inspect_err(|e| {
                pr_err!("major number {MAJOR} cannot be had: {e:?}\n");
            })?,
            _driver <- Driver::register(DRIVER_NAME),
            sync: Atomic::new(false),
            table <- pin_init::pin_init_array_from_fn(|_| new_mutex!(None, "ubd_unit")),
        })
    }

    /// Does what an option says, and says in the kernel log how that went.
    ///
    /// May sleep. Returns what [`Self::attach`] does.
    pub(crate) fn set(&self, setting: &Setting<'_>) -> Result {
        match setting {
            Setting::Unit(options) => {
                let direct = crate::module_parameters::direct_io.value() & 1 << options.unit != 0;
                self.attach(options, direct)
            }
            Setting::Sync => {
                self.sync.store(true, Relaxed);
                Ok(())
            }
            Setting::FakeMajor => {
                pr_warn!("ubd=<n>, the fake IDE major number, is obsolete and does nothing\n");
                Ok(())
            }
        }
    }

    /// Attaches a unit, with direct I/O if `direct` says so and its files can, and says in the
    /// kernel log how that went.
    ///
    /// May sleep. Returns `EBUSY` when the unit is attached, and what opening its files and making
    /// its disk does.
    pub(crate) fn attach(&self, options: &Options<'_>, direct: bool) -> Result {
        let mut options = *options;
        options.flags.sync |= self.sync.load(Relaxed);
        let label = Label(&options);
        let mut slot = self.slot(options.unit)?.lock();
        if slot.is_some() {
            pr_err!("{label}: device already configured\n");
            return Err(EBUSY);
        }
        let image = open::open(&options, direct).inspect_err(|e| {
            pr_err!("{label}: not set up: {e:?}\n");
        })?;
        let disk = Disk::new(&options, image).inspect_err(|e| {
            pr_err!("{label}: no disk could be made: {e:?}\n");
        })?;
        announce(options.unit, &disk);
        *slot = Some(disk);
        Ok(())
    }

    /// Flushes and detaches a unit, if it is attached, and says so in the kernel log.
    ///
    /// May sleep. When it returns an error the unit is attached as before: `EBUSY` when its disk or
    /// a partition is open, or what the flush does, which the kernel log says too. A unit that had
    /// failed before goes all the same.
    pub(crate) fn detach(&self, unit: usize) -> Result {
        let mut slot = self.slot(unit)?.lock();
        let Some(disk) = &*slot else {
            return Ok(());
        };
        disk.claim()?;
        // Then no flush can succeed any more, and who detaches it has been told.
        let failed = disk.image().has_failed();
        if let Err(e) = disk.image().flush() {
            if !failed {
                pr_err!(
                    "ubd{}: not detached, for it could not be flushed, {} bitmap pages are not on \
                     disk: {e:?}\n",
                    letter(unit),
                    disk.image().dirty_pages()
                );
                disk.unclaim();
                return Err(e);
            }
            say_lost(unit, disk, e);
        }
        *slot = None;
        pr_info!("ubd{}: detached\n", letter(unit));
        Ok(())
    }

    /// Runs `f` on a unit's disk, or on `None` if it is not attached. Until it returns the unit is
    /// neither attached nor detached.
    ///
    /// May sleep. Returns what `f` does.
    pub(crate) fn with<R>(
        &self,
        unit: usize,
        f: impl FnOnce(Option<&Disk>) -> Result<R>,
    ) -> Result<R> {
        f(self.slot(unit)?.lock().as_ref())
    }

    fn slot(&self, unit: usize) -> Result<&Mutex<Option<Disk>>> {
        self.table.get(unit).ok_or(EINVAL)
    }
}

#[pinned_drop]
impl PinnedDrop for Units {
    fn drop(self: Pin<&mut Self>) {
        for (unit, slot) in self.table.iter().enumerate() {
            let Some(disk) = slot.lock().take() else {
                continue;
            };
            if let Err(e) = disk.image().flush() {
                say_lost(unit, &disk, e);
            }
        }
    }
}

/// Says that a unit goes with changes that are not on disk, because of `e`.
fn say_lost(unit: usize, disk: &Disk, e: Error) {
    pr_err!(
        "ubd{}: could not be flushed at its removal, {} bitmap pages are lost: {e:?}\n",
        letter(unit),
        disk.image().dirty_pages()
    );
}

/// Says what a new unit is, in one line.
fn announce(unit: usize, disk: &Disk) {
    pr_info!(
        "ubd{}: {} bytes, {}\n",
        letter(unit),
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
            f.write_fmt(fmt!("{over}{}", Brief(&layer.path)))?;
        }
        let flags = disk.flags();
        if flags != Default::default() {
            f.write_fmt(fmt!(", flags {flags}"))?;
        }
        Ok(())
    }
}
