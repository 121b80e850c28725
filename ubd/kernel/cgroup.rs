// SPDX-License-Identifier: GPL-2.0

//! The cgroup that a kernel thread works for.
//!
//! C header: [`include/linux/blk-cgroup.h`](srctree/include/linux/blk-cgroup.h)

use core::mem::MaybeUninit;
use kernel::{bindings, ffi::c_void};

extern "C" {
    fn ubd_account_begin(rq: *mut bindings::request, account: *mut Account);
    fn ubd_account_end(account: *mut Account);
}

/// The `struct ubd_account` of `helpers.h`.
#[repr(C)]
struct Account {
    blkcg_css: *mut c_void,
    memcg_css: *mut c_void,
    old_memcg: *mut c_void,
}

/// Has the calling kernel thread work on the account of a cgroup, until it is dropped.
pub(crate) struct OnAccount(Option<Account>);

impl OnAccount {
    /// On the account of the cgroup that `rq` came from.
    ///
    /// # Safety
    ///
    /// `rq` must be a started request. To be called in a kernel thread, which must not have another
    /// one.
    #[inline]
    pub(super) unsafe fn of(rq: *mut bindings::request) -> Self {
        if cfg!(not(CONFIG_BLK_CGROUP)) {
            return Self(None);
        }
        let mut account = MaybeUninit::uninit();
        // SAFETY: By this function's requirement.
        unsafe { ubd_account_begin(rq, account.as_mut_ptr()) };
        // SAFETY: Initialised by the call.
        Self(Some(unsafe { account.assume_init() }))
    }
}

impl Drop for OnAccount {
    #[inline]
    fn drop(&mut self) {
        if let Some(account) = &mut self.0 {
            // SAFETY: Undoes what was done when it was made, by the same thread: the pointers in it
            // keep it from being sent to another.
            unsafe { ubd_account_end(account) };
        }
    }
}
