// SPDX-License-Identifier: GPL-2.0

//! Makes what was written to an image durable, in an order that survives a crash at any point.
//!
//! A bit of the bitmap reaches the disk only after the sector that it stands for. So a flush
//! copies the dirty pages as they are, makes the data durable, writes the copies, and makes those
//! durable. A bit that is set after the copy was taken waits for the next flush.
//!
//! Of a file that is used past the page cache the copies are written so as well, and if they are
//! in a row, as one write that is durable by itself. Otherwise the bitmap is synced, but not the
//! data that has come meanwhile.

use crate::ubd::{
    cow::bitmap::{PageBytes, PAGE_LEN},
    files::bitmap_pages::page_in_file,
    files::image::Image,
    files::layer::{Layer, Map},
    kernel::file::{SyncError, DIRECT_PIECES},
};
use kernel::{alloc::flags::__GFP_NOWARN, page::PAGE_SIZE, prelude::*};

/// At most so many pages of the bitmap are copied at a time: 4 MiB, the bits of 16 GiB of disk.
const BATCH: usize = 1024;

/// A copy of a page: a dirty one, or one that lies between two of these.
struct Copy {
    page: u64,
    bytes: KBox<PageBytes>,
}

impl Copy {
    fn of(map: &Map, page: u64) -> Result<Self> {
        let mut bytes = KBox::<PageBytes>::zeroed(GFP_KERNEL | __GFP_NOWARN)?;
        map.bitmap.copy_page(page, &mut bytes);
        Ok(Self { page, bytes })
    }
}

impl Image {
    /// Makes all writes durable that have completed before the call.
    ///
    /// May sleep, for long. When it returns an error none of them can be relied on that was not
    /// before. After an error with which written pages may be lost the image is read-only, because
    /// the kernel reports that once only, so that later syncs would claim success.
    pub(crate) fn flush(&self) -> Result {
        let _one_at_a_time = self.written.flushing.lock();
        if self.is_read_only() {
            return Ok(());
        }
        if self.has_failed() {
            return Err(EIO);
        }
        let layer = self.top()?;
        let Some(map) = &layer.map else {
            return self.sync(layer);
        };
        let mut from = 0;
        loop {
            let mut copies = KVec::new();
            let next = self.copy_dirty(map, from, &mut copies)?;
            if next.is_none() && layer.direct_alignment().is_some() {
                fill_gaps(map, &mut copies);
            }
            let written = self.sync_and_write(layer, map, &copies);
            if written.is_err() {
                for copy in &copies {
                    map.bitmap.mark_dirty(copy.page);
                }
            }
            match (next, written?) {
                // The sync before the next batch is also that of this one's copies.
                (Some(next), _) => from = next,
                (None, Written::Durable) => return Ok(()),
                // If this fails the image has failed, and no later flush can succeed.
                (None, Written::ToSync) => return self.sync_bitmap(layer, map),
            }
        }
    }

    /// Copies dirty pages from number `from` on. Returns where to go on, or `None` at the end.
    ///
    /// Returns `ENOMEM` if there is no memory for even one copy.
    fn copy_dirty(&self, map: &Map, from: u64, copies: &mut KVec<Copy>) -> Result<Option<u64>> {
        let mut failed = false;
        let next = map.bitmap.take_dirty(from, |page| {
            if copies.len() >= BATCH {
                return false;
            }
            let copy = Copy::of(map, page)
                .and_then(|copy| Ok(copies.push(copy, GFP_KERNEL | __GFP_NOWARN)?));
            failed = copy.is_err();
            !failed
        });
        if failed && copies.is_empty() {
            return Err(ENOMEM);
        }
        Ok(next)
    }

    fn sync_and_write(&self, layer: &Layer, map: &Map, copies: &[Copy]) -> Result<Written> {
        self.sync(layer)?;
        if copies.is_empty() {
            return Ok(Written::Durable);
        }
        let mut written = Written::ToSync;
        let rows = || {
            let rows = copies.chunk_by(|a, b| a.page + 1 == b.page);
            rows.flat_map(|row| row.chunks(DIRECT_PIECES))
        };
        // A write that is durable costs as much as a sync, so that there must be but one.
        let alone = rows().nth(1).is_none();
        for row in rows() {
            written = self.write_row(layer, map, row, alone)?;
        }
        Ok(written)
    }

    /// Writes copies of pages that follow each other, so that they are durable if that is `wanted`
    /// and can be done at once.
    fn write_row(&self, layer: &Layer, map: &Map, row: &[Copy], wanted: bool) -> Result<Written> {
        if let Some((offset, len)) = direct_range(layer, map, row) {
            let pages = row.iter().map(|copy| &copy.bytes);
            match layer.file.write_direct(pages, len, offset, wanted) {
                Ok(n) if n == len && wanted => return Ok(Written::Durable),
                Ok(n) if n == len => return Ok(Written::ToSync),
                // What is left need not be aligned.
                Ok(_) => {}
                Err(SyncError { error, lost: true }) => {
                    self.fail(layer, "sync", error);
                    return Err(error);
                }
                Err(SyncError { error, .. }) if Layer::refuses_direct(error) => {
                    layer.give_up_direct(error);
                }
                Err(SyncError { error, .. }) => return Err(error),
            }
        }
        for copy in row {
            if let Some((offset, len)) = page_in_file(&map.layout, copy.page) {
                let bytes = copy.bytes.get(..len).ok_or(EIO)?;
                layer.file.write_at(bytes, offset)?;
            }
        }
        Ok(Written::ToSync)
    }

    fn sync(&self, layer: &Layer) -> Result {
        self.synced(layer, layer.file.sync())
    }

    fn sync_bitmap(&self, layer: &Layer, map: &Map) -> Result {
        let start = map.layout.bitmap_offset;
        let range = start..start + map.layout.bitmap_len;
        self.synced(layer, layer.file.sync_range(range))
    }

    /// What a sync of the file of `layer` has returned. The image has failed with it if something
    /// that was written may be lost.
    pub(super) fn synced(&self, layer: &Layer, result: Result<(), SyncError>) -> Result {
        result.map_err(|SyncError { error, lost }| {
            if lost {
                self.fail(layer, "sync", error);
            }
            error
        })
    }
}

/// How copies were written.
#[derive(Clone, Copy)]
enum Written {
    /// They are on stable storage.
    Durable,
    /// The bitmap has to be synced.
    ToSync,
}

/// Adds what lies between the pages of `copies`, if that makes them one row of [`DIRECT_PIECES`] at
/// most. That is what the file has already, or has soon: pages with no bits, which need have no
/// space there, are not added.
fn fill_gaps(map: &Map, copies: &mut KVec<Copy>) {
    let (Some(first), Some(last)) = (copies.first(), copies.last()) else {
        return;
    };
    let (first, last) = (first.page, last.page);
    if last - first >= DIRECT_PIECES as u64 || last - first < copies.len() as u64 {
        return;
    }
    // If there is no memory for all of it there are more rows than one, which is as good.
    let missing = (last - first + 1) as usize - copies.len();
    if copies.reserve(missing, GFP_KERNEL | __GFP_NOWARN).is_err() {
        return;
    }
    for (index, page) in (first..=last).enumerate() {
        if copies.get(index).is_some_and(|copy| copy.page == page) {
            continue;
        }
        let copy = Copy::of(map, page).ok();
        let with_bits = copy.filter(|copy| copy.bytes.iter().any(|byte| *byte != 0));
        if with_bits.is_none_or(|copy| copies.insert_within_capacity(index, copy).is_err()) {
            return;
        }
    }
}

/// Where in the file these pages, which follow each other, are written past the page cache, and
/// how many bytes: maybe some of the gap between bitmap and data, which has zeros. `None` if they
/// can't be: then there are others in the same blocks, or in the same pages of the page cache.
fn direct_range(layer: &Layer, map: &Map, row: &[Copy]) -> Option<(u64, usize)> {
    let alignment = layer.direct_alignment()?;
    let layout = &map.layout;
    let (offset, _) = page_in_file(layout, row.first()?.page)?;
    let (last, len) = page_in_file(layout, row.last()?.page)?;
    let within = u64::from(alignment.offset) - 1;
    let end = (last + len as u64 + within) & !within;
    let len = usize::try_from(end - offset).ok()?;
    let fits = layout.bitmap_offset % PAGE_SIZE as u64 == 0
        && alignment.memory <= PAGE_LEN as u32
        && alignment.fits(offset)
        && end <= layout.data_offset
        && len <= row.len() * PAGE_LEN;
    fits.then_some((offset, len))
}
