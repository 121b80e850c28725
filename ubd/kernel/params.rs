// SPDX-License-Identifier: GPL-2.0

//! The texts of `ubd…=` options: module parameters, or, built in, the kernel's command line.
//!
//! The kernel crate's parameters are numbers, and one name each; a ubd's flags are a part of its
//! parameter's name.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use kernel::prelude::*;

#[cfg(MODULE)]
pub(crate) use module::{check_all_known, options};

#[cfg(not(MODULE))]
pub(crate) use boot::{check_all_known, options};

/// As module parameters.
#[cfg(MODULE)]
mod module {
    use super::super::module::{Arguments, THIS_MODULE};
    use crate::ubd::options::{self, Brief, Setting, UNITS};
    use core::cell::UnsafeCell;
    use kernel::{bindings, ffi::c_char, prelude::*};

    /// The flags in the order in which they are part of a parameter's name.
    const FLAGS: &[u8] = b"rscdt";

    /// For every unit, as a number and as a letter, a name with each set of flags, and `ubd`.
    const NAMES: usize = UNITS * 2 * (1 << FLAGS.len()) + 1;

    /// The longest name, `ubd15rscdt`, with its terminating zero.
    const NAME_LEN: usize = 11;

    type Name = [u8; NAME_LEN];

    const fn name(number: usize) -> Name {
        let mut name = [0; NAME_LEN];
        let mut len = 3;
        name[0] = b'u';
        name[1] = b'b';
        name[2] = b'd';
        if number == NAMES - 1 {
            return name;
        }
        let set = number % (1 << FLAGS.len());
        let unit = number / (1 << FLAGS.len());
        if unit >= UNITS {
            name[len] = b'a' + (unit - UNITS) as u8;
            len += 1;
        } else {
            if unit >= 10 {
                name[len] = b'0' + (unit / 10) as u8;
                len += 1;
            }
            name[len] = b'0' + (unit % 10) as u8;
            len += 1;
        }
        let mut flag = 0;
        while flag < FLAGS.len() {
            if set & 1 << flag != 0 {
                name[len] = FLAGS[flag];
                len += 1;
            }
            flag += 1;
        }
        name
    }

    static ALL_NAMES: [Name; NAMES] = {
        let mut names = [[0; NAME_LEN]; NAMES];
        let mut i = 0;
        while i < NAMES {
            names[i] = name(i);
            i += 1;
        }
        names
    };

    static OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
        // A parameter with no value comes to `set` too, to be refused with a reason.
        flags: bindings::KERNEL_PARAM_OPS_FL_NOARG,
        set: Some(set),
        get: None,
        free: Some(free),
    };

    #[repr(transparent)]
    struct Params([bindings::kernel_param; NAMES]);

    // SAFETY: Only the loader uses them.
    unsafe impl Sync for Params {}

    #[link_section = "__param"]
    #[used(compiler)]
    static PARAMS: Params = {
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
        let mut params = [ONE; NAMES];
        let mut i = 0;
        while i < NAMES {
            params[i].name = (&raw const ALL_NAMES[i]).cast();
            i += 1;
        }
        Params(params)
    };

    static FAKE_IDE_OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
        flags: bindings::KERNEL_PARAM_OPS_FL_NOARG,
        set: Some(set_fake_ide),
        get: None,
        free: None,
    };

    #[repr(transparent)]
    struct Param(bindings::kernel_param);

    // SAFETY: Only the loader uses it.
    unsafe impl Sync for Param {}

    /// In UML it once gave the disks the major number of an IDE controller, too.
    #[link_section = "__param"]
    #[used(compiler)]
    static FAKE_IDE: Param = Param(bindings::kernel_param {
        name: kernel::str::as_char_ptr_in_const_context(c"fake_ide"),
        mod_: THIS_MODULE,
        ops: &FAKE_IDE_OPS,
        perm: 0,
        level: -1,
        flags: 0,
        __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
            arg: core::ptr::null_mut(),
        },
    });

    extern "C" fn set_fake_ide(_: *const c_char, _: *const bindings::kernel_param) -> i32 {
        pr_warn!("fake_ide is obsolete and does nothing\n");
        0
    }

    /// The texts that [`set`] was called with.
    ///
    /// # Invariants
    ///
    /// Used only by the loader's calls of [`set`] and [`free`], and by the module's init, which
    /// come one after the other.
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

    /// Takes a parameter, or refuses it and says why.
    ///
    /// # Safety
    ///
    /// To be called by the loader only, with one of [`PARAMS`] and the value that it has, if any.
    unsafe extern "C" fn set(value: *const c_char, param: *const bindings::kernel_param) -> i32 {
        // SAFETY: The names are terminated strings.
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
            text.extend_from_slice(name.to_bytes().get(3..).unwrap_or_default(), GFP_KERNEL)?;
            if let Some(value) = value {
                text.push(b'=', GFP_KERNEL)?;
                text.extend_from_slice(value, GFP_KERNEL)?;
            }
            check(texts, &text)?;
            texts.push(text, GFP_KERNEL)?;
            Ok(0)
        })
    }

    /// Returns an error, and says why, if an option can't be taken after the earlier ones.
    fn check(earlier: &[KVec<u8>], text: &[u8]) -> Result {
        let setting = options::parse(text).map_err(|e| {
            pr_err!("ubd{}: {e}\n", Brief(text));
            EINVAL
        })?;
        let unit = |setting: &Setting<'_>| match setting {
            Setting::Unit(options) => Some(options.unit),
            _ => None,
        };
        let Some(new) = unit(&setting) else {
            return Ok(());
        };
        let taken = |text: &KVec<u8>| options::parse(text).is_ok_and(|s| unit(&s) == Some(new));
        if earlier.iter().any(taken) {
            pr_err!(
                "ubd{}: device already configured: ubd{}\n",
                options::letter(new),
                Brief(text)
            );
            return Err(EBUSY);
        }
        Ok(())
    }

    /// # Safety
    ///
    /// To be called by the loader only, when the module goes.
    unsafe extern "C" fn free(_arg: *mut kernel::ffi::c_void) {
        // SAFETY: Called by the loader.
        drop(core::mem::take(unsafe { TEXTS.get() }));
    }

    /// The options of the load in progress, in their order, as they follow the letters `ubd`.
    /// For the module's init, once.
    pub(crate) fn options() -> Result<KVec<KVec<u8>>> {
        // SAFETY: Called by the module's init.
        Ok(core::mem::take(unsafe { TEXTS.get() }))
    }

    /// Returns `EINVAL`, and says why, if the load has a parameter that starts with `ubd` and was
    /// passed over because it is none of this module's. For the module's init. May sleep.
    pub(crate) fn check_all_known() -> Result {
        let Some(arguments) = Arguments::of_this_load() else {
            pr_warn!(
                "the parameters cannot be read again: one that starts with ubd and is not known \
                 would be ignored\n"
            );
            return Ok(());
        };
        let mut quoted = false;
        let blank = |c: &u8| {
            quoted ^= *c == b'"';
            c.is_ascii_whitespace() && !quoted
        };
        let mut result = Ok(());
        for argument in arguments.as_bytes().split(blank) {
            let argument = argument.strip_prefix(b"\"").unwrap_or(argument);
            if argument == b"--" {
                break;
            }
            if argument.starts_with(b"udb") {
                warn_of_typo(argument);
            }
            let Some(text) = argument.strip_prefix(b"ubd") else {
                continue;
            };
            let name = argument.split(|c| *c == b'=').next().unwrap_or_default();
            if is_known(name) {
                continue;
            }
            match options::parse(text) {
                Err(e) => pr_err!("{}: {e}\n", Brief(argument)),
                Ok(_) => pr_err!(
                    "{}: as a module parameter, write flags in the order r, s, c, d, t or use \
                     ubd=<unit><flags>=...\n",
                    Brief(argument)
                ),
            }
            result = Err(EINVAL);
        }
        result
    }

    fn is_known(name: &[u8]) -> bool {
        ALL_NAMES
            .iter()
            .any(|known| known.split(|c| *c == 0).next() == Some(name))
    }

    use super::warn_of_typo;
}

/// As `__setup()` options.
#[cfg(not(MODULE))]
mod boot {
    use super::super::helpers;
    use kernel::prelude::*;

    /// The options of the kernel's command line, in their order, as they follow the letters
    /// `ubd`. For the driver's init. May sleep.
    pub(crate) fn options() -> Result<KVec<KVec<u8>>> {
        let mut texts = KVec::new();
        for i in 0.. {
            // SAFETY: Called by the driver's init.
            let text = unsafe { helpers::ubd_boot_option(i) };
            if text.is_null() {
                break;
            }
            // SAFETY: The texts are terminated strings that stay.
            let option = unsafe { CStr::from_char_ptr(text) };
            let mut text = KVec::new();
            text.extend_from_slice(option.to_bytes(), GFP_KERNEL)?;
            texts.push(text, GFP_KERNEL)?;
        }
        for i in 0.. {
            // SAFETY: Called by the driver's init.
            let text = unsafe { helpers::ubd_boot_typo(i) };
            if text.is_null() {
                break;
            }
            // SAFETY: The texts are terminated strings that stay.
            super::warn_of_typo(unsafe { CStr::from_char_ptr(text) }.to_bytes());
        }
        Ok(texts)
    }

    /// The kernel's command line is for all, so that nothing in it is this driver's to refuse.
    pub(crate) fn check_all_known() -> Result {
        Ok(())
    }
}

/// Says that an option that starts with `udb` was surely meant to start with `ubd`.
fn warn_of_typo(text: &[u8]) {
    pr_warn!(
        "{}: almost certainly a typo, ubd was meant\n",
        crate::ubd::options::Brief(text)
    );
}
