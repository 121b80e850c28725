// SPDX-License-Identifier: GPL-2.0

//! `ubd detach`: disks go.

use crate::{
    failure::{Failure, Result},
    output::{report_error, Output},
    units::{
        claim::{PATIENCE, PAUSE},
        driver, folder,
        unit::Unit,
    },
};
use clap::{builder::OsStringValueParser, builder::TypedValueParser, Args};
use serde_json::{json, Value};
use std::{io::ErrorKind, thread, time::Instant};

/// Flush units, detach them, and remove their folders
///
/// A unit that is in use stays as it is: its disk or a partition is open, mounted, used as swap, or
/// below another device. As udev looks at each new disk for a moment, that is tried again for a
/// second. If a unit cannot be flushed it stays as well, with all that is not on disk yet. The other
/// units are detached all the same.
///
/// With --all, units that lie upon others go first. Folders of units that are not attached are
/// removed, too: with those that somebody is about to attach, which fails then.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd detach ubda
  ubd detach 0 1 /dev/ubdq
  ubd detach --all && modprobe -r rnull_ubd")]
pub(crate) struct Detach {
    /// All units
    #[arg(short, long, conflicts_with = "units")]
    all: bool,
    /// The units, by number, letters or disk: 16, q, ubdq, /dev/ubdq
    #[arg(value_name = "UNIT", required_unless_present = "all",
        value_parser = OsStringValueParser::new().try_map(Unit::parse))]
    units: Vec<Unit>,
}

/// Why a unit is not detached.
enum NotYet {
    /// It is in use now.
    Busy(Failure),
    /// To try again would not help.
    Never(Failure),
}

impl Detach {
    /// Detaches them.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        driver::require()?;
        let mut left: Vec<_> = match self.all {
            true => driver::units().into_iter().collect(),
            false => self.units.clone(),
        };
        left.sort();
        left.dedup();
        let mut done = Vec::new();
        let mut failed = false;
        let deadline = Instant::now() + PATIENCE;
        while !left.is_empty() {
            let before = done.len();
            // From the last one on: it is likelier to lie upon the first than the other way round.
            let mut busy = Vec::new();
            for unit in left.into_iter().rev() {
                match detach(unit) {
                    Ok(()) => done.push(unit),
                    Err(NotYet::Busy(why)) => busy.push((unit, why)),
                    Err(NotYet::Never(why)) => failed |= said(&why),
                }
            }
            if done.len() == before && Instant::now() >= deadline {
                failed |= busy.iter().fold(false, |any, (_, why)| said(why) || any);
                break;
            }
            left = busy.into_iter().rev().map(|(unit, _)| unit).collect();
            if done.len() == before && !left.is_empty() {
                thread::sleep(PAUSE);
            }
        }
        if out.json {
            done.sort();
            let objects = done
                .iter()
                .map(|unit| json!({"unit": unit.number(), "disk": unit.node()}));
            out.write_json(&objects.collect::<Value>())?;
        }
        if failed {
            return Err(Failure::Said);
        }
        Ok(())
    }
}

/// Says why, and returns true.
fn said(why: &Failure) -> bool {
    if let Failure::Error(text) = why {
        report_error(text);
    }
    true
}

fn detach(unit: Unit) -> std::result::Result<(), NotYet> {
    let (folder, made) = folder::find_or_make(unit).map_err(NotYet::Never)?;
    // To remove the folder would be enough, but says nothing of a flush that fails.
    let written = folder.write("power", b"0");
    written.and_then(|()| folder.remove()).map_err(|e| {
        let why = folder.failure("cannot be detached", &e);
        if made {
            // It was not there before. As the unit is in use it may have to stay.
            let _ = folder.remove();
        }
        match e.kind() {
            ErrorKind::ResourceBusy => NotYet::Busy(why),
            _ => NotYet::Never(why),
        }
    })
}
