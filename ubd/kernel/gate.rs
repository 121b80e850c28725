// SPDX-License-Identifier: GPL-2.0

//! A gate: who is behind it is waited for by the one who closes it.
//!
//! C header: [`include/linux/wait_bit.h`](srctree/include/linux/wait_bit.h)

use core::ops::Range;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};

// An `atomic64_t` is such a number.
extern "C" {
    fn ubd_gate_wait(users: *mut i64);
    fn ubd_gate_wake(users: *mut i64);
}

/// A gate to a range of numbers, of which a part can be closed. Who enters says for which numbers,
/// and leaves in whatever context.
pub(crate) struct Gate {
    /// How many have entered and not left.
    users: Atomic<i64>,
    /// What is closed: from the one up to, not including, the other.
    start: Atomic<u64>,
    end: Atomic<u64>,
}

impl Gate {
    /// One that is open.
    pub(crate) const fn new() -> Self {
        Self {
            users: Atomic::new(0),
            start: Atomic::new(0),
            end: Atomic::new(0),
        }
    }

    /// Enters for these numbers, unless some of them are closed. Then it returns false. May be
    /// called in any context.
    #[inline]
    pub(crate) fn enter(&self, numbers: Range<u64>) -> bool {
        self.users.fetch_add(1, Full);
        // The end is read first, and written last when it gets less. So what is seen is a range
        // that is closed, or more than that.
        let end = self.end.load(Acquire);
        if numbers.start >= end || numbers.end <= self.start.load(Relaxed) {
            return true;
        }
        self.leave();
        false
    }

    /// Leaves. May be called in any context.
    #[inline]
    pub(crate) fn leave(&self) {
        if self.users.fetch_sub(1, Full) == 1 && self.end.load(Relaxed) != 0 {
            // SAFETY: The counter is there as long as `self` is, and the function only takes its
            // address.
            unsafe { ubd_gate_wake(self.users.as_ptr()) };
        }
    }

    /// Closes it, waits until nobody is behind it, and opens it for all but `numbers`, which are
    /// closed until [`Self::open`]. What those did who have left is seen by the caller then, and
    /// what the caller does before that, by those who enter.
    ///
    /// May sleep. For one caller at a time, who has not entered.
    pub(crate) fn close(&self, numbers: Range<u64>) {
        self.end.xchg(u64::MAX, Full);
        // SAFETY: As above; it is an atomic number of that size.
        unsafe { ubd_gate_wait(self.users.as_ptr()) };
        self.users.load(Acquire);
        self.start.store(numbers.start, Relaxed);
        self.end.store(numbers.end, Release);
    }

    /// Opens what is closed.
    pub(crate) fn open(&self) {
        self.end.store(0, Release);
        self.start.store(0, Release);
    }
}

#[cfg(CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST)]
#[::kernel::macros::kunit_tests(rnull_ubd_gate)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_is_not_entered() {
        let gate = Gate::new();
        gate.close(10..20);
        assert!(gate.enter(0..10));
        assert!(gate.enter(20..30));
        for closed in [10..11, 19..20, 0..11, 19..30, 0..30] {
            assert!(!gate.enter(closed));
        }
        gate.open();
        assert!(gate.enter(10..20));
        for _ in 0..3 {
            gate.leave();
        }
        // Which waits for whoever has not left.
        gate.close(0..1);
        gate.open();
    }
}
