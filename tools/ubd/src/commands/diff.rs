// SPDX-License-Identifier: GPL-2.0

//! `ubd diff`: what of a disk is in a COW file, or in those upon another one.

use crate::{
    failure::{Failure, Result},
    file::{Access, File},
    image::{self, Cow, Layer},
    json,
    output::{shown, Output},
    ranges::{self, Part},
    units::{disk, driver, unit::Unit},
};
use clap::{builder::OsStringValueParser, builder::TypedValueParser, Args};
use std::path::{Path, PathBuf};

/// Show which ranges of the disk are in a COW file, or in all that came over another one
///
/// Prints the ranges of the disk that are in COW, each on a line with its offset and its length in
/// bytes; with --json as a list of objects.
///
/// With --from, what may differ between the disks of LOWER and COW: the ranges that are in COW or in
/// a file between the two, and behind each the path of the uppermost file that has it, in JSON its
/// 'file'. LOWER is a COW file below COW, or what is below all of them. With a snapshot before each
/// backup this is what a backup has to copy since the one before.
///
/// With --unit, of the unit's own COW file, which nobody else can lock. What was written to the disk
/// before the command began is in what it prints: it is made durable first, as by 'sync'. Of what is
/// written meanwhile there may be a part. Files below are complete, as nobody writes to them. The
/// disk is opened for that; so a unit that is to go at its last close does, if nobody else has it
/// open.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd diff work.cow
  ubd diff work.cow | awk '{ n += $2 } END { print n }'
  ubd diff --from monday.cow tuesday.cow
  ubd diff --json --from tuesday.cow --unit ubda")]
pub(crate) struct Diff {
    /// All that came over this file, which is below
    #[arg(long, value_name = "LOWER")]
    from: Option<PathBuf>,
    /// The unit, by number, letters or disk: 16, q, ubdq, /dev/ubdq
    #[arg(long, value_parser = OsStringValueParser::new().try_map(Unit::parse))]
    unit: Option<Unit>,
    /// The COW file
    #[arg(required_unless_present = "unit", conflicts_with = "unit")]
    cow: Option<PathBuf>,
}

impl Diff {
    /// Prints them. They can be too many to be kept.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let top = match (self.unit, &self.cow) {
            (Some(unit), _) => File::open(&written_file(unit)?, Access::Look)?,
            (None, Some(path)) => File::open(path, Access::Read)?,
            (None, None) => return Err("no COW file".to_owned().into()),
        };
        let cows = match &self.from {
            Some(from) => cows_upon(from, top)?,
            None => vec![Cow::of(top)?],
        };
        let size = cows.first().map_or(0, |cow| cow.layout.size);
        let parts: Vec<_> = cows.iter().map(part).collect();
        let as_json = out.json;
        let mut separator = "";
        if as_json {
            write!(out, "[")?;
        }
        ranges::for_each(&parts, size, |range| {
            let (offset, length) = (range.start, range.end - range.start);
            let file = cows.get(range.part).filter(|_| self.from.is_some());
            let path = file.map(Cow::path);
            if as_json {
                let file = path.map_or(String::new(), |path| {
                    format!(", \"file\": {}", json::print(&json::path(path)))
                });
                write!(
                    out,
                    "{separator}\n  {{\"offset\": {offset}, \"length\": {length}{file}}}"
                )?;
                separator = ",";
                return Ok(());
            }
            let path = path.map_or(String::new(), |path| format!(" {}", shown(path)));
            writeln!(out, "{offset} {length}{path}")
        })?;
        if as_json {
            writeln!(out, "\n]")?;
        }
        Ok(())
    }
}

fn part(cow: &Cow) -> Part<'_, Cow> {
    Part {
        map: cow,
        shift: cow.layout.sector_shift,
        sectors: cow.layout.sectors,
    }
}

/// The COW files from `top` down to the one that is upon the file at `from`: none, if that is `top`
/// itself.
fn cows_upon(from: &Path, top: File) -> Result<Vec<Cow>> {
    let wanted = disk::identity(from)
        .ok_or_else(|| Failure::Error(format!("{}: there is no such file", shown(from))))?;
    let is_wanted = |file: &File| disk::identity(file.path()) == Some(wanted);
    let mut cows: Vec<Cow> = Vec::new();
    let mut ids = vec![top.id()?];
    let mut next = Layer::of(top)?;
    while !is_wanted(next.file()) {
        let cow = match next {
            Layer::Cow(cow) if cows.len() < image::DEPTH_MAX => cow,
            Layer::Cow(cow) => return Err(not_below(from, cow.path())),
            Layer::Raw(file) => return Err(not_below(from, file.path())),
        };
        next = image::backing(&cow, Access::Read, &ids)?;
        if let Some(why) = image::mismatch(&cow, &next)? {
            return Err(why.into());
        }
        ids.push(next.file().id()?);
        cows.push(cow);
    }
    Ok(cows)
}

/// What it comes to that the files end with the one at `last`.
fn not_below(from: &Path, last: &Path) -> Failure {
    Failure::Error(format!(
        "{}: is none of the files down to {}, the last one",
        shown(from),
        shown(last)
    ))
}

/// Where the file is that a unit writes to, with all in it that had been written to the disk.
///
/// If there is a snapshot meanwhile this file is complete, too: it is sealed then.
fn written_file(unit: Unit) -> Result<PathBuf> {
    driver::require_module()?;
    let Some(line) = disk::read(unit, "ubd/file") else {
        return Err(Failure::Error(format!("{unit}: is not attached")));
    };
    let [path, plain] = disk::paths(&line);
    File::open(&unit.node(), Access::Look)?.sync()?;
    Ok(if path.exists() { path } else { plain })
}
