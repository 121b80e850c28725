// SPDX-License-Identifier: GPL-2.0

//! Opens the files that an option names: plain images, COW files and what is behind them.
//!
//! Follows `open_ubd_file()` and `create_cow_file()` of the C driver in what a user sees.

use crate::ubd::{
    cow::bitmap::Bitmap,
    cow::header::{self, Header, Version},
    cow::layout::Layout,
    image::{Image, Layer, Map},
    kernel::file::{Access, File, Stat},
    options::{letter, Flags, Options, Text},
};
use kernel::{
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

/// The device and the option text, for messages: `ubda: ubd0=file`.
pub(crate) struct Label<'a>(pub(crate) &'a Options<'a>);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options) = self;
        f.write_fmt(fmt!("ubd{}: ubd{options}", letter(options.unit)))
    }
}

/// Opens the files of a unit as `options` says, and says in the kernel log what was done on the
/// way, or what failed.
///
/// May sleep. Sees files as the calling task does. Returns what opening a file does; `EAGAIN` or
/// `EACCES` for a file that another process has locked; `EINVAL` for files that can't be used.
pub(crate) fn open(options: &Options<'_>) -> Result<Arc<Image>> {
    Opening {
        label: Label(options),
        flags: options.flags,
        layers: KVec::new(),
        read_only: options.flags.read_only,
    }
    .open(options)
}

struct Opening<'a> {
    label: Label<'a>,
    flags: Flags,
    layers: KVec<Layer>,
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

impl Opening<'_> {
    fn open(mut self, options: &Options<'_>) -> Result<Arc<Image>> {
        let path = options.file;
        let (file, cow) = match (self.open_top(path), options.backing) {
            (Err(e), Some(backing)) if e == ENOENT && !self.flags.read_only => {
                self.create(path, backing)?
            }
            (Err(e), _) => return Err(self.failed(path, "cannot be opened", e)),
            (Ok(file), backing) => {
                self.lock(&file, path, !self.read_only)?;
                match backing {
                    Some(backing) if file.is_regular() && file.size() == 0 && !self.read_only => {
                        self.fill_new(file, path, backing)?
                    }
                    None if self.flags.data => (file, None),
                    _ => {
                        let cow = self.read_header(&file, path)?;
                        (file, cow)
                    }
                }
            }
        };
        let Some(cow) = cow else {
            if options.backing.is_some() {
                return Err(self.failed(path, "has no COW header, but has a backing file", EINVAL));
            }
            let size = file.size();
            self.push(file, path, None)?;
            return self.image(size);
        };
        if cow.layout.short_of_room && !self.read_only {
            pr_warn!(
                "{}: {}: the bitmap has no room for the sectors from {} on, read-only\n",
                self.label,
                Text(path),
                cow.layout.mapped_sectors()
            );
            self.read_only = true;
        }
        let size = cow.size();
        let (backing, backing_path) = self.choose_backing(&file, path, &cow, options.backing)?;
        self.push(file, path, Some(cow))?;
        self.open_lower(backing, backing_path, size)?;
        self.image(size)
    }

    /// Opens the file that is to be written, read-only where it must be.
    fn open_top(&mut self, path: &[u8]) -> Result<File> {
        let path_c = c_string(path)?;
        if self.read_only {
            return File::open(&path_c, Access::Read);
        }
        match File::open(&path_c, Access::ReadWrite) {
            Err(e) if e == EROFS || e == EACCES => {
                let file = File::open(&path_c, Access::Read)?;
                pr_info!(
                    "{}: {}: cannot be written ({e:?}), read-only\n",
                    self.label,
                    Text(path)
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
        file.lock(exclusive).map_err(|e| {
            self.failed(path, "cannot be locked, another process or unit has it", e)
        })
    }

    /// Opens a file that is only read, and locks it.
    fn open_shared(&self, path: &[u8]) -> Result<File> {
        let file = File::open(&*c_string(path)?, Access::Read)
            .map_err(|e| self.failed(path, "cannot be opened", e))?;
        self.lock(&file, path, false)?;
        Ok(file)
    }

    /// Makes a COW file at `path` over `backing`.
    fn create(&mut self, path: &[u8], backing: &[u8]) -> Result<(File, Option<Cow>)> {
        let file = File::open(&*c_string(path)?, Access::Create)
            .map_err(|e| self.failed(path, "cannot be created", e))?;
        self.lock(&file, path, true)?;
        self.fill_new(file, path, backing)
    }

    /// Makes the empty `file` a COW file over `backing`. If that fails it is empty again.
    fn fill_new(&mut self, file: File, path: &[u8], backing: &[u8]) -> Result<(File, Option<Cow>)> {
        match self.try_fill_new(&file, path, backing) {
            Ok(cow) => {
                pr_info!(
                    "{}: {}: made as a COW file over {}\n",
                    self.label,
                    Text(path),
                    Text(backing)
                );
                Ok((file, Some(cow)))
            }
            Err(e) => {
                // An empty file can be made a COW file by the next attempt; what else is wrong
                // with it, the first error tells better.
                let _ = file.truncate(0);
                Err(self.failed(path, "cannot be made a COW file", e))
            }
        }
    }

    fn try_fill_new(&self, file: &File, path: &[u8], backing: &[u8]) -> Result<Cow> {
        let lower = self.open_shared(backing)?;
        let stat = lower.stat()?;
        let size = match self.read_header(&lower, backing)? {
            Some(cow) => {
                pr_warn!(
                    "{}: {}: its backing file is a COW file itself, which UML cannot use\n",
                    self.label,
                    Text(path)
                );
                cow.size()
            }
            None => lower.size(),
        };
        let mut buf = KVVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let absolute = if backing.first() == Some(&b'/') {
            backing
        } else {
            lower.path(&mut buf)?
        };
        let layout = Layout::new_v3(size, NEW_SECTOR_SIZE, NEW_ALIGNMENT)
            .map_err(|e| self.unusable(backing, &e))?;
        let header = Header {
            version: Version::V3,
            mtime: stat.mtime as u32,
            size,
            sector_size: NEW_SECTOR_SIZE,
            alignment: NEW_ALIGNMENT,
            backing_file: absolute,
        };
        // The header comes last: only with all else in place is this a COW file.
        file.truncate(layout.file_len())?;
        file.sync()?;
        self.write_header(file, path, &header)?;
        cow(&header, layout)
    }

    fn write_header(&self, file: &File, path: &[u8], header: &Header<'_>) -> Result {
        let mut bytes = KVVec::from_elem(0u8, header::LEN_MAX, GFP_KERNEL)?;
        let len = header.write(&mut bytes).map_err(|e| self.unusable(path, &e))?;
        file.write_at(bytes.get(..len).ok_or(EINVAL)?, 0)?;
        file.sync()
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
        let layout =
            Layout::new(&header, PAGE_SIZE as u32).map_err(|e| self.unusable(path, &e))?;
        let needed = layout.bitmap_offset + layout.bitmap_len;
        if file.size() < needed {
            pr_err!(
                "{}: {}: has {} bytes, but its bitmap ends at {needed}\n",
                self.label,
                Text(path),
                file.size()
            );
            return Err(EINVAL);
        }
        cow(&header, layout).map(Some)
    }

    /// Opens the backing file of the COW file at `path`: the one that was `given`, if it is the
    /// one in the header or can take its place, else the one in the header.
    fn choose_backing(
        &self,
        file: &File,
        path: &[u8],
        cow: &Cow,
        given: Option<&[u8]>,
    ) -> Result<(File, KVec<u8>)> {
        let named = self.beside(file, &cow.backing_path)?;
        let Some(given) = given.filter(|given| **given != *cow.backing_path) else {
            return self.backing(named, cow);
        };
        let given_file = self.open_shared(given)?;
        let given_stat = given_file.stat()?;
        if id_of(&named) == Some(given_stat.id) {
            self.check_backing(&given_file, given, cow)?;
            return Ok((given_file, bytes(given)?));
        }
        if !self.matches(&given_file, &given_stat, cow)? {
            pr_warn!(
                "{}: {}: backing file {} was given, but does not match; using {} of the header\n",
                self.label,
                Text(path),
                Text(given),
                Text(&named)
            );
            return self.backing(named, cow);
        }
        if self.read_only {
            pr_info!(
                "{}: {}: using backing file {} in place of {} of the header\n",
                self.label,
                Text(path),
                Text(given),
                Text(&named)
            );
        } else {
            self.switch(file, path, cow, &given_file, given)?;
            pr_info!(
                "{}: {}: switched from backing file {} to {}\n",
                self.label,
                Text(path),
                Text(&named),
                Text(given)
            );
        }
        Ok((given_file, bytes(given)?))
    }

    /// Rewrites the header of the COW file at `path`, in its own version, to name `given`.
    fn switch(
        &self,
        file: &File,
        path: &[u8],
        cow: &Cow,
        given_file: &File,
        given: &[u8],
    ) -> Result {
        let mut buf = KVVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let backing_file = if given.first() == Some(&b'/') {
            given
        } else {
            given_file.path(&mut buf)?
        };
        let header = Header {
            version: cow.version,
            mtime: cow.mtime,
            size: cow.size(),
            sector_size: cow.sector_size,
            alignment: cow.alignment,
            backing_file,
        };
        self.write_header(file, path, &header)
            .map_err(|e| self.failed(path, "cannot be switched to another backing file", e))
    }

    fn backing(&self, path: KVec<u8>, cow: &Cow) -> Result<(File, KVec<u8>)> {
        let file = self.open_shared(&path)?;
        self.check_backing(&file, &path, cow)?;
        Ok((file, path))
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

    /// Whether `file` can be the backing file of `cow`: of the size and the age in its header.
    fn matches(&self, file: &File, stat: &Stat, cow: &Cow) -> Result<bool> {
        Ok(stat.mtime as u32 == cow.mtime && self.disk_size(file, cow.size())?.is_some())
    }

    /// Returns `EINVAL`, and says why, unless `file` can be the backing file of `cow`.
    fn check_backing(&self, file: &File, path: &[u8], cow: &Cow) -> Result {
        if self.disk_size(file, cow.size())?.is_none() {
            pr_err!(
                "{}: backing file {} has {} bytes, the COW header says {}\n",
                self.label,
                Text(path),
                file.size(),
                cow.size()
            );
            return Err(EINVAL);
        }
        let mtime = file.stat()?.mtime;
        if mtime as u32 != cow.mtime {
            pr_err!(
                "{}: backing file {} was modified at {mtime}, the COW header says {}\n",
                self.label,
                Text(path),
                cow.mtime
            );
            return Err(EINVAL);
        }
        Ok(())
    }

    /// How a backing file has `size` bytes: `Some(None)` if it is that long, `Some(Some(_))` if it
    /// is a COW file whose disk is, `None` if it has not.
    fn disk_size(&self, file: &File, size: u64) -> Result<Option<Option<Cow>>> {
        if file.size() == size {
            return Ok(Some(None));
        }
        let mut magic = [0; 4];
        let len = file.read_at(&mut magic, 0)?;
        let known = [u32::from_be_bytes(magic), u32::from_le_bytes(magic)];
        if len < magic.len() || !known.contains(&header::MAGIC) {
            return Ok(None);
        }
        let cow = self.read_header(file, b"the backing file")?;
        Ok(cow.filter(|cow| cow.size() == size).map(Some))
    }

    /// Adds the backing file of the last layer, of `size` bytes, and what is behind it.
    fn open_lower(&mut self, mut file: File, mut path: KVec<u8>, size: u64) -> Result {
        loop {
            self.refuse_cycle(&file, &path)?;
            let Some(Some(cow)) = self.disk_size(&file, size)? else {
                return self.push(file, &path, None);
            };
            if self.layers.len() >= DEPTH_MAX {
                return Err(self.failed(&path, "is one COW file too many upon each other", EINVAL));
            }
            let named = self.beside(&file, &cow.backing_path)?;
            let below = self.backing(named, &cow)?;
            self.push(file, &path, Some(cow))?;
            (file, path) = below;
        }
    }

    fn refuse_cycle(&self, file: &File, path: &[u8]) -> Result {
        let id = file.stat()?.id;
        for layer in &self.layers {
            if layer.file.stat()?.id == id {
                return Err(self.failed(path, "is a backing file of itself", EINVAL));
            }
        }
        Ok(())
    }

    fn push(&mut self, file: File, path: &[u8], cow: Option<Cow>) -> Result {
        let map = match cow {
            Some(Cow { layout, .. }) => Some(Map {
                bitmap: Bitmap::new(layout.sectors)?,
                layout,
            }),
            None => None,
        };
        let layer = Layer::new(file, bytes(path)?, map);
        self.layers.push(layer, GFP_KERNEL)?;
        Ok(())
    }

    fn image(self, size: u64) -> Result<Arc<Image>> {
        Arc::pin_init(Image::new(self.layers, size, self.read_only), GFP_KERNEL)
    }

    /// Says what failed, and returns the error.
    fn failed(&self, path: &[u8], what: &str, e: Error) -> Error {
        pr_err!("{}: {}: {what}: {e:?}\n", self.label, Text(path));
        e
    }

    /// Says why the header of a file can't be used, and returns `EINVAL`.
    fn unusable(&self, path: &[u8], why: &dyn kernel::fmt::Display) -> Error {
        pr_err!("{}: {}: {why}\n", self.label, Text(path));
        EINVAL
    }
}

fn cow(header: &Header<'_>, layout: Layout) -> Result<Cow> {
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
    Ok(CStr::from_bytes_with_nul(&text).map_err(|_| EINVAL)?.to_cstring()?)
}

fn id_of(path: &[u8]) -> Option<(u32, u64)> {
    let file = File::open(&*c_string(path).ok()?, Access::Read).ok()?;
    Some(file.stat().ok()?.id)
}
