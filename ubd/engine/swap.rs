// SPDX-License-Identifier: GPL-2.0

//! Units that memory is swapped out to.
//!
//! The memory that a write takes must not be what waits for it. Such a unit keeps its threads, and
//! what they write past the page cache takes memory from the kernel's reserves. Those are not for
//! pages of the page cache, nor for what a file system needs to fill a hole: it insists on that,
//! and the kernel warns of who does so with the reserves open.

use crate::ubd::files::image::Image;
use kernel::sync::atomic::{Atomic, Full, Relaxed};

/// What is known of swap on a unit.
pub(crate) struct Swap {
    /// Whether memory has been swapped out to the unit.
    used: Atomic<bool>,
    /// Whether [`Self::check`] is to be called. The flush thread does that, and no other: to look
    /// for holes takes memory, which may be what waits for the others.
    check: Atomic<bool>,
    /// Whether there were no holes at the last check, so that writes of swap fill none.
    filled: Atomic<bool>,
    /// Whether there may be holes since then.
    punched: Atomic<bool>,
    /// Whether the user has been told that it can hang.
    warned: Atomic<bool>,
}

impl Swap {
    /// Of a unit that has none.
    pub(crate) fn new() -> Self {
        Self {
            used: Atomic::new(false),
            check: Atomic::new(false),
            filled: Atomic::new(false),
            punched: Atomic::new(false),
            warned: Atomic::new(false),
        }
    }

    /// Whether memory has been swapped out to the unit.
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Relaxed)
    }

    /// To be called when memory has been swapped out to the unit. Returns whether that is the first
    /// time, and [`Self::check`] is to be called.
    pub(crate) fn set_used(&self) -> bool {
        let first = !self.is_used() && !self.used.xchg(true, Full);
        if first {
            self.check.store(true, Relaxed);
        }
        first
    }

    /// To be called before a hole is made in the file. Returns whether that is the first time, and
    /// [`Self::check`] is to be called.
    pub(crate) fn set_punched(&self) -> bool {
        let first = !self.punched.load(Relaxed) && !self.punched.xchg(true, Full);
        if first {
            self.check.store(true, Relaxed);
        }
        first
    }

    /// Whether a write is to take memory from the kernel's reserves.
    pub(crate) fn takes_reserves(&self) -> bool {
        self.filled.load(Relaxed) && !self.punched.load(Relaxed)
    }

    /// Whether [`Self::check`] is to be called.
    pub(crate) fn needs_check(&self) -> bool {
        self.check.load(Relaxed)
    }

    /// Looks, if there is a need, whether swap on the unit of `image` can hang, and says so once;
    /// if not, has what is written for it take memory from the reserves.
    ///
    /// May sleep. For the flush thread.
    pub(crate) fn check(&self, image: &Image) {
        if !self.needs_check() || !self.check.xchg(false, Full) {
            return;
        }
        let why = if !image.writes_direct() {
            "through the page cache"
        } else if self.punched.load(Relaxed) || image.has_holes() {
            "its file has holes"
        } else {
            self.filled.store(true, Relaxed);
            return;
        };
        if !self.warned.xchg(true, Full) {
            image.warn_swap(why);
        }
    }
}
