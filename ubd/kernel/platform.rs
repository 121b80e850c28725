// SPDX-License-Identifier: GPL-2.0

//! A platform driver with no devices to find, and the devices that the driver makes for it.
//!
//! The kernel crate's platform drivers are bound to devices that firmware describes.
//!
//! C header: [`include/linux/platform_device.h`](srctree/include/linux/platform_device.h)

use core::ptr::NonNull;
use kernel::{bindings, error, prelude::*, types::Opaque};

extern "C" {
    fn ubd_device_groups() -> *mut *const bindings::attribute_group;
}

/// A platform driver that takes the devices of its own name and does nothing with them.
///
/// # Invariants
///
/// `inner` is registered until `self` is dropped.
#[pin_data(PinnedDrop)]
pub(crate) struct Driver {
    #[pin]
    inner: Opaque<bindings::platform_driver>,
}

// SAFETY: A driver may be unregistered by any thread.
unsafe impl Send for Driver {}

// SAFETY: There are no methods.
unsafe impl Sync for Driver {}

impl Driver {
    /// Registers a driver called `name`. May sleep. Returns what `driver_register()` does.
    pub(crate) fn register(name: &'static CStr) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(|drv: *mut bindings::platform_driver| {
                // SAFETY: `drv` is ours to initialise; zeros are valid for all of its fields.
                unsafe { drv.write_bytes(0, 1) };
                // SAFETY: It is initialised now.
                unsafe { (*drv).driver.name = name.as_char_ptr() };
                // SAFETY: As above. The attributes are static.
                unsafe { (*drv).driver.dev_groups = ubd_device_groups() };
                // SAFETY: The driver is pinned, and has a name.
                error::to_result(unsafe {
                    bindings::__platform_driver_register(
                        drv,
                        super::module::THIS_MODULE,
                        super::module::NAME.as_char_ptr(),
                    )
                })
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Driver {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the driver is registered.
        unsafe { bindings::platform_driver_unregister(self.inner.get()) };
    }
}

/// A platform device, which goes when `self` is dropped.
///
/// # Invariants
///
/// `0` is a registered platform device.
pub(crate) struct Device(NonNull<bindings::platform_device>);

// SAFETY: A device may be unregistered by any thread.
unsafe impl Send for Device {}

// SAFETY: No method changes the device.
unsafe impl Sync for Device {}

impl Device {
    /// Registers the device `name`.`id`, with `serial` as its attribute of that name.
    ///
    /// May sleep. Returns `ENOMEM`, or `EEXIST` when there is one of that name.
    pub(crate) fn register(name: &'static CStr, id: usize, serial: &CStr) -> Result<Self> {
        let mut info: bindings::platform_device_info = pin_init::zeroed();
        info.name = name.as_char_ptr();
        info.id = i32::try_from(id)?;
        info.data = serial.as_char_ptr().cast();
        info.size_data = serial.to_bytes_with_nul().len();
        // SAFETY: `info` is complete; the name is static, and the serial number is copied.
        let device = unsafe { bindings::platform_device_register_full(&info) };
        let device = error::from_err_ptr(device)?;
        // INVARIANT: The device was just registered.
        Ok(Self(NonNull::new(device).ok_or(ENOMEM)?))
    }

    pub(super) fn as_dev_ptr(&self) -> *mut bindings::device {
        // SAFETY: By the type invariant the device is valid.
        unsafe { &raw mut (*self.0.as_ptr()).dev }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the device is registered.
        unsafe { bindings::platform_device_unregister(self.0.as_ptr()) };
    }
}
