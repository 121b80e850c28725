// SPDX-License-Identifier: GPL-2.0

//! Which parts of the disk are settled: nothing but a request writes to their sectors in the COW
//! file any more. A part that is not may be given zeros, where no bits are set.
//!
//! It is known in memory only. Every part is unsettled when its page of the bitmap is read.

use super::page::{low_bits, PAGE_SECTORS, SETTLED_WORDS};
use super::{Bitmap, NotLoaded};

/// How many sectors a part has.
pub(crate) const PART_SECTORS: u64 = PAGE_SECTORS / (SETTLED_WORDS as u64 * 64);

impl Bitmap {
    /// Whether all parts are settled of which there are sectors from `start` up to, not including,
    /// `end`. If so, what was written before they were settled is seen by the caller.
    ///
    /// Returns the first page that is not there.
    #[inline]
    pub(crate) fn is_settled(&self, start: u64, end: u64) -> Result<bool, NotLoaded> {
        for (number, index, mask) in words(start, end) {
            let page = self.page(number).ok_or(NotLoaded(number))?;
            if page.settled(index) & mask != mask {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Settles these parts, those of pages that are there. A full barrier.
    pub(crate) fn settle(&self, start: u64, end: u64) {
        for (number, index, mask) in words(start, end) {
            if let Some(page) = self.page(number) {
                page.settle(index, mask);
            }
        }
    }
}

/// The parts of which there are sectors from `start` up to `end`: for each of their words the
/// number of its page, its own number there, and the bits.
#[inline]
fn words(start: u64, end: u64) -> impl Iterator<Item = (u64, usize, u64)> {
    const WORDS: u64 = SETTLED_WORDS as u64;
    let (first, behind) = (start / PART_SECTORS, end.div_ceil(PART_SECTORS));
    (first / 64..behind.div_ceil(64)).map(move |word| {
        let from = low_bits(first.saturating_sub(word * 64));
        let mask = low_bits(behind - word * 64) & !from;
        (word / WORDS, (word % WORDS) as usize, mask)
    })
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(rnull_ubd_settled))]
mod tests {
    use super::*;
    use crate::ubd::cow::bitmap::PAGE_LEN;

    #[test]
    fn what_is_touched_is_settled() {
        let Ok(bitmap) = Bitmap::new(3 * PAGE_SECTORS) else {
            return;
        };
        assert_eq!(bitmap.is_settled(0, 1), Err(NotLoaded(0)));
        assert!(bitmap.load(0, &[0; PAGE_LEN]).is_ok());
        assert!(bitmap.load(1, &[0xff; PAGE_LEN]).is_ok());
        assert_eq!(bitmap.is_settled(0, 1), Ok(false));
        bitmap.settle(PART_SECTORS - 1, PART_SECTORS);
        assert_eq!(bitmap.is_settled(0, PART_SECTORS), Ok(true));
        assert_eq!(bitmap.is_settled(0, PART_SECTORS + 1), Ok(false));
        assert_eq!(bitmap.is_settled(PART_SECTORS, PART_SECTORS + 1), Ok(false));

        // Over the words of a page, and two pages.
        let (start, end) = (63 * PART_SECTORS + 7, PAGE_SECTORS + 65 * PART_SECTORS + 1);
        bitmap.settle(start, end);
        assert_eq!(bitmap.is_settled(start, end), Ok(true));
        assert_eq!(bitmap.is_settled(62 * PART_SECTORS, start), Ok(false));
        assert_eq!(bitmap.is_settled(63 * PART_SECTORS, start), Ok(true));
        let end = PAGE_SECTORS + 66 * PART_SECTORS;
        assert_eq!(bitmap.is_settled(start, end), Ok(true));
        assert_eq!(bitmap.is_settled(start, end + 1), Ok(false));
        assert_eq!(bitmap.is_settled(end - 1, 2 * PAGE_SECTORS + 1), Ok(false));

        // What is not there is passed over.
        bitmap.settle(0, 3 * PAGE_SECTORS);
        assert_eq!(bitmap.is_settled(0, 2 * PAGE_SECTORS), Ok(true));
        assert_eq!(bitmap.is_settled(0, 3 * PAGE_SECTORS), Err(NotLoaded(2)));
        assert!(!bitmap.is_dirty());
    }
}
