// SPDX-License-Identifier: GPL-2.0

//! `ubd info`: what the header of a COW file says.

use crate::{
    failure::{Failure, Result},
    file::Access,
    image::{self, Cow, Layer},
    json,
    output::{shown, shown_bytes, Output},
    ubd::cow::header::{Version, FORMAT_BITMAP, FORMAT_LARGER},
};
use clap::Args;
use serde_json::{json, Map};
use std::{io::ErrorKind, path::PathBuf};

/// Show what a COW file's header says, and how much of the disk is in it
///
/// Prints what the header says, where bitmap and data lie, how many sectors are in the COW file,
/// and how the backing file is: it matches; is a mismatch, with another size or modification time;
/// is missing; is unusable, for what is in it or the kind of file that it is; or is unknown,
/// because it is in use or may not be read.
///
/// With --json, an object. Its share_in_cow is from 0 to 1, and sectors_without_bit is greater than
/// 0 for a file of version 1 or 2 whose bitmap has no room for its last byte, which the driver
/// attaches read-only. Versions 1 and 2 have neither alignment nor cow_format.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd info work.cow
  ubd info --json work.cow | jq .sectors_in_cow")]
pub(crate) struct Info {
    /// The COW file
    cow: PathBuf,
}

impl Info {
    /// Prints it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let path = &self.cow;
        let cow = Cow::open(path, Access::Read)?;
        let layout = &cow.layout;
        let count = sectors_in_cow(&cow)?;
        let length = cow.file.size()?;
        let (state, why) = state_of_backing(&cow)?;
        let share = count as f64 / layout.sectors as f64;
        let unmapped = layout.sectors - cow.mapped_sectors();
        let (cow_format, format) = match cow.named_size {
            Some(_) => (
                FORMAT_LARGER,
                "a bitmap, of a disk larger than its backing file",
            ),
            None => (FORMAT_BITMAP, "bitmap"),
        };
        let is_v3 = matches!(cow.version, Version::V3 | Version::V3Broken);
        if out.json {
            let mut all = Map::new();
            let mut add = |key: &str, value| all.insert(key.into(), value);
            add("file", json::path(path));
            add("version", json!(cow.version.to_string()));
            add("backing_file", json::text(&cow.backing_file));
            add("backing_state", json!(state));
            add("mtime", json!(cow.mtime));
            add("size", json!(layout.size));
            add("backing_size", json!(cow.backing_size()));
            add("sector_size", json!(cow.sector_size));
            if is_v3 {
                add("alignment", json!(cow.alignment));
                add("cow_format", json!(cow_format));
            }
            add("bitmap_offset", json!(layout.bitmap_offset));
            add("bitmap_length", json!(layout.bitmap_len));
            add("data_offset", json!(layout.data_offset));
            add("file_length", json!(length));
            add("sectors", json!(layout.sectors));
            add("sectors_without_bit", json!(unmapped));
            add("sectors_in_cow", json!(count));
            let six_digits: Option<f64> = format!("{share:.6}").parse().ok();
            add("share_in_cow", json!(six_digits));
            return out.write_json(&all.into());
        }
        let state = why.map_or(state.into(), |why| format!("{state}: {why}"));
        writeln!(out, "file:           {}", shown(path))?;
        writeln!(out, "version:        {}", cow.version)?;
        writeln!(out, "backing file:   {}", shown_bytes(&cow.backing_file))?;
        writeln!(out, "                {state}")?;
        writeln!(out, "modified at:    {} (seconds since 1970)", cow.mtime)?;
        writeln!(out, "size:           {} bytes", layout.size)?;
        if let Some(size) = cow.named_size {
            writeln!(out, "                {size} of them over the backing file")?;
        }
        writeln!(out, "sector size:    {} bytes", cow.sector_size)?;
        if is_v3 {
            writeln!(out, "alignment:      {} bytes", cow.alignment)?;
            writeln!(out, "cow_format:     {cow_format} ({format})")?;
        }
        writeln!(
            out,
            "bitmap:         {} bytes at {}",
            layout.bitmap_len, layout.bitmap_offset
        )?;
        writeln!(out, "data:           at {}", layout.data_offset)?;
        writeln!(out, "file length:    {length} bytes")?;
        writeln!(
            out,
            "in the file:    {count} of {} sectors ({:.1} %)",
            layout.sectors,
            share * 100.0
        )?;
        if layout.short_of_room {
            writeln!(
                out,
                "read-only:      {unmapped} sectors have no bit in this version"
            )?;
        }
        Ok(())
    }
}

/// What there is at the place where the backing file should be.
fn state_of_backing(cow: &Cow) -> Result<(&'static str, Option<String>)> {
    let path = cow.backing_path();
    match path.metadata() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Ok(("missing", Some(format!("{}: {e}", shown(&path)))));
        }
        _ => {}
    }
    let ids = [cow.file.id()?];
    match image::backing(cow, Access::Read, &ids) {
        Ok(layer) => Ok(match image::mismatch(cow, &layer)? {
            Some(why) => ("mismatch", Some(why)),
            None => match layer {
                Layer::Cow(_) => ("matches, a COW file", None),
                Layer::Raw(_) => ("matches", None),
            },
        }),
        Err(Failure::Unusable(why)) => Ok(("unusable", Some(why))),
        // Locked, or not for this user to read.
        Err(Failure::Error(why)) => Ok(("unknown", Some(why))),
        Err(other) => Err(other),
    }
}

/// How many sectors are in the COW file.
fn sectors_in_cow(cow: &Cow) -> Result<u64> {
    let mut count = 0;
    cow.for_each_run(|start, run| {
        if run.in_cow {
            count += run.end - start;
        }
        Ok(())
    })?;
    Ok(count)
}
