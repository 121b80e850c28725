// SPDX-License-Identifier: GPL-2.0

//! The driver's options on the kernel's command line, when it is built in.
//!
//! C header: [`include/linux/init.h`](srctree/include/linux/init.h)

use kernel::prelude::*;

extern "C" {
    fn ubd_boot_option(i: usize) -> *const c_char;
}

/// The options, in their order, each as a whole. For the driver's init. May sleep.
pub(crate) fn take() -> Result<KVec<KVec<u8>>> {
    let mut texts = KVec::new();
    for i in 0.. {
        // SAFETY: Called by the driver's init.
        let text = unsafe { ubd_boot_option(i) };
        if text.is_null() {
            break;
        }
        // SAFETY: The texts are terminated strings that stay.
        let option = unsafe { CStr::from_char_ptr(text) };
        let mut text = KVec::new();
        text.extend_from_slice(option.to_bytes(), GFP_KERNEL)?;
        texts.push(text, GFP_KERNEL)?;
    }
    Ok(texts)
}
