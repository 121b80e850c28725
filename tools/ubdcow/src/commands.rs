// SPDX-License-Identifier: GPL-2.0

//! What the program can do.

use crate::file::{Access, File};
use crate::image::{self, Cow, Image, Layer};
use crate::ubd::cow::{
    header::{Header, Version},
    layout::Layout,
};
use crate::{Failure, Result};
use std::{
    io::{self, BufWriter, IsTerminal, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How much is copied or compared at a time, in bytes.
const STEP: usize = 1 << 20;

/// What is so small a part of a block of zeros that it is not left out, in bytes.
const BLOCK: usize = 4096;

/// How far a long command has come, on a line of its own.
struct Progress {
    what: &'static str,
    total: u64,
    shown: Option<Instant>,
    quiet: bool,
}

impl Progress {
    fn new(what: &'static str, total: u64, quiet: bool) -> Self {
        Self {
            what,
            total,
            shown: None,
            quiet,
        }
    }

    fn at(&mut self, done: u64) {
        let interval = if io::stderr().is_terminal() {
            100
        } else {
            2000
        };
        let due = self
            .shown
            .is_none_or(|shown| shown.elapsed() >= Duration::from_millis(interval));
        if !self.quiet && due {
            self.show(done, false);
            self.shown = Some(Instant::now());
        }
    }

    fn end(&mut self) {
        if !self.quiet {
            self.show(self.total, true);
        }
    }

    fn show(&self, done: u64, last: bool) {
        let share = (u128::from(done) * 100).checked_div(u128::from(self.total));
        let share = share.unwrap_or(100);
        let text = format!("{}: {share} %, {done} of {} bytes", self.what, self.total);
        if !io::stderr().is_terminal() {
            eprintln!("{text}");
        } else if last {
            eprintln!("\r\x1b[K{text}");
        } else {
            eprint!("\r\x1b[K{text}");
        }
    }
}

/// A string of JSON. What is not UTF-8 shows as U+FFFD.
fn json(text: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A path for people, in which nothing can move a cursor.
fn shown(path: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(path).chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

/// What there is at the place where the backing file should be.
fn state_of_backing(cow: &Cow) -> Result<(&'static str, Option<String>)> {
    let path = cow.backing_path();
    if let Err(e) = path.metadata() {
        return Ok(("missing", Some(format!("{}: {e}", path.display()))));
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
        Err(Failure::Error(why)) => Ok(("unusable", Some(why))),
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

pub(crate) fn info(path: &Path, as_json: bool) -> Result {
    let cow = Cow::open(path, Access::Read)?;
    let layout = &cow.layout;
    let count = sectors_in_cow(&cow)?;
    let length = cow.file.size()?;
    let (state, why) = state_of_backing(&cow)?;
    let share = count as f64 * 100.0 / layout.sectors as f64;
    let aligned = matches!(cow.version, Version::V3 | Version::V3Broken);
    if as_json {
        println!("{{");
        println!("  \"file\": {},", json(path.as_os_str().as_bytes()));
        println!(
            "  \"version\": {},",
            json(cow.version.to_string().as_bytes())
        );
        println!("  \"backing_file\": {},", json(&cow.backing_file));
        println!("  \"backing_state\": {},", json(state.as_bytes()));
        println!("  \"mtime\": {},", cow.mtime);
        println!("  \"size\": {},", layout.size);
        println!("  \"sector_size\": {},", cow.sector_size);
        if aligned {
            println!("  \"alignment\": {},", cow.alignment);
        }
        println!("  \"bitmap_offset\": {},", layout.bitmap_offset);
        println!("  \"bitmap_length\": {},", layout.bitmap_len);
        println!("  \"data_offset\": {},", layout.data_offset);
        println!("  \"file_length\": {length},");
        println!("  \"sectors\": {},", layout.sectors);
        println!(
            "  \"sectors_without_bit\": {},",
            layout.sectors - cow.mapped_sectors()
        );
        println!("  \"sectors_in_cow\": {count}");
        println!("}}");
        return Ok(());
    }
    println!("file:           {}", path.display());
    println!("version:        {}", cow.version);
    println!("backing file:   {}", shown(&cow.backing_file));
    println!(
        "                {}",
        why.map_or(state.into(), |why| format!("{state}: {why}"))
    );
    println!("modified at:    {} (seconds since 1970)", cow.mtime);
    println!("size:           {} bytes", layout.size);
    println!("sector size:    {} bytes", cow.sector_size);
    if aligned {
        println!("alignment:      {} bytes", cow.alignment);
    }
    println!(
        "bitmap:         {} bytes at {}",
        layout.bitmap_len, layout.bitmap_offset
    );
    println!("data:           at {}", layout.data_offset);
    println!("file length:    {length} bytes");
    println!(
        "in the file:    {count} of {} sectors ({share:.1} %)",
        layout.sectors
    );
    if layout.short_of_room {
        println!(
            "read-only:      {} sectors have no bit in this version",
            layout.sectors - cow.mapped_sectors()
        );
    }
    Ok(())
}

/// The path of a file for a header, absolute.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    crate::file::about(path, "has no absolute path", path.canonicalize())
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
                backing.display()
            )
            .into());
        }
        eprintln!(
            "ubdcow: {}: is a COW file: UML cannot use one over it",
            backing.display()
        );
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
        .map_err(|e| format!("{}: {e}", path.display()))?;
    // Whether what is below can be used.
    Image::of(layer, size, 1, &[])?;
    let file = File::open(path, Access::Create)?;
    let made = (|| {
        file.set_len(layout.file_len())?;
        // The header comes last: only with all else in place is this a COW file.
        file.sync()?;
        image::write_header(&file, &header)
    })();
    if made.is_err() {
        // It is new, and of no use to anyone.
        let _ = std::fs::remove_file(path);
    }
    made
}

pub(crate) fn check(path: &Path) -> Result {
    let mut problems = 0;
    let mut problem = |text: String| {
        println!("{text}");
        problems += 1;
    };
    let mut next = path.to_owned();
    let mut ids = Vec::new();
    // Kept, because a file that is closed is not locked any more.
    let mut upper: Vec<Cow> = Vec::new();
    loop {
        let layer = image::refuse_cycle(&next, &ids).and_then(|()| {
            let layer = Layer::open(&next, Access::Read)?;
            match upper.last() {
                Some(upper) => layer.for_size(upper.layout.size),
                None => Ok(layer),
            }
        });
        let layer = match layer {
            Ok(layer) => layer,
            // The file to be checked must be there, and free.
            Err(Failure::Error(why)) if !upper.is_empty() || is_about_contents(&next) => {
                problem(why);
                break;
            }
            Err(e) => return Err(e),
        };
        ids.push(layer.file().id()?);
        if let Some(upper) = upper.last() {
            if let Some(why) = image::mismatch(upper, &layer)? {
                problem(why);
            }
        }
        let Layer::Cow(cow) = layer else {
            if upper.is_empty() {
                return Err(format!("{}: is no COW file", path.display()).into());
            }
            break;
        };
        check_one(&cow, &mut problem)?;
        next = cow.backing_path();
        upper.push(cow);
    }
    if upper.len() > image::DEPTH_MAX {
        problem(format!(
            "{}: {} COW files upon each other, the limit is {}",
            path.display(),
            upper.len(),
            image::DEPTH_MAX
        ));
    }
    if problems > 0 {
        return Err(Failure::Inconsistent);
    }
    println!("{}: no problem found", path.display());
    Ok(())
}

/// Whether a file that could not be taken can be opened and locked all the same.
fn is_about_contents(path: &Path) -> bool {
    File::open(path, Access::Read).is_ok()
}

/// Checks what is in one COW file.
fn check_one(cow: &Cow, problem: &mut impl FnMut(String)) -> Result {
    let path = cow.path().display();
    let layout = &cow.layout;
    let length = cow.file.size()?;
    let mut missing = 0;
    let mut first_missing = None;
    cow.for_each_run(|start, run| {
        if run.in_cow {
            let (_, end) = cow.bytes_of(start, run.end);
            if layout.data_offset + end > length {
                // A part of the last sector of all is enough.
                let whole = length.saturating_sub(layout.data_offset) >> layout.sector_shift;
                let from = start.max(whole);
                missing += run.end - from;
                first_missing.get_or_insert(from);
            }
        }
        Ok(())
    })?;
    if let Some(first) = first_missing {
        problem(format!(
            "{path}: {missing} sectors from {first} on should be in the file, but it ends at \
             {length}"
        ));
    }
    let extra = extra_bits(cow)?;
    if extra > 0 {
        problem(format!(
            "{path}: {extra} bits of the bitmap are set for sectors behind the last, {}",
            layout.sectors - 1
        ));
    }
    let header_len = Header {
        version: cow.version,
        mtime: 0,
        size: 0,
        sector_size: 0,
        alignment: 0,
        backing_file: b"",
    }
    .len() as u64;
    for (start, end, what) in [
        (
            header_len,
            layout.bitmap_offset,
            "the header and the bitmap",
        ),
        (
            layout.bitmap_offset + layout.bitmap_len,
            layout.data_offset,
            "the bitmap and the data",
        ),
    ] {
        let stray = stray_bytes(&cow.file, start, end)?;
        if stray > 0 {
            problem(format!("{path}: {stray} bytes between {what} are not zero"));
        }
    }
    Ok(())
}

/// How many bits are set in the bitmap that no sector has.
fn extra_bits(cow: &Cow) -> Result<u64> {
    let (sectors, end) = (cow.layout.sectors, cow.layout.bitmap_len.saturating_mul(8));
    let mut extra = 0;
    for index in sectors / 64..end.div_ceil(64) {
        let known = sectors.saturating_sub(index * 64).min(64);
        let word = cow.raw_word(index)?;
        extra += u64::from(word.checked_shr(known as u32).unwrap_or(0).count_ones());
    }
    Ok(extra)
}

/// How many bytes from `start` up to `end` are not zero.
fn stray_bytes(file: &File, start: u64, end: u64) -> Result<u64> {
    let mut stray = 0;
    let mut buf = vec![0; STEP];
    let mut at = start;
    while let Some(data) = file.next_data(at).filter(|data| *data < end) {
        at = data.max(at);
        let n = (end - at).min(STEP as u64) as usize;
        file.read(&mut buf[..n], at)?;
        stray += buf[..n].iter().filter(|c| **c != 0).count() as u64;
        at += n as u64;
        if at >= end {
            break;
        }
    }
    Ok(stray)
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
    let file = File::open(to, Access::Create)?;
    let copied = (|| {
        file.set_len(size)?;
        let mut progress = Progress::new("commit", size, quiet);
        let mut buf = vec![0; STEP];
        let mut at = 0;
        while at < size {
            progress.at(at);
            let n = (size - at).min(STEP as u64) as usize;
            image.read(&mut buf[..n], at)?;
            for (i, block) in buf[..n].chunks(BLOCK).enumerate() {
                if block.iter().any(|c| *c != 0) {
                    file.write(block, at + (i * BLOCK) as u64)?;
                }
            }
            at += n as u64;
        }
        file.sync()?;
        progress.end();
        Ok(())
    })();
    if copied.is_err() {
        let _ = std::fs::remove_file(to);
    }
    copied
}

/// The disk of a COW file.
fn chain(top: Cow) -> Result<Image> {
    let size = top.layout.size;
    let ids = [top.file.id()?];
    let layer = image::backing(&top, Access::Read, &ids)?;
    if let Some(why) = image::mismatch(&top, &layer)? {
        return Err(why.into());
    }
    let mut image = Image::of(layer, size, 1, &ids)?;
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
            layer.file().path().display()
        )
        .into());
    };
    let mut progress = Progress::new("commit", cow.layout.size, quiet);
    let mut buf = vec![0; STEP];
    cow.for_each_run(|start, run| {
        let (mut at, end) = cow.bytes_of(start, run.end);
        while run.in_cow && at < end {
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
    let layer = Layer::open(backing, Access::Read)?.for_size(size)?;
    let new_size = layer.disk_size()?;
    if new_size != size {
        return Err(format!(
            "{}: has {new_size} bytes, but the COW file is for {size}",
            backing.display()
        )
        .into());
    }
    let mtime = layer.file().mtime()?;
    let new_path = absolute(backing)?;
    let new = Image::of(layer, size, 1, &ids)?;
    if !blind {
        if same {
            // One file under two names has the same content; whether it is the one that the
            // header means is another matter.
            if mtime != cow.mtime {
                return Err(format!(
                    "{}: was modified at {mtime}, the COW header says {}: there is nothing to \
                     compare it with, and only --unsafe would take it",
                    backing.display(),
                    cow.mtime
                )
                .into());
            }
        } else {
            let old = image::backing(&cow, Access::Read, &ids)?;
            if let Some(why) = image::mismatch(&cow, &old)? {
                return Err(why.into());
            }
            compare(&cow, &Image::of(old, size, 1, &ids)?, &new, quiet)?;
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

pub(crate) fn diff(path: &Path, as_json: bool) -> Result {
    let cow = Cow::open(path, Access::Read)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut separator = "";
    let mut print = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text)
            .map_err(|e| Failure::Error(format!("output: {e}")))
    };
    if as_json {
        print(format_args!("["))?;
    }
    cow.for_each_run(|start, run| {
        let (at, end) = cow.bytes_of(start, run.end);
        match (run.in_cow, as_json) {
            (false, _) => Ok(()),
            (true, false) => print(format_args!("{at} {}\n", end - at)),
            (true, true) => {
                print(format_args!(
                    "{separator}\n  {{\"offset\": {at}, \"length\": {}}}",
                    end - at
                ))?;
                separator = ",";
                Ok(())
            }
        }
    })?;
    if as_json {
        print(format_args!("\n]\n"))?;
    }
    Ok(())
}
