// SPDX-License-Identifier: GPL-2.0

//! What a disk gives to those who are called with it by the block layer or by sysfs.

use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::{
    bindings,
    sync::atomic::Atomic,
    sync::Arc, //
};

extern "C" {
    fn ubd_disk(dev: *mut bindings::device) -> *mut bindings::gendisk;
}

/// What a disk's private data points to.
pub(in crate::ubd::kernel) struct Private<D> {
    pub(super) data: Arc<D>,
    /// Whether nobody can open the disk. Read and written under its `open_mutex`.
    pub(super) claimed: Atomic<bool>,
}

impl<D> Private<D> {
    /// # Safety
    ///
    /// `disk` must have been made by a [`GenDiskBuilder`](super::GenDiskBuilder) with queue data
    /// `D`, and its private data not be freed for `'a`: for as long as the disk is open, or could
    /// be.
    pub(super) unsafe fn of<'a>(disk: *mut bindings::gendisk) -> &'a Self {
        // SAFETY: By this function's requirement that is where the builder has put it.
        unsafe { &*(*disk).private_data.cast() }
    }

    /// The queue data of the disk with this device.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a disk made by a [`GenDiskBuilder`](super::GenDiskBuilder) with
    /// queue data `D`, whose attributes are there for `'a`.
    pub(in crate::ubd::kernel) unsafe fn queue_data<'a>(dev: *mut bindings::device) -> &'a D {
        // SAFETY: By this function's requirement the device is that of a disk.
        let disk = unsafe { ubd_disk(dev) };
        // SAFETY: By this function's requirement. The data is freed after the disk was deleted, and
        // with it its attributes.
        &unsafe { Self::of(disk) }.data
    }
}

/// The capacity of a disk that is there.
///
/// # Invariants
///
/// `disk` is a disk that was added, and is not freed for `'a`.
pub(crate) struct Capacity<'a> {
    disk: NonNull<bindings::gendisk>,
    _disk: PhantomData<&'a bindings::gendisk>,
}

impl Capacity<'_> {
    /// # Safety
    ///
    /// `dev` must be the device of a disk made by a [`GenDiskBuilder`](super::GenDiskBuilder),
    /// which is not freed as long as the result is used.
    pub(in crate::ubd::kernel) unsafe fn of(dev: *mut bindings::device) -> Self {
        // SAFETY: By this function's requirement the device is that of a disk.
        let disk = unsafe { ubd_disk(dev) };
        Self {
            // INVARIANT: By this function's requirement.
            // SAFETY: As above, it is not null.
            disk: unsafe { NonNull::new_unchecked(disk) },
            _disk: PhantomData,
        }
    }

    /// Changes the capacity to `sectors` of 512 bytes, and lets users know with a uevent.
    ///
    /// May sleep.
    pub(crate) fn set(&self, sectors: u64) {
        // SAFETY: By the type invariant.
        unsafe { bindings::set_capacity_and_notify(self.disk.as_ptr(), sectors) };
    }
}
