// SPDX-License-Identifier: GPL-2.0

//! The bitmap of a COW file in memory: which sectors are in the COW file, and what of that is not
//! yet on disk.
//!
//! Bit `i` of the bitmap is sector `i`, the lowest bit of a byte first. The bitmap is kept in pages
//! of [`PAGE_LEN`] bytes, whatever the kernel's page size; a page is there once it has been read
//! from the file, or all of its bits have been set, and stays. One that is all ones from then on
//! needs no memory of its own. A page that has bits that the file lacks is dirty.
//!
//! Unless they say otherwise, the methods may be called by any number of threads at a time, and
//! take no lock.

use crate::ubd::engine::plan::SectorMap;
use crate::ubd::kernel::compat::smp_mb;
use kernel::{
    alloc::{flags::__GFP_NOWARN, AllocError},
    prelude::*,
    sync::{
        atomic::{Atomic, Full},
        SetOnce,
    },
};

mod added;
mod dirty;
mod page;
mod settled;

use added::Added;
use page::{low_bits, Page, PAGE_WORDS};
pub(crate) use page::{PageBytes, PAGE_LEN, PAGE_SECTORS};
pub(crate) use settled::PART_SECTORS;

/// How many pages a leaf has: as many as there are bits in the word of its dirty marks.
const LEAF_PAGES: u64 = 64;

/// How many leaves a group has: the bits of 4 TiB of disk with sectors of 512 bytes.
const GROUP_LEAVES: u64 = 4096;

/// The page of this number has to be read from the file first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotLoaded(pub(crate) u64);

struct Leaf {
    /// [`LEAF_PAGES`], or fewer in the last leaf.
    pages: KVec<SetOnce<Page>>,
    /// Bit `i`: page `i` of the leaf is dirty.
    dirty: Atomic<u64>,
}

struct Group {
    /// [`GROUP_LEAVES`], or fewer in the last group.
    leaves: KVVec<SetOnce<KBox<Leaf>>>,
    /// Bit `i % 64` of word `i / 64`: leaf `i` of the group may have dirty pages.
    dirty: KVec<Atomic<u64>>,
}

/// The bitmap.
pub(crate) struct Bitmap {
    sectors: u64,
    /// The sectors that have come in since.
    pub(crate) added: Added,
    groups: KVVec<SetOnce<KBox<Group>>>,
}

impl Bitmap {
    /// A bitmap of `sectors` bits, of which no page is there yet. Takes 16 bytes for each 4 TiB of
    /// disk with sectors of 512 bytes, and as many for each 1 GiB of those 4 TiB that are touched.
    ///
    /// May sleep.
    pub(crate) fn new(sectors: u64) -> Result<Self, AllocError> {
        // A header can ask for more than any machine has, which is not worth a warning.
        let flags = GFP_KERNEL | __GFP_NOWARN;
        let count = leaf_count(sectors).div_ceil(GROUP_LEAVES) as usize;
        let mut groups = KVVec::with_capacity(count, flags)?;
        for _ in 0..count {
            groups.push(SetOnce::new(), flags)?;
        }
        Ok(Self {
            sectors,
            added: Added::new(),
            groups,
        })
    }

    #[inline]
    fn group(&self, leaf: u64) -> Option<&Group> {
        let group = self.groups.get((leaf / GROUP_LEAVES) as usize)?;
        group.as_ref().map(|group| &**group)
    }

    #[inline]
    fn leaf(&self, page: u64) -> Option<&Leaf> {
        let number = page / LEAF_PAGES;
        let leaves = &self.group(number)?.leaves;
        let leaf = leaves.get((number % GROUP_LEAVES) as usize)?;
        leaf.as_ref().map(|leaf| &**leaf)
    }

    #[inline]
    fn find(&self, page: u64) -> Option<(&Leaf, &Page)> {
        let leaf = self.leaf(page)?;
        let page = leaf.pages.get((page % LEAF_PAGES) as usize)?.as_ref()?;
        Some((leaf, page))
    }

    #[inline]
    fn page(&self, page: u64) -> Option<&Page> {
        self.find(page).map(|(_, page)| page)
    }

    /// The slot of page number `page`; `None` if the bitmap has no such page.
    ///
    /// May sleep. For one caller at a time.
    fn slot(&self, page: u64) -> Result<Option<&SetOnce<Page>>, AllocError> {
        let number = page / LEAF_PAGES;
        let Some(slot) = self.groups.get((number / GROUP_LEAVES) as usize) else {
            return Ok(None);
        };
        if slot.as_ref().is_none() {
            let left = leaf_count(self.sectors) - number / GROUP_LEAVES * GROUP_LEAVES;
            slot.populate(KBox::new(Group::new(left.min(GROUP_LEAVES))?, GFP_KERNEL)?);
        }
        let leaves = slot.as_ref().map(|group| &group.leaves);
        let Some(slot) = leaves.and_then(|all| all.get((number % GROUP_LEAVES) as usize)) else {
            return Ok(None);
        };
        if slot.as_ref().is_none() {
            let left = self.sectors.div_ceil(PAGE_SECTORS) - number * LEAF_PAGES;
            let count = left.min(LEAF_PAGES);
            let mut pages = KVec::with_capacity(count as usize, GFP_KERNEL)?;
            for _ in 0..count {
                pages.push(SetOnce::new(), GFP_KERNEL)?;
            }
            let dirty = Atomic::new(0);
            slot.populate(KBox::new(Leaf { pages, dirty }, GFP_KERNEL)?);
        }
        let leaf = slot.as_ref();
        Ok(leaf.and_then(|leaf| leaf.pages.get((page % LEAF_PAGES) as usize)))
    }

    /// Puts page number `page` in place, with the bytes that were read from the file. Bits beyond
    /// the last sector count as clear. If the page is there already, it stays as it is.
    ///
    /// May sleep. For one caller at a time, of this and [`Self::fill`].
    pub(crate) fn load(&self, page: u64, bytes: &PageBytes) -> Result<(), AllocError> {
        if let Some(slot) = self.slot(page)? {
            let sectors = self.sectors.saturating_sub(page * PAGE_SECTORS);
            slot.populate(Page::new(bytes, sectors)?);
        }
        Ok(())
    }

    /// Puts page number `page` in place, with all of its bits set, and marks it as dirty, as
    /// [`Self::set`] does; for which it needs not be read. All of the bits must be of sectors. If
    /// the page is there already, it stays as it is. `found` is how many bits are to count as set
    /// in the file.
    ///
    /// May sleep. For one caller at a time, of this and [`Self::load`].
    pub(crate) fn fill(&self, page: u64, found: u64, reserved: &mut u64) -> Result<(), AllocError> {
        let slot = self.slot(page)?;
        let filled = slot.is_some_and(|slot| slot.populate(Page::full(found)));
        if let (true, Some((leaf, full))) = (filled, self.find(page)) {
            // Before the mark, as behind setting bits.
            smp_mb(Full);
            self.mark(leaf, page);
            full.marked();
            self.added.add(PAGE_SECTORS - found, reserved);
        }
        Ok(())
    }

    /// Whether page number `page` is there.
    pub(crate) fn has_page(&self, page: u64) -> bool {
        self.page(page).is_some()
    }

    /// How many bits of page number `page` are set; `None` if it is not there.
    pub(crate) fn count(&self, page: u64) -> Option<u64> {
        self.page(page).map(Page::count)
    }

    /// How many bits of page number `page` were set in the file; `None` if it is not there.
    pub(crate) fn found(&self, page: u64) -> Option<u64> {
        self.page(page).map(Page::found)
    }

    /// How many of the sectors from `start` up to, not including, `end` have no bit set.
    pub(crate) fn missing(&self, start: u64, end: u64) -> Result<u64, NotLoaded> {
        (start / 64..end.div_ceil(64)).try_fold(0, |missing, index| {
            let from = low_bits(start.saturating_sub(index * 64));
            let clear = !self.word(index)? & low_bits(end - index * 64) & !from;
            Ok(missing + u64::from(clear.count_ones()))
        })
    }

    /// The number of the page that has the bit of `sector`.
    pub(crate) fn page_of(sector: u64) -> u64 {
        sector / PAGE_SECTORS
    }

    /// Sets the bits of the sectors from `start` up to, not including, `end`, and marks the pages
    /// where that changed anything as dirty. Of those that were not set, `reserved` count already
    /// as [`added`](Self::added); what is left of it is left there.
    ///
    /// What was written before to memory or to a file is seen by whoever sees the bits set. A
    /// [`Self::take_dirty`] that starts after this has returned finds the bits on disk, or takes
    /// their page. Returns the first page that is not there, with no bit set at all of that one
    /// and those behind it.
    pub(crate) fn set(&self, start: u64, end: u64, reserved: &mut u64) -> Result<(), NotLoaded> {
        let mut at = start;
        while at < end {
            let number = Self::page_of(at);
            let page_end = ((number + 1) * PAGE_SECTORS).min(end);
            let (leaf, page) = self.find(number).ok_or(NotLoaded(number))?;
            let new = page.set(at % PAGE_SECTORS, page_end - at, || self.mark(leaf, number));
            self.added.add(new, reserved);
            at = page_end;
        }
        Ok(())
    }

    /// The groups that have been touched.
    fn groups(&self) -> impl Iterator<Item = &Group> {
        let groups = self.groups.iter().filter_map(SetOnce::as_ref);
        groups.map(|group| &**group)
    }

    /// Copies page number `page` as it is now, in the file's byte order. Zeros if it is not there.
    pub(crate) fn copy_page(&self, page: u64, bytes: &mut PageBytes) {
        match self.page(page) {
            Some(page) => page.copy(bytes),
            None => bytes.fill(0),
        }
    }
}

impl Group {
    fn new(count: u64) -> Result<Self, AllocError> {
        let mut leaves = KVVec::with_capacity(count as usize, GFP_KERNEL)?;
        let mut dirty = KVec::with_capacity(count.div_ceil(64) as usize, GFP_KERNEL)?;
        for i in 0..count {
            leaves.push(SetOnce::new(), GFP_KERNEL)?;
            if i % 64 == 0 {
                dirty.push(Atomic::new(0), GFP_KERNEL)?;
            }
        }
        Ok(Self { leaves, dirty })
    }
}

impl SectorMap for Bitmap {
    type Error = NotLoaded;

    #[inline]
    fn word(&self, index: u64) -> Result<u64, NotLoaded> {
        let number = index / PAGE_WORDS as u64;
        let page = self.page(number).ok_or(NotLoaded(number))?;
        Ok(page.word(index as usize % PAGE_WORDS))
    }
}

/// How many leaves the bits of `sectors` take.
fn leaf_count(sectors: u64) -> u64 {
    sectors.div_ceil(PAGE_SECTORS).div_ceil(LEAF_PAGES)
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(rnull_ubd_bitmap))]
mod tests {
    use super::*;
    use crate::ubd::engine::plan;

    fn loaded(sectors: u64) -> Result<Bitmap, AllocError> {
        let bitmap = Bitmap::new(sectors)?;
        for page in 0..sectors.div_ceil(PAGE_SECTORS) {
            bitmap.load(page, &[0; PAGE_LEN])?;
        }
        Ok(bitmap)
    }

    #[test]
    fn a_page_must_be_loaded_first() {
        let Ok(bitmap) = Bitmap::new(3 * PAGE_SECTORS) else {
            return;
        };
        assert_eq!(bitmap.set(0, 1, &mut 0), Err(NotLoaded(0)));
        assert!(bitmap.load(1, &[0xff; PAGE_LEN]).is_ok());
        assert_eq!(bitmap.word(512), Ok(u64::MAX));
        assert_eq!(bitmap.word(1024), Err(NotLoaded(2)));
        assert_eq!(
            bitmap.set(PAGE_SECTORS, 3 * PAGE_SECTORS, &mut 0),
            Err(NotLoaded(2))
        );
        assert!(!bitmap.is_dirty());
    }

    #[test]
    fn loading_twice_keeps_the_first() {
        let Ok(bitmap) = loaded(100) else { return };
        assert!(bitmap.load(0, &[0xff; PAGE_LEN]).is_ok());
        assert_eq!(bitmap.word(0), Ok(0));
    }

    #[test]
    fn a_page_of_ones_is_as_any_other() {
        let Ok(bitmap) = Bitmap::new(2 * PAGE_SECTORS) else {
            return;
        };
        assert!(bitmap.load(0, &[0xff; PAGE_LEN]).is_ok());
        assert_eq!(bitmap.set(5, 200, &mut 0), Ok(()));
        assert!(!bitmap.is_dirty());
        assert!(bitmap.fill(1, 5, &mut 0).is_ok());
        assert_eq!(bitmap.dirty_pages(), 1);
        assert_eq!(bitmap.count(1), Some(PAGE_SECTORS));
        let found = plan::run(&bitmap, 7, 2 * PAGE_SECTORS);
        assert_eq!(
            found.map(|run| (run.in_cow, run.end)),
            Ok((true, 2 * PAGE_SECTORS))
        );
        assert_eq!(bitmap.added.sectors(), PAGE_SECTORS - 5);
        assert_eq!(bitmap.found(1), Some(5));
        let mut bytes = [0; PAGE_LEN];
        bitmap.copy_page(1, &mut bytes);
        assert_eq!(bytes, [0xff; PAGE_LEN]);
        // One that is there stays.
        assert_eq!(bitmap.take_dirty(0, |page| page == 1), None);
        assert!(bitmap.fill(0, 0, &mut 0).is_ok());
        assert!(!bitmap.is_dirty());
    }

    #[test]
    fn bits_beyond_the_last_sector_are_clear() {
        let Ok(bitmap) = Bitmap::new(70) else { return };
        assert!(bitmap.load(0, &[0xff; PAGE_LEN]).is_ok());
        assert_eq!(bitmap.word(0), Ok(u64::MAX));
        assert_eq!(bitmap.word(1), Ok(0x3f));
        assert_eq!(bitmap.word(2), Ok(0));
    }

    #[test]
    fn what_is_set_is_seen_by_a_plan() {
        let Ok(bitmap) = loaded(3 * PAGE_SECTORS) else {
            return;
        };
        let (start, end) = (PAGE_SECTORS - 3, PAGE_SECTORS + 70);
        assert_eq!(bitmap.set(start, end, &mut 0), Ok(()));
        let found = plan::run(&bitmap, 0, 3 * PAGE_SECTORS);
        assert_eq!(found.map(|run| (run.in_cow, run.end)), Ok((false, start)));
        let found = plan::run(&bitmap, start, 3 * PAGE_SECTORS);
        assert_eq!(found.map(|run| (run.in_cow, run.end)), Ok((true, end)));
    }

    #[test]
    fn what_comes_in_is_counted() {
        let Ok(bitmap) = Bitmap::new(2 * PAGE_SECTORS) else {
            return;
        };
        assert!(bitmap.load(0, &[0x11; PAGE_LEN]).is_ok());
        assert!(bitmap.load(1, &[0; PAGE_LEN]).is_ok());
        assert_eq!(bitmap.missing(1, 9), Ok(6));
        assert_eq!(
            bitmap.missing(60, PAGE_SECTORS + 70),
            Ok(PAGE_SECTORS * 3 / 4 + 70 - 45)
        );
        let mut reserved = 4;
        assert!(bitmap.added.reserve(reserved, 4));
        assert_eq!(bitmap.set(0, 4, &mut reserved), Ok(()));
        assert_eq!((bitmap.added.sectors(), reserved), (4, 1));
        assert_eq!(bitmap.set(0, 130, &mut 0), Ok(()));
        assert_eq!(bitmap.added.sectors(), 1 + 130 - 33);
        assert_eq!(bitmap.missing(0, 131), Ok(1));
        assert_eq!(bitmap.found(0), Some(PAGE_SECTORS / 4));
    }

    #[test]
    fn dirty_pages_are_taken_once() {
        let pages = 2 * GROUP_LEAVES * LEAF_PAGES;
        let Ok(bitmap) = Bitmap::new(pages * PAGE_SECTORS) else {
            return;
        };
        let touched = [0, 63, 64, 65, 64 * LEAF_PAGES, pages - 1];
        for page in touched {
            assert!(bitmap.load(page, &[0; PAGE_LEN]).is_ok());
            assert_eq!(
                bitmap.set(page * PAGE_SECTORS + 8, page * PAGE_SECTORS + 16, &mut 0),
                Ok(())
            );
        }
        assert_eq!(bitmap.dirty_pages(), 6);
        let mut count = 0;
        let mut taken = [0; 6];
        let mut take = |page: u64, most: usize| {
            if count == most {
                return false;
            }
            if let Some(slot) = taken.get_mut(count) {
                *slot = page;
            }
            count += 1;
            true
        };
        assert_eq!(bitmap.take_dirty(0, |page| take(page, 2)), Some(64));
        assert_eq!(bitmap.take_dirty(64, |page| take(page, 6)), None);
        assert!(taken == touched);
        assert!(!bitmap.is_dirty());
        // Setting what is set makes nothing dirty.
        assert_eq!(bitmap.set(8, 16, &mut 0), Ok(()));
        assert!(!bitmap.is_dirty());
        bitmap.mark_dirty(pages - 1);
        assert_eq!(bitmap.dirty_pages(), 1);
    }

    #[test]
    fn a_page_is_copied_as_it_is_in_the_file() {
        let Ok(bitmap) = loaded(PAGE_SECTORS) else {
            return;
        };
        let mut bytes = [0x55; PAGE_LEN];
        assert_eq!(bitmap.set(9, 17, &mut 0), Ok(()));
        bitmap.copy_page(0, &mut bytes);
        assert_eq!(bytes.first(), Some(&0));
        assert_eq!(bytes.get(1), Some(&0xfe));
        assert_eq!(bytes.get(2), Some(&1));
        assert_eq!(bytes.get(3), Some(&0));
    }
}
