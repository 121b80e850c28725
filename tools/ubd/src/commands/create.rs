// SPDX-License-Identifier: GPL-2.0

//! `ubd create`: a new COW file.

use crate::{
    bytes,
    difference::{differing, runs},
    failure::Result,
    file::{absolute, Access, File, STEP},
    image::{self, Image, Layer},
    json,
    output::{report_error, shown, Output},
    progress::Progress,
    ubd::cow::{
        header::{Header, Version},
        layout::Layout,
    },
    unfinished::Unfinished,
};
use clap::Args;
use serde_json::json;
use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Make a COW file over a backing file
///
/// Makes COW over BACKING, of version 3. The file must not exist. Sectors have 512 bytes, and bitmap
/// and data are aligned to 4096, unless the options say otherwise: a sector size is a power of two
/// from 512 to 65536, and the driver takes it up to the page size of its machine; an alignment is a
/// multiple of 512. A BACKING that is a COW file gives the size of its disk, and a warning, because
/// User-mode Linux cannot use such a pair.
///
/// With --size, the disk is larger than BACKING, and what lies beyond that reads as zeros. Such a file
/// is marked, and says how large BACKING must be; User-mode Linux refuses it, and so do programs that
/// know nothing of the mark.
///
/// With --diff, COW has all sectors in which the disk NEW differs from BACKING, and no other, so
/// that COW over BACKING shows what NEW does. NEW is a plain image or a COW file, and must have the
/// size of BACKING, or that of --size; neither is changed.
///
/// With --allocate, COW has blocks for the whole disk, with zeros that nobody reads, so that first
/// writes cost a file system no more than others. That takes as much space as the disk, and as much
/// time as to write it, or none where the device can make zeros without writing them. It changes
/// nothing of what is in the disk.
///
/// Until it is complete and on stable storage, the file has the name COW.partial; a command that is
/// killed leaves it under that one, and the next one refuses to overwrite it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd create work.cow golden.img
  ubd create --size 20G large.cow golden.img
  ubd create --allocate fast.cow golden.img
  ubd create --diff update.cow golden.img new-golden.img")]
pub(crate) struct Create {
    /// Bytes in a sector, of which the COW file has all or none
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    sector_size: u32,
    /// Bytes to which bitmap and data are aligned
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    alignment: u32,
    /// Bytes in the disk, in which K, M, G and T can be used: as many as in BACKING, or more
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse)]
    size: Option<u64>,
    /// Have the disk be NEW, by what differs from BACKING
    #[arg(long, requires = "new")]
    diff: bool,
    /// Take the space of the whole disk now
    #[arg(long)]
    allocate: bool,
    /// Say nothing of how far --diff or --allocate is
    #[arg(short, long)]
    quiet: bool,
    /// The new COW file
    cow: PathBuf,
    /// Its backing file
    backing: PathBuf,
    /// What the disk is to be, with --diff
    #[arg(requires = "diff")]
    new: Option<PathBuf>,
}

impl Create {
    /// Makes it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let count = self.create()?;
        if out.json {
            out.write_json(&json!({
                "file": json::path(&self.cow),
                "backing_file": json::path(&absolute(&self.backing)?),
                "sectors_in_cow": count,
            }))?;
        }
        Ok(())
    }

    /// Makes it, and returns how many sectors are in it.
    fn create(&self) -> Result<u64> {
        let (path, backing) = (&self.cow, &self.backing);
        let backing_path = absolute(backing)?;
        let layer = Layer::open(backing, Access::Read)?;
        let backing_size = layer.disk_size()?;
        let size = self.size.unwrap_or(backing_size);
        if size < backing_size {
            return Err(format!(
                "{}: has {backing_size} bytes, and a disk over it cannot have less: {size}",
                shown(backing)
            )
            .into());
        }
        if let Layer::Cow(cow) = &layer {
            if cow.file.size()? == backing_size {
                return Err(format!(
                    "{}: its length and its disk's are the same, {backing_size} bytes: a COW file \
                     over it could not say which is meant",
                    shown(backing)
                )
                .into());
            }
            report_error(&format!(
                "{}: is a COW file: UML cannot use one over it",
                shown(backing)
            ));
        }
        let header = Header {
            version: Version::V3,
            mtime: layer.file().mtime()?,
            size,
            backing_size: Some(backing_size).filter(|_| size > backing_size),
            sector_size: self.sector_size,
            alignment: self.alignment,
            backing_file: backing_path.as_os_str().as_bytes(),
        };
        let layout = Layout::new(&header, image::SECTOR_SIZE_MAX)
            .map_err(|e| format!("{}: {e}", shown(path)))?;
        // Whether what is below can be used.
        let old = Image::of(layer, 1, &[])?;
        let whose = match header.backing_size {
            Some(_) => "the disk is to have",
            None => "the backing file has",
        };
        let new = match &self.new {
            Some(new) => Some(open_new(new, size, whose)?),
            None => None,
        };
        let made = Unfinished::create(path)?;
        made.file.set_len(layout.file_len())?;
        if self.allocate {
            allocate(&made.file, &layout, self.quiet)?;
        }
        let count = match new {
            Some(new) => write_difference(&made.file, &layout, &old, &new, self.quiet)?,
            None => 0,
        };
        // The header comes last: only with all else in place is this a COW file.
        made.file.sync()?;
        image::write_header(&made.file, None, &header)?;
        made.finish()?;
        Ok(count)
    }
}

/// The disk that a new COW file of `size` bytes is to be.
fn open_new(path: &Path, size: u64, whose: &str) -> Result<Image> {
    let layer = Layer::open(path, Access::Read)?;
    let new_size = layer.disk_size()?;
    if new_size != size {
        return Err(format!("{}: has {new_size} bytes, but {whose} {size}", shown(path)).into());
    }
    let new = Image::of(layer, 0, &[])?;
    new.tell_missing()?;
    Ok(new)
}

/// Gives all of the disk its blocks.
fn allocate(file: &File, layout: &Layout, quiet: bool) -> Result {
    let mut progress = Progress::new("allocate", layout.size, quiet);
    let (start, end) = (layout.data_offset, layout.file_len());
    file.allocate(start, end, |at| progress.at(at - start))?;
    progress.end();
    Ok(())
}

/// Writes the sectors in which `new` differs from `old`, and their bits. Returns how many.
fn write_difference(
    file: &File,
    layout: &Layout,
    old: &Image,
    new: &Image,
    quiet: bool,
) -> Result<u64> {
    let mut progress = Progress::new("create", layout.size, quiet);
    let (mut a, mut b) = (vec![0; STEP], vec![0; STEP]);
    let sector = 1 << layout.sector_shift;
    let mut count = 0;
    let mut at = 0;
    while at < layout.size {
        progress.at(at);
        let n = (layout.size - at).min(STEP as u64) as usize;
        let (a, b) = (&mut a[..n], &mut b[..n]);
        old.read(a, at)?;
        new.read(b, at)?;
        let bits = differing(a, b, sector);
        for (start, end) in runs(&bits) {
            count += (end - start) as u64;
            let (start, end) = (start * sector, (end * sector).min(n));
            let to = layout.data_offset + at + start as u64;
            file.write(&b[start..end], to)?;
        }
        if bits.iter().any(|byte| *byte != 0) {
            // A step has 16 sectors or more, so its bits begin with a byte.
            let to = layout.bitmap_offset + (at >> layout.sector_shift) / 8;
            file.write(&bits, to)?;
        }
        at += n as u64;
    }
    progress.end();
    Ok(count)
}
