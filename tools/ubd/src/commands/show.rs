// SPDX-License-Identifier: GPL-2.0

//! `ubd show`: one unit.

use crate::{
    failure::{Failure, Result},
    output::Output,
    units::{driver, status::Status, unit::Unit},
};
use clap::{builder::OsStringValueParser, builder::TypedValueParser, Args};

/// Show all that is known of a unit
///
/// What it is attached with, how it is, and why it could not be attached or detached the last time,
/// a line each; with --json an object. What the unit has not, as the size of one that is not
/// attached, is left out; in the object it is null.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd show ubda
  ubd show --json 0 | jq .used")]
pub(crate) struct Show {
    /// The unit, by number, letters or disk: 16, q, ubdq, /dev/ubdq
    #[arg(value_parser = OsStringValueParser::new().try_map(Unit::parse))]
    unit: Unit,
}

impl Show {
    /// Prints it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        driver::require_module()?;
        let Some(status) = Status::with_used(self.unit) else {
            return Err(Failure::Error(format!("{}: is not attached", self.unit)));
        };
        if out.json {
            return out.write_json(&status.0.into());
        }
        for key in status.0.keys() {
            let cell = status.cell(key);
            if !cell.is_empty() {
                let name = format!("{}:", key.replace('_', " "));
                writeln!(out, "{name:16} {cell}")?;
            }
        }
        Ok(())
    }
}
