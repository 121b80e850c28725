// SPDX-License-Identifier: GPL-2.0

//! How much space the data of a COW file takes, and may take.
//!
//! What counts is the sectors that the bitmap has: a number that takes no look at the file, and is
//! the same on every file system. It never falls, as a discarded sector stays in the COW file,
//! where it can be written again. To know it, all of the bitmap has to be looked at once, which is
//! done when somebody asks. From then on each bit that is set counts.
//!
//! What is left is what the limit leaves, or else what the file system has. That is looked at when
//! so much has come in that it may have changed, not at each write.

use crate::ubd::{
    cow::bitmap::{self, Bitmap, NotLoaded, PAGE_SECTORS},
    files::bitmap_pages::OnDisk,
    files::image::Image,
    files::layer::{Layer, Map},
};
use kernel::{
    block::SECTOR_SIZE,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::SetOnce,
};

/// How much comes in between two looks at the file system, in bytes.
const LOOK: u64 = 1 << 20;

/// The space of a COW file.
pub(crate) struct Space {
    /// How many sectors the file had when it was opened.
    found: SetOnce<u64>,
    /// Whether those that come have to count from now on, see [`OnDisk::fill`].
    counting: Atomic<bool>,
    /// How many bytes of data there may be; 0 for any number.
    limit: Atomic<u64>,
    /// How many bytes there should be left; 0 for any number.
    low: Atomic<u64>,
    /// How many sectors have to have come in until what is left is to be looked at.
    next_look: Atomic<u64>,
}

impl Space {
    /// That of a file whose sectors were not counted.
    pub(super) fn new() -> Self {
        Self {
            found: SetOnce::new(),
            counting: Atomic::new(false),
            limit: Atomic::new(0),
            low: Atomic::new(0),
            next_look: Atomic::new(0),
        }
    }

    /// Whether sectors count. Says so for good to who holds the lock under which pages are loaded
    /// after one who has counted them.
    pub(super) fn is_counting(&self) -> bool {
        self.counting.load(Relaxed)
    }

    /// How many sectors the file of `layer`, which is that of `map`, had when it was opened.
    ///
    /// May sleep, for long. Returns `EINTR` when the calling task has a signal.
    fn found(&self, layer: &Layer, map: &Map) -> Result<u64> {
        if let Some(found) = self.found.copy() {
            return Ok(found);
        }
        self.counting.xchg(true, Full);
        let mut bytes = KBox::<bitmap::PageBytes>::zeroed(GFP_KERNEL)?;
        let mut on_disk = OnDisk::new(layer, map);
        let mut found = 0;
        for page in 0..map.layout.sectors.div_ceil(PAGE_SECTORS) {
            if kernel::current!().signal_pending() {
                return Err(EINTR);
            }
            found += on_disk.count_found(page, &mut bytes)?;
        }
        self.found.populate(found);
        Ok(found)
    }
}

impl Image {
    /// How many bytes of data are in the file that is written; all, if it is no COW file.
    ///
    /// May sleep, for long, the first time: reads what there is of the bitmap. Returns `EINTR` when
    /// the calling task has a signal.
    pub(crate) fn used(&self) -> Result<u64> {
        let layer = self.top()?;
        let Some(map) = &layer.map else {
            let sector = u64::from(SECTOR_SIZE);
            return Ok(self.size().div_ceil(sector) * sector);
        };
        let found = map.space.found(layer, map)?;
        Ok((found + map.bitmap.added.sectors()) << map.layout.sector_shift)
    }

    /// How many bytes [`Self::used`] can become; 0 for any number.
    pub(crate) fn limit(&self) -> u64 {
        self.top_map()
            .map_or(0, |map| map.space.limit.load(Relaxed))
    }

    /// Changes the limit. What is used already stays.
    ///
    /// May sleep, as [`Self::used`] does, and returns what that does; or `EINVAL` if there is no
    /// COW file that could have one.
    pub(crate) fn set_limit(&self, bytes: u64) -> Result {
        let layer = self.top()?;
        match &layer.map {
            None if bytes == 0 => Ok(()),
            None => Err(EINVAL),
            Some(map) => {
                if bytes != 0 {
                    map.space.found(layer, map)?;
                }
                map.space.limit.store(bytes, Relaxed);
                Ok(())
            }
        }
    }

    /// How many bytes there should be left; 0 for any number.
    pub(crate) fn low_space(&self) -> u64 {
        self.top_map().map_or(0, |map| map.space.low.load(Relaxed))
    }

    /// Changes that. Returns `EINVAL` if there is no COW file.
    pub(crate) fn set_low_space(&self, bytes: u64) -> Result {
        match self.top_map() {
            Some(map) => map.space.low.store(bytes, Relaxed),
            None if bytes == 0 => {}
            None => return Err(EINVAL),
        }
        Ok(())
    }

    /// Whether it is time to call [`Self::is_space_low`]. May be called in any context.
    #[inline]
    pub(crate) fn wants_look(&self) -> bool {
        self.top_map().is_some_and(|map| {
            let Space { low, next_look, .. } = &map.space;
            low.load(Relaxed) != 0 && map.bitmap.added.sectors() >= next_look.load(Relaxed)
        })
    }

    /// Has it be time for that. May be called in any context.
    pub(crate) fn ask_for_look(&self) {
        if let Some(map) = self.top_map() {
            map.space.next_look.store(0, Relaxed);
        }
    }

    /// Whether there is less left than there should be. Decides when it is time for the next look.
    /// May sleep, for the file system.
    pub(crate) fn is_space_low(&self) -> bool {
        let Some((layer, map)) = self
            .top()
            .ok()
            .and_then(|top| Some((top, top.map.as_ref()?)))
        else {
            return false;
        };
        let added = map.bitmap.added.sectors();
        let shift = map.layout.sector_shift;
        let low = map.space.low.load(Relaxed);
        let limit = map.space.limit.load(Relaxed);
        map.space
            .next_look
            .store(added.saturating_add(LOOK >> shift), Relaxed);
        let left = match (limit, map.space.found.copy()) {
            (1.., Some(found)) => {
                let most = (limit >> shift).saturating_sub(found);
                // What is left falls by what comes in, and by nothing else.
                let until = most.checked_sub(low.div_ceil(1 << shift));
                let next_look = until.filter(|until| *until >= added).map(|until| until + 1);
                map.space
                    .next_look
                    .store(next_look.unwrap_or(u64::MAX), Relaxed);
                Some(most.saturating_sub(added) << shift)
            }
            _ => layer.file.space_left(),
        };
        low != 0 && left.is_some_and(|left| left < low)
    }

    /// Reserves the sectors that the `len` bytes at `pos` take in the written file, and which are
    /// not in there yet, if it has a limit. Returns how many; what of them does not come to be used
    /// is to be given back.
    ///
    /// May sleep. Returns `ENOSPC` if they do not fit.
    pub(crate) fn reserve(&self, pos: u64, len: u64) -> Result<u64> {
        let layer = self.top()?;
        let Some((map, limit)) = limited(layer) else {
            return Ok(0);
        };
        let shift = map.layout.sector_shift;
        let (mut at, end) = (pos >> shift, (pos + len).div_ceil(1 << shift));
        let mut on_disk = OnDisk::new(layer, map);
        let mut sectors = 0;
        while at < end {
            let page = Bitmap::page_of(at);
            let page_end = ((page + 1) * PAGE_SECTORS).min(end);
            sectors += if page_end - at == PAGE_SECTORS {
                // Which need not be in memory.
                PAGE_SECTORS - on_disk.count(page)?
            } else {
                loop {
                    match map.bitmap.missing(at, page_end) {
                        Ok(missing) => break missing,
                        Err(NotLoaded(page)) => on_disk.load(page)?,
                    }
                }
            };
            at = page_end;
        }
        let found = map.space.found(layer, map)?;
        let most = (limit >> shift).saturating_sub(found);
        if sectors == 0 || map.bitmap.added.reserve(sectors, most) {
            Ok(sectors)
        } else {
            Err(ENOSPC)
        }
    }

    /// Gives back what is left of a reservation.
    pub(crate) fn give_back(&self, reserved: u64) {
        if let (1.., Some(map)) = (reserved, self.top_map()) {
            map.bitmap.added.give_back(reserved);
        }
    }

    /// Whether a write of the `len` bytes at `pos` has all that it needs to set their bits without
    /// waiting: they are in memory, and it needs no space that there is a limit for.
    pub(crate) fn is_ready_to_write(&self, pos: u64, len: u64) -> bool {
        let Some(map) = self.top_map() else {
            return true;
        };
        let shift = map.layout.sector_shift;
        let (start, end) = (pos >> shift, (pos + len).div_ceil(1 << shift));
        match map.space.limit.load(Relaxed) {
            0 => {
                let mut pages = Bitmap::page_of(start)..=Bitmap::page_of(end - 1);
                pages.all(|page| map.bitmap.has_page(page))
            }
            _ => map.bitmap.missing(start, end) == Ok(0),
        }
    }
}

/// The map of a layer that has a limit, and that.
fn limited(layer: &Layer) -> Option<(&Map, u64)> {
    let map = layer.map.as_deref()?;
    match map.space.limit.load(Relaxed) {
        0 => None,
        limit => Some((map, limit)),
    }
}
