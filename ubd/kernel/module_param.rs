// SPDX-License-Identifier: GPL-2.0

//! Parameters of a module that are texts, under names of the driver's making.
//!
//! The kernel crate's `module!` has numbers only.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use super::module::THIS_MODULE;
use core::cell::UnsafeCell;
use kernel::{bindings, ffi::c_char, prelude::*};

/// The longest name, with its terminating zero, in bytes.
pub(crate) const NAME_LEN: usize = 16;

/// The name of a parameter, with zeros behind it.
pub(crate) type Name = [u8; NAME_LEN];

/// Parameters for the loader to find. [`module_text_params`] puts them where it looks.
///
/// # Invariants
///
/// The names are terminated strings that stay, and the operations are [`OPS`].
#[repr(transparent)]
pub(crate) struct Params<const N: usize>([bindings::kernel_param; N]);

// SAFETY: Only the loader uses them, for one load at a time.
unsafe impl<const N: usize> Sync for Params<N> {}

impl<const N: usize> Params<N> {
    /// Parameters of these names. Does not compile if a name has no zero at its end.
    pub(crate) const fn new(names: &'static [Name; N]) -> Self {
        const ONE: bindings::kernel_param = bindings::kernel_param {
            name: core::ptr::null(),
            mod_: THIS_MODULE,
            ops: &OPS,
            perm: 0,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                arg: core::ptr::null_mut(),
            },
        };
        let mut params = [ONE; N];
        let mut i = 0;
        while i < N {
            assert!(names[i][NAME_LEN - 1] == 0);
            params[i].name = (&raw const names[i]).cast();
            i += 1;
        }
        // INVARIANT: Each name ends with a zero, as asserted.
        Self(params)
    }
}

/// Makes all `$names`, a static of type `[Name; $count]`, parameters of the module.
macro_rules! module_text_params {
    ($count:expr, $names:path) => {
        #[link_section = "__param"]
        #[used(compiler)]
        static PARAMS: $crate::ubd::kernel::module_param::Params<{ $count }> =
            $crate::ubd::kernel::module_param::Params::new(&$names);
    };
}
pub(crate) use module_text_params;

static OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
    // A parameter with no value is for the driver to refuse, with a reason.
    flags: bindings::KERNEL_PARAM_OPS_FL_NOARG,
    set: Some(set),
    get: None,
    free: Some(free),
};

/// The texts that [`set`] was called with.
///
/// # Invariants
///
/// Used only by the loader's calls of [`set`] and [`free`], and by the module's init, which come
/// one after the other.
struct Texts(UnsafeCell<KVec<KVec<u8>>>);

// SAFETY: By the type invariant there is one user at a time.
unsafe impl Sync for Texts {}

static TEXTS: Texts = Texts(UnsafeCell::new(KVec::new()));

impl Texts {
    /// # Safety
    ///
    /// To be called in the contexts of the type invariant only, and the result not kept.
    #[expect(clippy::mut_from_ref)]
    unsafe fn get(&self) -> &mut KVec<KVec<u8>> {
        // SAFETY: By this function's requirement there is no other reference.
        unsafe { &mut *self.0.get() }
    }
}

/// Keeps a parameter for [`take`].
///
/// # Safety
///
/// To be called by the loader only, with one of a [`Params`] and the value that it has, if any.
unsafe extern "C" fn set(value: *const c_char, param: *const bindings::kernel_param) -> i32 {
    // SAFETY: By the invariant of `Params` the name is a terminated string.
    let name = unsafe { CStr::from_char_ptr((*param).name) };
    let value = if value.is_null() {
        None
    } else {
        // SAFETY: The loader's values are terminated strings.
        Some(unsafe { CStr::from_char_ptr(value) }.to_bytes())
    };
    // SAFETY: Called by the loader.
    let texts = unsafe { TEXTS.get() };
    kernel::error::from_result(|| {
        let mut text = KVec::new();
        text.extend_from_slice(name.to_bytes(), GFP_KERNEL)?;
        if let Some(value) = value {
            text.push(b'=', GFP_KERNEL)?;
            text.extend_from_slice(value, GFP_KERNEL)?;
        }
        texts.push(text, GFP_KERNEL)?;
        Ok(0)
    })
}

/// # Safety
///
/// To be called by the loader only, when the module goes.
unsafe extern "C" fn free(_arg: *mut kernel::ffi::c_void) {
    // SAFETY: Called by the loader.
    drop(core::mem::take(unsafe { TEXTS.get() }));
}

/// The parameters of the load in progress, in their order, as `name=value`, or `name` for one with
/// no value. What has none of the names the kernel passes over, and says so itself.
///
/// For the module's init, once.
pub(crate) fn take() -> Result<KVec<KVec<u8>>> {
    // SAFETY: Called by the module's init.
    Ok(core::mem::take(unsafe { TEXTS.get() }))
}
