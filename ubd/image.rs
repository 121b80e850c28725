// SPDX-License-Identifier: GPL-2.0

//! The open files of one unit, and where in them a byte of the disk is.
//!
//! The files are layers: the first is the one that is written; if it is a COW file, the second is
//! its backing file, which may be a COW file again. The last one is plain.

use crate::ubd::{
    cow::bitmap::{self, Bitmap, NotLoaded},
    cow::layout::Layout,
    kernel::file::{DirectAlignment, File, Through},
    kernel::ratelimit::RateLimit,
    options::Brief,
    plan,
};
use kernel::{
    block::{SECTOR_SHIFT, SECTOR_SIZE},
    new_mutex,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::Mutex,
};

/// What makes a file a COW file.
pub(crate) struct Map {
    /// Where in the file its bitmap and its data lie.
    pub(crate) layout: Layout,
    /// Which sectors are in this file.
    pub(crate) bitmap: Bitmap,
    /// Held by the one who reads a page of the bitmap.
    loading: Pin<KBox<Mutex<()>>>,
}

impl Map {
    /// That of a COW file with this layout, with no page of the bitmap read yet.
    ///
    /// May sleep. Returns `ENOMEM`.
    pub(crate) fn new(layout: Layout) -> Result<Self> {
        Ok(Self {
            bitmap: Bitmap::new(layout.sectors)?,
            layout,
            loading: KBox::pin_init(new_mutex!((), "ubd_loading"), GFP_KERNEL)?,
        })
    }
}

/// One file of a unit.
pub(crate) struct Layer {
    /// The open file.
    pub(crate) file: File,
    /// Its path, as the user or a COW header has it.
    pub(crate) path: KVec<u8>,
    /// `None` for a plain file.
    pub(crate) map: Option<Map>,
    /// Whether a read may be tried where it must not wait for a disk.
    reads_at_once: bool,
    /// What a range that is freed or zeroed by the file itself has to be a multiple of, in bytes:
    /// a power of two.
    zeroing_unit: u64,
    /// How the file can be used past the page cache, if it can and has one.
    alignment: Option<DirectAlignment>,
    /// Whether it is.
    direct: bool,
}

impl Layer {
    /// A layer of `file`; with a map if it is a COW file.
    pub(crate) fn new(file: File, path: KVec<u8>, map: Option<Map>) -> Self {
        let in_memory = file.is_in_memory();
        // A block device takes its inode's lock whatever is asked for.
        let reads_at_once = in_memory || file.can_read_nowait() && !file.is_block_device();
        let alignment = match in_memory {
            true => None,
            false => file.direct_alignment(),
        };
        let zeroing_unit = file.device_limits().logical_block_size.max(1).into();
        Self {
            file,
            path,
            map,
            reads_at_once,
            zeroing_unit,
            alignment,
            direct: false,
        }
    }

    /// What direct I/O to the file has to be aligned to. `None` if it has none, or, as a file in
    /// memory, nothing that it could be used past.
    pub(crate) fn alignment(&self) -> Option<DirectAlignment> {
        self.alignment
    }

    /// As [`Self::alignment`], if the file is used past the page cache.
    fn direct_alignment(&self) -> Option<DirectAlignment> {
        self.alignment.filter(|_| self.direct)
    }

    /// Has the file used past the page cache, where offset and length are aligned.
    pub(crate) fn set_direct(&mut self) {
        if self.alignment.is_some() {
            self.reads_at_once = false;
            self.direct = true;
            // A page of the bitmap must not come with pages of data, which it would write too.
            self.file.set_no_readahead();
        }
    }

    /// See the field.
    pub(crate) fn zeroing_unit(&self) -> u64 {
        self.zeroing_unit
    }

    /// Whether this layer is to be used past the page cache, at offsets and lengths of which `bits`
    /// has all that are set in any of them.
    #[inline]
    pub(crate) fn is_direct(&self, bits: u64) -> bool {
        self.direct && self.alignment.is_some_and(|alignment| alignment.fits(bits))
    }

    /// How this layer is to be read or written, with `bits` as for [`Self::is_direct`].
    ///
    /// Returns `EAGAIN` when it must not be done at all without waiting.
    #[inline]
    pub(crate) fn through(&self, wait: Wait, bits: u64) -> Result<Through> {
        match wait {
            Wait::Allowed if self.is_direct(bits) => Ok(Through::Direct),
            Wait::Allowed => Ok(Through::Cache),
            Wait::Never if self.reads_at_once => Ok(Through::CacheOnly),
            Wait::Never => Err(EAGAIN),
        }
    }
}

/// Whether something may wait for a disk, or returns `EAGAIN` instead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It may.
    Allowed,
    /// It must not.
    Never,
}

/// A part of the disk that is in one file. All in bytes.
pub(crate) struct Piece<'a> {
    /// The file.
    pub(crate) layer: &'a Layer,
    /// Where the part starts in the file.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) len: u64,
}

/// The open files of a unit.
#[pin_data]
pub(crate) struct Image {
    layers: KVec<Layer>,
    /// In bytes. Changes only if the file is plain.
    size: Atomic<u64>,
    read_only: bool,
    direct: bool,
    /// Set when it can't be known any more what of the written data is on disk.
    failed: Atomic<bool>,
    /// Of what is said of failed requests.
    #[pin]
    pub(super) complaints: RateLimit,
    /// Held by the one who takes up the file's size.
    #[pin]
    resizing: Mutex<()>,
    /// Held by the one who flushes.
    #[pin]
    pub(super) flushing: Mutex<()>,
}

impl Image {
    /// An image of `layers`, of which there must be one at least. `size` is the disk's, in bytes;
    /// `direct` says that [`Layer::set_direct`] was called for all layers.
    pub(crate) fn new(
        layers: KVec<Layer>,
        size: u64,
        read_only: bool,
        direct: bool,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            layers,
            size: Atomic::new(size),
            read_only,
            direct,
            failed: Atomic::new(false),
            complaints <- RateLimit::new(),
            resizing <- new_mutex!((), "ubd_resizing"),
            flushing <- new_mutex!((), "ubd_flushing"),
        })
    }

    /// The disk's size in bytes, not rounded to sectors.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }

    /// Takes up the size that a plain file has now, and hands it to `set`, in bytes.
    ///
    /// May sleep. Returns `EINVAL`, and changes nothing, for a COW file, whose size its header has,
    /// for a file with no bytes, and for a size that direct I/O can't be used with.
    pub(crate) fn take_up_size(&self, set: impl FnOnce(u64)) -> Result {
        let _one_at_a_time = self.resizing.lock();
        let layer = self.top()?;
        let size = layer.file.size();
        let rounded = size.next_multiple_of(u64::from(SECTOR_SIZE));
        let fits = layer
            .direct_alignment()
            .is_none_or(|direct| direct.fits(rounded));
        if layer.map.is_some() || size == 0 || !fits {
            return Err(EINVAL);
        }
        self.size.store(size, Relaxed);
        set(size);
        Ok(())
    }

    /// Whether the files are used past the page cache, those that have one.
    pub(crate) fn has_direct_io(&self) -> bool {
        self.direct
    }

    /// Whether all files are in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.layers.iter().all(|layer| layer.file.is_in_memory())
    }

    /// Whether requests are to be tried with direct I/O: not if all files are in memory.
    pub(crate) fn tries_direct_io(&self) -> bool {
        self.direct && self.layers.iter().any(|layer| layer.direct)
    }

    /// Whether writes go past the page cache.
    pub(crate) fn writes_direct(&self) -> bool {
        self.direct && self.layers.first().is_some_and(|layer| layer.direct)
    }

    /// The unit of requests, in bytes: a sector of the written file if that is a COW file, else
    /// 512, or what direct I/O wants. Files below are only read, for which any unit will do
    /// otherwise.
    pub(crate) fn block_size(&self) -> u32 {
        let sector = self
            .top_map()
            .map_or(512, |map| 1 << map.layout.sector_shift);
        let direct = self.layers.iter().filter_map(Layer::direct_alignment);
        direct.fold(sector, |size, direct| size.max(direct.offset))
    }

    /// What the memory of requests has to be aligned to, in bytes: a power of two.
    pub(crate) fn memory_alignment(&self) -> u32 {
        let direct = self.layers.iter().filter_map(Layer::direct_alignment);
        direct.fold(1, |most, direct| most.max(direct.memory))
    }

    /// Whether the disk can be written.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The files, the written one first.
    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The file that is written.
    pub(crate) fn top(&self) -> Result<&Layer> {
        self.layers.first().ok_or(EIO)
    }

    /// Has what is written from now on leave the written file's times as they are.
    pub(crate) fn keep_times(&self) {
        if let Ok(top) = self.top() {
            top.file.keep_times();
        }
    }

    /// Whether writes may have to fill holes in the written file, in its data or in its bitmap.
    ///
    /// May sleep.
    pub(crate) fn has_holes(&self) -> bool {
        let Ok(Layer { file, map, .. }) = self.top() else {
            return false;
        };
        match map {
            None => file.has_hole(0, self.size()),
            Some(Map { layout, .. }) => {
                file.has_hole(layout.bitmap_offset, layout.bitmap_len)
                    || file.has_hole(layout.data_offset, self.size())
            }
        }
    }

    /// Says that memory is swapped out to the unit, and why it should not be.
    pub(crate) fn warn_of_swap(&self, why: &str) {
        if let Ok(top) = self.top() {
            pr_warn!(
                "{}: memory is swapped out to it, but {why}: that can hang; see \
                 Documentation/guarantees.rst\n",
                Brief(&top.path)
            );
        }
    }

    /// Whether a bitmap has pages that are not on disk.
    pub(crate) fn is_dirty(&self) -> bool {
        self.top_map().is_some_and(|map| map.bitmap.is_dirty())
    }

    /// How many pages of the written file's bitmap are not on disk.
    pub(crate) fn dirty_pages(&self) -> u64 {
        self.top_map().map_or(0, |map| map.bitmap.dirty_pages())
    }

    /// How many sectors of 512 bytes are in the file that is written; all, if it is no COW file.
    ///
    /// May sleep, for long: reads what there is of the bitmap. Returns `EINTR` when the calling
    /// task has a signal.
    pub(crate) fn cow_sectors(&self) -> Result<u64> {
        let layer = self.top()?;
        let Some(map) = &layer.map else {
            return Ok(self.size().div_ceil(u64::from(SECTOR_SIZE)));
        };
        let mut bytes = KBox::<bitmap::PageBytes>::zeroed(GFP_KERNEL)?;
        let mut count = 0;
        let mut page = 0;
        // Where the file has its next data, as far as is known.
        let mut data = 0;
        while let Some((offset, len)) = page_in_file(&map.layout, page) {
            page += 1;
            if let Some(set) = map.bitmap.count(page - 1) {
                count += set;
                continue;
            }
            if data <= offset {
                data = layer.file.next_data(offset).unwrap_or(u64::MAX);
            }
            if data < offset + len as u64 {
                if kernel::current!().signal_pending() {
                    return Err(EINTR);
                }
                let part = bytes.get_mut(..len).ok_or(EIO)?;
                layer.file.read_at(part, offset)?;
                count += part.iter().map(|b| u64::from(b.count_ones())).sum::<u64>();
            }
        }
        Ok(count << (map.layout.sector_shift - SECTOR_SHIFT))
    }

    /// What makes the file that is written a COW file, if it is one.
    fn top_map(&self) -> Option<&Map> {
        self.layers.first()?.map.as_ref()
    }

    /// Whether an error has made the image read-only for good.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Makes the image read-only for good, because `what` has failed on the file of `layer`, and
    /// says so.
    pub(crate) fn fail(&self, layer: &Layer, what: &str, e: Error) {
        if !self.failed.xchg(true, Full) {
            pr_err!(
                "{}: {what} failed with {e:?}, read-only from now on\n",
                Brief(&layer.path)
            );
        }
    }

    /// Says, now and then, that a flush has failed and will be tried again.
    pub(crate) fn say_dirty(&self, e: Error) {
        if let Some(layer) = self.layers.first().filter(|_| self.complaints.allows()) {
            pr_err!(
                "{}: {} pages of its bitmap cannot be written yet: {e:?}\n",
                Brief(&layer.path),
                self.dirty_pages()
            );
        }
    }

    /// Returns the error that a write has to end with because of the image's state, if any.
    pub(crate) fn check_writable(&self) -> Result {
        if self.read_only {
            Err(EROFS)
        } else if self.has_failed() {
            Err(EIO)
        } else {
            Ok(())
        }
    }

    /// The longest piece of the disk that starts at byte `pos`, is at most `len` bytes long, and is
    /// in one file.
    ///
    /// May sleep. With [`Wait::Never`], `EAGAIN` means that a bitmap has to be read first.
    pub(crate) fn locate(&self, pos: u64, len: u64, wait: Wait) -> Result<Piece<'_>> {
        let mut end = pos + len;
        for layer in &self.layers {
            let Some(map) = &layer.map else {
                return Ok(Piece {
                    layer,
                    offset: pos,
                    len: end - pos,
                });
            };
            let shift = map.layout.sector_shift;
            let last = (end - 1) >> shift;
            let run = loop {
                match plan::run(&map.bitmap, pos >> shift, last + 1) {
                    Ok(run) => break run,
                    Err(_) if wait == Wait::Never => return Err(EAGAIN),
                    Err(page) => load(layer, map, page)?,
                }
            };
            if run.end <= last {
                end = end.min(run.end << shift);
            }
            if run.in_cow {
                return Ok(Piece {
                    layer,
                    offset: map.layout.data_offset + pos,
                    len: end - pos,
                });
            }
        }
        Err(EIO)
    }

    /// Sets the bits of the `len` bytes at `pos` in the written file's bitmap, if it has one.
    ///
    /// May sleep. Returns an error, with bits set of no sector that was not wholly written, when
    /// the bitmap can't be read.
    pub(crate) fn set_written(&self, pos: u64, len: u64) -> Result {
        let layer = self.top()?;
        let Some(map) = &layer.map else {
            return Ok(());
        };
        let shift = map.layout.sector_shift;
        let (start, end) = (pos >> shift, (pos + len).div_ceil(1 << shift));
        while let Err(page) = map.bitmap.set(start, end) {
            load(layer, map, page)?;
        }
        Ok(())
    }

    /// Whether all is in memory that it takes to set the bits of the `len` bytes at `pos`.
    pub(crate) fn has_bits(&self, pos: u64, len: u64) -> bool {
        let Some(map) = self.top_map() else {
            return true;
        };
        let shift = map.layout.sector_shift;
        let last = Bitmap::page_of((pos + len - 1) >> shift);
        (Bitmap::page_of(pos >> shift)..=last).all(|page| map.bitmap.has_page(page))
    }

    /// [`Self::set_written`], if [`Self::has_bits`]. May be called in any context.
    pub(crate) fn set_loaded(&self, pos: u64, len: u64) -> Result {
        let Some(map) = self.top_map() else {
            return Ok(());
        };
        let shift = map.layout.sector_shift;
        let (start, end) = (pos >> shift, (pos + len).div_ceil(1 << shift));
        map.bitmap.set(start, end).map_err(|_| EIO)
    }
}

/// Reads a page of the bitmap. May sleep.
fn load(layer: &Layer, map: &Map, NotLoaded(page): NotLoaded) -> Result {
    let _one_at_a_time = map.loading.lock();
    if page >= map.layout.sectors.div_ceil(bitmap::PAGE_SECTORS) {
        // The caller's range is not of this disk.
        return Err(EIO);
    }
    let mut bytes = KBox::<bitmap::PageBytes>::zeroed(GFP_KERNEL)?;
    if let Some((offset, len)) = page_in_file(&map.layout, page) {
        let data = layer.file.next_data(offset);
        if data.is_some_and(|data| data < offset + len as u64) {
            let part = bytes.get_mut(..len).ok_or(EIO)?;
            layer.file.read_at(part, offset)?;
        }
    }
    map.bitmap.load(page, &bytes)?;
    Ok(())
}

/// Where in the file page number `page` of the bitmap is, and how long it is there, in bytes.
/// `None` if the bitmap has no such page.
pub(crate) fn page_in_file(layout: &Layout, page: u64) -> Option<(u64, usize)> {
    let start = page.checked_mul(bitmap::PAGE_LEN as u64)?;
    let left = layout.bitmap_len.checked_sub(start)?;
    let len = left.min(bitmap::PAGE_LEN as u64) as usize;
    (len > 0).then_some((layout.bitmap_offset + start, len))
}
