// SPDX-License-Identifier: GPL-2.0

//! What the program can do.

use crate::file::{about, sync_name, Access, File, Unfinished, STEP};
use crate::image::{self, Cow, Image, Layer};
use crate::output::{json, report_error, shown, shown_bytes, Output, Progress};
use crate::ubd::cow::{
    header::{Header, Version},
    layout::Layout,
};
use crate::{Failure, Result};
use std::{
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The cow_format of every version 3 header that can be parsed: no other is known.
const COW_FORMAT: u32 = 0;

/// What is so small a part of a block of zeros that it is not left out, in bytes.
const BLOCK: usize = 4096;

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

pub(crate) fn info(path: &Path, as_json: bool, out: &mut Output) -> Result {
    let cow = Cow::open(path, Access::Read)?;
    let layout = &cow.layout;
    let count = sectors_in_cow(&cow)?;
    let length = cow.file.size()?;
    let (state, why) = state_of_backing(&cow)?;
    let share = count as f64 / layout.sectors as f64;
    let unmapped = layout.sectors - cow.mapped_sectors();
    let is_v3 = matches!(cow.version, Version::V3 | Version::V3Broken);
    if as_json {
        let version = cow.version.to_string();
        writeln!(out, "{{")?;
        writeln!(out, "  \"file\": {},", json(path.as_os_str().as_bytes()))?;
        writeln!(out, "  \"version\": {},", json(version.as_bytes()))?;
        writeln!(out, "  \"backing_file\": {},", json(&cow.backing_file))?;
        writeln!(out, "  \"backing_state\": {},", json(state.as_bytes()))?;
        writeln!(out, "  \"mtime\": {},", cow.mtime)?;
        writeln!(out, "  \"size\": {},", layout.size)?;
        writeln!(out, "  \"sector_size\": {},", cow.sector_size)?;
        if is_v3 {
            writeln!(out, "  \"alignment\": {},", cow.alignment)?;
            writeln!(out, "  \"cow_format\": {COW_FORMAT},")?;
        }
        writeln!(out, "  \"bitmap_offset\": {},", layout.bitmap_offset)?;
        writeln!(out, "  \"bitmap_length\": {},", layout.bitmap_len)?;
        writeln!(out, "  \"data_offset\": {},", layout.data_offset)?;
        writeln!(out, "  \"file_length\": {length},")?;
        writeln!(out, "  \"sectors\": {},", layout.sectors)?;
        writeln!(out, "  \"sectors_without_bit\": {unmapped},")?;
        writeln!(out, "  \"sectors_in_cow\": {count},")?;
        writeln!(out, "  \"share_in_cow\": {share:.6}")?;
        return writeln!(out, "}}");
    }
    let state = why.map_or(state.into(), |why| format!("{state}: {why}"));
    writeln!(out, "file:           {}", shown(path))?;
    writeln!(out, "version:        {}", cow.version)?;
    writeln!(out, "backing file:   {}", shown_bytes(&cow.backing_file))?;
    writeln!(out, "                {state}")?;
    writeln!(out, "modified at:    {} (seconds since 1970)", cow.mtime)?;
    writeln!(out, "size:           {} bytes", layout.size)?;
    writeln!(out, "sector size:    {} bytes", cow.sector_size)?;
    if is_v3 {
        writeln!(out, "alignment:      {} bytes", cow.alignment)?;
        writeln!(out, "cow_format:     {COW_FORMAT} (bitmap)")?;
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

/// The path of a file for a header, absolute.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    about(path, "has no absolute path", path.canonicalize())
}

pub(crate) fn create(path: &Path, backing: &Path, sector_size: u32, alignment: u32) -> Result {
    let backing_path = absolute(backing)?;
    let layer = Layer::open(backing, Access::Read)?;
    let size = layer.disk_size()?;
    if let Layer::Cow(cow) = &layer {
        if cow.file.size()? == size {
            return Err(format!(
                "{}: its length and its disk's are the same, {size} bytes: a COW file over it \
                 could not say which is meant",
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
        sector_size,
        alignment,
        backing_file: backing_path.as_os_str().as_bytes(),
    };
    let layout = Layout::new(&header, image::SECTOR_SIZE_MAX)
        .map_err(|e| format!("{}: {e}", shown(path)))?;
    // Whether what is below can be used.
    Image::of(layer, 1, &[])?;
    let file = File::open(path, Access::Create)?;
    let made = (|| {
        file.set_len(layout.file_len())?;
        // The header comes last: only with all else in place is this a COW file.
        file.sync()?;
        image::write_header(&file, None, &header)?;
        sync_name(path)
    })();
    if made.is_err() {
        // It is new, and of no use to anyone.
        let _ = std::fs::remove_file(path);
    }
    made
}

pub(crate) fn commit(path: &Path, to: Option<&Path>, quiet: bool) -> Result {
    match to {
        Some(to) => commit_to(path, to, quiet),
        None => commit_down(path, quiet),
    }
}

/// Writes the whole disk to a new file.
fn commit_to(path: &Path, to: &Path, quiet: bool) -> Result {
    let top = Cow::open(path, Access::Read)?;
    let size = top.layout.size;
    // The file itself, not its raw bytes, whatever its length.
    let image = chain(top)?;
    for layer in &image.layers {
        let Layer::Cow(cow) = layer else { continue };
        if let Some(why) = cow.missing_data()? {
            report_error(&format!("{why}: they are zeros, as on the disk"));
        }
    }
    let new = Unfinished::create(to)?;
    new.file.set_len(size)?;
    let mut progress = Progress::new("commit", size, quiet);
    let mut buf = vec![0; STEP];
    let mut at = 0;
    while at < size {
        progress.at(at);
        let n = (size - at).min(STEP as u64) as usize;
        image.read(&mut buf[..n], at)?;
        for (i, block) in buf[..n].chunks(BLOCK).enumerate() {
            if block.iter().any(|c| *c != 0) {
                new.file.write(block, at + (i * BLOCK) as u64)?;
            }
        }
        at += n as u64;
    }
    new.finish()?;
    progress.end();
    Ok(())
}

/// The disk of a COW file.
fn chain(top: Cow) -> Result<Image> {
    let ids = [top.file.id()?];
    let layer = image::backing(&top, Access::Read, &ids)?;
    if let Some(why) = image::mismatch(&top, &layer)? {
        return Err(why.into());
    }
    let mut image = Image::of(layer, 1, &ids)?;
    image.layers.insert(0, Layer::Cow(top));
    Ok(image)
}

/// Writes what is in the COW file to its backing file. The COW file stays as it is, but for the
/// mtime of the backing file, so that it can still be used.
fn commit_down(path: &Path, quiet: bool) -> Result {
    let cow = Cow::open(path, Access::Write)?;
    let layer = image::backing(&cow, Access::Write, &[cow.file.id()?])?;
    if let Some(why) = image::mismatch(&cow, &layer)? {
        return Err(why.into());
    }
    let Layer::Raw(backing) = layer else {
        return Err(format!(
            "{}: is a COW file itself, into which nothing is committed: use --to",
            shown(layer.file().path())
        )
        .into());
    };
    // What the file has lost reads as zeros. On the disk that may do, but the backing file still has
    // what was there before.
    if let Some(why) = cow.missing_data()? {
        return Err(format!("{why}: nothing is committed").into());
    }
    let mut progress = Progress::new("commit", cow.layout.size, quiet);
    let mut buf = vec![0; STEP];
    let mut touched = false;
    cow.for_each_run(|start, run| {
        let (mut at, end) = cow.bytes_of(start, run.end);
        while run.in_cow && at < end {
            if !touched {
                // Before any of the data can be there: a crash must not leave a part of it under the
                // time that other COW files expect.
                backing.touch(cow.mtime)?;
                touched = true;
            }
            progress.at(at);
            let n = (end - at).min(STEP as u64) as usize;
            cow.file.read(&mut buf[..n], cow.layout.data_offset + at)?;
            backing.write(&buf[..n], at)?;
            at += n as u64;
        }
        Ok(())
    })?;
    backing.sync()?;
    cow.write_header(backing.mtime()?, &cow.backing_file)?;
    progress.end();
    Ok(())
}

pub(crate) fn rebase(path: &Path, backing: &Path, blind: bool, quiet: bool) -> Result {
    let cow = Cow::open(path, Access::Write)?;
    let size = cow.layout.size;
    let ids = [cow.file.id()?];
    image::refuse_cycle(backing, &ids)?;
    let old_path = cow.backing_path();
    let same = is_same(&old_path, backing);
    let layer = Layer::open_below(backing, Access::Read, size)?;
    let new_size = layer.disk_size()?;
    if new_size != size {
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
            if !new.layers[0].file().is_of_time(cow.mtime)? {
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
    cow.write_header(mtime, new_path.as_os_str().as_bytes())
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
    let mut progress = Progress::new("compare", cow.layout.size, quiet);
    let (mut a, mut b) = (vec![0; STEP], vec![0; STEP]);
    cow.for_each_run(|start, run| {
        let (mut at, end) = cow.bytes_of(start, run.end);
        while !run.in_cow && at < end {
            progress.at(at);
            let n = (end - at).min(STEP as u64) as usize;
            old.read(&mut a[..n], at)?;
            new.read(&mut b[..n], at)?;
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
    })?;
    progress.end();
    Ok(())
}

pub(crate) fn diff(path: &Path, as_json: bool, out: &mut Output) -> Result {
    let cow = Cow::open(path, Access::Read)?;
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
