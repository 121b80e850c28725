// SPDX-License-Identifier: GPL-2.0

//! The marks of dirty pages: which of a leaf's, and which leaves of a group have any.

use super::page::{low_bits, set_bits};
use super::{Bitmap, Leaf, GROUP_LEAVES, LEAF_PAGES};
use crate::ubd::kernel::compat::smp_mb;
use kernel::sync::{
    atomic::{Acquire, Atomic, Full, Relaxed},
    SetOnce,
};

impl Bitmap {
    /// Marks page number `page` as dirty.
    pub(crate) fn mark_dirty(&self, page: u64) {
        if let Some(leaf) = self.leaf(page) {
            self.mark(leaf, page);
        }
    }

    pub(super) fn mark(&self, leaf: &Leaf, page: u64) {
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
