// SPDX-License-Identifier: GPL-2.0

//! Opens the files that an option names: plain images, COW files and what is behind them.
//!
//! Follows `open_ubd_file()` and `create_cow_file()` of the C driver in what a user sees.

use crate::ubd::{
    cow::replace::SWITCHING,
    files::header::Cow,
    files::image::{Image, Written},
    files::last_error::LastError,
    files::layer::{Layer, Map},
    files::usage::Usage,
    kernel::file::{Access, File},
    options::{Abbreviated, Flags, Letters, Options},
};
use kernel::{
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The longest path, with its terminating zero, in bytes.
pub(super) const PATH_MAX: usize = 4096;

/// What tells one file from another: its device and its inode number.
pub(super) type Id = (u32, u64);

/// The device and the option text, for messages: `ubda: ubd0=file`. Of long fields their start and
/// their end, as in [`Abbreviated`].
pub(crate) struct Label<'a>(pub(crate) &'a Options<'a>);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options) = self;
        let Options { unit, flags, .. } = options;
        let letters = Letters(*unit);
        let file = Abbreviated(options.file);
        f.write_fmt(fmt!("ubd{letters}: ubd{unit}{flags}={file}"))?;
        if options.backing.is_some() || options.serial.is_some() {
            f.write_fmt(fmt!(
                ",{}",
                Abbreviated(options.backing.unwrap_or_default())
            ))?;
        }
        if let Some(serial) = options.serial {
            f.write_fmt(fmt!(",{}", Abbreviated(serial)))?;
        }
        Ok(())
    }
}

/// Opens the files of a unit as `options` says, and says in the kernel log what was done on the
/// way, or what failed, which is kept in `last_error`, too.
///
/// A backing file's path in a COW header, if it is relative, starts from the folder of the COW
/// file itself. With the module parameter `trust_header` off, no file is opened but those in
/// `options`.
///
/// May sleep. Sees files as the calling task does. Returns what opening a file does; `EAGAIN` or
/// `EACCES` for a file that another process has locked; `EINVAL` for files that can't be used.
pub(crate) fn open(
    options: &Options<'_>,
    usage: Usage,
    last_error: &LastError,
) -> Result<Arc<Image>> {
    Opening {
        label: Label(options),
        last_error,
        flags: options.flags,
        trust_header: crate::ubd::kernel::compat::trust_header(),
        usage,
        upper: KVec::new(),
        read_only: options.flags.read_only,
    }
    .open(options)
}

pub(super) struct Opening<'a> {
    pub(super) label: Label<'a>,
    pub(super) last_error: &'a LastError,
    pub(super) flags: Flags,
    pub(super) trust_header: bool,
    pub(super) usage: Usage,
    /// The COW files that are open, none of which can be its own backing file.
    pub(super) upper: KVec<Id>,
    pub(super) read_only: bool,
}

/// An open backing file, and its header if it is attached as a COW file.
pub(super) struct Backing {
    pub(super) file: File,
    pub(super) path: KVec<u8>,
    pub(super) cow: Option<Cow>,
}

impl<'a> Opening<'a> {
    /// For what is done with the files of a unit that has `image`, as `options` say.
    pub(super) fn of_image(
        options: &'a Options<'a>,
        image: &Image,
        last_error: &'a LastError,
    ) -> Self {
        Self {
            label: Label(options),
            last_error,
            flags: options.flags,
            trust_header: true,
            usage: Usage {
                direct: image.tries_direct_io(),
                limit: image.limit(),
                low_space: image.low_space(),
                allocate: image.allocation(),
            },
            upper: KVec::new(),
            read_only: false,
        }
    }
}

impl Opening<'_> {
    fn open(mut self, options: &Options<'_>) -> Result<Arc<Image>> {
        let path = options.file;
        let file = match (self.open_top(path), options.backing) {
            (Ok(file), _) => file,
            (Err(e), Some(backing)) if e == ENOENT && options.create && !self.read_only => {
                return self.create(None, path, backing);
            }
            (Err(e), _) => return Err(self.cannot_open("", path, e)),
        };
        let path = &*self.absolute(&file, path)?;
        self.lock(&file, path, !self.read_only)?;
        self.invalidate_failed_writeback(&file, path)?;
        if self.flags.data {
            return self.plain(file, path);
        }
        match (self.read_top_header(&file, path)?, options.backing) {
            (None, None) => self.plain(file, path),
            (None, Some(backing)) if options.create => self.create(Some(file), path, backing),
            (None, Some(_)) => Err(self.no_cow_file(path)),
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
                Abbreviated(path),
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

    /// Opens the file that is to be written; read-only if it can be read and refuses to be written,
    /// for whatever reason of its own. What others do with it, and what the system is short of, are
    /// no such reasons.
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
            Err(e) if [EROFS, EACCES, EPERM, ETXTBSY].contains(&e) => {
                let file = File::open(&path_c, Access::Read)?;
                pr_info!(
                    "{}: {}: cannot be written ({e:?}), read-only\n",
                    self.label,
                    Abbreviated(path)
                );
                self.read_only = true;
                Ok(file)
            }
            result => result,
        }
    }

    /// Locks a file against other processes, unless the user said not to. Says what failed.
    pub(super) fn lock(&self, file: &File, path: &[u8], exclusive: bool) -> Result {
        if self.flags.shared {
            return Ok(());
        }
        file.lock(exclusive)
            .map_err(|e| self.failed(path, "cannot be locked, another process or unit has it", e))
    }

    /// Sees to it that what was lost on its way to the disk is not taken for what is there. A flush
    /// makes nothing durable that is in the page cache and counts as clean.
    fn invalidate_failed_writeback(&self, file: &File, path: &[u8]) -> Result {
        if self.read_only {
            return Ok(());
        }
        let failed = "has failed to be written before, and cannot be read from the disk again";
        if let Some(e) = file
            .invalidate_failed_writeback()
            .map_err(|e| self.failed(path, failed, e))?
        {
            pr_warn!(
                "{}: {}: writing it has failed before ({e:?}), what is on the disk is used\n",
                self.label,
                Abbreviated(path)
            );
        }
        Ok(())
    }

    /// Opens a backing file, and locks it. Returns its absolute path, too.
    pub(super) fn open_shared(&self, path: &[u8]) -> Result<(File, KVec<u8>)> {
        if path == SWITCHING {
            self.last_error.say(fmt!(
                "{}: its COW header names no backing file, because a switch to another one was \
                 not finished: name one in the option",
                self.label
            ));
            return Err(EINVAL);
        }
        let file = c_string(path)
            .and_then(|path| File::open(&path, Access::Read))
            .map_err(|e| self.cannot_open("backing file ", path, e))?;
        let id = file.stat()?.id;
        let path = self.absolute(&file, path)?;
        // Before the lock, which the same file's own lock would refuse.
        if self.upper.contains(&id) {
            return Err(self.failed(&path, "is a backing file of itself", EINVAL));
        }
        self.lock(&file, &path, false)?;
        Ok((file, path))
    }

    /// The absolute path of an open file: `path` itself, or where it leads if it is relative. From
    /// another folder, that would be another file.
    pub(super) fn absolute(&self, file: &File, path: &[u8]) -> Result<KVec<u8>> {
        if path.first() == Some(&b'/') {
            return bytes(path);
        }
        let mut buf = KVVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let whole = file
            .path(&mut buf)
            .map_err(|e| self.failed(path, "has no absolute path", e))?;
        if whole.first() != Some(&b'/') {
            return Err(self.failed(path, "cannot be reached from the root folder", EINVAL));
        }
        if file.is_unlinked() {
            return Err(self.failed(path, "was removed while it was opened", ENOENT));
        }
        bytes(whole)
    }

    pub(super) fn layer(&self, file: File, path: &[u8], cow: Option<Cow>) -> Result<Layer> {
        let map = match cow {
            Some(Cow { layout, .. }) => {
                let map = Map::new(layout)
                    .map_err(|e| self.failed(path, "has a bitmap too large to keep", e))?;
                Some(Arc::new(map, GFP_KERNEL)?)
            }
            None => None,
        };
        Layer::new(file, bytes(path)?, map)
    }

    /// The image of all files. `size` is that of the plain file or in the COW header, in bytes.
    pub(super) fn image(self, top: Layer, lower: KVec<Layer>, size: u64) -> Result<Arc<Image>> {
        // A block device has no part of a block at its end. The COW file has a whole sector
        // there, and what its backing file lacks reads as zeros.
        let size = top.map.as_ref().map_or(size, |map| {
            let blocks = (1u64 << map.layout.sector_shift) - 1;
            match map.layout.sector_shift {
                9 => size,
                _ => size.saturating_add(blocks) & !blocks,
            }
        });
        let image = self.image_of(top, lower, size, Written::new()?)?;
        let settings = image
            .set_limit(self.usage.limit)
            .and_then(|()| image.set_low_space(self.usage.low_space))
            .and_then(|()| image.set_allocation(self.usage.allocate));
        settings.map_err(|e| {
            let path = image.top().map_or(&[][..], |layer| &layer.path);
            let what = "cannot have limit, low_space or allocate, which are for COW files";
            self.failed(path, what, e)
        })?;
        Ok(image)
    }

    /// The image of all files, in which nothing is set yet. `size` is the disk's, in bytes.
    pub(super) fn image_of(
        &self,
        top: Layer,
        lower: KVec<Layer>,
        size: u64,
        written: Arc<Written>,
    ) -> Result<Arc<Image>> {
        let mut layers = KVec::with_capacity(1 + lower.len(), GFP_KERNEL)?;
        layers.push(top, GFP_KERNEL)?;
        for layer in lower {
            layers.push(layer, GFP_KERNEL)?;
        }
        let direct = self.usage.direct && self.set_direct(&mut layers);
        let image = Image::new(layers, size, self.read_only, direct, written);
        Arc::pin_init(image, GFP_KERNEL)
    }

    /// Says that a file is no COW file, but should be one.
    pub(super) fn no_cow_file(&self, path: &[u8]) -> Error {
        self.failed(path, "has no COW header, but has a backing file", EINVAL)
    }

    /// Says what failed, and returns the error.
    pub(super) fn failed(&self, path: &[u8], what: &str, e: Error) -> Error {
        self.last_error
            .say(fmt!("{}: {}: {what}: {e:?}", self.label, Abbreviated(path)));
        e
    }

    /// Says that a file could not be opened, and returns the error.
    pub(super) fn cannot_open(&self, role: &str, path: &[u8], e: Error) -> Error {
        let why = if e == EINVAL {
            "is neither a regular file nor a block device, its size cannot be determined"
        } else {
            "cannot be opened"
        };
        self.last_error.say(fmt!(
            "{}: {role}{}: {why}: {e:?}",
            self.label,
            Abbreviated(path)
        ));
        e
    }

    /// Says why the header of a file can't be used, and returns `EINVAL`.
    pub(super) fn unusable(&self, path: &[u8], why: &dyn kernel::fmt::Display) -> Error {
        self.last_error
            .say(fmt!("{}: {}: {why}", self.label, Abbreviated(path)));
        EINVAL
    }
}

/// A copy of `text`. May sleep. Returns `ENOMEM`.
pub(crate) fn bytes(text: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(text.len(), GFP_KERNEL)?;
    copy.extend_from_slice(text, GFP_KERNEL)?;
    Ok(copy)
}

pub(super) fn c_string(path: &[u8]) -> Result<CString> {
    let mut text = bytes(path)?;
    text.push(0, GFP_KERNEL)?;
    Ok(CStr::from_bytes_with_nul(&text)
        .map_err(|_| EINVAL)?
        .to_cstring()?)
}
