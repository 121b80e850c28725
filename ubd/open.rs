// SPDX-License-Identifier: GPL-2.0

//! Opens the files that an option names: plain images, COW files and what is behind them.
//!
//! Follows `open_ubd_file()` and `create_cow_file()` of the C driver in what a user sees.

use crate::ubd::{
    cow::header::{self, Header, Version},
    cow::layout::Layout,
    cow::replace::{self, SECTOR, SWITCHING},
    image::{Image, Layer, Map},
    kernel::file::{Access, File},
    options::{letter, Brief, Flags, Options},
};
use kernel::{
    block::SECTOR_SIZE,
    fmt,
    page::PAGE_SIZE,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The sector size of a COW file that is made here, in bytes.
const NEW_SECTOR_SIZE: u32 = 512;

/// The alignment of bitmap and data of a COW file that is made here, in bytes.
const NEW_ALIGNMENT: u32 = 4096;

/// How many COW files may lie upon each other.
const DEPTH_MAX: usize = 8;

/// The longest path, with its terminating zero, in bytes.
const PATH_MAX: usize = 4096;

/// What tells one file from another: its device and its inode number.
type Id = (u32, u64);

/// The device and the option text, for messages: `ubda: ubd0=file`. Of long fields their start and
/// their end, as in [`Brief`].
pub(crate) struct Label<'a>(pub(crate) &'a Options<'a>);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options) = self;
        let Options { unit, flags, .. } = options;
        let letter = letter(*unit);
        let file = Brief(options.file);
        f.write_fmt(fmt!("ubd{letter}: ubd{unit}{flags}={file}"))?;
        if options.backing.is_some() || options.serial.is_some() {
            f.write_fmt(fmt!(",{}", Brief(options.backing.unwrap_or_default())))?;
        }
        if let Some(serial) = options.serial {
            f.write_fmt(fmt!(",{}", Brief(serial)))?;
        }
        Ok(())
    }
}

/// Opens the files of a unit as `options` says, and says in the kernel log what was done on the
/// way, or what failed.
///
/// A backing file's path in a COW header, if it is relative, starts from the folder of the COW
/// file itself. With the module parameter `trust_header` off, no file is opened but those in
/// `options`. With `direct` the files are used past the page cache, if they all can be.
///
/// May sleep. Sees files as the calling task does. Returns what opening a file does; `EAGAIN` or
/// `EACCES` for a file that another process has locked; `EINVAL` for files that can't be used.
pub(crate) fn open(options: &Options<'_>, direct: bool) -> Result<Arc<Image>> {
    Opening {
        label: Label(options),
        flags: options.flags,
        trust_header: crate::module_parameters::trust_header.value(),
        direct,
        upper: KVec::new(),
        read_only: options.flags.read_only,
    }
    .open(options)
}

struct Opening<'a> {
    label: Label<'a>,
    flags: Flags,
    trust_header: bool,
    /// Whether the files are to be used past the page cache.
    direct: bool,
    /// The COW files that are open, none of which can be its own backing file.
    upper: KVec<Id>,
    read_only: bool,
}

/// What a COW header says, apart from the bytes it was read from.
struct Cow {
    version: Version,
    mtime: u32,
    sector_size: u32,
    alignment: u32,
    backing_path: KVec<u8>,
    layout: Layout,
}

impl Cow {
    fn size(&self) -> u64 {
        self.layout.size
    }
}

/// An open backing file, and its header if it is attached as a COW file.
struct Backing {
    file: File,
    path: KVec<u8>,
    cow: Option<Cow>,
}

/// What a file is to a COW file that has a disk of some size.
enum Fit {
    /// Its raw bytes are as many.
    Raw,
    /// It is a COW file whose disk has that size.
    Cow(Cow),
    /// It is no backing file for that. Has the size of its disk, if it is a COW file.
    No(Option<u64>),
}

impl Opening<'_> {
    fn open(mut self, options: &Options<'_>) -> Result<Arc<Image>> {
        let path = options.file;
        let file = match (self.open_top(path), options.backing) {
            (Ok(file), _) => file,
            (Err(e), Some(backing)) if e == ENOENT && !self.read_only => {
                return self.create(None, path, backing);
            }
            (Err(e), _) => return Err(self.cannot_open("", path, e)),
        };
        self.lock(&file, path, !self.read_only)?;
        self.forget_lost(&file, path)?;
        if self.flags.data {
            return self.plain(file, path);
        }
        match (self.read_header(&file, path)?, options.backing) {
            (None, None) => self.plain(file, path),
            (None, Some(backing)) => self.create(Some(file), path, backing),
            (Some(cow), given) => self.cow(file, path, cow, given),
        }
    }

    /// A plain image.
    fn plain(self, file: File, path: &[u8]) -> Result<Arc<Image>> {
        let size = file.size();
        let top = self.layer(file, path, None)?;
        self.image(top, KVec::new(), size)
    }

    /// A COW file that was there before.
    fn cow(
        mut self,
        file: File,
        path: &[u8],
        cow: Cow,
        given: Option<&[u8]>,
    ) -> Result<Arc<Image>> {
        if cow.layout.short_of_room && !self.read_only {
            pr_warn!(
                "{}: {}: {} of {} sectors have no bit, because its {} has no room for the last \
                 byte of the bitmap, read-only\n",
                self.label,
                Brief(path),
                cow.layout.sectors - cow.layout.mapped_sectors(),
                cow.layout.sectors,
                cow.version
            );
            self.read_only = true;
        }
        self.upper.push(file.stat()?.id, GFP_KERNEL)?;
        let backing = self.choose_backing(&file, path, &cow, given)?;
        let size = cow.size();
        let lower = self.lower(backing)?;
        let top = self.layer(file, path, Some(cow))?;
        self.image(top, lower, size)
    }

    /// Opens the file that is to be written, read-only where it must be.
    fn open_top(&mut self, path: &[u8]) -> Result<File> {
        let path_c = c_string(path)?;
        if self.read_only {
            return File::open(&path_c, Access::Read);
        }
        let access = match self.flags.shared {
            true => Access::ReadWrite,
            false => Access::Claim,
        };
        match File::open(&path_c, access) {
            Err(e) if e == EROFS || e == EACCES => {
                let file = File::open(&path_c, Access::Read)?;
                pr_info!(
                    "{}: {}: cannot be written ({e:?}), read-only\n",
                    self.label,
                    Brief(path)
                );
                self.read_only = true;
                Ok(file)
            }
            result => result,
        }
    }

    /// Locks a file against other processes, unless the user said not to. Says what failed.
    fn lock(&self, file: &File, path: &[u8], exclusive: bool) -> Result {
        if self.flags.shared {
            return Ok(());
        }
        file.lock(exclusive)
            .map_err(|e| self.failed(path, "cannot be locked, another process or unit has it", e))
    }

    /// Sees to it that what was lost on its way to the disk is not taken for what is there. A flush
    /// makes nothing durable that is in the page cache and counts as clean.
    fn forget_lost(&self, file: &File, path: &[u8]) -> Result {
        if self.read_only {
            return Ok(());
        }
        let failed = "has failed to be written before, and cannot be read from the disk again";
        if let Some(e) = file
            .forget_lost()
            .map_err(|e| self.failed(path, failed, e))?
        {
            pr_warn!(
                "{}: {}: writing it has failed before ({e:?}), what is on the disk is used\n",
                self.label,
                Brief(path)
            );
        }
        Ok(())
    }

    /// Opens a backing file, and locks it.
    fn open_shared(&self, path: &[u8]) -> Result<File> {
        if path == SWITCHING {
            pr_err!(
                "{}: its COW header names no backing file, because a switch to another one was \
                 not finished: name one in the option\n",
                self.label
            );
            return Err(EINVAL);
        }
        let file = c_string(path)
            .and_then(|path| File::open(&path, Access::Read))
            .map_err(|e| self.cannot_open("backing file ", path, e))?;
        let id = file.stat()?.id;
        // Before the lock, which the same file's own lock would refuse.
        if self.upper.contains(&id) {
            return Err(self.failed(path, "is a backing file of itself", EINVAL));
        }
        self.lock(&file, path, false)?;
        Ok(file)
    }

    /// Makes a COW file over `backing` at `path`; of `file`, which has no COW header, if that is
    /// there and there is nothing in it.
    fn create(mut self, file: Option<File>, path: &[u8], backing: &[u8]) -> Result<Arc<Image>> {
        let at_path = file;
        if let Some(file) = &at_path {
            // Whether it can be made one depends on the backing file, and for most it is plain
            // without.
            if !file.is_regular() || self.read_only {
                return Err(self.no_cow_file(path));
            }
            self.upper.push(file.stat()?.id, GFP_KERNEL)?;
        }
        // What can be wrong with the backing file is found before there is a COW file.
        let file = self.open_shared(backing)?;
        let cow = self.read_header(&file, backing)?;
        let size = match &cow {
            Some(cow) if cow.size() == file.size() => {
                pr_err!(
                    "{}: {}: its length and its disk's are the same, {} bytes: \
                     a COW file over it could not say which is meant\n",
                    self.label,
                    Brief(backing),
                    file.size()
                );
                return Err(EINVAL);
            }
            Some(cow) => cow.size(),
            None => file.size(),
        };
        let over_cow = cow.is_some();
        let layout = Layout::new_v3(size, NEW_SECTOR_SIZE, NEW_ALIGNMENT)
            .map_err(|e| self.unusable(backing, &e))?;
        if let Some(file) = at_path.as_ref().filter(|file| file.size() != 0) {
            if !self.is_unfinished(file, path, &layout)? {
                return Err(self.no_cow_file(path));
            }
            pr_info!(
                "{}: {}: was left unfinished when it was made as a COW file, is made again\n",
                self.label,
                Brief(path)
            );
        }
        let mut buf = KVVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let header = Header {
            version: Version::V3,
            mtime: file.stat()?.mtime as u32,
            size,
            sector_size: NEW_SECTOR_SIZE,
            alignment: NEW_ALIGNMENT,
            backing_file: self.absolute(&file, backing, &mut buf)?,
        };
        let path_of_backing = bytes(backing)?;
        let lower = self.lower(Backing {
            file,
            path: path_of_backing,
            cow,
        })?;

        let file = match at_path {
            Some(file) => file,
            None => {
                let file = c_string(path)
                    .and_then(|path| File::open(&path, Access::Create))
                    .map_err(|e| self.failed(path, "cannot be created", e))?;
                self.lock(&file, path, true)?;
                file
            }
        };
        let filled = self
            .fill(&file, path, &header, &layout)
            .and_then(|()| File::sync_name(path));
        if let Err(e) = filled {
            // An empty file can be made a COW file by the next attempt; what else is wrong
            // with it, the first error tells better.
            let _ = file.truncate(0);
            return Err(self.failed(path, "cannot be made a COW file", e));
        }
        pr_info!(
            "{}: {}: made as a COW file over {}\n",
            self.label,
            Brief(path),
            Brief(backing)
        );
        if over_cow {
            pr_warn!(
                "{}: {}: its backing file is a COW file itself, which UML cannot use\n",
                self.label,
                Brief(path)
            );
        }
        let top = self.layer(file, path, Some(cow_of(&header, layout)?))?;
        self.image(top, lower, size)
    }

    /// Whether `file` is what a crash leaves of a file that [`Self::fill`] was at work on, with
    /// nothing in it that anybody can miss.
    fn is_unfinished(&self, file: &File, path: &[u8], layout: &Layout) -> Result<bool> {
        let mut first = [0; SECTOR];
        file.read_at(&mut first, 0)
            .map_err(|e| self.failed(path, "cannot be read", e))?;
        Ok(file.size() == layout.file_len()
            && first == [0; SECTOR]
            && file.next_data(layout.bitmap_offset).is_none())
    }

    /// Makes `file`, which has no data from the bitmap on, a COW file.
    fn fill(&self, file: &File, path: &[u8], header: &Header<'_>, layout: &Layout) -> Result {
        // The header comes last: only with all else in place is this a COW file.
        file.truncate(layout.file_len())?;
        file.sync()?;
        self.write_header(file, path, None, header)
    }

    /// Puts `new` in the place of the header `old` of `file`, and makes it durable.
    fn write_header(
        &self,
        file: &File,
        path: &[u8],
        old: Option<&Header<'_>>,
        new: &Header<'_>,
    ) -> Result {
        let mut buf = KVVec::from_elem(0u8, header::LEN_MAX, GFP_KERNEL)?;
        for step in replace::steps(old, new).map_err(|e| self.unusable(path, &e))? {
            let bytes = step.bytes(&mut buf).map_err(|e| self.unusable(path, &e))?;
            file.write_at(bytes, step.offset())?;
            file.sync()?;
        }
        Ok(())
    }

    /// Reads the header of the file at `path`. `None` if it is no COW file.
    fn read_header(&self, file: &File, path: &[u8]) -> Result<Option<Cow>> {
        let mut bytes = KVVec::from_elem(0u8, header::LEN_MAX, GFP_KERNEL)?;
        let len = file
            .read_at(&mut bytes, 0)
            .map_err(|e| self.failed(path, "cannot be read", e))?;
        let parsed = header::parse(bytes.get(..len).ok_or(EINVAL)?);
        let Some(header) = parsed.map_err(|e| self.unusable(path, &e))? else {
            return Ok(None);
        };
        let layout = Layout::new(&header, PAGE_SIZE as u32).map_err(|e| self.unusable(path, &e))?;
        let needed = layout.bitmap_offset + layout.bitmap_len;
        if file.size() < needed {
            pr_err!(
                "{}: {}: has {} bytes, but its bitmap ends at {needed}\n",
                self.label,
                Brief(path),
                file.size()
            );
            return Err(EINVAL);
        }
        cow_of(&header, layout).map(Some)
    }

    /// Opens the backing file of the COW file at `path`: the one that was `given`, if it is the
    /// one in the header or can take its place, else the one in the header.
    fn choose_backing(
        &self,
        file: &File,
        path: &[u8],
        cow: &Cow,
        given: Option<&[u8]>,
    ) -> Result<Backing> {
        let named = self.beside(file, &cow.backing_path)?;
        let Some(given) = given else {
            self.check_trust(path, &named)?;
            return self.backing(named, path, cow);
        };
        if *given == *named {
            return self.backing(named, path, cow);
        }
        let given_file = self.open_shared(given)?;
        // Who does not trust the header does not have its file opened to look what it is, either.
        let same = self.trust_header && id_of(&named) == Some(given_file.stat()?.id);
        if same || !self.trust_header {
            let backing = self.check(given_file, bytes(given)?, path, cow)?;
            if !same {
                self.switch(file, path, cow, &named, &backing)?;
            }
            return Ok(backing);
        }
        // What is wrong with its header, if that is why it can't be used, has been said.
        let fit = match self.fit(&given_file, given, cow.size()) {
            Err(e) if e == EINVAL => Fit::No(None),
            result => result?,
        };
        let mtime = given_file.stat()?.mtime;
        let (given_cow, disk) = match fit {
            Fit::Raw => (Some(None), None),
            Fit::Cow(given_cow) => (Some(Some(given_cow)), Some(cow.size())),
            Fit::No(disk) => (None, disk),
        };
        let Some(given_cow) = given_cow.filter(|_| mtime as u32 == cow.mtime) else {
            // The label has the path that was given. With a long one twice, what comes last would
            // not be in the log, whose lines have 1023 bytes.
            pr_warn!(
                "{}: the backing file given has {} bytes{}, modified at {mtime}; the header says \
                 {}, modified at {}; using its {}\n",
                self.label,
                given_file.size(),
                DiskSize(disk),
                cow.size(),
                cow.mtime,
                Brief(&named)
            );
            return self.backing(named, path, cow);
        };
        let backing = Backing {
            file: given_file,
            path: bytes(given)?,
            cow: given_cow,
        };
        self.switch(file, path, cow, &named, &backing)?;
        Ok(backing)
    }

    /// Makes the header of the COW file at `path` name `backing` in place of `named`, in its own
    /// version. What can't be written stays as it is.
    fn switch(
        &self,
        file: &File,
        path: &[u8],
        cow: &Cow,
        named: &[u8],
        backing: &Backing,
    ) -> Result {
        if self.read_only {
            pr_info!(
                "{}: {}: using backing file {} in place of {} of the header\n",
                self.label,
                Brief(path),
                Brief(&backing.path),
                Brief(named)
            );
            return Ok(());
        }
        let mut buf = KVVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let old = Header {
            version: cow.version,
            mtime: cow.mtime,
            size: cow.size(),
            sector_size: cow.sector_size,
            alignment: cow.alignment,
            backing_file: &cow.backing_path,
        };
        let new = Header {
            backing_file: self.absolute(&backing.file, &backing.path, &mut buf)?,
            ..old
        };
        if *new.backing_file == *named {
            return Ok(());
        }
        self.write_header(file, path, Some(&old), &new)
            .map_err(|e| self.failed(path, "cannot be switched to another backing file", e))?;
        pr_info!(
            "{}: {}: switched from backing file {} to {}\n",
            self.label,
            Brief(path),
            Brief(named),
            Brief(&backing.path)
        );
        Ok(())
    }

    /// Opens the backing file at `path` of the COW file at `upper`.
    fn backing(&self, path: KVec<u8>, upper: &[u8], cow: &Cow) -> Result<Backing> {
        let file = self.open_shared(&path)?;
        self.check(file, path, upper, cow)
    }

    /// Returns `EINVAL`, and says why, unless `file` can be the backing file of the COW file at
    /// `upper`.
    fn check(&self, file: File, path: KVec<u8>, upper: &[u8], cow: &Cow) -> Result<Backing> {
        let lower = match self.fit(&file, &path, cow.size())? {
            Fit::Raw => None,
            Fit::Cow(cow) => Some(cow),
            Fit::No(disk) => {
                pr_err!(
                    "{}: {}: its header says that its backing file has {} bytes, but {} has {}{}\n",
                    self.label,
                    Brief(upper),
                    cow.size(),
                    Brief(&path),
                    file.size(),
                    DiskSize(disk)
                );
                return Err(EINVAL);
            }
        };
        let mtime = file.stat()?.mtime;
        if mtime as u32 != cow.mtime {
            pr_err!(
                "{}: {}: its header says that its backing file was modified at {}, but {} was \
                 at {mtime}\n",
                self.label,
                Brief(upper),
                cow.mtime,
                Brief(&path)
            );
            return Err(EINVAL);
        }
        Ok(Backing {
            file,
            path,
            cow: lower,
        })
    }

    /// The path of the backing file as the driver opens it: a relative one starts from the folder
    /// of the COW file.
    fn beside(&self, file: &File, path: &[u8]) -> Result<KVec<u8>> {
        if path.first() == Some(&b'/') {
            return bytes(path);
        }
        let mut buf = KVVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let own = file.path(&mut buf)?;
        let folder = own.iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1);
        let mut joined = bytes(own.get(..folder).unwrap_or_default())?;
        joined.extend_from_slice(path, GFP_KERNEL)?;
        Ok(joined)
    }

    /// The path of an open file for a header: `path` itself, or where it leads if it is relative.
    fn absolute<'b>(&self, file: &File, path: &'b [u8], buf: &'b mut [u8]) -> Result<&'b [u8]> {
        if path.first() == Some(&b'/') {
            return Ok(path);
        }
        let whole = file
            .path(buf)
            .map_err(|e| self.failed(path, "has no absolute path", e))?;
        if whole.first() != Some(&b'/') {
            return Err(self.failed(path, "cannot be reached from the root folder", EINVAL));
        }
        Ok(whole)
    }

    /// What `file` is to a COW file whose header says `size`.
    fn fit(&self, file: &File, path: &[u8], size: u64) -> Result<Fit> {
        if file.size() == size {
            return Ok(Fit::Raw);
        }
        Ok(match self.read_header(file, path)? {
            Some(cow) if cow.size() == size => Fit::Cow(cow),
            other => Fit::No(other.map(|cow| cow.size())),
        })
    }

    /// Returns `EINVAL`, and says why, if the file that only a header names must not be used.
    fn check_trust(&self, path: &[u8], named: &[u8]) -> Result {
        if self.trust_header {
            return Ok(());
        }
        pr_err!(
            "{}: {}: its header names backing file {}, but the option does not, and trust_header \
             is off\n",
            self.label,
            Brief(path),
            Brief(named)
        );
        Err(EINVAL)
    }

    /// Opens what is below the written file, from its backing file on.
    fn lower(&mut self, mut backing: Backing) -> Result<KVec<Layer>> {
        let mut layers = KVec::with_capacity(DEPTH_MAX, GFP_KERNEL)?;
        loop {
            let Backing { file, path, cow } = backing;
            let Some(cow) = cow else {
                layers.push(self.layer(file, &path, None)?, GFP_KERNEL)?;
                return Ok(layers);
            };
            // One is the written file.
            let number = layers.len() + 2;
            if number > DEPTH_MAX {
                pr_err!(
                    "{}: {}: is COW file number {number} upon each other, the limit is {DEPTH_MAX}\n",
                    self.label,
                    Brief(&path)
                );
                return Err(EINVAL);
            }
            let named = self.beside(&file, &cow.backing_path)?;
            self.check_trust(&path, &named)?;
            self.upper.push(file.stat()?.id, GFP_KERNEL)?;
            backing = self.backing(named, &path, &cow)?;
            layers.push(self.layer(file, &path, Some(cow))?, GFP_KERNEL)?;
        }
    }

    fn layer(&self, file: File, path: &[u8], cow: Option<Cow>) -> Result<Layer> {
        let map = match cow {
            Some(Cow { layout, .. }) => Some(
                Map::new(layout)
                    .map_err(|e| self.failed(path, "has a bitmap too large to keep", e))?,
            ),
            None => None,
        };
        Ok(Layer::new(file, bytes(path)?, map))
    }

    /// The image of all files. `size` is that of the plain file or in the COW header, in bytes.
    fn image(self, top: Layer, lower: KVec<Layer>, size: u64) -> Result<Arc<Image>> {
        // A block device has no part of a block at its end. The COW file has a whole sector
        // there, and what its backing file lacks reads as zeros.
        let size = top.map.as_ref().map_or(size, |map| {
            let blocks = (1u64 << map.layout.sector_shift) - 1;
            match map.layout.sector_shift {
                9 => size,
                _ => size.saturating_add(blocks) & !blocks,
            }
        });
        let mut layers = KVec::with_capacity(1 + lower.len(), GFP_KERNEL)?;
        layers.push(top, GFP_KERNEL)?;
        for layer in lower {
            layers.push(layer, GFP_KERNEL)?;
        }
        let direct = self.direct && self.set_direct(&mut layers, size);
        Arc::pin_init(Image::new(layers, size, self.read_only, direct), GFP_KERNEL)
    }

    /// Has all files of a disk of `size` bytes used past the page cache. If one of them can't, says
    /// why, leaves all as they are and returns false.
    fn set_direct(&self, layers: &mut [Layer], size: u64) -> bool {
        let size = size.next_multiple_of(u64::from(SECTOR_SIZE));
        for layer in &*layers {
            let reason = match layer.alignment() {
                None if layer.file.is_in_memory() => continue,
                None => NoDirect::None,
                Some(found) if found.offset.max(found.memory) > PAGE_SIZE as u32 => {
                    NoDirect::Page(found.offset.max(found.memory))
                }
                Some(found) if !found.fits(size) => NoDirect::Size(size, found.offset),
                // The bitmap is written by the page cache, of which no page must have data too.
                Some(_) => {
                    let data = layer.map.as_ref().map_or(0, |map| map.layout.data_offset);
                    if data % PAGE_SIZE as u64 == 0 {
                        continue;
                    }
                    NoDirect::Data(data)
                }
            };
            pr_warn!(
                "{}: {}: no direct I/O, {reason}; the page cache is used\n",
                self.label,
                Brief(&layer.path)
            );
            return false;
        }
        for layer in layers {
            layer.set_direct();
        }
        true
    }

    /// Says that a file is no COW file, but should be one.
    fn no_cow_file(&self, path: &[u8]) -> Error {
        self.failed(path, "has no COW header, but has a backing file", EINVAL)
    }

    /// Says what failed, and returns the error.
    fn failed(&self, path: &[u8], what: &str, e: Error) -> Error {
        pr_err!("{}: {}: {what}: {e:?}\n", self.label, Brief(path));
        e
    }

    /// Says that a file could not be opened, and returns the error.
    fn cannot_open(&self, role: &str, path: &[u8], e: Error) -> Error {
        let why = if e == EINVAL {
            "is neither a regular file nor a block device, its size cannot be determined"
        } else {
            "cannot be opened"
        };
        pr_err!("{}: {role}{}: {why}: {e:?}\n", self.label, Brief(path));
        e
    }

    /// Says why the header of a file can't be used, and returns `EINVAL`.
    fn unusable(&self, path: &[u8], why: &dyn kernel::fmt::Display) -> Error {
        pr_err!("{}: {}: {why}\n", self.label, Brief(path));
        EINVAL
    }
}

/// Why a file can't be used past the page cache. All in bytes.
enum NoDirect {
    /// Its file system can't.
    None,
    /// It wants this alignment.
    Page(u32),
    /// The disk has this size, the file is read in units of that.
    Size(u64, u32),
    /// The COW file's data starts here, in a page with a part of its bitmap.
    Data(u64),
}

impl fmt::Display for NoDirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_fmt(fmt!("its file system has none")),
            Self::Page(alignment) => f.write_fmt(fmt!(
                "it wants an alignment of {alignment} bytes, the limit is {PAGE_SIZE}"
            )),
            Self::Size(size, unit) => f.write_fmt(fmt!(
                "it wants units of {unit} bytes, and the disk has {size}"
            )),
            Self::Data(data) => f.write_fmt(fmt!(
                "its data starts at byte {data}, within one of the pages of {PAGE_SIZE} bytes"
            )),
        }
    }
}

/// For a message on a file's size: that of its disk, if it is a COW file.
struct DiskSize(Option<u64>);

impl fmt::Display for DiskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(size)) => f.write_fmt(fmt!(", or as a COW file {size}")),
            Self(None) => Ok(()),
        }
    }
}

fn cow_of(header: &Header<'_>, layout: Layout) -> Result<Cow> {
    Ok(Cow {
        version: header.version,
        mtime: header.mtime,
        sector_size: header.sector_size,
        alignment: header.alignment,
        backing_path: bytes(header.backing_file)?,
        layout,
    })
}

fn bytes(text: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(text.len(), GFP_KERNEL)?;
    copy.extend_from_slice(text, GFP_KERNEL)?;
    Ok(copy)
}

fn c_string(path: &[u8]) -> Result<CString> {
    let mut text = bytes(path)?;
    text.push(0, GFP_KERNEL)?;
    Ok(CStr::from_bytes_with_nul(&text)
        .map_err(|_| EINVAL)?
        .to_cstring()?)
}

fn id_of(path: &[u8]) -> Option<Id> {
    let file = File::open(&c_string(path).ok()?, Access::Read).ok()?;
    Some(file.stat().ok()?.id)
}
