// SPDX-License-Identifier: GPL-2.0

//! The table of units.

use crate::ubd::{
    disk::{Disk, DRIVER_NAME, MAJOR},
    kernel::gen_disk::Major,
    kernel::platform::Driver,
    open::{self, Label},
    options::{letter, Brief, Options, Setting, UNITS},
};
use kernel::{fmt, new_mutex, prelude::*, sync::Mutex};

/// All units, and what they have in common.
#[pin_data(PinnedDrop)]
pub(crate) struct Units {
    #[pin]
    table: Mutex<Table>,
    // After the disks.
    #[pin]
    _driver: Driver,
    _major: Major<MAJOR>,
}

struct Table {
    disks: [Option<Disk>; UNITS],
    /// Whether units from here on are as if they had the flag `s`.
    sync: bool,
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
            table <- new_mutex!(
                Table {
                    disks: [const { None }; UNITS],
                    sync: false,
                },
                "ubd_units"
            ),
        })
    }

    /// Does what an option says, and says in the kernel log how that went.
    ///
    /// May sleep. Returns `EBUSY` when the unit is in use, and what opening its files and making
    /// its disk does.
    pub(crate) fn set(&self, setting: &Setting<'_>) -> Result {
        match setting {
            Setting::Unit(options) => self.add(options),
            Setting::Sync => {
                self.table.lock().sync = true;
                Ok(())
            }
            Setting::FakeMajor => {
                pr_warn!("ubd=<n>, the fake IDE major number, is obsolete and does nothing\n");
                Ok(())
            }
        }
    }

    fn add(&self, options: &Options<'_>) -> Result {
        let mut table = self.table.lock();
        let mut options = *options;
        options.flags.sync |= table.sync;
        let label = Label(&options);
        let slot = table.disks.get_mut(options.unit).ok_or(EINVAL)?;
        if slot.is_some() {
            pr_err!("{label}: device already configured\n");
            return Err(EBUSY);
        }
        let image = open::open(&options).inspect_err(|e| {
            pr_err!("{label}: not set up: {e:?}\n");
        })?;
        let disk = Disk::new(&options, image).inspect_err(|e| {
            pr_err!("{label}: no disk could be made: {e:?}\n");
        })?;
        announce(&options, &disk);
        *slot = Some(disk);
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Units {
    fn drop(self: Pin<&mut Self>) {
        for (unit, disk) in self.table.lock().disks.iter_mut().enumerate() {
            let Some(disk) = disk.take() else { continue };
            if let Err(e) = disk.image().flush() {
                pr_err!(
                    "ubd{}: could not be flushed at its removal, {} bitmap pages are lost: {e:?}\n",
                    letter(unit),
                    disk.image().dirty_pages()
                );
            }
        }
    }
}

/// Says what a new unit is, in one line.
fn announce(options: &Options<'_>, disk: &Disk) {
    let image = disk.image();
    pr_info!(
        "ubd{}: {} bytes, {}\n",
        letter(options.unit),
        image.size(),
        Files { options, image }
    );
}

/// A unit's files and flags: `file over backing file, flags rs`.
struct Files<'a> {
    options: &'a Options<'a>,
    image: &'a crate::ubd::image::Image,
}

impl fmt::Display for Files<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, layer) in self.image.layers().iter().enumerate() {
            let over = if i == 0 { "" } else { " over " };
            f.write_fmt(fmt!("{over}{}", Brief(&layer.path)))?;
        }
        let mut flags = self.options.flags;
        flags.read_only = self.image.is_read_only();
        if flags != Default::default() {
            f.write_fmt(fmt!(", flags {flags}"))?;
        }
        Ok(())
    }
}
