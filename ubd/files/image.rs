// SPDX-License-Identifier: GPL-2.0

//! The open files of one unit, and where in them a byte of the disk is.
//!
//! The files are layers: the first is the one that is written; if it is a COW file, the second is
//! its backing file, which may be a COW file again. The last one is plain. None has a larger disk
//! than those above it; what is beyond a smaller one is zeros.

use crate::ubd::{
    cow::bitmap::{Bitmap, NotLoaded, PAGE_SECTORS},
    engine::plan,
    files::bitmap_pages::OnDisk,
    files::layer::{Layer, Map, Piece, Wait},
    kernel::ratelimit::RateLimit,
    options::Abbreviated,
};
use kernel::{
    block::SECTOR_SIZE,
    new_mutex,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::{Arc, Mutex},
};

/// What is known of the file that is written, by all images that have it on top.
#[pin_data]
pub(crate) struct Written {
    /// Set when it can't be known any more what of the written data is on disk.
    failed: Atomic<bool>,
    /// Held by the one who flushes.
    #[pin]
    pub(super) flushing: Mutex<()>,
}

impl Written {
    /// Of a file with which nothing is wrong. May sleep. Returns `ENOMEM`.
    pub(super) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                failed: Atomic::new(false),
                flushing <- new_mutex!((), "ubd_flushing"),
            }),
            GFP_KERNEL,
        )
    }
}

/// The open files of a unit.
#[pin_data]
pub(crate) struct Image {
    layers: KVec<Layer>,
    /// In bytes. Changes only if the file is plain.
    size: Atomic<u64>,
    read_only: bool,
    direct: bool,
    pub(super) written: Arc<Written>,
    /// Of what is said of failed requests.
    #[pin]
    pub(crate) ratelimit: RateLimit,
    /// Held by the one who takes up the file's size.
    #[pin]
    resizing: Mutex<()>,
}

impl Image {
    /// An image of `layers`, of which there must be one at least. `size` is the disk's, in bytes;
    /// `direct` says that [`Layer::set_direct`] was called for all layers; `written` is what other
    /// images of the same written file have, too.
    pub(crate) fn new(
        layers: KVec<Layer>,
        size: u64,
        read_only: bool,
        direct: bool,
        written: Arc<Written>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            layers,
            size: Atomic::new(size),
            read_only,
            direct,
            written,
            ratelimit <- RateLimit::new(),
            resizing <- new_mutex!((), "ubd_resizing"),
        })
    }

    /// The disk's size in bytes, not rounded to sectors.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }

    /// Takes up the size that a plain file has now, and hands it to `set`, in bytes.
    ///
    /// May sleep. Returns `EINVAL`, and changes nothing, for a COW file, whose size its header has,
    /// and for a file with no bytes.
    pub(crate) fn revalidate_size(&self, set: impl FnOnce(u64)) -> Result {
        let _one_at_a_time = self.resizing.lock();
        let layer = self.top()?;
        let size = layer.file.size();
        if layer.map.is_some() || size == 0 {
            return Err(EINVAL);
        }
        self.size.store(size, Relaxed);
        set(size);
        Ok(())
    }

    /// Whether the files are used past the page cache, those that have one.
    pub(crate) fn has_direct_io(&self) -> bool {
        let mut past = self.layers.iter().filter(|layer| layer.alignment.is_some());
        self.direct && past.all(|layer| layer.direct.load(Relaxed))
    }

    /// Whether the files were to be used so.
    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Whether all files are in memory.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.layers.iter().all(|layer| layer.file.is_in_memory())
    }

    /// Whether requests are to be tried with direct I/O: not if all files are in memory.
    pub(crate) fn tries_direct_io(&self) -> bool {
        self.direct && self.layers.iter().any(|layer| layer.direct.load(Relaxed))
    }

    /// Whether direct I/O was asked for. Without that [`Self::tries_direct_io`] is never true; with
    /// it, it can come to be false.
    pub(crate) fn asks_direct_io(&self) -> bool {
        self.direct
    }

    /// Whether writes go past the page cache.
    pub(crate) fn writes_direct(&self) -> bool {
        let top = self.layers.first();
        self.direct && top.is_some_and(|layer| layer.direct.load(Relaxed))
    }

    /// The unit of requests, in bytes: a power of two, up to a page.
    ///
    /// It is the disk's own, in which its partitions are counted: a sector of the written file if
    /// that is a COW file, else a block of that if it is a device, else 512. What the files want
    /// for direct I/O can be more, and change while they are in use.
    pub(crate) fn block_size(&self) -> u32 {
        self.layers.first().map_or(SECTOR_SIZE, Layer::block_size)
    }

    /// What offset and length of a request have to be a multiple of to go past the page cache in
    /// every file, in bytes: a power of two; 1 if none does.
    pub(crate) fn direct_unit(&self) -> u32 {
        let direct = self.layers.iter().filter_map(Layer::direct_alignment);
        direct.fold(1, |most, direct| most.max(direct.offset))
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
        match map.as_deref() {
            None => file.has_hole(0, self.size()),
            Some(Map { layout, .. }) => {
                file.has_hole(layout.bitmap_offset, layout.bitmap_len)
                    || file.has_hole(layout.data_offset, self.size())
            }
        }
    }

    /// Says that memory is swapped out to the unit, and why it should not be.
    pub(crate) fn warn_swap(&self, why: &str) {
        if let Ok(top) = self.top() {
            pr_warn!(
                "{}: memory is swapped out to it, but {why}: that can hang; see \
                 Documentation/guarantees.rst\n",
                Abbreviated(&top.path)
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

    /// What makes the file that is written a COW file, if it is one.
    pub(super) fn top_map(&self) -> Option<&Map> {
        self.layers.first()?.map.as_deref()
    }

    /// Whether an error has made the image read-only for good.
    pub(crate) fn has_failed(&self) -> bool {
        self.written.failed.load(Relaxed)
    }

    /// Makes the image read-only for good, because `what` has failed on the file of `layer`, and
    /// says so.
    pub(crate) fn fail(&self, layer: &Layer, what: &str, e: Error) {
        if !self.written.failed.xchg(true, Full) {
            pr_err!(
                "{}: {what} failed with {e:?}, read-only from now on\n",
                Abbreviated(&layer.path)
            );
        }
    }

    /// Says, now and then, that a flush has failed and will be tried again.
    pub(crate) fn report_writeback_error(&self, e: Error) {
        if let Some(layer) = self.layers.first().filter(|_| self.ratelimit.allows()) {
            pr_err!(
                "{}: {} pages of its bitmap cannot be written yet: {e:?}\n",
                Abbreviated(&layer.path),
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
            let behind = map.layout.sectors << shift;
            if pos >= behind {
                // Zeros, as what the last file lacks, which is no longer than any disk over it. In
                // between there may be a last sector that is longer.
                return Ok(Piece {
                    layer: self.layers.last().ok_or(EIO)?,
                    offset: pos,
                    len: end - pos,
                });
            }
            end = end.min(behind);
            let last = (end - 1) >> shift;
            let run = loop {
                match plan::run(&map.bitmap, pos >> shift, last + 1) {
                    Ok(run) => break run,
                    Err(_) if wait == Wait::Never => return Err(EAGAIN),
                    Err(NotLoaded(page)) => OnDisk::new(layer, map).load(page)?,
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

    /// Sets the bits of the `len` bytes at `pos` in the written file's bitmap, if it has one. Takes
    /// the sectors that are new there off `reserved`.
    ///
    /// May sleep. Returns an error, with bits set of no sector that was not wholly written, when
    /// the bitmap can't be read.
    pub(crate) fn set_written(&self, pos: u64, len: u64, reserved: &mut u64) -> Result {
        let layer = self.top()?;
        let Some(map) = &layer.map else {
            return Ok(());
        };
        let shift = map.layout.sector_shift;
        let (mut start, end) = (pos >> shift, (pos + len).div_ceil(1 << shift));
        while let Err(NotLoaded(page)) = map.bitmap.set(start, end, reserved) {
            // All before this page are set.
            let first = page * PAGE_SECTORS;
            let whole = first >= start && first + PAGE_SECTORS <= end.min(map.layout.sectors);
            let mut on_disk = OnDisk::new(layer, map);
            match whole {
                true => on_disk.fill(page, reserved)?,
                false => on_disk.load(page)?,
            }
            start = start.max(first);
        }
        Ok(())
    }

    /// The part of the `len` bytes at `pos` of the disk, where blocks start and end, from the first
    /// to the last sector that is in the written file, as the position of its first byte and its
    /// length. `None` if there are no such sectors. All, if it is no COW file.
    ///
    /// May sleep. Of the bitmap nothing is kept in memory that has no bits.
    pub(crate) fn written_part(&self, pos: u64, len: u64) -> Result<Option<(u64, u64)>> {
        let layer = self.top()?;
        let Some(map) = &layer.map else {
            return Ok(Some((pos, len)));
        };
        let shift = map.layout.sector_shift;
        let (mut at, end) = (pos >> shift, (pos + len).div_ceil(1 << shift));
        let mut on_disk = OnDisk::new(layer, map);
        let mut found = None;
        while at < end {
            let page = Bitmap::page_of(at);
            let page_end = (page + 1) * PAGE_SECTORS;
            if !map.bitmap.has_page(page) {
                let data = on_disk.next_data(page);
                if data > page || !on_disk.load_bits(page)? {
                    at = data.max(page + 1).saturating_mul(PAGE_SECTORS);
                    continue;
                }
            }
            // The page is there by now.
            let part = plan::extent(&map.bitmap, at, page_end.min(end)).map_err(|_| EIO)?;
            if let Some((first, last)) = part {
                found = Some((found.map_or(first, |(first, _)| first), last));
            }
            at = page_end;
        }
        Ok(found.map(|(first, last)| {
            let first = first << shift;
            (first, (last << shift).min(pos + len) - first)
        }))
    }

    /// [`Self::set_written`], if [`Self::is_ready_to_write`]. May be called in any context.
    pub(crate) fn set_written_nowait(&self, pos: u64, len: u64) -> Result {
        let Some(map) = self.top_map() else {
            return Ok(());
        };
        let shift = map.layout.sector_shift;
        let (start, end) = (pos >> shift, (pos + len).div_ceil(1 << shift));
        map.bitmap.set(start, end, &mut 0).map_err(|_| EIO)
    }
}
