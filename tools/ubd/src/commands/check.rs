// SPDX-License-Identifier: GPL-2.0

//! `ubd check`: what is wrong with a COW file and with what is below it.

use crate::{
    failure::{Failure, Result},
    file::{Access, File, STEP},
    image::{self, Cow, Layer},
    json,
    output::{shown, Output},
    ubd::cow::header::Header,
};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// How far beside the bitmap UML writes, in bytes: it writes two words of its machine at a time, of
/// which the second can end behind the bitmap, and the first lie before one that is a word long.
const UML_WORD: u64 = 8;

/// Find what is wrong with a COW file and with what is below it
///
/// Finds headers with impossible values, a file that is shorter than its bitmap or than the data
/// that the bitmap says it has, bits behind the last sector, bytes that are not zero between header,
/// bitmap and data, a backing file that is missing or has another size or modification time, and
/// circles; in COW and in all COW files below it. Nothing is changed.
///
/// Up to 8 bytes on either side of the bitmap may be other than zero: User-mode Linux writes whole
/// words there. A line that begins with 'note:' says so, and is no finding. Neither is a file that
/// is in use or may not be read, but it ends the check with exit status 1, because nobody knows
/// whether it is good. With findings the exit status is 2.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd check work.cow
  ubd check --json work.cow | jq -r '.problems[]'")]
pub(crate) struct Check {
    /// The COW file
    cow: PathBuf,
}

impl Check {
    /// Prints what is found. Returns [`Failure::Inconsistent`] if there is something.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let mut findings = Findings {
            out,
            problems: Vec::new(),
            notes: Vec::new(),
        };
        check(&self.cow, &mut findings)?;
        let Findings {
            out,
            problems,
            notes,
        } = findings;
        if out.json {
            let file = json::path(&self.cow);
            let all = json!({"file": file, "problems": problems, "notes": notes});
            even_unread(out.write_json(&all))?;
        } else if problems.is_empty() {
            even_unread(writeln!(out, "{}: no problem found", shown(&self.cow)))?;
        }
        match problems.as_slice() {
            [] => Ok(()),
            _ => Err(Failure::Inconsistent),
        }
    }
}

/// The exit code tells those who do not read.
fn even_unread(result: Result) -> Result {
    match result {
        Err(Failure::Unread) => Ok(()),
        result => result,
    }
}

/// What has been found.
struct Findings<'a> {
    out: &'a mut Output,
    problems: Vec<String>,
    notes: Vec<String>,
}

impl Findings<'_> {
    /// Says what is wrong.
    fn problem(&mut self, text: String) -> Result {
        self.say(&text)?;
        self.problems.push(text);
        Ok(())
    }

    /// Says something that is not wrong.
    fn note(&mut self, text: String) -> Result {
        self.say(&format!("note: {text}"))?;
        self.notes.push(text);
        Ok(())
    }

    fn say(&mut self, text: &str) -> Result {
        if self.out.json {
            return Ok(());
        }
        even_unread(writeln!(self.out, "{text}"))
    }
}

/// Checks a COW file and all that are below it. What cannot be looked at is an error, and not a
/// finding: it may be good.
fn check(path: &Path, findings: &mut Findings<'_>) -> Result {
    let mut next = Layer::of(File::open(path, Access::Read)?);
    let mut ids = Vec::new();
    // Kept, because a file that is closed is not locked any more.
    let mut upper: Vec<Cow> = Vec::new();
    loop {
        let layer = match next {
            Err(Failure::Unusable(why)) => {
                findings.problem(why)?;
                break;
            }
            result => result?,
        };
        ids.push(layer.file().id()?);
        if let Some(upper) = upper.last() {
            if let Some(why) = image::mismatch(upper, &layer)? {
                findings.problem(why)?;
            }
        }
        let Layer::Cow(cow) = layer else {
            if upper.is_empty() {
                return Err(format!("{}: is no COW file", shown(path)).into());
            }
            break;
        };
        check_one(&cow, findings)?;
        next = image::backing(&cow, Access::Read, &ids);
        upper.push(cow);
    }
    if upper.len() > image::DEPTH_MAX {
        findings.problem(format!(
            "{}: {} COW files upon each other, the limit is {}",
            shown(path),
            upper.len(),
            image::DEPTH_MAX
        ))?;
    }
    Ok(())
}

/// Checks what is in one COW file.
fn check_one(cow: &Cow, findings: &mut Findings<'_>) -> Result {
    let path = shown(cow.path());
    let layout = &cow.layout;
    if let Some(why) = cow.missing_data()? {
        findings.problem(why)?;
    }
    let extra = extra_bits(cow)?;
    if extra > 0 {
        findings.problem(format!(
            "{path}: {extra} bits of the bitmap are set for sectors behind the last, {}",
            layout.sectors - 1
        ))?;
    }
    let header_len = Header {
        version: cow.version,
        mtime: 0,
        size: 0,
        backing_size: cow.named_size,
        sector_size: 0,
        alignment: 0,
        backing_file: b"",
    }
    .len() as u64;
    let bitmap = layout.bitmap_offset;
    let bitmap_end = bitmap + layout.bitmap_len;
    let before = bitmap.saturating_sub(UML_WORD).max(header_len);
    let behind = (bitmap_end + UML_WORD).min(layout.data_offset);
    for (start, end, what) in [
        (header_len, before, "the header and the bitmap"),
        (behind, layout.data_offset, "the bitmap and the data"),
    ] {
        let stray = stray_bytes(&cow.file, start, end)?;
        if stray > 0 {
            findings.problem(format!("{path}: {stray} bytes between {what} are not zero"))?;
        }
    }
    let stray =
        stray_bytes(&cow.file, before, bitmap)? + stray_bytes(&cow.file, bitmap_end, behind)?;
    if stray > 0 {
        findings.note(format!(
            "{path}: {stray} bytes beside the bitmap are not zero: UML writes whole words"
        ))?;
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
