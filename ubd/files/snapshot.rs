// SPDX-License-Identifier: GPL-2.0

//! Puts a new COW file over the files of a unit in use, and has the one that was written so far be
//! as it is from then on.
//!
//! All that takes long is done while requests go on: the new file is made, and is durable with its
//! name. Then, with requests held, what was written is made durable, and with it the time of the
//! old file, by which the new one's header knows it: that is written once more if it has changed.
//! So whatever a crash leaves, if the new file can be attached the disk is whole with it, and if
//! not, it is without.
//!
//! The new file is empty, so that until requests go on the disk reads the same with it or without.

use crate::ubd::{
    cow::header::{Header, Version},
    cow::layout::Layout,
    files::backing::DEPTH_MAX,
    files::create::NEW_ALIGNMENT,
    files::image::Image,
    files::last_error::LastError,
    files::layer::{Layer, Map},
    files::open::{bytes, c_string, Opening},
    kernel::file::{Access, File},
    options::{Abbreviated, Options},
};
use kernel::{fmt, prelude::*, sync::Arc};

/// A file that is made here, and is emptied when this is dropped, unless it is kept. An empty one
/// can be made a COW file by the next attempt.
struct NewFile {
    file: Arc<File>,
    kept: bool,
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // What else is wrong with it, the first error tells better.
            let _ = self.file.truncate(0);
        }
    }
}

/// A snapshot that is being made. When this is dropped before its [end](Self::finish) the new file
/// is empty.
pub(crate) struct Snapshot {
    /// What the unit has so far.
    old: Arc<Image>,
    /// What it is to have then.
    new: Arc<Image>,
    new_file: NewFile,
    /// The file that was written so far, opened read-only.
    sealed: Arc<File>,
    /// What the header of the new file says of the time of the one below.
    mtime: i64,
    /// Where all is in the new file.
    layout: Layout,
    /// The size in bytes that the disk had.
    old_size: u64,
}

impl Snapshot {
    /// Makes the file at `path` a COW file over those of `old`, the image of a unit with `options`,
    /// and all else that can be made while requests go on. Says in `last_error` what failed.
    ///
    /// The disk is to have `size` bytes then, or as many as it has if that is 0. `is_on_disk` says
    /// whether a file is on the unit's own disk.
    ///
    /// May sleep, for long. Sees files as the calling task does. Returns `EROFS` or `EIO` for an
    /// image that is not written, `EEXIST` for a file that is there, unless it is empty, `EINVAL`
    /// for what can't be, and what the files do.
    pub(crate) fn prepare(
        old: Arc<Image>,
        options: &Options<'_>,
        path: &[u8],
        size: u64,
        last_error: &LastError,
        is_on_disk: impl FnOnce(&File) -> bool,
    ) -> Result<Self> {
        let mut opening = Opening::of_image(options, &old, last_error);
        let top = old.top()?;
        old.check_writable()
            .map_err(|e| opening.failed(&top.path, "is not written", e))?;
        let depth = old.layers().iter().filter(|layer| layer.map.is_some());
        if depth.count() >= DEPTH_MAX {
            let which = TooDeep(&top.path);
            last_error.say(fmt!("{}: {which}", opening.label));
            return Err(EINVAL);
        }
        for layer in old.layers() {
            opening.upper.push(layer.file.stat()?.id, GFP_KERNEL)?;
        }
        let old_size = disk_size(&opening, &old, top)?;
        let size = match size {
            0 => old_size,
            size if size >= old_size => size,
            _ => return Err(opening.failed(&top.path, "has a larger disk than that", EINVAL)),
        };
        let layout = Layout::new_v3(size, old.block_size(), NEW_ALIGNMENT)
            .map_err(|e| opening.unusable(&top.path, &e))?;
        let mtime = top.file.stat()?.mtime;
        let sealed = top
            .file
            .reopen()
            .map_err(|e| opening.failed(&top.path, "cannot be opened read-only", e))?;
        let sealed = Arc::new(sealed, GFP_KERNEL)?;

        let file = open_new(&opening, path)?;
        let file = Arc::new(file, GFP_KERNEL)?;
        let new_file = NewFile {
            file: file.clone(),
            kept: false,
        };
        if is_on_disk(&file) {
            return Err(opening.failed(path, "is on the unit's own disk", EINVAL));
        }
        let path = &*opening.absolute(&file, path)?;
        // What a file system above writes may change on its way, as it was told that it can.
        let stable = |file: &File| file.device_limits().stable_writes;
        if opening.usage.direct && stable(&file) && !stable(&top.file) {
            pr_warn!(
                "{}: {}: no direct I/O, its device wants pages that do not change; the page cache \
                 is used\n",
                opening.label,
                Abbreviated(path)
            );
            opening.usage.direct = false;
        }
        let header = header(&top.path, mtime, &layout, old_size);
        opening
            .fill(&file, path, &header, &layout)
            .and_then(|()| File::sync_name(path))
            .map_err(|e| opening.failed(path, "cannot be made a COW file", e))?;

        let mut lower = KVec::with_capacity(DEPTH_MAX, GFP_KERNEL)?;
        lower.push(top.sealed(sealed.clone())?, GFP_KERNEL)?;
        for layer in old.layers().iter().skip(1) {
            lower.push(layer.again()?, GFP_KERNEL)?;
        }
        let map = Map::new(layout)
            .map_err(|e| opening.failed(path, "has a bitmap too large to keep", e))?;
        let map = Arc::new(map, GFP_KERNEL)?;
        let top = Layer::of(file, bytes(path)?, Some(map))?;
        let new = opening.image(top, lower, size)?;
        Ok(Self {
            old,
            new,
            new_file,
            sealed,
            mtime,
            layout,
            old_size,
        })
    }

    /// Has the new image have what was set of the old one meanwhile. May sleep, and returns what
    /// [`Image::set_limit`] does.
    pub(crate) fn take_settings(&self) -> Result {
        self.new.set_limit(self.old.limit())?;
        self.new.set_low_space(self.old.low_space())
    }

    /// Makes durable what was written, and gives the lock of the file that it is in to all who only
    /// read it. To be called with requests held, and [`Self::finish`] when the new image has taken
    /// the place of the old one, which has to be done then, before requests go on.
    ///
    /// May sleep, for long. When it returns an error, which it says in `last_error`, the unit goes
    /// on with what it has: what [`Image::flush`] does, `EINVAL` if the length of the file has
    /// changed, and what the files do.
    pub(crate) fn seal(&self, options: &Options<'_>, last_error: &LastError) -> Result {
        let opening = Opening::of_image(options, &self.old, last_error);
        let top = self.old.top()?;
        self.old
            .flush()
            .and_then(|()| self.old.sync_times())
            .map_err(|e| opening.failed(&top.path, "cannot be made durable", e))?;
        if disk_size(&opening, &self.old, top)? != self.old_size {
            return Err(opening.failed(&top.path, "has another length now", EINVAL));
        }
        let mtime = top.file.stat()?.mtime;
        if mtime != self.mtime {
            let header = |mtime| header(&top.path, mtime, &self.layout, self.old_size);
            let path = self.path()?;
            opening
                .write_header(
                    &self.new_file.file,
                    path,
                    Some(&header(self.mtime)),
                    &header(mtime),
                )
                .map_err(|e| opening.failed(path, "cannot be made a COW file", e))?;
        }
        if !options.flags.shared {
            // As the last step: nothing may fail from here on, with which the old file would be
            // written with a lock that others can have.
            opening.lock(&top.file, &top.path, false)?;
            if self.sealed.lock(false).is_err() {
                // There is no memory for it. As long as the other one is open it is locked, too.
                self.new.layers().get(1).ok_or(EIO)?.keep_open(&top.file);
            }
        }
        Ok(())
    }

    /// Keeps the new file, as the new image is in use.
    pub(crate) fn finish(&mut self) {
        self.new_file.kept = true;
    }

    /// The image that the unit is to have.
    pub(crate) fn image(&self) -> &Arc<Image> {
        &self.new
    }

    /// The path of the new file.
    pub(crate) fn path(&self) -> Result<&[u8]> {
        Ok(&self.new.top()?.path)
    }
}

impl Image {
    /// Makes the times of the written file durable, as a header names one that is a file.
    ///
    /// May sleep, for long. Returns what a sync of the file does.
    pub(crate) fn sync_times(&self) -> Result {
        let top = self.top()?;
        if !top.file.is_regular() {
            return Ok(());
        }
        self.synced(top, top.file.sync_all())
    }
}

/// Opens the file that is to be the new COW file: makes it, or takes one that is there if there is
/// nothing in it.
fn open_new(opening: &Opening<'_>, path: &[u8]) -> Result<File> {
    let create = |access| c_string(path).and_then(|path| File::open(&path, access));
    let file = match create(Access::Create) {
        Err(e) if e == EEXIST => create(Access::ReadWrite)
            .ok()
            .filter(File::is_regular)
            .ok_or_else(|| opening.failed(path, "is there already", EEXIST))?,
        result => result.map_err(|e| opening.failed(path, "cannot be created", e))?,
    };
    if opening.upper.contains(&file.stat()?.id) {
        return Err(opening.failed(path, "is a file of the unit itself", EEXIST));
    }
    opening.lock(&file, path, true)?;
    match file.size() {
        0 => Ok(file),
        _ => Err(opening.failed(path, "is there already, and not empty", EEXIST)),
    }
}

/// The size of the disk in bytes, as the header of a COW file over the file of `top` is to have it.
///
/// Returns `EINVAL`, and says why, if there can be no such file.
fn disk_size(opening: &Opening<'_>, image: &Image, top: &Layer) -> Result<u64> {
    let len = top.file.size();
    match &top.map {
        None if len == image.size() => Ok(len),
        None => {
            let why = "has another length than its disk, which has not taken that up (rescan)";
            Err(opening.failed(&top.path, why, EINVAL))
        }
        Some(map) if map.layout.size == len => Err(opening.ambiguous(&top.path, len)),
        Some(map) => Ok(map.layout.size),
    }
}

/// The header of a new COW file over the file at `below`, which was modified at `mtime`, and whose
/// disk has `old_size` bytes.
fn header<'a>(below: &'a [u8], mtime: i64, layout: &Layout, old_size: u64) -> Header<'a> {
    Header {
        version: Version::V3,
        mtime: mtime as u32,
        size: layout.size,
        backing_size: Some(old_size).filter(|old_size| *old_size != layout.size),
        sector_size: 1 << layout.sector_shift,
        alignment: NEW_ALIGNMENT,
        backing_file: below,
    }
}

/// For a message: there are as many COW files as there may be, the one at this path on top.
struct TooDeep<'a>(&'a [u8]);

impl fmt::Display for TooDeep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path) = self;
        f.write_fmt(fmt!(
            "{}: there are {DEPTH_MAX} COW files upon each other, which is the limit",
            Abbreviated(path)
        ))
    }
}
