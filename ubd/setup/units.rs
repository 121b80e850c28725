// SPDX-License-Identifier: GPL-2.0

//! The table of units, and what can become of one.
//!
//! A unit is detached, being attached, attached, or being detached, reset, snapshotted, committed
//! or switched. Its lock is held to look at that or to change it, and by nobody who may wait for a
//! file: opening, flushing and closing files is done by the one who has put the unit into one of
//! the states in between, which nobody else takes it out of. Who has the disk of a unit that is
//! attached is the table; while it is being detached or reset, the one who does that. While
//! something is done with the files below the disk (a snapshot, a commit, a switch) the table has
//! it, as it is in use, and the one who does that a reference, which is gone before the unit is
//! attached again.
//!
//! Files are opened by a kernel thread for the task that attaches, so that it can be killed while a
//! file stands still. The thread then undoes what it has done, when it can.
//!
//! The table has those units that are not detached, those that somebody has a [`Slot`] of (their
//! folders, and who attaches, detaches or looks at them), and those of which it is kept why they
//! are detached. All others take no memory.
//!
//! The locks of the table and of a unit are the last that are taken, in this order; but that of
//! the last message, behind them. A disk's `open_mutex` and the lock of a unit's [`Dependency`] are
//! not taken with them, as configfs' own are held when they are taken.

use crate::ubd::{
    engine::flushes::Flush,
    engine::last_close::{Detach, Detacher, LastClose, Started},
    files::last_error::LastError,
    files::merging::{Merging, Outcome},
    files::usage::Usage,
    gendisk::disk::{Disk, DRIVER_NAME},
    kernel::configfs_item::{Dependency, DependencyGuard},
    kernel::killable_thread,
    kernel::major::Major,
    kernel::module::MAJOR,
    kernel::platform::Driver,
    kernel::reboot::Rebooting,
    kernel::workqueue::Workqueue,
    options::{Letters, Setting},
};
use core::ops::Deref;
use kernel::{
    fmt, new_mutex,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    sync::{Arc, Mutex},
    time::msecs_to_jiffies,
};

mod attach;
mod commit;
mod in_use;
mod reset;
mod slot;
mod snapshot;
mod switch;

pub(crate) use slot::Slot;
use slot::Table;

/// How long a reboot waits for all units to be flushed, in milliseconds.
const REBOOT_MS: u32 = 60_000;

/// Why something can't be done with a unit now.
const BUSY: &str =
    "somebody else is attaching, detaching, resetting, snapshotting, committing or switching it";

/// What a unit is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has no files.
    Detached,
    /// Its files are being opened.
    Attaching,
    /// It has a disk.
    Attached,
    /// It is being flushed, and its files closed.
    Detaching,
    /// Its COW file is being made anew.
    Resetting,
    /// It gets another COW file, and has its disk all the while.
    Snapshotting,
    /// A file below its COW file is being merged into the one below that, in the background.
    Committing,
    /// It gets another backing file.
    Switching,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detached => "detached",
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
            Self::Resetting => "resetting",
            Self::Snapshotting => "snapshotting",
            Self::Committing => "committing",
            Self::Switching => "switching",
        })
    }
}

/// A unit.
#[pin_data]
struct Unit {
    number: usize,
    /// The disk is there when the unit is attached, and while it is snapshotted, committed or
    /// switched.
    #[pin]
    state: Mutex<(State, Option<Arc<Disk>>)>,
    dependency: Arc<Dependency>,
    #[pin]
    last_error: LastError,
    /// The last commit, or that there was none.
    #[pin]
    merging: Mutex<Arc<Merging>>,
    has_folder: Atomic<bool>,
    folder_goes: Atomic<bool>,
}

impl Unit {
    fn new(number: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            number,
            state <- new_mutex!((State::Detached, None), "ubd_unit"),
            dependency: Arc::pin_init(Dependency::new(), GFP_KERNEL)?,
            last_error <- LastError::new(),
            merging <- new_mutex!(Merging::new(Outcome::Never, 0)?, "ubd_merging"),
            has_folder: Atomic::new(false),
            folder_goes: Atomic::new(false),
        })
    }

    fn set(&self, state: State, disk: Option<Arc<Disk>>) {
        *self.state.lock() = (state, disk);
    }

    /// Takes the disk of a unit for what `state` says, if it is attached and `is_wanted` says so of
    /// it. Returns `EBUSY` while somebody else does such a thing.
    fn take(&self, to: State, is_wanted: impl FnOnce(&Disk) -> bool) -> Result<Option<Arc<Disk>>> {
        let mut state = self.state.lock();
        match (state.0, &state.1) {
            (State::Attached, Some(disk)) if is_wanted(disk) => {}
            (State::Attached | State::Detached, _) => return Ok(None),
            _ => return Err(EBUSY),
        }
        state.0 = to;
        Ok(state.1.take())
    }

    /// Gives back the disk of a unit that was taken.
    fn put_back(&self, disk: Arc<Disk>) {
        let last_close = disk.last_close().clone();
        self.set(State::Attached, Some(disk));
        // It may have come in between.
        LastClose::closed(&last_close);
    }

    /// Detaches a unit whose disk was taken and claimed. What comes before the unit is detached is
    /// done by `closed`.
    ///
    /// Returns the disk, which can be opened then, when it could not be flushed.
    fn detach(&self, disk: Arc<Disk>, closed: impl FnOnce()) -> Result<(), (Error, Arc<Disk>)> {
        if let Err(e) = self.flush_claimed(&disk) {
            return Err((e, disk));
        }
        drop(disk);
        closed();
        self.last_error.clear();
        self.set(State::Detached, None);
        pr_info!("ubd{}: detached\n", Letters(self.number));
        Ok(())
    }

    /// Flushes a unit that is to be detached, whose disk was claimed. When it returns an error the
    /// disk can be opened.
    fn flush_claimed(&self, disk: &Disk) -> Result {
        // Then no flush can succeed any more, and who detaches it has been told.
        if disk.image().has_failed() {
            return Ok(());
        }
        disk.flush().inspect_err(|e| {
            self.last_error.say(fmt!(
                "ubd{}: not detached, for it could not be flushed, {} bitmap pages are not on \
                 disk: {e:?}",
                Letters(self.number),
                disk.image().dirty_pages()
            ));
            disk.unclaim();
        })
    }
}

/// All units, and what they have in common.
#[pin_data]
pub(crate) struct Units {
    #[pin]
    table: Mutex<Table>,
    /// Whether units from here on are as if they had the flag `s`.
    sync: Atomic<bool>,
    // After the disks.
    /// For what units do beside their requests.
    workqueue: Arc<Workqueue>,
    /// For what of that may wait for memory.
    slow_workqueue: Arc<Workqueue>,
    detacher: Arc<Detacher>,
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
            sync: Atomic::new(cfg!(CONFIG_BLK_DEV_RUST_UBD_SYNC)),
            workqueue: Arc::new(Workqueue::with_rescuer(c"ubd")?, GFP_KERNEL)?,
            slow_workqueue: Arc::new(Workqueue::new(c"ubd-slow")?, GFP_KERNEL)?,
            detacher: Detacher::new()?,
            table <- new_mutex!(Table::new(), "ubd_units"),
        })
    }

    /// Does what an option says, and says in the kernel log how that went.
    ///
    /// May sleep. Returns what [`Self::attach`] does.
    pub(crate) fn set(units: &Arc<Self>, setting: &Setting<'_>) -> Result {
        match setting {
            Setting::Unit(options) => {
                let direct = crate::ubd::kernel::compat::direct_io();
                let direct = direct.checked_shr(options.unit as u32).unwrap_or(0) & 1 != 0;
                Self::attach(
                    units,
                    options,
                    Usage {
                        direct,
                        ..Usage::default()
                    },
                )
            }
            Setting::Sync => {
                units.sync.store(true, Relaxed);
                Ok(())
            }
            Setting::FakeMajor => {
                pr_warn!("ubd=<n>, the fake IDE major number, is obsolete and does nothing\n");
                Ok(())
            }
        }
    }

    /// Flushes and detaches a unit, if it is attached, and says so in the kernel log.
    ///
    /// May sleep. When it returns an error the unit is attached as before: `EBUSY` when its disk or
    /// a partition is open, `EINTR` when the calling task was killed, or what the flush does, which
    /// the kernel log says too. A unit that had failed before goes all the same. Also returns
    /// `EBUSY` while the unit is being attached, or detached by another task.
    pub(crate) fn detach(&self, unit: usize) -> Result {
        let Some(slot) = Slot::find(self, unit) else {
            return Ok(());
        };
        let _in_use = DependencyGuard::new(slot.dependency())?;
        slot.detach()
    }

    /// Has units detached at their last close, if they are to be, until what this returns is
    /// dropped. May sleep.
    pub(crate) fn watch_closes(units: &Arc<Self>) -> Started {
        let workqueue = units.slow_workqueue.clone();
        Detacher::start(&units.detacher, units.clone(), workqueue)
    }

    /// Runs `f` on a unit's state, and on its disk if it is attached. Neither changes until it
    /// returns, if the unit is in the table; it must not wait for anything.
    ///
    /// May sleep. Returns what `f` does.
    pub(crate) fn with<R>(
        &self,
        unit: usize,
        f: impl FnOnce(State, Option<&Disk>) -> Result<R>,
    ) -> Result<R> {
        let Some(slot) = Slot::find(self, unit) else {
            return f(State::Detached, None);
        };
        let state = slot.unit.state.lock();
        f(state.0, state.1.as_deref())
    }
}

impl<U: Deref<Target = Units>> Slot<U> {
    /// As [`Units::detach`], for who has begun to use the unit.
    pub(crate) fn detach(&self) -> Result {
        let unit = &*self.unit;
        let keep = |why: &str| {
            unit.last_error
                .keep(fmt!("ubd{}: not detached: {why}", Letters(unit.number)));
        };
        let Some(disk) = unit.take(State::Detaching, |_| true).inspect_err(|_| {
            keep(BUSY);
        })?
        else {
            return Ok(());
        };
        let detached = match disk.claim() {
            Ok(()) => unit.detach(disk, || {}),
            Err(e) => {
                keep("the disk or a partition of it is open");
                Err((e, disk))
            }
        };
        detached.map_err(|(e, disk)| {
            unit.put_back(disk);
            e
        })
    }
}

/// A kernel that is about to go does not take with it what was written.
impl Rebooting for Units {
    fn rebooting(&self) {
        let mut jiffies = msecs_to_jiffies(REBOOT_MS);
        let mut wait = |unit, flush: Result<Arc<Flush>>| {
            if let Err(e) = flush.and_then(|flush| flush.wait_timeout(&mut jiffies)) {
                pr_err!(
                    "ubd{}: could not be flushed before the reboot: {e:?}\n",
                    Letters(unit)
                );
            }
        };
        // All at once, as far as there is memory to know of them.
        let mut flushes = KVVec::new();
        let mut next = 0;
        while let Some(slot) = Slot::next(self, next) {
            let unit = slot.unit.number;
            next = unit + 1;
            let flush = match &slot.unit.state.lock().1 {
                Some(disk) => disk.start_flush(),
                None => Ok(None),
            };
            let Some(flush) = flush.transpose() else {
                continue;
            };
            match flushes.reserve(1, GFP_KERNEL) {
                Ok(()) => drop(flushes.push_within_capacity((unit, flush))),
                Err(_) => wait(unit, flush),
            }
        }
        for (unit, flush) in flushes {
            wait(unit, flush);
        }
    }
}

impl Detach for Units {
    fn detach_unused(&self, unit: usize) {
        let Some(slot) = Slot::find(self, unit) else {
            return;
        };
        // Or else its folder is being removed, and the unit detached with it.
        let Ok(_in_use) = DependencyGuard::new(slot.dependency()) else {
            return;
        };
        let unit = &*slot.unit;
        // Who is detaching it looks again.
        let Ok(Some(disk)) = unit.take(State::Detaching, |disk| disk.last_close().is_wanted())
        else {
            return;
        };
        let detached = match disk.claim() {
            // Before others can attach the same files.
            Ok(()) => unit.detach(disk, killable_thread::flush_delayed_fput),
            // There will be another last close.
            Err(e) => Err((e, disk)),
        };
        if let Err((_, disk)) = detached {
            unit.set(State::Attached, Some(disk));
        }
    }
}
