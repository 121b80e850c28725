// SPDX-License-Identifier: GPL-2.0

//! A page of the bitmap in memory.

use crate::ubd::kernel::words::copy_acquire;
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
};

/// Length of a page of the bitmap, in bytes.
pub(crate) const PAGE_LEN: usize = 4096;

/// How many sectors' bits are in a page.
pub(crate) const PAGE_SECTORS: u64 = PAGE_LEN as u64 * 8;

pub(super) const PAGE_WORDS: usize = PAGE_LEN / 8;

/// How many words the parts of a page take that can be settled. With more than three, 64 pages,
/// a leaf, would not fit into 4 KiB.
pub(super) const SETTLED_WORDS: usize = 2;

/// A page of the bitmap, as in the file.
pub(crate) type PageBytes = [u8; PAGE_LEN];

/// The bits of [`PAGE_SECTORS`] sectors. They are set and never cleared.
pub(super) struct Page {
    /// `None` if all bits were set from the start, for which no memory is needed.
    words: Option<KVec<Atomic<u64>>>,
    /// How many bits were set in the file.
    found: u32,
    /// How many callers have set bits of which the page's dirty mark may not tell yet.
    marking: Atomic<u32>,
    /// Bit `i % 64` of word `i / 64`: part `i` of its sectors is settled, see `settled.rs`.
    settled: [Atomic<u64>; SETTLED_WORDS],
}

impl Page {
    /// A page with the bytes that were read from the file. Bits from number `sectors` on count as
    /// clear.
    pub(super) fn new(bytes: &PageBytes, sectors: u64) -> Result<Self, AllocError> {
        let marking = Atomic::new(0);
        let settled = unsettled();
        if sectors >= PAGE_SECTORS && bytes.iter().all(|byte| *byte == 0xff) {
            return Ok(Self {
                words: None,
                found: PAGE_SECTORS as u32,
                marking,
                settled,
            });
        }
        let mut words = KVec::with_capacity(PAGE_WORDS, GFP_KERNEL)?;
        let (mut left, mut found) = (sectors, 0);
        for bytes in bytes.chunks_exact(8) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            let word = u64::from_le_bytes(word) & low_bits(left);
            found += word.count_ones();
            words.push(Atomic::new(word), GFP_KERNEL)?;
            left = left.saturating_sub(64);
        }
        Ok(Self {
            words: Some(words),
            found,
            marking,
            settled,
        })
    }

    /// A page with all bits set, of which the dirty mark does not tell yet: [`Self::marked`] is to
    /// be called when it does. `found` is how many count as set in the file.
    pub(super) fn full(found: u64) -> Self {
        Self {
            words: None,
            found: found as u32,
            marking: Atomic::new(1),
            settled: unsettled(),
        }
    }

    /// See [`Self::full`].
    pub(super) fn marked(&self) {
        self.marking.fetch_sub(1, Full);
    }

    /// Word number `index` of the page, below [`PAGE_WORDS`].
    #[inline]
    pub(super) fn word(&self, index: usize) -> u64 {
        let Some(words) = &self.words else {
            return u64::MAX;
        };
        words.get(index).map_or(0, |word| word.load(Acquire))
    }

    /// Sets the `count` bits from number `start` on, and calls `mark` to mark the page as dirty, if
    /// that changed anything, behind a full barrier. Returns how many were not set.
    #[inline]
    pub(super) fn set(&self, start: u64, count: u64, mark: impl FnOnce()) -> u64 {
        let words = self.words.as_deref().unwrap_or_default();
        let end = start + count;
        if start / 64 == (end - 1) / 64 {
            // Most requests: there is no need to look at a list of one.
            if let Some(word) = words.get((start / 64) as usize) {
                return self.set_masks(|| [(word, low_bits(count) << (start % 64))], mark);
            }
        }
        self.set_masks(
            || {
                (start / 64..end.div_ceil(64)).filter_map(|index| {
                    let word = words.get(index as usize)?;
                    let from = start.saturating_sub(index * 64);
                    Some((word, low_bits(end - index * 64) & !low_bits(from)))
                })
            },
            mark,
        )
    }

    /// [`Self::set`] of the bits of a mask in each of some words. Of a page without words, all bits
    /// are set.
    #[inline]
    fn set_masks<'a, I>(&self, masks: impl Fn() -> I, mark: impl FnOnce()) -> u64
    where
        I: IntoIterator<Item = (&'a Atomic<u64>, u64)>,
    {
        let mut all = masks().into_iter();
        let all_set = all.all(|(word, mask)| word.load(Acquire) & mask == mask);
        // If set by others, these may be between setting them and marking the page, and their mark
        // may come too late for a flush that follows our request: then mark it here too.
        if all_set && self.marking.load(Acquire) == 0 {
            return 0;
        }
        self.marking.fetch_add(1, Full);
        let mut new = 0;
        for (word, mask) in masks() {
            new += (mask & !set_bits(word, mask)).count_ones();
        }
        mark();
        self.marked();
        u64::from(new)
    }

    /// How many bits are set.
    pub(super) fn count(&self) -> u64 {
        let Some(words) = &self.words else {
            return PAGE_SECTORS;
        };
        words
            .iter()
            .map(|word| u64::from(word.load(Relaxed).count_ones()))
            .sum()
    }

    /// How many bits were set in the file.
    pub(super) fn found(&self) -> u64 {
        u64::from(self.found)
    }

    /// Of the parts of its sectors, the word of those that are settled that has number `index`.
    #[inline]
    pub(super) fn settled(&self, index: usize) -> u64 {
        self.settled
            .get(index)
            .map_or(u64::MAX, |word| word.load(Acquire))
    }

    /// Settles the parts of `mask` in that word.
    pub(super) fn settle(&self, index: usize, mask: u64) {
        if let Some(word) = self.settled.get(index) {
            set_bits(word, mask);
        }
    }

    /// Copies the page as it is now, in the file's byte order.
    pub(super) fn copy(&self, bytes: &mut PageBytes) {
        match &self.words {
            Some(words) => copy_acquire(words, bytes),
            None => bytes.fill(0xff),
        }
    }
}

fn unsettled() -> [Atomic<u64>; SETTLED_WORDS] {
    core::array::from_fn(|_| Atomic::new(0))
}

/// A word whose lowest `count` bits are set; all of them from 64 on.
pub(super) fn low_bits(count: u64) -> u64 {
    if count >= 64 {
        u64::MAX
    } else {
        (1 << count) - 1
    }
}

/// Sets the bits of `mask`, and returns what was there. A full barrier.
pub(super) fn set_bits(word: &Atomic<u64>, mask: u64) -> u64 {
    let mut old = word.load(Relaxed);
    while let Err(now) = word.cmpxchg(old, old | mask, Full) {
        old = now;
    }
    old
}
