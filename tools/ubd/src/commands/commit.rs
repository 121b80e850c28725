// SPDX-License-Identifier: GPL-2.0

//! `ubd commit`: one file of a COW file and what is below it.

use crate::{
    bytes,
    failure::{Failure, Result},
    file::{Access, STEP},
    image::{self, Cow, Image, Layer},
    json,
    output::{shown, shown_bytes, Output},
    progress::Progress,
    unfinished::Unfinished,
    units::{
        folder::{self, Folder},
        unit::Unit,
    },
};
use clap::Args;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

/// What is so small a part of a block of zeros that it is not left out, in bytes.
const BLOCK: usize = 4096;

/// How often it is looked how far a unit is.
const LOOK: Duration = Duration::from_millis(200);

/// Write what is in a COW file to its backing file, or the whole disk to a new file
///
/// Without --to, writes what is in COW to its backing file, which must not be a COW file, and the
/// backing file's new modification time to the header of COW, which can be used as before. Other
/// COW files over the same backing file cannot be used any more: its contents have changed under
/// them, and its modification time with them: it is another one, on stable storage, before anything
/// is written. If it is interrupted, by a crash too, the backing file has a part of the changes and
/// another modification time; 'ubd rebase --unsafe' to the same backing file and another commit
/// make it whole, because all that was to be written still is in COW. A backing file smaller than the
/// disk gets its size.
///
/// A COW file that was cut short, so that sectors which should be in it are behind its end, is
/// refused, and nothing is changed: the zeros that it reads as would take the place of what the
/// backing file has.
///
/// With --to, writes the whole disk to the new file NEW, in which blocks of zeros are holes, and
/// changes nothing else. Sectors behind the end of a COW file that was cut short are zeros in NEW,
/// as they are on the disk, and a line on standard error tells how many. Until it is complete and on
/// stable storage, the file has the name NEW.partial; a command that is killed leaves it under that
/// one, and the next one refuses to overwrite it.
///
/// If COW is a unit (ubdq or /dev/ubdq), which can be in use, the COW file below the one that it
/// writes is merged into the file below that: the reverse of 'ubd snapshot'. Nobody else may have that
/// file, a COW file or a plain one. Other COW files over it cannot be used any more, nor can those over
/// the file that was merged, which is left as it is and can be removed. The driver does it, in the
/// background, and goes on if this command is killed; the command follows it until it ends, also one
/// that goes on already. The disk has the same contents at every moment, and after a crash at any:
/// then another commit begins anew. While it goes on, the unit is not detached, nor is a snapshot
/// made of it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd commit work.cow                  # golden.img becomes what the disk is
  ubd commit --to new.img work.cow     # golden.img stays as it is
  ubd commit --rate 50M ubda           # below a unit in use
  ubd commit --cancel ubda")]
pub(crate) struct Commit {
    /// The new file for the whole disk
    #[arg(long, value_name = "NEW")]
    to: Option<PathBuf>,
    /// Of a unit: copy no more in a second, 0 for any number; also for one that goes on
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse, conflicts_with = "to")]
    rate: Option<u64>,
    /// Of a unit: end the commit that goes on, which changes nothing but the lower file
    #[arg(long, conflicts_with_all = ["to", "rate"])]
    cancel: bool,
    /// Say nothing of how far it is
    #[arg(short, long)]
    quiet: bool,
    /// The COW file, or a unit: ubdq, /dev/ubdq
    cow: PathBuf,
}

impl Commit {
    /// Writes it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        match Unit::of_disk(&self.cow) {
            Some(_) if self.to.is_some() => {
                let why = format!(
                    "{}: is a unit, for which there is no --to",
                    shown(&self.cow)
                );
                return Err(why.into());
            }
            Some(unit) => return self.run_unit(unit, out),
            None if self.rate.is_some() || self.cancel => {
                let why = format!(
                    "{}: is no unit: --rate and --cancel are for these",
                    shown(&self.cow)
                );
                return Err(why.into());
            }
            None => {}
        }
        let written = match &self.to {
            Some(to) => commit_to(&self.cow, to, self.quiet).map(|()| to.clone()),
            None => commit_down(&self.cow, self.quiet),
        }?;
        if out.json {
            let all = json!({"file": json::path(&self.cow), "written": json::path(&written)});
            out.write_json(&all)?;
        }
        Ok(())
    }
}

impl Commit {
    /// Has the driver merge files of a unit in use, and follows that; or ends it.
    fn run_unit(&self, unit: Unit, out: &mut Output) -> Result {
        let folder = folder::to_change(unit)?;
        let write = |file: &str, text: String| {
            let written = folder.write(file, text.as_bytes());
            written.map_err(|e| folder.failure("cannot be committed", &e))
        };
        if self.cancel {
            return write("commit", "0".into());
        }
        let running = is_running(&folder);
        if let Some(rate) = self.rate.or((!running).then_some(0)) {
            write("commit_rate", rate.to_string())?;
        }
        if !running {
            write("commit", "1".into())?;
        }
        let mut progress: Option<Progress> = None;
        while is_running(&folder) {
            if let Some((done, total)) = how_far(&folder).filter(|(_, total)| *total != 0) {
                let new = || Progress::new("commit", total, self.quiet);
                progress.get_or_insert_with(new).at(done);
            }
            sleep(LOOK);
        }
        let state = folder.read("commit_state").unwrap_or_default();
        if state != b"done" {
            let message = folder.read("last_error").unwrap_or_default();
            return Err(match (&*state, &*message) {
                (b"failed", [_, ..]) => Failure::Error(shown_bytes(&message)),
                _ => Failure::Error(format!("{unit}: the commit was {}", shown_bytes(&state))),
            });
        }
        // It may be done before it was seen to run.
        let (_, total) = how_far(&folder).unwrap_or_default();
        let mut progress = progress.unwrap_or_else(|| Progress::new("commit", total, self.quiet));
        progress.end();
        if out.json {
            let path = |file| json::text(&folder.read(file).unwrap_or_default());
            out.write_json(&json!({
                "unit": unit.number(),
                "disk": json::path(&unit.node()),
                "file": path("file"),
                "backing_file": path("backing_file"),
            }))?;
        }
        Ok(())
    }
}

fn is_running(folder: &Folder) -> bool {
    folder.read("commit_state").as_deref() == Some(b"running")
}

/// How many bytes are done, and how many there are.
fn how_far(folder: &Folder) -> Option<(u64, u64)> {
    let text = String::from_utf8(folder.read("commit_progress")?).ok()?;
    let (done, total) = text.split_once(' ')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}

/// Writes the whole disk to a new file.
fn commit_to(path: &Path, to: &Path, quiet: bool) -> Result {
    let top = Cow::open(path, Access::Read)?;
    let size = top.layout.size;
    // The file itself, not its raw bytes, whatever its length.
    let image = chain(top)?;
    image.tell_missing()?;
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

/// Writes what is in the COW file to its backing file, and returns where that is. The COW file stays
/// as it is, but for the mtime of the backing file, so that it can still be used.
fn commit_down(path: &Path, quiet: bool) -> Result<PathBuf> {
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
    let size = cow.layout.size;
    let grows = backing.size()? != size;
    if grows && !backing.is_regular()? {
        return Err(format!(
            "{}: is smaller than the disk, of {size} bytes, and a device cannot grow: use --to",
            shown(backing.path())
        )
        .into());
    }
    let mut progress = Progress::new("commit", size, quiet);
    let mut buf = vec![0; STEP];
    let mut touched = false;
    if grows {
        backing.touch(cow.mtime)?;
        touched = true;
        backing.set_len(size)?;
    }
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
    cow.write_header(backing.mtime()?, size, &cow.backing_file)?;
    progress.end();
    Ok(backing.path().to_owned())
}
