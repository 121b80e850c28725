// SPDX-License-Identifier: GPL-2.0

//! The driver in User-mode Linux's management console.
//!
//! C header: [`arch/um/drivers/mconsole_kern.h`](srctree/arch/um/drivers/mconsole_kern.h)

use core::marker::PhantomData;
use kernel::{
    ffi::{c_char, c_int, c_void},
    prelude::*,
};

extern "C" {
    fn ubd_mconsole_register(mconsole: *const RawConsole);
}

/// `struct ubd_mconsole` of `mconsole.h`.
#[repr(C)]
struct RawConsole {
    config: unsafe extern "C" fn(*const c_void, *const c_char, *mut *const c_char) -> c_int,
    show: unsafe extern "C" fn(
        *const c_void,
        *const c_char,
        *mut c_char,
        c_int,
        *mut *const c_char,
    ) -> c_int,
    unit: unsafe extern "C" fn(*const c_void, *const c_char, *mut c_int, *mut c_int) -> c_int,
    remove: unsafe extern "C" fn(*const c_void, c_int, *mut *const c_char) -> c_int,
    data: *const c_void,
}

/// Why a command was not carried out: the error, and what the console answers.
pub(crate) struct Refused(pub(crate) Error, pub(crate) &'static CStr);

/// What the console can ask for. All of it may sleep.
pub(crate) trait Console: Send + Sync + 'static {
    /// The last unit that there can be.
    const LAST: usize;

    /// Does what an option says, as it follows the letters `ubd`.
    fn config(&self, option: &[u8]) -> Result<(), Refused>;

    /// The unit of that name; `None` if it is no name of one.
    fn unit(&self, name: &[u8]) -> Option<usize>;

    /// What a unit has been configured with, or nothing.
    fn show(&self, unit: usize) -> Result<KVec<u8>>;

    /// Takes a unit away. Of `ENODEV` and `EBUSY` the console itself tells.
    fn remove(&self, unit: usize) -> Result<(), Refused>;
}

/// Has the console ask `console` from now on. To be called once.
///
/// May sleep. Returns `ENOMEM`.
pub(crate) fn register<T: Console>(console: T) -> Result {
    let data = KBox::into_raw(KBox::new(console, GFP_KERNEL)?);
    let raw = RawConsole {
        config: Calls::<T>::config,
        show: Calls::<T>::show,
        unit: Calls::<T>::unit,
        remove: Calls::<T>::remove,
        data: data.cast_const().cast(),
    };
    match KBox::new(raw, GFP_KERNEL) {
        // SAFETY: The functions take such data. Nobody unregisters it, so it stays.
        Ok(raw) => unsafe { ubd_mconsole_register(KBox::into_raw(raw)) },
        Err(e) => {
            // SAFETY: It came from there, and nobody else has it.
            drop(unsafe { KBox::from_raw(data) });
            return Err(e.into());
        }
    }
    Ok(())
}

struct Calls<T>(PhantomData<T>);

/// What the C side is told, with its text if there is one.
///
/// # Safety
///
/// `error` must be valid for writing.
unsafe fn answer(result: Result<(), Refused>, error: *mut *const c_char) -> c_int {
    match result {
        Ok(()) => 0,
        Err(Refused(e, text)) => {
            if !text.is_empty() {
                // SAFETY: By this function's requirement.
                unsafe { *error = text.as_char_ptr() };
            }
            e.to_errno()
        }
    }
}

impl<T: Console> Calls<T> {
    /// # Safety
    ///
    /// `data` must be that of a console that was registered; here and below.
    unsafe fn console<'a>(data: *const c_void) -> &'a T {
        // SAFETY: By this function's requirement; it is never freed.
        unsafe { &*data.cast() }
    }

    /// # Safety
    ///
    /// As for [`Self::console`]; `text` must be a terminated string, `error` valid for writing.
    unsafe extern "C" fn config(
        data: *const c_void,
        text: *const c_char,
        error: *mut *const c_char,
    ) -> c_int {
        // SAFETY: By this function's requirements.
        unsafe {
            let option = CStr::from_char_ptr(text).to_bytes();
            answer(Self::console(data).config(option), error)
        }
    }

    /// # Safety
    ///
    /// As for [`Self::config`]; `text` must have room for `size` bytes.
    unsafe extern "C" fn show(
        data: *const c_void,
        name: *const c_char,
        text: *mut c_char,
        size: c_int,
        error: *mut *const c_char,
    ) -> c_int {
        // SAFETY: By this function's requirements.
        let (console, name) = unsafe { (Self::console(data), CStr::from_char_ptr(name)) };
        let shown = match console.unit(name.to_bytes()) {
            Some(unit) if unit <= T::LAST => console.show(unit),
            _ => {
                let why = c"ubd_get_config : device number out of range";
                // SAFETY: By this function's requirements.
                unsafe { *error = why.as_char_ptr() };
                return -1;
            }
        };
        let Ok(shown) = shown else {
            // SAFETY: By this function's requirements.
            unsafe { *error = c"Failed to allocate memory".as_char_ptr() };
            return -1;
        };
        // With its end. If it does not fit it is asked for again, with the room for it.
        let len = shown.len() + 1;
        if usize::try_from(size).is_ok_and(|size| len <= size) {
            // SAFETY: By this function's requirements there is room for it.
            unsafe {
                core::ptr::copy_nonoverlapping(shown.as_ptr(), text.cast(), shown.len());
                *text.add(shown.len()) = 0;
            }
        }
        c_int::try_from(len).unwrap_or(-1)
    }

    /// # Safety
    ///
    /// As for [`Self::config`]; `first` and `last` must be valid for writing.
    unsafe extern "C" fn unit(
        data: *const c_void,
        name: *const c_char,
        first: *mut c_int,
        last: *mut c_int,
    ) -> c_int {
        // SAFETY: By this function's requirements.
        let (console, name) = unsafe {
            *first = 0;
            *last = T::LAST as c_int;
            (Self::console(data), CStr::from_char_ptr(name))
        };
        let unit = console.unit(name.to_bytes());
        unit.and_then(|unit| c_int::try_from(unit).ok())
            .unwrap_or(-1)
    }

    /// # Safety
    ///
    /// As for [`Self::console`]; `error` must be valid for writing.
    unsafe extern "C" fn remove(
        data: *const c_void,
        unit: c_int,
        error: *mut *const c_char,
    ) -> c_int {
        // SAFETY: By this function's requirements.
        unsafe { answer(Self::console(data).remove(unit as usize), error) }
    }
}
