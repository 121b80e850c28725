// SPDX-License-Identifier: GPL-2.0

//! Disks.
//!
//! In the shape of `kernel::block::mq::gen_disk`, with what that lacks: an owner, a device number,
//! a parent device, queue features, a read-only state and a geometry.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::attribute::Groups;
use super::blk_mq::{Operations, TagSet};
use super::file::File;
use super::held::Held;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error,
    prelude::*,
    sync::atomic::Relaxed,
    sync::{Arc, Mutex},
    uaccess::UserPtr, //
};

mod builder;
mod events;
mod private;

pub(crate) use builder::GenDiskBuilder;
pub(crate) use events::Events;
pub(crate) use private::Capacity;
pub(super) use private::Private;

extern "C" {
    fn ubd_disk_openers(disk: *mut bindings::gendisk) -> c_uint;
    fn ubd_disk_is_swap(disk: *mut bindings::gendisk) -> bool;
    fn ubd_fill_geometry(geo: *mut bindings::hd_geometry, heads: u8, sectors: u8, cylinders: u16);
}

/// A disk that is there for all to use, until it is dropped.
///
/// It is to be dropped when nobody has it open: after [`Self::claim`], or at the module's exit, as
/// a disk that is open holds on to its module. For whoever had it open all the same it would fail
/// from then on, and `T::QueueData` would never be freed.
///
/// # Invariants
///
/// `disk` was added by `device_add_disk()`; the data of its queue is that of `private`, and its
/// private data is `private`, which is not freed as long as the disk is open.
pub(crate) struct GenDisk<T: Operations> {
    disk: NonNull<bindings::gendisk>,
    tags: Pin<KBox<TagSet<T>>>,
    _groups: Groups,
    private: Arc<Private<T::QueueData>>,
    events: Arc<Events>,
}

// SAFETY: A disk may be removed by any thread.
unsafe impl<T: Operations> Send for GenDisk<T> {}

// SAFETY: Its methods lock the disk's own lock, or use what may be used by several at a time.
unsafe impl<T: Operations> Sync for GenDisk<T> {}

impl<T: Operations> GenDisk<T> {
    /// Has the disk opened by nobody from now on, until [`Self::unclaim`]: who tries to gets
    /// `ENXIO`.
    ///
    /// May sleep. Returns `EBUSY`, and changes nothing, when the disk or one of its partitions is
    /// open. If not, its page cache is empty and its requests have ended: the last one to close it
    /// has waited for that.
    pub(crate) fn claim(&self) -> Result {
        let _locked = self.open_mutex().lock();
        // SAFETY: By the type invariant the disk is valid.
        if unsafe { ubd_disk_openers(self.disk.as_ptr()) } != 0 {
            return Err(EBUSY);
        }
        self.private.claimed.store(true, Relaxed);
        Ok(())
    }

    /// Lets the disk be opened again after [`Self::claim`]. May sleep.
    pub(crate) fn unclaim(&self) {
        let _locked = self.open_mutex().lock();
        self.private.claimed.store(false, Relaxed);
    }

    /// Waits until the disk's requests have ended, and holds those that come, until what this
    /// returns is dropped. May sleep, for long.
    pub(crate) fn hold(&self) -> Held<'_> {
        // SAFETY: By the type invariant the disk was added, and is deleted when it is dropped, so
        // that its queue is there.
        unsafe { Held::new((*self.disk.as_ptr()).queue) }
    }

    /// Changes the capacity to `sectors` of 512 bytes, and lets users know with a uevent if that is
    /// another one. May sleep.
    pub(crate) fn set_capacity(&self, sectors: u64) {
        // SAFETY: By the type invariant the disk was added, and is deleted when it is dropped.
        unsafe { bindings::set_capacity_and_notify(self.disk.as_ptr(), sectors) };
    }

    /// Whether `file` is in a file system on this disk, see [`File::is_on`].
    pub(crate) fn has_file(&self, file: &File) -> bool {
        // SAFETY: By the type invariant the disk was added, and is deleted when it is dropped.
        unsafe { file.is_on(self.disk) }
    }

    /// Whether swap is on the disk, or on a partition of it. Of a swap file in a file system on it,
    /// or of swap on what is made of it, there is no telling.
    pub(crate) fn is_swap(&self) -> bool {
        // SAFETY: By the type invariant the disk is valid.
        unsafe { ubd_disk_is_swap(self.disk.as_ptr()) }
    }

    /// A way to tell those who watch the disk.
    pub(crate) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// The lock that the disk is opened and closed under.
    fn open_mutex(&self) -> &Mutex<()> {
        // SAFETY: By the type invariant the disk is valid, and the lock was initialised with it.
        unsafe { Mutex::from_raw(&raw mut (*self.disk.as_ptr()).open_mutex) }
    }

    const FOPS: bindings::block_device_operations = bindings::block_device_operations {
        submit_bio: None,
        poll_bio: None,
        open: Some(Self::open),
        release: Some(Self::release),
        ioctl: Some(Self::ioctl),
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: Some(bindings::blkdev_compat_ptr_ioctl),
        #[cfg(not(CONFIG_COMPAT))]
        compat_ioctl: None,
        check_events: None,
        unlock_native_capacity: None,
        getgeo: Some(Self::getgeo),
        set_read_only: None,
        free_disk: None,
        swap_slot_free_notify: None,
        report_zones: None,
        devnode: None,
        get_unique_id: None,
        owner: super::module::THIS_MODULE,
        pr_ops: core::ptr::null(),
        alternative_gpt_sector: None,
    };

    /// # Safety
    ///
    /// To be called by the block layer only, for a disk made by a [`GenDiskBuilder`].
    unsafe extern "C" fn open(disk: *mut bindings::gendisk, _mode: bindings::blk_mode_t) -> i32 {
        // SAFETY: The block layer holds the disk's `open_mutex`, and has seen under it that the
        // disk was not deleted: to delete it takes the lock, and the data goes after that.
        let private = unsafe { Private::<T::QueueData>::of(disk) };
        if private.claimed.load(Relaxed) {
            return ENXIO.to_errno();
        }
        // SAFETY: The disk is valid. The one who opens it does not count yet.
        match unsafe { ubd_disk_openers(disk) } {
            0 => error::from_result(|| T::opened(&private.data).map(|()| 0)),
            _ => 0,
        }
    }

    /// # Safety
    ///
    /// To be called by the block layer only, for a disk made by a [`GenDiskBuilder`].
    unsafe extern "C" fn release(disk: *mut bindings::gendisk) {
        // SAFETY: The block layer holds the disk's `open_mutex`, so that it is not deleted
        // meanwhile; if it was before, while it was open, its private data stays for good.
        let private = unsafe { Private::<T::QueueData>::of(disk) };
        // SAFETY: The disk is valid. The one who closes it does not count any more.
        if unsafe { ubd_disk_openers(disk) } == 0 {
            T::closed(&private.data);
        }
    }

    /// # Safety
    ///
    /// To be called by the block layer only, for a disk made by a [`GenDiskBuilder`].
    unsafe extern "C" fn ioctl(
        bdev: *mut bindings::block_device,
        _mode: bindings::blk_mode_t,
        command: u32,
        argument: usize,
    ) -> i32 {
        // SAFETY: Called for a disk that is open, and stays so until this returns.
        let data = &unsafe { Private::<T::QueueData>::of((*bdev).bd_disk) }.data;
        error::from_result(|| T::ioctl(data, command, UserPtr::from_addr(argument)).map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called by the block layer only, for a disk made by a [`GenDiskBuilder`].
    unsafe extern "C" fn getgeo(
        disk: *mut bindings::gendisk,
        geo: *mut bindings::hd_geometry,
    ) -> i32 {
        // SAFETY: Called for a disk that is open, and stays so until this returns.
        let data = &unsafe { Private::<T::QueueData>::of(disk) }.data;
        let (heads, sectors, cylinders) = T::geometry(data);
        // SAFETY: The caller gives a geometry to be filled.
        unsafe { ubd_fill_geometry(geo, heads, sectors, cylinders) };
        0
    }
}

impl<T: Operations> Drop for GenDisk<T> {
    fn drop(&mut self) {
        if self.claim().is_err() {
            // INVARIANT: Whoever has it open can still come for the private data.
            core::mem::forget(self.private.clone());
        }
        self.events.stop();
        // SAFETY: By the type invariant the disk was added. Waits for its requests to end, and for
        // those who use its attributes.
        unsafe { bindings::del_gendisk(self.disk.as_ptr()) };
        // A request can have ended before the one who has handed it over is done with the data: in
        // `queue_rq()`, or in the end of direct I/O, where that is in an RCU read-side section.
        // SAFETY: The tag set is initialised, and goes after this.
        unsafe { bindings::blk_mq_wait_quiesce_done(self.tags.as_ptr()) };
        super::compat::synchronize_rcu();
        // SAFETY: The reference from its making is ours.
        unsafe { bindings::put_disk(self.disk.as_ptr()) };
    }
}
