// SPDX-License-Identifier: GPL-2.0

//! Makes what was written to an image durable, in an order that survives a crash at any point.
//!
//! A bit of the bitmap reaches the disk only after the sector that it stands for. So a flush
//! copies the dirty pages as they are, makes the data durable, writes the copies, and makes those
//! durable. A bit that is set after the copy was taken waits for the next flush.

use crate::ubd::{
    cow::bitmap::PageBytes,
    files::bitmap_pages::page_in_file,
    files::image::Image,
    files::layer::{Layer, Map},
    kernel::file::SyncError,
};
use kernel::{alloc::flags::__GFP_NOWARN, prelude::*};

/// At most so many pages of the bitmap are copied at a time: 4 MiB, the bits of 16 GiB of disk.
const BATCH: usize = 1024;

/// A copy of a dirty page.
struct Copy {
    page: u64,
    bytes: KBox<PageBytes>,
}

impl Image {
    /// Makes all writes durable that have completed before the call.
    ///
    /// May sleep, for long. When it returns an error none of them can be relied on that was not
    /// before. After an error with which written pages may be lost the image is read-only, because
    /// the kernel reports that once only, so that later syncs would claim success.
    pub(crate) fn flush(&self) -> Result {
        let _one_at_a_time = self.flushing.lock();
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
            if let Err(e) = self.sync_and_write(layer, map, &copies) {
                for copy in &copies {
                    map.bitmap.mark_dirty(copy.page);
                }
                return Err(e);
            }
            match next {
                // The sync before the next batch is also that of this one's copies.
                Some(next) => from = next,
                None if copies.is_empty() => return Ok(()),
                // If this fails the image has failed, and no later flush can succeed.
                None => return self.sync(layer),
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
            let flags = GFP_KERNEL | __GFP_NOWARN;
            let copy = KBox::<PageBytes>::zeroed(flags).and_then(|mut bytes| {
                map.bitmap.copy_page(page, &mut bytes);
                copies.push(Copy { page, bytes }, flags)
            });
            failed = copy.is_err();
            !failed
        });
        if failed && copies.is_empty() {
            return Err(ENOMEM);
        }
        Ok(next)
    }

    fn sync_and_write(&self, layer: &Layer, map: &Map, copies: &[Copy]) -> Result {
        self.sync(layer)?;
        for copy in copies {
            if let Some((offset, len)) = page_in_file(&map.layout, copy.page) {
                let bytes = copy.bytes.get(..len).ok_or(EIO)?;
                layer.file.write_at(bytes, offset)?;
            }
        }
        Ok(())
    }

    fn sync(&self, layer: &Layer) -> Result {
        layer.file.sync().map_err(|SyncError { error, lost }| {
            if lost {
                self.fail(layer, "sync", error);
            }
            error
        })
    }
}
