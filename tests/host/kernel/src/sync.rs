// SPDX-License-Identifier: GPL-2.0

//! What threads share.

use std::sync::OnceLock;

pub mod atomic;

/// Memory barriers.
pub mod barrier {
    use super::atomic::Full;
    use std::sync::atomic::{fence, Ordering};

    /// A full barrier between threads.
    pub fn smp_mb(_: Full) {
        fence(Ordering::SeqCst);
    }
}

/// A value that is set once at most.
pub struct SetOnce<T>(OnceLock<T>);

impl<T> SetOnce<T> {
    /// One that is not set.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The value, if it is set.
    pub fn as_ref(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value; false, and nothing done, if there is one.
    pub fn populate(&self, value: T) -> bool {
        self.0.set(value).is_ok()
    }
}

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}
