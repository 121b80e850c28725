// SPDX-License-Identifier: GPL-2.0

//! COW files and what is behind them, by the driver's rules.

use crate::ubd::{
    cow::{
        header::{self, Header, Version},
        layout::Layout,
        other_time,
        replace::{self, SWITCHING},
    },
    engine::plan::{self, Run, SectorMap},
};
use crate::{
    failure::{Failure, Result},
    file::{Access, File},
    output::{report_error, shown},
};
use std::{
    cell::RefCell,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The largest sector size that any kernel takes, in bytes: the largest page.
pub(crate) const SECTOR_SIZE_MAX: u32 = 65536;

/// How many COW files may lie upon each other.
pub(crate) const DEPTH_MAX: usize = 8;

/// How much of a bitmap is read at a time, in bytes.
const CHUNK: u64 = 1 << 20;

/// A COW file.
pub(crate) struct Cow {
    pub(crate) file: File,
    pub(crate) version: Version,
    pub(crate) mtime: u32,
    /// The size of the backing file's disk in bytes, if the header says that it is smaller.
    pub(crate) named_size: Option<u64>,
    /// Another time that the backing file may have, see [`other_time`].
    pub(crate) other_mtime: Option<u32>,
    pub(crate) sector_size: u32,
    pub(crate) alignment: u32,
    pub(crate) backing_file: Vec<u8>,
    pub(crate) layout: Layout,
    chunk: RefCell<Chunk>,
}

/// A part of a bitmap.
struct Chunk {
    number: u64,
    bytes: Vec<u8>,
}

/// A file that a disk's bytes are in.
pub(crate) enum Layer {
    Cow(Cow),
    Raw(File),
}

impl Layer {
    /// The file at `path`, as a COW file if it is one.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        Self::of(File::open(path, access)?)
    }

    /// The file at `path` as a backing file whose disk has `size` bytes.
    ///
    /// Its raw length comes first, as in the driver: if that is the size, its raw bytes are meant,
    /// whatever they begin with.
    pub(crate) fn open_below(path: &Path, access: Access, size: u64) -> Result<Self> {
        let file = File::open(path, access)?;
        if file.size()? == size {
            return Ok(Layer::Raw(file));
        }
        Self::of(file)
    }

    /// Returns [`Failure::Unusable`] if `file` begins as a COW file does, but is no good one.
    pub(crate) fn of(file: File) -> Result<Self> {
        let mut bytes = vec![0; header::LEN_MAX];
        let len = file.read(&mut bytes, 0)?;
        let wrong =
            |e: &dyn std::fmt::Display| Failure::Unusable(format!("{}: {e}", shown(file.path())));
        let Some(header) = header::parse(&bytes[..len]).map_err(|e| wrong(&e))? else {
            return Ok(Layer::Raw(file));
        };
        let layout = Layout::new(&header, SECTOR_SIZE_MAX).map_err(|e| wrong(&e))?;
        let (size, needed) = (file.size()?, layout.bitmap_offset + layout.bitmap_len);
        if size < needed {
            let why = format!("has {size} bytes, but its bitmap ends at {needed}");
            return Err(wrong(&why));
        }
        Ok(Layer::Cow(Cow {
            version: header.version,
            mtime: header.mtime,
            named_size: header.backing_size,
            other_mtime: other_time::of(&bytes[..len], &header),
            sector_size: header.sector_size,
            alignment: header.alignment,
            backing_file: header.backing_file.to_vec(),
            layout,
            file,
            chunk: RefCell::new(Chunk {
                number: u64::MAX,
                bytes: Vec::new(),
            }),
        }))
    }

    pub(crate) fn file(&self) -> &File {
        match self {
            Layer::Cow(cow) => &cow.file,
            Layer::Raw(file) => file,
        }
    }

    /// The size of the disk that this is, in bytes.
    pub(crate) fn disk_size(&self) -> Result<u64> {
        match self {
            Layer::Cow(cow) => Ok(cow.layout.size),
            Layer::Raw(file) => file.size(),
        }
    }
}

impl Cow {
    /// The COW file at `path`.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        Self::of(File::open(path, access)?)
    }

    /// The COW file that `file` is.
    pub(crate) fn of(file: File) -> Result<Self> {
        match Layer::of(file)? {
            Layer::Cow(cow) => Ok(cow),
            Layer::Raw(file) => Err(format!("{}: is no COW file", shown(file.path())).into()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Where the backing file is: a relative path starts from the folder of the COW file itself.
    pub(crate) fn backing_path(&self) -> PathBuf {
        let named = Path::new(OsStr::from_bytes(&self.backing_file));
        match self.path().canonicalize() {
            Ok(own) if named.is_relative() => own.with_file_name("").join(named),
            _ => named.to_owned(),
        }
    }

    /// The size that the disk of the backing file must have, in bytes.
    pub(crate) fn backing_size(&self) -> u64 {
        self.named_size.unwrap_or(self.layout.size)
    }

    /// Writes the header with other values for what a switch of the backing file changes. Its disk
    /// has `backing_size` bytes: those that it had, or as many as that of this file.
    pub(crate) fn write_header(
        &self,
        mtime: u32,
        backing_size: u64,
        backing_file: &[u8],
    ) -> Result {
        let old = Header {
            version: self.version,
            mtime: self.mtime,
            size: self.layout.size,
            backing_size: self.named_size,
            sector_size: self.sector_size,
            alignment: self.alignment,
            backing_file: &self.backing_file,
        };
        let new = Header {
            mtime,
            backing_size: self.named_size.filter(|_| backing_size != self.layout.size),
            backing_file,
            ..old
        };
        write_header(&self.file, Some(&old), &new)?;
        if let Some(stale) = old.len().checked_sub(new.len()).filter(|len| *len > 0) {
            self.file.write(&vec![0; stale], new.len() as u64)?;
            self.file.sync()?;
        }
        Ok(())
    }

    /// Whether `file` has not been modified since it became the backing file, but by a commit of a
    /// unit in use, which the header tells of.
    pub(crate) fn is_time_of(&self, file: &File) -> Result<bool> {
        let other = self
            .other_mtime
            .map_or(Ok(false), |time| file.is_of_time(time));
        Ok(file.is_of_time(self.mtime)? || other?)
    }

    /// The sector behind the last one that has a bit.
    pub(crate) fn mapped_sectors(&self) -> u64 {
        self.layout.mapped_sectors()
    }

    fn load(&self, number: u64) -> Result {
        let mut chunk = self.chunk.borrow_mut();
        if chunk.number == number {
            return Ok(());
        }
        let start = number.saturating_mul(CHUNK);
        let len = self.layout.bitmap_len.saturating_sub(start).min(CHUNK);
        chunk.bytes.clear();
        // Zeros behind the end, for the last word.
        chunk.bytes.resize(CHUNK as usize, 0);
        let at = self.layout.bitmap_offset + start;
        if self.file.next_data(at).is_some_and(|data| data < at + len) {
            self.file.read(&mut chunk.bytes[..len as usize], at)?;
        }
        chunk.number = number;
        Ok(())
    }

    /// Word `index` of the bitmap as it is in the file, with whatever is beyond the last sector.
    pub(crate) fn raw_word(&self, index: u64) -> Result<u64> {
        let at = index.saturating_mul(8);
        self.load(at / CHUNK)?;
        let chunk = self.chunk.borrow();
        let bytes = chunk.bytes.get((at % CHUNK) as usize..);
        let word = bytes.and_then(|bytes| bytes.first_chunk());
        Ok(word.map_or(0, |word| u64::from_le_bytes(*word)))
    }

    /// Calls `each` with the first sector and the one behind the last of every run.
    pub(crate) fn for_each_run(&self, mut each: impl FnMut(u64, Run) -> Result) -> Result {
        let mut at = 0;
        while at < self.layout.sectors {
            let run = plan::run(self, at, self.layout.sectors)?;
            each(at, run)?;
            at = run.end;
        }
        Ok(())
    }

    /// Returns what is missing, if there are sectors that should be in the file, but whose data
    /// would lie behind its end.
    pub(crate) fn missing_data(&self) -> Result<Option<String>> {
        let length = self.file.size()?;
        let mut missing = 0;
        let mut first_missing = None;
        self.for_each_run(|start, run| {
            let (_, end) = self.bytes_of(start, run.end);
            if run.in_cow && self.layout.data_offset + end > length {
                // A part of the last sector of all is enough.
                let whole = length.saturating_sub(self.layout.data_offset);
                let from = start.max(whole >> self.layout.sector_shift);
                missing += run.end - from;
                first_missing.get_or_insert(from);
            }
            Ok(())
        })?;
        Ok(first_missing.map(|first| {
            format!(
                "{}: {missing} sectors from {first} on should be in the file, but it ends at \
                 {length}",
                shown(self.path())
            )
        }))
    }

    /// The bytes of the disk from sector `start` up to `end`; the last sector may be a part.
    pub(crate) fn bytes_of(&self, start: u64, end: u64) -> (u64, u64) {
        let shift = self.layout.sector_shift;
        (start << shift, (end << shift).min(self.layout.size))
    }
}

impl SectorMap for Cow {
    type Error = Failure;

    fn word(&self, index: u64) -> Result<u64> {
        let left = self.layout.sectors.saturating_sub(index.saturating_mul(64));
        let known = if left < 64 { (1 << left) - 1 } else { u64::MAX };
        Ok(self.raw_word(index)? & known)
    }
}

/// Puts `new` in the place of the header `old` of `file`, and makes it durable.
pub(crate) fn write_header(file: &File, old: Option<&Header<'_>>, new: &Header<'_>) -> Result {
    let wrong = |e| format!("{}: {e}", shown(file.path()));
    let mut buf = vec![0; header::LEN_MAX];
    for step in replace::steps(old, new).map_err(wrong)? {
        file.write(step.bytes(&mut buf).map_err(wrong)?, step.offset())?;
        file.sync()?;
    }
    Ok(())
}

/// Returns why `layer` is not the backing file that `cow`'s header speaks of, if it is not.
pub(crate) fn mismatch(cow: &Cow, layer: &Layer) -> Result<Option<String>> {
    let (size, mtime) = (layer.disk_size()?, layer.file().mtime()?);
    let path = shown(layer.file().path());
    let cow_path = shown(cow.path());
    if size != cow.backing_size() {
        return Ok(Some(format!(
            "{cow_path}: its header says that its backing file has {} bytes, but {path} has {size}",
            cow.backing_size()
        )));
    }
    if !cow.is_time_of(layer.file())? {
        return Ok(Some(format!(
            "{cow_path}: its header says that its backing file was modified at {}, but {path} was \
             at {mtime}",
            cow.mtime
        )));
    }
    Ok(None)
}

/// Files upon each other that are a disk.
pub(crate) struct Image {
    pub(crate) layers: Vec<Layer>,
}

impl Image {
    /// What `top` is the first of: `above` is how many COW files are upon it, and `ids` are those
    /// files.
    pub(crate) fn of(top: Layer, above: usize, ids: &[(u64, u64)]) -> Result<Self> {
        let mut ids = ids.to_vec();
        let mut layers = vec![top];
        while let Some(Layer::Cow(cow)) = layers.last() {
            let number = above + layers.len();
            if number > DEPTH_MAX {
                return Err(format!(
                    "{}: is COW file number {number} upon each other, the limit is {DEPTH_MAX}",
                    shown(cow.path())
                )
                .into());
            }
            ids.push(cow.file.id()?);
            let layer = backing(cow, Access::Read, &ids)?;
            if let Some(why) = mismatch(cow, &layer)? {
                return Err(why.into());
            }
            layers.push(layer);
        }
        Ok(Self { layers })
    }

    /// Says which sectors are missing in files that were cut short.
    pub(crate) fn tell_missing(&self) -> Result {
        for layer in &self.layers {
            let Layer::Cow(cow) = layer else { continue };
            if let Some(why) = cow.missing_data()? {
                report_error(&format!("{why}: they are zeros, as on the disk"));
            }
        }
        Ok(())
    }

    /// Fills `buf` with the disk's bytes at `pos`.
    pub(crate) fn read(&self, buf: &mut [u8], pos: u64) -> Result {
        let mut done = 0;
        while done < buf.len() {
            let at = pos + done as u64;
            let mut end = pos + buf.len() as u64;
            let mut is_beyond = false;
            for layer in &self.layers {
                let (file, offset) = match layer {
                    Layer::Raw(file) => (file, at),
                    Layer::Cow(_) if is_beyond => continue,
                    Layer::Cow(cow) => {
                        let shift = cow.layout.sector_shift;
                        let behind = cow.layout.sectors << shift;
                        if at >= behind {
                            // Zeros, as what the last file lacks, which is no longer than any disk
                            // over it. In between there may be a last sector that is longer.
                            is_beyond = true;
                            continue;
                        }
                        end = end.min(behind);
                        let last = (end - 1) >> shift;
                        let run = plan::run(cow, at >> shift, last + 1)?;
                        if run.end <= last {
                            end = run.end << shift;
                        }
                        if !run.in_cow {
                            continue;
                        }
                        (&cow.file, cow.layout.data_offset + at)
                    }
                };
                let n = (end - at) as usize;
                file.read(&mut buf[done..done + n], offset)?;
                done += n;
                break;
            }
        }
        Ok(())
    }
}

/// Opens the backing file of `cow`, which is none of the files that `ids` are.
pub(crate) fn backing(cow: &Cow, access: Access, ids: &[(u64, u64)]) -> Result<Layer> {
    if cow.backing_file == SWITCHING {
        return Err(Failure::Unusable(format!(
            "{}: names no backing file, because a switch to another one was not finished: rebase \
             --unsafe gives it one",
            shown(cow.path())
        )));
    }
    let path = cow.backing_path();
    refuse_cycle(&path, ids)?;
    Layer::open_below(&path, access, cow.backing_size())
}

/// Before a file is opened a second time, which its own lock may refuse for a reason that misleads.
pub(crate) fn refuse_cycle(path: &Path, ids: &[(u64, u64)]) -> Result {
    use std::os::unix::fs::MetadataExt;

    match std::fs::metadata(path) {
        Ok(found) if ids.contains(&(found.dev(), found.ino())) => Err(Failure::Unusable(format!(
            "{}: is a backing file of itself",
            shown(path)
        ))),
        _ => Ok(()),
    }
}
