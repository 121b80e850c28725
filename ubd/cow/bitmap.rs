// SPDX-License-Identifier: GPL-2.0

//! The bitmap of a COW file in memory: which sectors are in the COW file, and what of that is not
//! yet on disk.
//!
//! Bit `i` of the bitmap is sector `i`, the lowest bit of a byte first. The bitmap is kept in pages
//! of [`PAGE_LEN`] bytes, whatever the kernel's page size; a page is there once it has been read
//! from the file, and stays. A page that has bits that the file lacks is dirty.
//!
//! Unless they say otherwise, the methods may be called by any number of threads at a time, and
//! take no lock.

use crate::ubd::plan::SectorMap;
use kernel::{
    alloc::{flags::__GFP_NOWARN, AllocError},
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full, Relaxed},
        barrier::smp_mb,
        SetOnce,
    },
};

/// Length of a page of the bitmap, in bytes.
pub(crate) const PAGE_LEN: usize = 4096;

/// How many sectors' bits are in a page.
pub(crate) const PAGE_SECTORS: u64 = PAGE_LEN as u64 * 8;

const PAGE_WORDS: usize = PAGE_LEN / 8;

/// How many pages a leaf has: as many as there are bits in the word of its dirty marks.
const LEAF_PAGES: u64 = 64;

/// How many leaves a group has: the bits of 4 TiB of disk with sectors of 512 bytes.
const GROUP_LEAVES: u64 = 4096;

/// A page of the bitmap, as in the file.
pub(crate) type PageBytes = [u8; PAGE_LEN];

/// The page of this number has to be read from the file first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotLoaded(pub(crate) u64);

struct Page {
    words: KVec<Atomic<u64>>,
    /// How many callers have set bits of which the page's dirty mark may not tell yet.
    marking: Atomic<u32>,
}

struct Leaf {
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
        Ok(Self { sectors, groups })
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

    /// Puts page number `page` in place, with the bytes that were read from the file. Bits beyond
    /// the last sector count as clear. If the page is there already, it stays as it is.
    ///
    /// May sleep. For one caller at a time.
    pub(crate) fn load(&self, page: u64, bytes: &PageBytes) -> Result<(), AllocError> {
        let number = page / LEAF_PAGES;
        let Some(slot) = self.groups.get((number / GROUP_LEAVES) as usize) else {
            return Ok(());
        };
        if slot.as_ref().is_none() {
            let left = leaf_count(self.sectors) - number / GROUP_LEAVES * GROUP_LEAVES;
            slot.populate(KBox::new(Group::new(left.min(GROUP_LEAVES))?, GFP_KERNEL)?);
        }
        let leaves = slot.as_ref().map(|group| &group.leaves);
        let Some(slot) = leaves.and_then(|all| all.get((number % GROUP_LEAVES) as usize)) else {
            return Ok(());
        };
        if slot.as_ref().is_none() {
            let mut pages = KVec::with_capacity(LEAF_PAGES as usize, GFP_KERNEL)?;
            for _ in 0..LEAF_PAGES {
                pages.push(SetOnce::new(), GFP_KERNEL)?;
            }
            let dirty = Atomic::new(0);
            slot.populate(KBox::new(Leaf { pages, dirty }, GFP_KERNEL)?);
        }
        let mut words = KVec::with_capacity(PAGE_WORDS, GFP_KERNEL)?;
        let mut left = self.sectors.saturating_sub(page * PAGE_SECTORS);
        for bytes in bytes.chunks_exact(8) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            words.push(
                Atomic::new(u64::from_le_bytes(word) & low_bits(left)),
                GFP_KERNEL,
            )?;
            left = left.saturating_sub(64);
        }
        let leaf = slot.as_ref();
        if let Some(slot) = leaf.and_then(|leaf| leaf.pages.get((page % LEAF_PAGES) as usize)) {
            slot.populate(Page {
                words,
                marking: Atomic::new(0),
            });
        }
        Ok(())
    }

    /// Whether page number `page` is there.
    pub(crate) fn has_page(&self, page: u64) -> bool {
        self.page(page).is_some()
    }

    /// How many bits of page number `page` are set; `None` if it is not there.
    pub(crate) fn count(&self, page: u64) -> Option<u64> {
        let words = self.page(page)?.words.iter();
        Some(
            words
                .map(|word| u64::from(word.load(Relaxed).count_ones()))
                .sum(),
        )
    }

    /// The number of the page that has the bit of `sector`.
    pub(crate) fn page_of(sector: u64) -> u64 {
        sector / PAGE_SECTORS
    }

    /// Sets the bits of the sectors from `start` up to, not including, `end`, and marks the pages
    /// where that changed anything as dirty.
    ///
    /// What was written before to memory or to a file is seen by whoever sees the bits set. A
    /// [`Self::take_dirty`] that starts after this has returned finds the bits on disk, or takes
    /// their page. Returns the first page that is not there, with no bit set at all of that one
    /// and those behind it.
    pub(crate) fn set(&self, start: u64, end: u64) -> Result<(), NotLoaded> {
        let mut at = start;
        while at < end {
            let number = Self::page_of(at);
            let page_end = ((number + 1) * PAGE_SECTORS).min(end);
            self.set_in_page(number, at % PAGE_SECTORS, page_end - at)?;
            at = page_end;
        }
        Ok(())
    }

    fn set_in_page(&self, number: u64, start: u64, count: u64) -> Result<(), NotLoaded> {
        let (leaf, page) = self.find(number).ok_or(NotLoaded(number))?;
        let end = start + count;
        if start / 64 == (end - 1) / 64 {
            // Most requests: there is no need to look at a list of one.
            if let Some(word) = page.words.get((start / 64) as usize) {
                self.set_in_word(leaf, page, number, word, low_bits(count) << (start % 64));
            }
            return Ok(());
        }
        let masks = || {
            (start / 64..end.div_ceil(64)).filter_map(|index| {
                let word = page.words.get(index as usize)?;
                let from = start.saturating_sub(index * 64);
                Some((word, low_bits(end - index * 64) & !low_bits(from)))
            })
        };
        let all_set = masks().all(|(word, mask)| word.load(Acquire) & mask == mask);
        // If set by others, these may be between setting them and marking the page, and their mark
        // may come too late for a flush that follows our request: then mark it here too.
        if all_set && page.marking.load(Acquire) == 0 {
            return Ok(());
        }
        page.marking.fetch_add(1, Full);
        for (word, mask) in masks() {
            set_bits(word, mask);
        }
        self.mark(leaf, number);
        page.marking.fetch_sub(1, Full);
        Ok(())
    }

    /// [`Self::set_in_page`] of the bits of `mask` in one word.
    #[inline]
    fn set_in_word(&self, leaf: &Leaf, page: &Page, number: u64, word: &Atomic<u64>, mask: u64) {
        if word.load(Acquire) & mask == mask && page.marking.load(Acquire) == 0 {
            return;
        }
        page.marking.fetch_add(1, Full);
        set_bits(word, mask);
        self.mark(leaf, number);
        page.marking.fetch_sub(1, Full);
    }

    /// Marks page number `page` as dirty.
    pub(crate) fn mark_dirty(&self, page: u64) {
        if let Some(leaf) = self.leaf(page) {
            self.mark(leaf, page);
        }
    }

    fn mark(&self, leaf: &Leaf, page: u64) {
        // The leaf's mark comes last, so that who takes it finds the page's. Either can be there
        // already: the page's by one who has not come to the leaf's yet, so that what is seen of
        // that must not be older than what is seen of the page's.
        mark_bit(&leaf.dirty, page % LEAF_PAGES);
        smp_mb(Full);
        let number = page / LEAF_PAGES;
        let words = self.group(number).map(|group| &group.dirty);
        let word = words.and_then(|words| words.get((number % GROUP_LEAVES / 64) as usize));
        if let Some(word) = word {
            mark_bit(word, number % 64);
        }
    }

    /// The groups that have been touched.
    fn groups(&self) -> impl Iterator<Item = &Group> {
        let groups = self.groups.iter().filter_map(SetOnce::as_ref);
        groups.map(|group| &**group)
    }

    /// Whether there are dirty pages.
    pub(crate) fn is_dirty(&self) -> bool {
        let mut words = self.groups().flat_map(|group| group.dirty.iter());
        words.any(|word| word.load(Acquire) != 0)
    }

    /// How many pages are marked as dirty. A figure for people, not exact while bits are set.
    pub(crate) fn dirty_pages(&self) -> u64 {
        let leaves = self.groups().flat_map(|group| group.leaves.iter());
        leaves
            .filter_map(SetOnce::as_ref)
            .map(|leaf| u64::from(leaf.dirty.load(Relaxed).count_ones()))
            .sum()
    }

    /// Takes dirty pages, from page number `from` on: calls `take` with the number of each, whose
    /// mark is gone by then, until `take` returns false, which also gives the mark back. Returns
    /// where to go on from, or `None` when the end was reached.
    ///
    /// For one caller at a time.
    pub(crate) fn take_dirty(&self, from: u64, mut take: impl FnMut(u64) -> bool) -> Option<u64> {
        let first_leaf = from / LEAF_PAGES;
        for group in first_leaf / GROUP_LEAVES..self.groups.len() as u64 {
            let start = group * GROUP_LEAVES;
            let Some(group) = self.group(start) else {
                continue;
            };
            for (word, start) in group.dirty.iter().zip((start..).step_by(64)) {
                let passed = low_bits(first_leaf.saturating_sub(start));
                let mut leaves = clear_bits(word, !passed);
                while leaves != 0 {
                    let number = start + u64::from(leaves.trailing_zeros());
                    leaves &= leaves - 1;
                    if let Some(stopped) = self.take_dirty_in_leaf(number, from, &mut take) {
                        set_bits(word, leaves);
                        return Some(stopped);
                    }
                }
            }
        }
        None
    }

    fn take_dirty_in_leaf(
        &self,
        number: u64,
        from: u64,
        take: &mut impl FnMut(u64) -> bool,
    ) -> Option<u64> {
        let first = number * LEAF_PAGES;
        let leaf = self.leaf(first)?;
        let passed = low_bits(from.saturating_sub(first));
        let mut pages = clear_bits(&leaf.dirty, !passed);
        if leaf.dirty.load(Relaxed) & passed != 0 {
            self.mark_dirty(
                first + u64::from((leaf.dirty.load(Relaxed) & passed).trailing_zeros()),
            );
        }
        while pages != 0 {
            let page = first + u64::from(pages.trailing_zeros());
            if !take(page) {
                set_bits(&leaf.dirty, pages);
                self.mark_dirty(page);
                return Some(page);
            }
            pages &= pages - 1;
        }
        None
    }

    /// Copies page number `page` as it is now, in the file's byte order. Zeros if it is not there.
    pub(crate) fn copy_page(&self, page: u64, bytes: &mut PageBytes) {
        bytes.fill(0);
        let Some(page) = self.page(page) else { return };
        for (word, bytes) in page.words.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Acquire).to_le_bytes());
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
        let word = page.words.get(index as usize % PAGE_WORDS);
        Ok(word.map_or(0, |word| word.load(Acquire)))
    }
}

/// How many leaves the bits of `sectors` take.
fn leaf_count(sectors: u64) -> u64 {
    sectors.div_ceil(PAGE_SECTORS).div_ceil(LEAF_PAGES)
}

/// A word whose lowest `count` bits are set; all of them from 64 on.
fn low_bits(count: u64) -> u64 {
    if count >= 64 {
        u64::MAX
    } else {
        (1 << count) - 1
    }
}

/// Sets the bit number `bit`.
///
/// To be called behind a full barrier, as setting the bits of a page is: if the mark is there
/// already, who takes it away later sees what was stored before the barrier.
fn mark_bit(word: &Atomic<u64>, bit: u64) {
    if word.load(Relaxed) & 1 << bit == 0 {
        set_bits(word, 1 << bit);
    }
}

/// Sets the bits of `mask`. A full barrier.
fn set_bits(word: &Atomic<u64>, mask: u64) {
    let mut old = word.load(Relaxed);
    while let Err(now) = word.cmpxchg(old, old | mask, Full) {
        old = now;
    }
}

/// Clears the bits of `mask`, and returns those of them that were set.
fn clear_bits(word: &Atomic<u64>, mask: u64) -> u64 {
    let mut old = word.load(Relaxed);
    while old & mask != 0 {
        match word.cmpxchg(old, old & !mask, Full) {
            Ok(_) => return old & mask,
            Err(now) => old = now,
        }
    }
    0
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(rnull_ubd_bitmap))]
mod tests {
    use super::*;
    use crate::ubd::plan;

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
        assert_eq!(bitmap.set(0, 1), Err(NotLoaded(0)));
        assert!(bitmap.load(1, &[0xff; PAGE_LEN]).is_ok());
        assert_eq!(bitmap.word(512), Ok(u64::MAX));
        assert_eq!(bitmap.word(1024), Err(NotLoaded(2)));
        assert_eq!(
            bitmap.set(PAGE_SECTORS, 3 * PAGE_SECTORS),
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
        assert_eq!(bitmap.set(start, end), Ok(()));
        let found = plan::run(&bitmap, 0, 3 * PAGE_SECTORS);
        assert_eq!(found.map(|run| (run.in_cow, run.end)), Ok((false, start)));
        let found = plan::run(&bitmap, start, 3 * PAGE_SECTORS);
        assert_eq!(found.map(|run| (run.in_cow, run.end)), Ok((true, end)));
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
                bitmap.set(page * PAGE_SECTORS + 8, page * PAGE_SECTORS + 16),
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
        assert_eq!(bitmap.set(8, 16), Ok(()));
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
        assert_eq!(bitmap.set(9, 17), Ok(()));
        bitmap.copy_page(0, &mut bytes);
        assert_eq!(bytes.first(), Some(&0));
        assert_eq!(bytes.get(1), Some(&0xfe));
        assert_eq!(bytes.get(2), Some(&1));
        assert_eq!(bytes.get(3), Some(&0));
    }
}
