// SPDX-License-Identifier: GPL-2.0

//! How many sectors have come into the COW file since it was opened.

use kernel::sync::atomic::{Atomic, Full, Relaxed};

/// The number of bits that were set, and of those that may be, as they are reserved. Of a page that
/// was filled without being read, no more counts than was said of it.
pub(crate) struct Added(Atomic<u64>);

impl Added {
    pub(super) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// How many there are.
    pub(crate) fn sectors(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Reserves `sectors` more, if there are at most `most` with them. Otherwise returns false.
    pub(crate) fn reserve(&self, sectors: u64, most: u64) -> bool {
        let mut old = self.sectors();
        loop {
            let Some(new) = old.checked_add(sectors).filter(|new| *new <= most) else {
                return false;
            };
            match self.0.cmpxchg(old, new, Full) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
    }

    /// To be called when the bits of `sectors` were set, of which `reserved` count already. Leaves
    /// there what is left of it.
    pub(super) fn add(&self, sectors: u64, reserved: &mut u64) {
        let counted = sectors.min(*reserved);
        *reserved -= counted;
        if sectors > counted {
            self.0.fetch_add(sectors - counted, Relaxed);
        }
    }

    /// Gives back what is left of a reservation.
    pub(crate) fn give_back(&self, reserved: u64) {
        self.0.fetch_sub(reserved, Relaxed);
    }
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(rnull_ubd_added))]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_counts_once() {
        let added = Added::new();
        let mut reserved = 8;
        assert!(added.reserve(reserved, 10));
        assert!(!added.reserve(3, 10));
        assert!(added.reserve(2, 10));
        added.add(5, &mut reserved);
        assert_eq!((added.sectors(), reserved), (10, 3));
        added.give_back(reserved);
        assert_eq!(added.sectors(), 7);
        // More than was reserved, as when there was no limit yet.
        added.add(4, &mut 1);
        assert_eq!(added.sectors(), 10);
        assert!(!added.reserve(u64::MAX, u64::MAX));
        assert!(!added.reserve(1, 0));
    }
}
