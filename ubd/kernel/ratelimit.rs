// SPDX-License-Identifier: GPL-2.0

//! A limit to how often the driver complains.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use super::helpers;

/// Whether a message may be printed that a user can cause without end. May be called in any
/// context.
pub(crate) fn allows() -> bool {
    // SAFETY: The function has no requirements.
    unsafe { helpers::ubd_ratelimit() }
}
