// SPDX-License-Identifier: GPL-2.0

//! A limit to how often something is complained of.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use kernel::{bindings, prelude::*, types::Opaque};

extern "C" {
    fn ubd_ratelimit_init(state: *mut bindings::ratelimit_state);
    fn ubd_ratelimit(state: *mut bindings::ratelimit_state) -> bool;
}

/// Lets two messages through in five seconds, the kernel's usual interval.
///
/// # Invariants
///
/// `state` is initialised, and does not move.
#[pin_data]
pub(crate) struct RateLimit {
    #[pin]
    state: Opaque<bindings::ratelimit_state>,
}

// SAFETY: A `ratelimit_state` has its own lock.
unsafe impl Send for RateLimit {}

// SAFETY: As above.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// A limit that nothing counts against yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The function initialises all of it, and it is pinned.
            state <- Opaque::ffi_init(|state| unsafe { ubd_ratelimit_init(state) }),
        })
    }

    /// Whether a message may be printed that a user can cause without end. May be called in any
    /// context.
    pub(crate) fn allows(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { ubd_ratelimit(self.state.get()) }
    }
}
