// SPDX-License-Identifier: GPL-2.0

//! As much of the kernel crate as the driver's pure modules use, made of `std`, with the same
//! names, signatures and meaning, so that their files compile on the host as they are.

pub mod alloc;
pub mod sync;

/// What the kernel crate's prelude has of this.
pub mod prelude {
    pub use crate::alloc::{flags::*, KBox, KVVec, KVec, VVec};
}
