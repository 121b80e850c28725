// SPDX-License-Identifier: GPL-2.0

//! What differs between the kernels that are supported.
//!
//! The driver is written for the newest. Here is what older ones lack, under the newest one's
//! names, and nothing else in the driver knows of them.

#[cfg(all(not(UBD_LINUX_7_2), CONFIG_CONFIGFS_FS))]
pub(crate) use kernel::configfs_attrs;
#[cfg(not(UBD_LINUX_7_2))]
pub(crate) use kernel::{
    error::code::{ENAMETOOLONG, EOPNOTSUPP},
    sync::{barrier::smp_mb, new_spinlock_irq, rcu::synchronize_rcu, SpinLockIrq},
};
#[cfg(UBD_LINUX_7_2)]
pub(crate) use linux_7_2::*;

/// The value of the module's parameter of that name.
#[cfg(not(UBD_LINUX_7_2))]
pub(crate) fn trust_header() -> bool {
    crate::module_parameters::trust_header.value()
}

/// The value of the module's parameter of that name.
#[cfg(not(UBD_LINUX_7_2))]
pub(crate) fn direct_io() -> u16 {
    crate::module_parameters::direct_io.value()
}

#[cfg(UBD_LINUX_7_2)]
mod linux_7_2 {
    use crate::ubd::kernel::module::THIS_MODULE;
    use core::cell::UnsafeCell;
    use kernel::{
        bindings,
        ffi::{c_char, c_ulong},
        prelude::*,
        sync::{
            atomic::Full,
            lock::{Backend, Lock},
        },
    };

    extern "C" {
        fn ubd_spin_lock_irqsave(lock: *mut bindings::spinlock_t) -> c_ulong;
        fn ubd_spin_trylock_irqsave(lock: *mut bindings::spinlock_t, flags: *mut c_ulong) -> bool;
        fn ubd_spin_unlock_irqrestore(lock: *mut bindings::spinlock_t, flags: c_ulong);
    }

    /// A parameter of the module that is a `bool`: the crate's `module!` has none.
    ///
    /// # Invariants
    ///
    /// It is written by the loader only, before the module's init.
    struct BoolParam(UnsafeCell<bool>);

    // SAFETY: By the type invariant nobody reads it while it is written.
    unsafe impl Sync for BoolParam {}

    /// What the loader looks for.
    #[repr(transparent)]
    struct KernelParam(bindings::kernel_param);

    // SAFETY: Only the loader uses it, for one load at a time.
    unsafe impl Sync for KernelParam {}

    static TRUST_HEADER: BoolParam = BoolParam(UnsafeCell::new(true));

    #[link_section = "__param"]
    #[used(compiler)]
    static TRUST_HEADER_PARAM: KernelParam = KernelParam(bindings::kernel_param {
        name: kernel::str::as_char_ptr_in_const_context(if cfg!(MODULE) {
            c"trust_header"
        } else {
            c"rnull_ubd.trust_header"
        }),
        mod_: THIS_MODULE,
        ops: &raw const bindings::param_ops_bool,
        perm: 0,
        level: -1,
        flags: 0,
        __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
            arg: TRUST_HEADER.0.get().cast(),
        },
    });

    #[cfg(MODULE)]
    #[link_section = ".modinfo"]
    #[used(compiler)]
    static TRUST_HEADER_INFO: [u8; 115] = *b"parmtype=trust_header:bool\0\
        parm=trust_header:Use the backing file that only a COW file's header names (default: y)\0";

    /// The value of the module's parameter of that name.
    pub(crate) fn trust_header() -> bool {
        // SAFETY: By the type invariant it is not written any more.
        unsafe { *TRUST_HEADER.0.get() }
    }

    /// The value of the module's parameter of that name.
    pub(crate) fn direct_io() -> u16 {
        *crate::module_parameters::direct_io.value()
    }

    /// The kernel crate's, which wants to find the module.
    #[cfg(CONFIG_CONFIGFS_FS)]
    macro_rules! configfs_attrs {
        ($($attrs:tt)*) => {{
            use crate::THIS_MODULE;
            ::kernel::configfs_attrs! { $($attrs)* }
        }};
    }
    #[cfg(CONFIG_CONFIGFS_FS)]
    pub(crate) use configfs_attrs;

    /// A barrier for all that comes before and behind it.
    pub(crate) fn smp_mb(_: Full) {
        kernel::sync::barrier::smp_mb();
    }

    /// Waits until all who are in a critical section of RCU now have left it. May sleep.
    pub(crate) fn synchronize_rcu() {
        // SAFETY: It may always be called where one may sleep.
        unsafe { bindings::synchronize_rcu() };
    }

    /// The error of that number.
    const fn error(errno: u32) -> Error {
        assert!(1 <= errno && errno <= bindings::MAX_ERRNO);
        // SAFETY: The only field of an `Error` is a `NonZeroI32`, and as it has the same size,
        // which the compiler checks, that is all of it. By the assertion it is the number of an
        // error.
        unsafe { core::mem::transmute::<i32, Error>(-(errno as i32)) }
    }

    pub(crate) const ENAMETOOLONG: Error = error(bindings::ENAMETOOLONG);
    pub(crate) const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);

    /// A spinlock that is held with interrupts disabled on this processor.
    pub(crate) type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

    /// What locks a [`SpinLockIrq`].
    pub(crate) struct SpinLockIrqBackend;

    // SAFETY: A `spinlock_t` has one owner at a time, and `relock` locks as `lock` does.
    unsafe impl Backend for SpinLockIrqBackend {
        type State = bindings::spinlock_t;
        /// Whether interrupts were enabled before.
        type GuardState = c_ulong;

        unsafe fn init(
            ptr: *mut Self::State,
            name: *const c_char,
            key: *mut bindings::lock_class_key,
        ) {
            // SAFETY: By this function's requirements.
            unsafe { bindings::__spin_lock_init(ptr, name, key) }
        }

        unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
            // SAFETY: By this function's requirements the lock is initialised.
            unsafe { ubd_spin_lock_irqsave(ptr) }
        }

        unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
            let mut flags = 0;
            // SAFETY: By this function's requirements the lock is initialised.
            unsafe { ubd_spin_trylock_irqsave(ptr, &mut flags) }.then_some(flags)
        }

        unsafe fn unlock(ptr: *mut Self::State, flags: &Self::GuardState) {
            // SAFETY: By this function's requirements the caller has the lock, and the flags are
            // from locking it.
            unsafe { ubd_spin_unlock_irqrestore(ptr, *flags) }
        }

        unsafe fn assert_is_held(ptr: *mut Self::State) {
            // SAFETY: By this function's requirements the lock is initialised.
            unsafe { bindings::spin_assert_is_held(ptr) }
        }
    }

    /// Makes a [`SpinLockIrq`] with a lock class of its own.
    macro_rules! new_spinlock_irq {
        ($inner:expr, $name:literal) => {
            $crate::ubd::kernel::compat::SpinLockIrq::new(
                $inner,
                ::kernel::optional_name!($name),
                ::kernel::static_lock_class!(),
            )
        };
    }
    pub(crate) use new_spinlock_irq;
}
