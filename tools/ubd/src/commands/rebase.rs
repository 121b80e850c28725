// SPDX-License-Identifier: GPL-2.0

//! `ubd rebase`: another backing file.

use crate::{
    failure::Result,
    file::{absolute, Access, File, STEP},
    image::{self, Cow, Image, Layer},
    json,
    output::{shown, Output},
    progress::Progress,
    units::{disk, folder, unit::Unit},
};
use clap::Args;
use serde_json::json;
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Give a COW file another backing file
///
/// The path of BACKING, made absolute, and its modification time are written to the header of COW.
/// Its size must be that in the header, or the disk's, if this is larger. The old and the new backing file are compared where they
/// show through COW, and if they differ, nothing is changed. With --unsafe the old one is not looked
/// at, and need not exist.
///
/// After a crash the header has the old path and time or the new ones. Where they cannot change at
/// once, there is a state between the two, in which the header names '/': between two long paths,
/// and in version 2 if path and time both change. Such a file is refused, and 'ubd rebase --unsafe'
/// gives it a backing file.
///
/// COW can be a unit (ubdq or /dev/ubdq), which can be in use: its COW file gets the other backing
/// file while it is, which is for a golden image that has moved. Then all of the old and the new one
/// are compared.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd rebase work.cow /new/place/golden.img
  ubd rebase --unsafe work.cow golden.img   # its time has changed, what is in it has not
  ubd rebase ubda /new/place/golden.img     # while it is in use")]
pub(crate) struct Rebase {
    /// Do not compare the new backing file with the old one
    #[arg(long = "unsafe")]
    blind: bool,
    /// Say nothing of how far it is
    #[arg(short, long)]
    quiet: bool,
    /// The COW file, or a unit: ubdq, /dev/ubdq
    cow: PathBuf,
    /// The new backing file
    backing: PathBuf,
}

impl Rebase {
    /// Changes the header.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        match Unit::of_disk(&self.cow) {
            Some(unit) => rebase_unit(unit, &self.backing, self.blind, self.quiet)?,
            None => rebase(&self.cow, &self.backing, self.blind, self.quiet)?,
        }
        if out.json {
            let backing = json::path(&absolute(&self.backing)?);
            out.write_json(&json!({"file": json::path(&self.cow), "backing_file": backing}))?;
        }
        Ok(())
    }
}

fn rebase(path: &Path, backing: &Path, blind: bool, quiet: bool) -> Result {
    let cow = Cow::open(path, Access::Write)?;
    let ids = [cow.file.id()?];
    image::refuse_cycle(backing, &ids)?;
    let old_path = cow.backing_path();
    let same = is_same(&old_path, backing);
    let size = cow.backing_size();
    let mut layer = Layer::open_below(backing, Access::Read, size)?;
    if layer.disk_size()? != size && cow.named_size.is_some() {
        // One that has the whole size of the disk is as good.
        layer = Layer::open_below(backing, Access::Read, cow.layout.size)?;
    }
    let new_size = layer.disk_size()?;
    if new_size != size && (cow.named_size.is_none() || new_size != cow.layout.size) {
        return Err(format!(
            "{}: has {new_size} bytes, but the COW file is for {size}",
            shown(backing)
        )
        .into());
    }
    let mtime = layer.file().mtime()?;
    let new_path = absolute(backing)?;
    let new = Image::of(layer, 1, &ids)?;
    if !blind {
        if same {
            // One file under two names has the same content; whether it is the one that the
            // header means is another matter.
            if new_size != size || !cow.is_time_of(new.layers[0].file())? {
                return Err(format!(
                    "{}: was modified at {mtime}, the COW header says {}: there is nothing to \
                     compare it with, and only --unsafe would take it",
                    shown(backing),
                    cow.mtime
                )
                .into());
            }
        } else {
            let old = image::backing(&cow, Access::Read, &ids)?;
            if let Some(why) = image::mismatch(&cow, &old)? {
                return Err(why.into());
            }
            compare(&cow, &Image::of(old, 1, &ids)?, &new, quiet)?;
        }
    }
    cow.write_header(mtime, new_size, new_path.as_os_str().as_bytes())
}

/// Has the driver give a unit in use another backing file.
fn rebase_unit(unit: Unit, backing: &Path, blind: bool, quiet: bool) -> Result {
    let folder = folder::to_change(unit)?;
    let old_path = folder.read("backing_file").unwrap_or_default();
    let old_path = Path::new(OsStr::from_bytes(&old_path));
    let lines = disk::read(unit, "ubd/backing_file").unwrap_or_default();
    if !blind && !old_path.as_os_str().is_empty() && !is_same(old_path, backing) {
        // The last one is plain, whatever it begins with.
        let old = match lines.contains(&b'\n') {
            true => Layer::open(old_path, Access::Read)?,
            false => Layer::Raw(File::open(old_path, Access::Read)?),
        };
        let size = old.disk_size()?;
        let new = Layer::open_below(backing, Access::Read, size)?;
        if new.disk_size()? != size {
            let why = "has another size than the backing file that there is";
            return Err(format!("{}: {why}", shown(backing)).into());
        }
        let (old, new) = (Image::of(old, 1, &[])?, Image::of(new, 1, &[])?);
        let mut comparison = Comparison::new(&old, &new, size, quiet);
        comparison.range(0, size)?;
        comparison.progress.end();
    }
    let path = absolute(backing)?;
    let switched = folder.write("switch", path.as_os_str().as_bytes());
    switched.map_err(|e| folder.failure("cannot be switched to another backing file", &e))
}

fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Returns an error at the first difference between two disks where they show through `cow`.
fn compare(cow: &Cow, old: &Image, new: &Image, quiet: bool) -> Result {
    let mut comparison = Comparison::new(old, new, cow.layout.size, quiet);
    cow.for_each_run(|start, run| {
        let (at, end) = cow.bytes_of(start, run.end);
        match run.in_cow {
            true => Ok(()),
            false => comparison.range(at, end),
        }
    })?;
    comparison.progress.end();
    Ok(())
}

/// Two disks that are compared.
struct Comparison<'a> {
    old: &'a Image,
    new: &'a Image,
    progress: Progress,
    buffers: [Vec<u8>; 2],
}

impl<'a> Comparison<'a> {
    fn new(old: &'a Image, new: &'a Image, size: u64, quiet: bool) -> Self {
        Self {
            old,
            new,
            progress: Progress::new("compare", size, quiet),
            buffers: [vec![0; STEP], vec![0; STEP]],
        }
    }

    /// Returns an error at the first difference in these bytes.
    fn range(&mut self, mut at: u64, end: u64) -> Result {
        let [a, b] = &mut self.buffers;
        while at < end {
            self.progress.at(at);
            let n = (end - at).min(STEP as u64) as usize;
            self.old.read(&mut a[..n], at)?;
            self.new.read(&mut b[..n], at)?;
            if let Some(i) = (0..n).find(|i| a[*i] != b[*i]) {
                return Err(format!(
                    "the backing files differ at byte {}, which is not in the COW file: nothing \
                     is changed",
                    at + i as u64
                )
                .into());
            }
            at += n as u64;
        }
        Ok(())
    }
}
