// SPDX-License-Identifier: GPL-2.0

//! Many atomic words at once.
//!
//! C header: [`include/asm-generic/rwonce.h`](srctree/include/asm-generic/rwonce.h)

use crate::ubd::kernel::compat::smp_mb;
use kernel::sync::atomic::{Atomic, Full};

/// Copies words, in little-endian byte order, to `bytes`, or as many as there are of both. As if
/// each was loaded with `Acquire`, which for one at a time is a call of a function.
pub(crate) fn copy_acquire(words: &[Atomic<u64>], bytes: &mut [u8]) {
    for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(8)) {
        // SAFETY: The pointer is that of a live word, which others change by atomic operations
        // only. A volatile read of it is one, as `READ_ONCE()` is.
        let word = unsafe { word.as_ptr().read_volatile() };
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    // What is done next stays behind all of them.
    smp_mb(Full);
}
