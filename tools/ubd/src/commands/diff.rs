// SPDX-License-Identifier: GPL-2.0

//! `ubd diff`: what of a disk is in a COW file.

use crate::{failure::Result, file::Access, image::Cow, output::Output};
use clap::Args;
use std::path::PathBuf;

/// Show which ranges of the disk are in a COW file
///
/// Prints the ranges of the disk that are in COW, each on a line with its offset and its length in
/// bytes; with --json as a list of objects.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd diff work.cow
  ubd diff work.cow | awk '{ n += $2 } END { print n }'")]
pub(crate) struct Diff {
    /// The COW file
    cow: PathBuf,
}

impl Diff {
    /// Prints them. They can be too many to be kept.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let as_json = out.json;
        let cow = Cow::open(&self.cow, Access::Read)?;
        let mut separator = "";
        if as_json {
            write!(out, "[")?;
        }
        cow.for_each_run(|start, run| {
            let (at, end) = cow.bytes_of(start, run.end);
            let length = end - at;
            match (run.in_cow, as_json) {
                (false, _) => Ok(()),
                (true, false) => writeln!(out, "{at} {length}"),
                (true, true) => {
                    write!(
                        out,
                        "{separator}\n  {{\"offset\": {at}, \"length\": {length}}}"
                    )?;
                    separator = ",";
                    Ok(())
                }
            }
        })?;
        if as_json {
            writeln!(out, "\n]")?;
        }
        Ok(())
    }
}
