// SPDX-License-Identifier: GPL-2.0

//! `ubd list`: all units.

use crate::{
    failure::{Failure, Result},
    output::{shown, Output},
    table::{Column, Table, DEFAULT},
    units::{
        disk, driver,
        status::{self, Status},
        unit::Unit,
    },
};
use clap::Args;
use serde_json::{json, Value};
use std::{collections::BTreeSet, path::PathBuf};

/// List the units that are attached or have a folder in configfs
///
/// Prints a line for each unit, with a heading. A unit that has a folder but is not attached is one
/// that somebody is about to attach, or did not remove.
///
/// Only root can read what is in configfs: others see of a unit what sysfs has.
///
/// The columns are NAME (of the disk), UNIT (its number), STATE (attached, detached, attaching,
/// detaching, resetting, snapshotting, committing or switching), HEALTH (ok, read-only or failed),
/// SIZE, USED (data in the COW file) and LIMIT in bytes, RO, DIO and CLOSE (1 for read-only, direct
/// I/O and detach-on-close), FLAGS, SERIAL, MAJ:MIN, FILE, BACKING (all files below it) and ERROR (why it
/// could not be attached or detached).
///
/// With --json, a list of objects as 'ubd show' prints them; with --output they have the members
/// of those columns only.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd list
  ubd list -n -o NAME,FILE
  ubd list -j golden.img         # who uses it?
  ubd list -f                    # the next unit that 'ubd attach' takes
  ubd list --json | jq -r '.[] | select(.health == \"failed\") | .disk'")]
pub(crate) struct List {
    /// The columns, with a comma between each two: NAME, UNIT, STATE, HEALTH, SIZE, USED, LIMIT, RO,
    /// DIO, CLOSE, FLAGS, SERIAL, MAJ:MIN, FILE, BACKING, ERROR
    #[arg(short, long, value_name = "COLUMNS", value_delimiter = ',', value_parser = Column::parse)]
    output: Vec<Column>,
    /// All columns
    #[arg(short = 'O', long, conflicts_with = "output")]
    output_all: bool,
    /// No heading
    #[arg(short, long)]
    noheadings: bool,
    /// Only units that use this file, as their own or below it
    #[arg(short = 'j', long = "associated", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the disk of the first unit that nobody has, and nothing else
    #[arg(short, long, conflicts_with_all = ["output", "output_all", "file"])]
    find: bool,
}

impl List {
    /// Prints them.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        if self.find {
            driver::require()?;
            return print_first(driver::first_unused(&BTreeSet::new())?, out);
        }
        driver::require_module()?;
        let columns = match self.output.as_slice() {
            [] if self.output_all => Column::ALL.to_vec(),
            [] => DEFAULT.to_vec(),
            some => some.to_vec(),
        };
        let units = self.units()?;
        let with_used = columns.contains(&Column::Used);
        // What goes meanwhile is not listed.
        let found = units.into_iter().filter_map(|unit| {
            if with_used {
                Status::with_used(unit)
            } else {
                Status::of(unit)
            }
        });
        if !out.json {
            let mut table = Table::new(columns, !self.noheadings);
            found.for_each(|status| table.add(&status));
            return write!(out, "{table}");
        }
        let whole = self.output.is_empty();
        let objects = found.map(|mut status| {
            if !whole {
                status
                    .0
                    .retain(|key, _| columns.iter().any(|column| column.key() == key));
            }
            Value::Object(status.0)
        });
        out.write_json(&objects.collect())
    }

    /// Those that are to be listed.
    fn units(&self) -> Result<Vec<Unit>> {
        let units = driver::units().into_iter();
        let Some(path) = &self.file else {
            return Ok(units.collect());
        };
        let Some(identity) = disk::identity(path) else {
            return Err(Failure::Error(format!(
                "{}: there is no such file",
                shown(path)
            )));
        };
        Ok(units.filter(|unit| status::uses(*unit, identity)).collect())
    }
}

fn print_first(unit: Unit, out: &mut Output) -> Result {
    let disk = unit.node();
    if out.json {
        return out.write_json(&json!({"unit": unit.number(), "disk": disk}));
    }
    writeln!(out, "{}", disk.display())
}
