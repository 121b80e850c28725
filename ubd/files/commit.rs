// SPDX-License-Identifier: GPL-2.0

//! Merges the COW file below the one that a unit in use writes, the *sealed* one, into the file
//! below that, the *target*; then the sealed one is not needed any more.
//!
//! The sealed file stays as it is, and above the target, until the end: so the disk reads the same
//! at every moment, and so it does after a crash at any. The order:
//!
//! 1. The target gets another modification time, and so does the sealed file's header, which knows
//!    it by that: see [`Merge::retime`]. From then on other COW files over the target are refused,
//!    whose contents will change under them.
//! 2. The data is copied, in the background, and the bits of the target's bitmap are set as it is.
//!    The target's time stays what it is, as the sealed file's header says it.
//! 3. That is made durable.
//! 4. The header of the written file names the target, durably.
//! 5. Requests are held, and the image exchanged for one without the sealed file.
//!
//! Whoever gives up before (4), or crashes, has the chain that there was, and a part of the data in
//! both files.

use crate::ubd::{
    cow::bitmap::{Bitmap, PAGE_SECTORS},
    cow::header,
    cow::layout::Layout,
    cow::other_time,
    cow::replace::SECTOR,
    engine::plan,
    files::below::Below,
    files::bitmap_pages::OnDisk,
    files::header::Cow,
    files::image::{Image, Written},
    files::last_error::LastError,
    files::layer::{Layer, Map},
    files::merging::{Merging, Pace},
    files::open::{bytes, c_string, Opening},
    kernel::compat::EOPNOTSUPP,
    kernel::file::{Access, File},
    options::Options,
};
use kernel::{prelude::*, sync::Arc};

/// How much is copied at a time, in bytes.
const STEP: usize = 128 << 10;

/// A file of a unit that nobody else can have until this is dropped.
struct Exclusive(Arc<File>);

impl Drop for Exclusive {
    fn drop(&mut self) {
        let Self(file) = self;
        // Without the memory for that nobody else can have it for longer, which does no harm.
        let _ = file.lock(false);
    }
}

/// A commit.
pub(crate) struct Merge {
    /// What the unit is to have then.
    below: Below,
    /// The target alone, opened to be written.
    target: Arc<Image>,
    /// The sealed file, opened to have its header written; `None` if the target is a block device,
    /// whose time no header is compared with.
    sealed: Option<File>,
    // The last to go.
    _exclusive: Exclusive,
}

impl Merge {
    /// Makes all that a commit of a unit with `options` needs, of which `old` is the image. Says in
    /// `last_error` what failed. Changes no file.
    ///
    /// May sleep. Sees files as the calling task does. Returns `EROFS` or `EIO` for an image that
    /// is not written; `EINVAL` if there is nothing to merge, or it can't be; `EAGAIN` or `EACCES`
    /// if others have the target; `EOPNOTSUPP` for a file system that can't keep a time; and what
    /// opening a file does.
    pub(crate) fn prepare(
        old: Arc<Image>,
        options: &Options<'_>,
        last_error: &LastError,
    ) -> Result<Self> {
        let opening = Opening::of_image(options, &old, last_error);
        let top = old.top()?;
        old.check_writable()
            .map_err(|e| opening.failed(&top.path, "is not written", e))?;
        let [_, sealed, lower, ..] = old.layers() else {
            let what = "has no COW file below it that could be merged";
            return Err(opening.failed(&top.path, what, EINVAL));
        };
        let map = sealed.map.as_deref().ok_or(EIO)?;
        if opening.flags.shared {
            let what = "is not locked (flag c), so that others can have it unnoticed";
            return Err(opening.failed(&lower.path, what, EINVAL));
        }
        let fit = match &lower.map {
            None => lower.file.size() == map.layout.size,
            Some(lower) => {
                lower.layout.size == map.layout.size
                    && lower.layout.sector_shift <= map.layout.sector_shift
                    && !lower.layout.short_of_room
            }
        };
        if !fit {
            let what = "cannot take what is above it: it has another length, or longer sectors";
            return Err(opening.failed(&lower.path, what, EINVAL));
        }
        let regular = lower.file.is_regular();
        for layer in [lower, sealed].into_iter().filter(|_| regular) {
            if layer.file.is_regular() && !layer.file.can_keep_times() {
                let what = "is on a file system that cannot keep its time as it is written";
                return Err(opening.failed(&layer.path, what, EOPNOTSUPP));
            }
        }
        lower.file.lock(true).map_err(|e| {
            let what = "cannot be locked to be written, another process or unit has it";
            opening.failed(&lower.path, what, e)
        })?;
        let exclusive = Exclusive(lower.file.clone());
        let target = open_again(&opening, lower)?;
        target.keep_times();
        let sealed_file = match regular {
            true => {
                let cow = header_of(&opening, &sealed.file, sealed)?;
                if !other_time::fits(&cow.header()) {
                    let what = "has a header with no place for what a commit needs: a V3, and a \
                                path of less than 4080 bytes";
                    return Err(opening.failed(&sealed.path, what, EINVAL));
                }
                let file = open_again(&opening, sealed)?;
                file.keep_times();
                Some(file)
            }
            false => None,
        };
        // Read here, and not for each page of it.
        if lower.map.is_none() && has_tail(sealed, map)? {
            let what = "has data behind the end of the disk, in its last sector";
            return Err(opening.failed(&sealed.path, what, EINVAL));
        }
        let mut layers = KVec::with_capacity(1, GFP_KERNEL)?;
        let copy = Layer::new(target, bytes(&lower.path)?, lower.map.clone())?;
        layers.push(copy, GFP_KERNEL)?;
        let target = Image::new(layers, map.layout.size, false, false, Written::new()?);
        let target = Arc::pin_init(target, GFP_KERNEL)?;
        let mut rest = KVec::with_capacity(old.layers().len(), GFP_KERNEL)?;
        for layer in old.layers().iter().skip(2) {
            rest.push(layer.again()?, GFP_KERNEL)?;
        }
        let below = Below::new(&opening, old.clone(), rest)?;
        Ok(Self {
            below,
            target,
            sealed: sealed_file,
            _exclusive: exclusive,
        })
    }

    /// Gives the target another time of modification, if it is a file, so that a COW file over it
    /// is refused from then on, but for the sealed one.
    ///
    /// The sealed file's header says first that the target may have the new time, too; when it has,
    /// that it must have. Each of these is durable before the next begins, and is within a sector.
    /// The sealed file's own time stays, by which the header of the written file knows it.
    ///
    /// May sleep. Returns what the files do. The chain can be attached whenever it does.
    pub(crate) fn retime(&self, options: &Options<'_>, last_error: &LastError) -> Result {
        let opening = Opening::of_image(options, self.below.old(), last_error);
        let Some(file) = &self.sealed else {
            return Ok(());
        };
        let (sealed, target) = (self.sealed()?, self.target.top()?);
        let cannot = |layer: &Layer, e| opening.failed(&layer.path, "cannot get another time", e);
        let own = sealed.file.stat()?.mtime;
        let old = target.file.stat()?.mtime;
        let set = |mtime: i64| {
            let cow = header_of(&opening, &sealed.file, sealed)?;
            let new = header::Header {
                mtime: mtime as u32,
                ..cow.header()
            };
            let mut buf = KVVec::from_elem(0u8, header::LEN_MAX, GFP_KERNEL)?;
            new.write(&mut buf)
                .map_err(|e| opening.unusable(&sealed.path, &e))?;
            file.write_at(buf.get(..SECTOR).ok_or(EIO)?, 0)?;
            Ok::<_, Error>(file.sync()?)
        };
        if header_of(&opening, &sealed.file, sealed)?.mtime != old as u32 {
            // What an earlier commit was crashed in.
            set(old).map_err(|e| cannot(sealed, e))?;
        }
        let new = File::new_mtime(old);
        file.write_at(&other_time::bytes(new as u32), other_time::AT as u64)
            .and_then(|()| Ok(file.sync()?))
            .map_err(|e| cannot(sealed, e))?;
        target
            .file
            .set_mtime(new)
            .and_then(|()| Ok(target.file.sync_all()?))
            .map_err(|e| cannot(target, e))?;
        set(new).map_err(|e| cannot(sealed, e))?;
        if sealed.file.is_regular() && sealed.file.stat()?.mtime != own {
            return Err(cannot(sealed, EIO));
        }
        Ok(())
    }

    /// Copies all that is in the sealed file. Returns whether it was not cancelled.
    ///
    /// May sleep, for long. To be called in a kernel thread. Returns what the files do, and says so
    /// in `last_error`; `EINVAL` if the sealed one was cut short.
    pub(crate) fn copy(
        &self,
        control: &Merging,
        options: &Options<'_>,
        last_error: &LastError,
    ) -> Result<bool> {
        let opening = Opening::of_image(options, self.below.old(), last_error);
        let (sealed, target) = (self.sealed()?, self.target.top()?);
        let map = sealed.map.as_deref().ok_or(EIO)?;
        let fail = |layer: &Layer, what: &str, e| opening.failed(&layer.path, what, e);
        let cannot_read = |e| fail(sealed, "cannot be read", e);
        let mut sectors = 0;
        for_each_page(sealed, map, control, |on_disk, page| {
            sectors += on_disk.count(page)?;
            Ok(())
        })
        .map_err(cannot_read)?;
        let Layout {
            sector_shift,
            data_offset,
            size,
            ..
        } = map.layout;
        control.begin(sectors << sector_shift);
        let mut buf = KVVec::from_elem(0u8, STEP, GFP_KERNEL)?;
        // A plain file ends where the disk does, which may be within a sector.
        let most = match &target.map {
            None => size,
            Some(_) => u64::MAX,
        };
        let mut failed = None;
        let mut pace = Pace::new();
        let mut copy = |pos: u64, len: usize| {
            let buf = buf.get_mut(..len).ok_or(EIO)?;
            let got = sealed
                .file
                .read_at(buf, data_offset + pos)
                .map_err(cannot_read)?;
            if (got as u64) < (len as u64).min(size - pos) {
                let what = "is cut short, nothing of what is missing is committed";
                return Err(fail(sealed, what, EINVAL));
            }
            buf.get_mut(got..).ok_or(EIO)?.fill(0);
            let at = target.map.as_ref().map_or(0, |map| map.layout.data_offset) + pos;
            let end = at + len as u64;
            let is_hole = || target.file.next_data(at).is_none_or(|data| data >= end);
            // What is a hole takes no space.
            if buf.iter().any(|byte| *byte != 0) || !is_hole() {
                target
                    .file
                    .write_at(buf, at)
                    .map_err(|e| fail(target, "cannot be written", e))?;
            }
            self.target
                .set_written(pos, len as u64, &mut 0)
                .map_err(|e| fail(target, "has a bitmap that cannot be read", e))?;
            control.copied(len as u64, &mut pace);
            Ok(())
        };
        for_each_page(sealed, map, control, |_, page| {
            let mut at = page * PAGE_SECTORS;
            let end = (at + PAGE_SECTORS).min(map.layout.sectors);
            while at < end && failed.is_none() {
                let run = plan::run(&map.bitmap, at, end).map_err(|_| EIO)?;
                let (mut pos, end) = (at << sector_shift, (run.end << sector_shift).min(most));
                while run.in_cow && pos < end && failed.is_none() && !control.is_cancelled() {
                    let len = (end - pos).min(STEP as u64);
                    failed = copy(pos, len as usize).err();
                    pos += len;
                }
                at = run.end;
            }
            Ok(())
        })
        .map_err(cannot_read)?;
        match failed {
            Some(e) => Err(e),
            None => Ok(!control.is_cancelled()),
        }
    }

    /// Makes what was copied durable. May sleep, for long. Returns what [`Image::flush`] does, and
    /// says so in `last_error`.
    pub(crate) fn flush(&self, options: &Options<'_>, last_error: &LastError) -> Result {
        let opening = Opening::of_image(options, self.below.old(), last_error);
        self.target.flush().map_err(|e| {
            let path = self.target.top().map_or(&[][..], |target| &target.path);
            opening.failed(path, "cannot be made durable", e)
        })
    }

    /// Makes the header of the written file name the target, see [`Below::name`].
    pub(crate) fn name(&self, options: &Options<'_>, last_error: &LastError) -> Result {
        let opening = Opening::of_image(options, self.below.old(), last_error);
        self.below.name(&opening).map_err(|e| {
            let path = self.below.old().top().map_or(&[][..], |top| &top.path);
            opening.failed(path, "cannot be switched to another backing file", e)
        })
    }

    /// The image that the unit is to have then.
    pub(crate) fn image(&self) -> &Arc<Image> {
        self.below.image()
    }

    /// The paths of the sealed file and of the target.
    pub(crate) fn paths(&self) -> Result<(&[u8], &[u8])> {
        Ok((&self.sealed()?.path, &self.target.top()?.path))
    }

    fn sealed(&self) -> Result<&Layer> {
        self.below.old().layers().get(1).ok_or(EIO)
    }
}

/// Opens the file of a layer once more, to be written, by its path, so that who asks for it must be
/// allowed to.
fn open_again(opening: &Opening<'_>, layer: &Layer) -> Result<File> {
    let path = &layer.path;
    let file = c_string(path)
        .and_then(|path| File::open(&path, Access::Claim))
        .map_err(|e| opening.failed(path, "cannot be opened to be written", e))?;
    if file.stat()?.id != layer.file.stat()?.id {
        return Err(opening.failed(path, "leads to another file now", EINVAL));
    }
    Ok(file)
}

fn header_of(opening: &Opening<'_>, file: &File, layer: &Layer) -> Result<Cow> {
    opening
        .read_header(file, &layer.path)?
        .ok_or_else(|| opening.no_cow_file(&layer.path))
}

/// Whether a COW file has something in its last sector that is behind the end of the disk, and not
/// zeros: a plain file has no place for that.
fn has_tail(sealed: &Layer, map: &Map) -> Result<bool> {
    let Layout {
        sector_shift, size, ..
    } = map.layout;
    let sector = size >> sector_shift;
    let end = (sector + 1) << sector_shift;
    if sector == map.layout.sectors {
        return Ok(false);
    }
    OnDisk::new(sealed, map).load(Bitmap::page_of(sector))?;
    if map.bitmap.missing(sector, sector + 1) != Ok(0) {
        return Ok(false);
    }
    let mut tail = KVec::from_elem(0u8, (end - size) as usize, GFP_KERNEL)?;
    let got = sealed
        .file
        .read_at(&mut tail, map.layout.data_offset + size)?;
    Ok(tail.iter().take(got).any(|byte| *byte != 0))
}

/// Calls `f` for each page of the bitmap that has bits, with it in memory, until `control` is told
/// that it is enough. May sleep.
fn for_each_page<'a>(
    layer: &'a Layer,
    map: &'a Map,
    control: &Merging,
    mut f: impl FnMut(&mut OnDisk<'a>, u64) -> Result,
) -> Result {
    let mut on_disk = OnDisk::new(layer, map);
    let pages = map.layout.sectors.div_ceil(PAGE_SECTORS);
    let mut page = 0;
    while page < pages && !control.is_cancelled() {
        if !map.bitmap.has_page(page) {
            let data = on_disk.next_data(page);
            if data > page || !on_disk.load_bits(page)? {
                page = data.max(page + 1);
                continue;
            }
        }
        f(&mut on_disk, page)?;
        page += 1;
    }
    Ok(())
}
