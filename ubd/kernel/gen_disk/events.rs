// SPDX-License-Identifier: GPL-2.0

//! What a disk tells those who watch it.

use core::ptr::NonNull;
use kernel::{bindings, new_mutex, prelude::*, sync::Mutex};

/// # Invariants
///
/// The disk is one that was added, and has not been deleted.
struct Added(NonNull<bindings::gendisk>);

// SAFETY: A disk may be used by any thread.
unsafe impl Send for Added {}

/// A way to tell those who watch a disk, for as long as the disk is there.
#[pin_data]
pub(crate) struct Events {
    #[pin]
    disk: Mutex<Option<Added>>,
}

impl Events {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            disk <- new_mutex!(None, "ubd_events"),
        })
    }

    /// # Safety
    ///
    /// `disk` must have been added, and [`Self::stop`] be called before it is deleted.
    pub(super) unsafe fn start(&self, disk: NonNull<bindings::gendisk>) {
        // INVARIANT: By this function's requirement.
        *self.disk.lock() = Some(Added(disk));
    }

    pub(super) fn stop(&self) {
        *self.disk.lock() = None;
    }

    /// Wakes who polls the file `attribute` in the folder `folder` of the disk in sysfs, and sends
    /// a uevent with `variable`, which is `NAME=value`. Of a disk that is gone, does nothing. May
    /// sleep.
    pub(crate) fn tell(&self, folder: &CStr, attribute: &CStr, variable: &CStr) {
        let disk = self.disk.lock();
        let Some(Added(disk)) = &*disk else { return };
        // SAFETY: By its type invariant the disk is there as long as the lock is held.
        let kobj = unsafe { &raw mut (*(*disk.as_ptr()).part0).bd_device.kobj };
        let mut variables = [variable.as_char_ptr().cast_mut(), core::ptr::null_mut()];
        let change = bindings::kobject_action_KOBJ_CHANGE;
        // SAFETY: As above, and the names are strings.
        unsafe { bindings::sysfs_notify(kobj, folder.as_char_ptr(), attribute.as_char_ptr()) };
        // SAFETY: As above; the list ends with a null, and is not changed. Of a uevent that could
        // not be sent nobody can be told.
        unsafe { bindings::kobject_uevent_env(kobj, change, variables.as_mut_ptr()) };
    }
}
