// SPDX-License-Identifier: GPL-2.0

//! `ubd snapshot`: a new COW file over the files of a unit in use.

use crate::{
    bytes,
    failure::Result,
    json,
    output::Output,
    units::{folder, freeze::AllFrozen, unit::Unit},
};
use clap::{builder::OsStringValueParser, builder::TypedValueParser, Args};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Keep what a unit has now, and write on to a new COW file
///
/// The unit is attached, and can be in use. What it has written so far is made durable and stays as
/// it is, in the file that was written; the new file is a COW file over that. Other units can have
/// the old file as their backing file, too. A plain image gets its first COW file so. The unit has
/// to be attached by the new file from then on: with the old one it would not have what was written
/// since, and what is written to that one would spoil the new file.
///
/// With --size the disk grows meanwhile: what lies beyond the old file reads as zeros, see 'ubd create
/// --size'. The file system on it is grown by what is made for that, as resize2fs.
///
/// A file that is there is not overwritten, unless it is empty. There can be 8 COW files upon each
/// other.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd snapshot ubda work.2.cow
  ubd snapshot --size 20G ubda work.3.cow && resize2fs /dev/ubda
  ubd snapshot --freeze ubda work.4.cow && ubd attach clone.cow:work.3.cow")]
pub(crate) struct Snapshot {
    /// Freeze the file systems on the disk meanwhile
    ///
    /// What is in the old file is then what they have after an unmount, and needs no repair. They
    /// are thawed whatever happens. Those on its partitions, too; but not those on something that is
    /// made of the disk, as a volume or an encrypted disk. Takes fsfreeze of util-linux.
    #[arg(long)]
    freeze: bool,
    /// Bytes that the disk is to have then, in which K, M, G and T can be used: no fewer than it has
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse)]
    size: Option<u64>,
    /// The unit, by number, letters or disk: 16, q, ubdq, /dev/ubdq
    #[arg(value_parser = OsStringValueParser::new().try_map(Unit::parse))]
    unit: Unit,
    /// The new COW file
    file: PathBuf,
}

impl Snapshot {
    /// Makes it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let folder = folder::to_change(self.unit)?;
        let frozen = match self.freeze {
            true => Some(AllFrozen::new(self.unit, &self.file)?),
            false => None,
        };
        let size = |size: u64| folder.write("size", size.to_string().as_bytes());
        if let Some(wanted) = self.size {
            size(wanted).map_err(|e| folder.failure("its disk cannot grow", &e))?;
        }
        let made = folder.write("snapshot", self.file.as_os_str().as_bytes());
        if self.size.is_some() && made.is_err() {
            // Not to be in the way of the next one.
            let _ = size(0);
        }
        let mount_points = frozen.iter().flat_map(AllFrozen::mount_points);
        let mount_points: Vec<_> = mount_points.map(json::path).collect();
        drop(frozen);
        made.map_err(|e| folder.failure("no snapshot could be made", &e))?;
        if out.json {
            let (unit, file) = (self.unit, folder.read("file").unwrap_or_default());
            let backing = folder.read("backing_file").unwrap_or_default();
            let path = |name: &[u8]| json::path(Path::new(OsStr::from_bytes(name)));
            out.write_json(&serde_json::json!({
                "unit": unit.number(),
                "disk": unit.node(),
                "file": path(&file),
                "backing_file": path(&backing),
                "frozen": mount_points,
            }))?;
        }
        Ok(())
    }
}
