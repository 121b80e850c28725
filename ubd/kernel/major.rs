// SPDX-License-Identifier: GPL-2.0

//! Major numbers of block devices.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use core::marker::PhantomData;
use kernel::{bindings, error, prelude::*};

/// A major number that is registered for block devices.
///
/// # Invariants
///
/// `number` is registered with `name`.
pub(crate) struct Major<const N: u32> {
    name: &'static CStr,
    _data: PhantomData<()>,
}

impl<const N: u32> Major<N> {
    /// Registers major number `N`, as `name` in `/proc/devices`. May sleep. Returns `EBUSY` when
    /// another driver has it.
    pub(crate) fn register(name: &'static CStr) -> Result<Self> {
        // SAFETY: The name is static.
        error::to_result(unsafe { bindings::__register_blkdev(N, name.as_char_ptr(), None) })?;
        // INVARIANT: It is registered now.
        Ok(Self {
            name,
            _data: PhantomData,
        })
    }
}

impl<const N: u32> Drop for Major<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the number is registered with this name.
        unsafe { bindings::unregister_blkdev(N, self.name.as_char_ptr()) };
    }
}
