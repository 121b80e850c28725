// SPDX-License-Identifier: GPL-2.0

//! The pages of a bitmap in its file.

use crate::ubd::{
    cow::bitmap::{self, PAGE_SECTORS},
    cow::layout::Layout,
    files::layer::{Layer, Map},
};
use kernel::prelude::*;

/// The bitmap of a layer as it is in its file.
pub(super) struct OnDisk<'a> {
    layer: &'a Layer,
    map: &'a Map,
    /// Before this offset, from the page on that was last asked for, there are no bits.
    data: u64,
}

impl<'a> OnDisk<'a> {
    pub(super) fn new(layer: &'a Layer, map: &'a Map) -> Self {
        let data = 0;
        Self { layer, map, data }
    }

    /// Which page is the first from number `page` on that may have bits. To be called with rising
    /// numbers. May sleep.
    pub(super) fn next_data(&mut self, page: u64) -> u64 {
        let Some((offset, _)) = page_in_file(&self.map.layout, page) else {
            // To be found wrong by who wants to read it.
            return page;
        };
        if self.data <= offset {
            self.data = self.layer.file.next_data(offset).unwrap_or(u64::MAX);
        }
        let data = self.data.saturating_sub(self.map.layout.bitmap_offset);
        page.max(data / bitmap::PAGE_LEN as u64)
    }

    /// Reads a page of the bitmap, into zeros, and leaves none in the page cache of a file that is
    /// used past it. May sleep.
    pub(super) fn read(&self, page: u64, bytes: &mut bitmap::PageBytes) -> Result {
        bytes.fill(0);
        if let Some((offset, len)) = page_in_file(&self.map.layout, page) {
            let part = bytes.get_mut(..len).ok_or(EIO)?;
            self.layer.file.read_at(part, offset)?;
            if self.layer.direct_alignment().is_some() {
                self.layer.file.forget(offset, len as u64);
            }
        }
        Ok(())
    }

    /// Puts a page of the bitmap in place. May sleep.
    pub(super) fn load(&mut self, page: u64) -> Result {
        self.load_if(page, |_| true).map(|_| ())
    }

    /// Puts a page of the bitmap in place if it has bits, or else returns false. May sleep.
    pub(super) fn load_bits(&mut self, page: u64) -> Result<bool> {
        self.load_if(page, |bytes| bytes.iter().any(|byte| *byte != 0))
    }

    /// How many bits of a page are set. May sleep.
    pub(super) fn count(&mut self, page: u64) -> Result<u64> {
        if let Some(count) = self.map.bitmap.count(page) {
            return Ok(count);
        }
        let mut bytes = KBox::<bitmap::PageBytes>::zeroed(GFP_KERNEL)?;
        let _one_at_a_time = self.map.loading.lock();
        match self.map.bitmap.count(page) {
            Some(count) => Ok(count),
            None => self.count_on_disk(page, &mut bytes),
        }
    }

    /// How many bits of a page were set when the file was opened, with `bytes` to read it into. May
    /// sleep.
    pub(super) fn count_found(&mut self, page: u64, bytes: &mut bitmap::PageBytes) -> Result<u64> {
        let _one_at_a_time = self.map.loading.lock();
        match self.map.bitmap.found(page) {
            Some(found) => Ok(found),
            // It has not been written since.
            None => self.count_on_disk(page, bytes),
        }
    }

    /// To be called with the lock held under which pages are loaded.
    fn count_on_disk(&mut self, page: u64, bytes: &mut bitmap::PageBytes) -> Result<u64> {
        if self.next_data(page) != page {
            return Ok(0);
        }
        self.read(page, bytes)?;
        Ok(bytes.iter().map(|byte| u64::from(byte.count_ones())).sum())
    }

    /// Puts a page of the bitmap in place with all of its bits set, see [`Bitmap::fill`]. May
    /// sleep.
    ///
    /// [`Bitmap::fill`]: bitmap::Bitmap::fill
    pub(super) fn fill(&mut self, page: u64, reserved: &mut u64) -> Result {
        let map = self.map;
        let _one_at_a_time = map.loading.lock();
        let found = match map.space.is_counting() {
            true if map.bitmap.has_page(page) => return Ok(()),
            true => {
                let mut bytes = KBox::<bitmap::PageBytes>::zeroed(GFP_KERNEL)?;
                self.count_on_disk(page, &mut bytes)?
            }
            false => PAGE_SECTORS,
        };
        Ok(map.bitmap.fill(page, found, reserved)?)
    }

    pub(super) fn load_if(
        &mut self,
        page: u64,
        is_wanted: impl FnOnce(&bitmap::PageBytes) -> bool,
    ) -> Result<bool> {
        let map = self.map;
        let _one_at_a_time = map.loading.lock();
        if page >= map.layout.sectors.div_ceil(PAGE_SECTORS) {
            // The caller's range is not of this disk.
            return Err(EIO);
        }
        if map.bitmap.has_page(page) {
            return Ok(true);
        }
        let mut bytes = KBox::<bitmap::PageBytes>::zeroed(GFP_KERNEL)?;
        if self.next_data(page) == page {
            self.read(page, &mut bytes)?;
        }
        let wanted = is_wanted(&bytes);
        if wanted {
            map.bitmap.load(page, &bytes)?;
        }
        Ok(wanted)
    }
}

/// Where in the file page number `page` of the bitmap is, and how long it is there, in bytes.
/// `None` if the bitmap has no such page.
pub(crate) fn page_in_file(layout: &Layout, page: u64) -> Option<(u64, usize)> {
    let start = page.checked_mul(bitmap::PAGE_LEN as u64)?;
    let left = layout.bitmap_len.checked_sub(start)?;
    let len = left.min(bitmap::PAGE_LEN as u64) as usize;
    (len > 0).then_some((layout.bitmap_offset + start, len))
}
