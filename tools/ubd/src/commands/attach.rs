// SPDX-License-Identifier: GPL-2.0

//! `ubd attach`: files become a disk.

use crate::{
    bytes,
    failure::{Failure, Result},
    output::{report_error, Output},
    units::{
        claim::{Claim, Signals, PATIENCE, PAUSE},
        driver,
        interrupt::Interrupts,
        status::Status,
        unit::Unit,
    },
};
use clap::{builder::OsStringValueParser, builder::TypedValueParser, Args};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    os::unix::ffi::{OsStrExt, OsStringExt},
    thread,
    time::Instant,
};

/// Attach a COW file or a plain image, and print its disk
///
/// FILE is a COW file, alone or with its backing file behind the first ':', or a plain image. A COW
/// file that is missing is made, if BACKING is named; one that exists has the path of its backing
/// file, so that naming it alone is enough.
///
/// The unit is the first one that nobody has, unless --unit names another one. Several processes can
/// attach at the same time. If it fails, the driver's own message is printed and nothing is left
/// behind; nor is it if the program is ended by SIGINT, SIGTERM or SIGHUP before it has printed the
/// disk, unless a file does not answer: then the unit's folder stays, and 'ubd detach' removes it.
///
/// With --detach-on-close the program does not end, but keeps the disk open. When it is ended, by
/// whatever signal, the unit is detached: at once, or when the last one closes the disk who has it
/// open by then. After SIGKILL the unit's folder stays, and 'ubd detach' removes it.
///
/// The driver opens the files as the program sees them: in its mount namespace, from its root and
/// working folder, and with its rights. If it is not loaded, modprobe loads it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd attach work.cow:golden.img        # /dev/ubda; work.cow is made if it is missing
  ubd attach work.cow                   # the header names golden.img
  ubd attach -r --unit ubdq work.cow    # /dev/ubdq, read-only
  ubd attach --plain disk.img           # as a loop device, whatever is in it
  disk=$(ubd attach work.cow) && mount \"$disk\" /mnt")]
pub(crate) struct Attach {
    /// Attach it read-only
    #[arg(short, long)]
    read_only: bool,
    /// Have each write be on stable storage before it is done
    #[arg(long)]
    sync: bool,
    /// Use the files past the page cache, where they can be
    #[arg(long)]
    direct: bool,
    /// Take FILE for a plain image, whatever is in it, and all of its name for one
    #[arg(long)]
    plain: bool,
    /// Take no lock on the file: nothing then keeps two programs from writing to it
    #[arg(long)]
    shared: bool,
    /// Offer neither discard nor write-zeroes
    #[arg(long)]
    no_discard: bool,
    /// The disk's serial number
    #[arg(long, value_name = "TEXT")]
    serial: Option<OsString>,
    /// How many bytes of data there may be in the COW file; K, M, G and T are for KiB and on
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse)]
    limit: Option<u64>,
    /// Below how many bytes that are left the unit tells that there is little space
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse)]
    low_space: Option<u64>,
    /// This unit, by number, letters or disk: 16, q, ubdq, /dev/ubdq
    #[arg(short, long, value_parser = OsStringValueParser::new().try_map(Unit::parse))]
    unit: Option<Unit>,
    /// Stay, and detach the unit when the program and all others have closed its disk
    #[arg(long)]
    detach_on_close: bool,
    /// The backing file; all of FILE is the COW file's name then, with any ':' in it
    #[arg(long, value_name = "BACKING", conflicts_with = "plain")]
    backing: Option<OsString>,
    /// A COW file, with its backing file behind a ':', or a plain image
    #[arg(value_name = "FILE[:BACKING]")]
    file: OsString,
}

impl Attach {
    /// Attaches it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        driver::load()?;
        // From here on there is something to undo.
        let interrupts = Interrupts::hold()?;
        let claim = match self.unit {
            Some(unit) => Claim::of(unit)?,
            None => Claim::next()?,
        };
        self.set(&claim)?;
        let signals = claim.attach(interrupts)?;
        let held = self.hold(&claim).inspect_err(|_| claim.undo())?;
        match print(claim.folder.unit, out) {
            // Who does not read still wants the disk.
            Ok(()) | Err(Failure::Unread) => {}
            Err(lost) => {
                drop(held);
                claim.undo();
                return Err(lost);
            }
        }
        match held {
            Some(disk) => wait(claim, disk, &signals),
            None => {
                claim.keep();
                Ok(())
            }
        }
    }

    /// Writes the settings to the unit's folder.
    fn set(&self, claim: &Claim) -> Result {
        let (file, backing) = match &self.backing {
            Some(backing) => (self.file.clone(), Some(backing.clone())),
            None if self.plain => (self.file.clone(), None),
            None => split(&self.file),
        };
        let text = |file, value: &OsStr| claim.set(file, value.as_bytes());
        text("file", &file)?;
        if let Some(backing) = backing {
            text("backing_file", &backing)?;
        }
        if let Some(serial) = &self.serial {
            text("serial", serial)?;
        }
        let flags = [
            (self.read_only, b'r'),
            (self.sync, b's'),
            (self.shared, b'c'),
            (self.plain, b'd'),
            (self.no_discard, b't'),
        ];
        let letters: Vec<u8> = flags
            .iter()
            .filter(|(set, _)| *set)
            .map(|flag| flag.1)
            .collect();
        if !letters.is_empty() {
            claim.set("flags", &letters)?;
        }
        if self.direct {
            claim.set("direct_io", b"1")?;
        }
        for (file, bytes) in [("limit", self.limit), ("low_space", self.low_space)] {
            if let Some(bytes) = bytes {
                claim.set(file, bytes.to_string().as_bytes())?;
            }
        }
        Ok(())
    }

    /// The disk, open, if it is to go when it is closed.
    fn hold(&self, claim: &Claim) -> Result<Option<File>> {
        if !self.detach_on_close {
            return Ok(None);
        }
        let unit = claim.folder.unit;
        let disk = File::open(unit.node());
        let disk = disk.map_err(|e| format!("{unit}: its disk cannot be opened: {e}"))?;
        claim.set("detach_on_close", b"1")?;
        Ok(Some(disk))
    }
}

/// The file, and the backing file behind the first colon.
fn split(file: &OsStr) -> (OsString, Option<OsString>) {
    let mut parts = file.as_bytes().splitn(2, |byte| *byte == b':');
    let mut part = || parts.next().map(|part| OsString::from_vec(part.to_vec()));
    (
        part().unwrap_or_default(),
        part().filter(|part| !part.is_empty()),
    )
}

/// Prints the disk, at once.
fn print(unit: Unit, out: &mut Output) -> Result {
    match Status::of(unit) {
        Some(status) if out.json => out.write_json(&status.0.into())?,
        _ => writeln!(out, "{}", unit.node().display())?,
    }
    out.flush()
}

/// Keeps the disk until a signal comes, and removes the folder of the unit when that has gone.
fn wait(claim: Claim, disk: File, signals: &Signals) -> Result {
    let signal = signals.wait();
    drop(disk);
    let unit = claim.folder.unit;
    let deadline = Instant::now() + PATIENCE;
    while !claim.folder.is("detached") {
        if Instant::now() >= deadline {
            report_error(&format!(
                "{unit}: is in use, and goes when that ends; 'ubd detach {unit}' removes its folder"
            ));
            claim.keep();
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    signal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backing_file_is_behind_the_first_colon() {
        for (text, file, backing) in [
            ("a", "a", None),
            ("a:b", "a", Some("b")),
            ("a:b:c", "a", Some("b:c")),
            ("a:", "a", None),
            (":b", "", Some("b")),
        ] {
            let parts = (file.into(), backing.map(OsString::from));
            assert_eq!(split(OsStr::new(text)), parts, "{text}");
        }
    }
}
