// SPDX-License-Identifier: GPL-2.0

//! A unit that is this process's to attach.

use super::{
    disk, driver,
    folder::{self, Folder},
    interrupt::Interrupts,
    unit::Unit,
};
use crate::{
    failure::{Failure, Result},
    output::report_error,
};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    sync::{mpsc, Arc},
    thread,
    time::{Duration, Instant},
};

/// How long a unit that is in use is tried again: udev looks at each new disk for a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait before something is tried again.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// A unit whose folder this process has made, so that nobody else attaches it by one. When this is
/// dropped the folder is removed, unless the unit is attached, or was kept.
pub(crate) struct Claim {
    /// The unit's folder.
    pub(crate) folder: Arc<Folder>,
    kept: bool,
}

/// What the threads of an attach wait for.
enum Event {
    Written(io::Result<()>),
    Signal(Result<Signal>),
}

/// The signals that come after an attach. A thread takes them, and no other may.
pub(crate) struct Signals(mpsc::Receiver<Event>);

impl Signals {
    /// Waits for the first one.
    pub(crate) fn wait(&self) -> Result {
        loop {
            match self.0.recv() {
                Ok(Event::Written(_)) => {}
                Ok(Event::Signal(signal)) => return signal.map(drop),
                Err(_) => return Err(no_thread()),
            }
        }
    }
}

fn no_thread() -> Failure {
    Failure::Error("there can be no more threads".into())
}

impl Claim {
    /// The first unit that nobody has. Others may look for one at the same time.
    pub(crate) fn next() -> Result<Self> {
        // Those that somebody else has got meanwhile, or is just about to give back.
        let mut tried = BTreeSet::new();
        loop {
            let unit = driver::first_unused(&tried)?;
            if let Some(claim) = Self::try_take(unit)? {
                return Ok(claim);
            }
            tried.insert(unit);
        }
    }

    /// This unit. Returns an error if somebody has it.
    pub(crate) fn of(unit: Unit) -> Result<Self> {
        let has = |what| Err(Failure::Error(format!("{unit}: {what}")));
        match Folder::find(unit) {
            _ if disk::exists(unit) => has("is attached already"),
            Some(_) => has("has a folder in configfs already: 'ubd detach' removes it"),
            None => match Self::try_take(unit)? {
                Some(claim) => Ok(claim),
                None => has("was taken by another process just now"),
            },
        }
    }

    /// `None` if somebody else has it.
    fn try_take(unit: Unit) -> Result<Option<Self>> {
        let folder = match Folder::make(unit) {
            Ok(folder) => folder,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(folder::failure(unit, "cannot be had", &e)),
        };
        // A module parameter can have attached it meanwhile. Then the folder stays: to remove it
        // would detach the unit.
        let ours = folder.is("detached");
        let folder = Arc::new(folder);
        let kept = false;
        Ok(ours.then_some(Self { folder, kept }))
    }

    /// Writes a setting.
    pub(crate) fn set(&self, file: &str, text: &[u8]) -> Result {
        let set = self.folder.write(file, text);
        set.map_err(|e| folder::failure(self.folder.unit, file, &e))
    }

    /// Attaches the unit. Returns the driver's message if that can't be done.
    ///
    /// If a signal comes first, all is undone and the program ends. A file that does not answer
    /// holds up the driver, which goes on when this process has ended: then the folder stays.
    pub(crate) fn attach(&self, interrupts: Interrupts) -> Result<Signals> {
        let (sender, events) = mpsc::channel();
        let (folder, written) = (self.folder.clone(), sender.clone());
        // Neither is waited for: to send fails only when nobody wants to know any more.
        let start = |run: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().spawn(run);
            started.map(drop).map_err(|_| no_thread())
        };
        start(Box::new(move || {
            let _ = sender.send(Event::Signal(interrupts.wait()));
        }))?;
        start(Box::new(move || {
            let _ = written.send(Event::Written(folder.write("power", b"1")));
        }))?;
        match events.recv() {
            Ok(Event::Written(Ok(()))) => Ok(Signals(events)),
            Ok(Event::Written(Err(e))) => Err(self.folder.failure("cannot be attached", &e)),
            Ok(Event::Signal(signal)) => {
                match events.recv_timeout(PATIENCE) {
                    Ok(Event::Written(Ok(()))) => self.undo(),
                    Ok(_) => self.give_back(),
                    Err(_) => report_error(&format!(
                        "{0}: its file does not answer: the unit is not attached when it does, and \
                         'ubd detach {0}' removes its folder then",
                        self.folder.unit
                    )),
                }
                Err(interrupts.end_by(signal?))
            }
            Err(_) => Err(no_thread()),
        }
    }

    /// Leaves the unit as it is, to whoever uses it.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    /// Detaches the unit and removes its folder. What can't be undone is said.
    pub(crate) fn undo(&self) {
        let detached = unless_busy(Instant::now() + PATIENCE, || {
            self.folder.write("power", b"0")
        });
        match detached {
            Ok(()) => self.give_back(),
            Err(e) => {
                if let Failure::Error(why) = self.folder.failure("stays attached", &e) {
                    report_error(&why);
                }
            }
        }
    }

    /// Removes the folder, unless the unit is attached.
    fn give_back(&self) {
        if self.folder.is("detached") {
            // What is left can do no harm.
            let _ = self.folder.remove();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.give_back();
        }
    }
}

/// Does something as long as the answer is that the unit is in use, and the deadline is not over.
pub(crate) fn unless_busy(
    deadline: Instant,
    mut act: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match act() {
            Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}
