// SPDX-License-Identifier: GPL-2.0

//! Disks.
//!
//! In the shape of `kernel::block::mq::gen_disk`, with what that lacks: an owner, a device number,
//! a parent device, queue features, a read-only state and a geometry.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::attribute::{AttributeRef, Groups};
use super::blk_mq::{Operations, TagSet};
use super::helpers;
use super::platform::Device;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::{
    bindings,
    block::{SECTOR_SHIFT, SECTOR_SIZE},
    error,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    sync::{Arc, Mutex},
    types::ScopeGuard,
    uaccess::UserPtr, //
};

/// What the block layer is told of a disk's queue. All in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The unit of requests: a power of two from 512 to a page.
    pub(crate) logical_block_size: u32,
    /// What the disk writes without reading first: a power of two.
    pub(crate) physical_block_size: u32,
    /// Where the first of these blocks starts, for it need not be the disk's start.
    pub(crate) alignment_offset: u32,
    /// What requests are best a multiple of; 0 if there is nothing to tell.
    pub(crate) optimal_io_size: u32,
    /// The longest request.
    pub(crate) max_request: u32,
    /// What the memory of requests is aligned to: a power of two. Less than 512 counts as 512.
    pub(crate) memory_alignment: u32,
    /// What a discard frees is a multiple of this; 0 if there is no discard.
    pub(crate) discard_granularity: u32,
    /// Where the first of these multiples starts.
    pub(crate) discard_alignment: u32,
    /// Whether the disk can be told to write zeros without being sent them.
    pub(crate) write_zeroes: bool,
    /// Whether completed writes may be lost until a flush.
    pub(crate) write_cache: bool,
    /// Whether the medium turns.
    pub(crate) rotational: bool,
    /// Whether the pages of a write must stay as they are until it has ended.
    pub(crate) stable_writes: bool,
}

impl Limits {
    fn to_queue_limits(self) -> bindings::queue_limits {
        let mut lim: bindings::queue_limits = pin_init::zeroed();
        lim.logical_block_size = self.logical_block_size;
        lim.physical_block_size = self.physical_block_size;
        lim.io_min = self.physical_block_size;
        lim.io_opt = self.optimal_io_size;
        lim.alignment_offset = self.alignment_offset;
        lim.max_hw_sectors = self.max_request >> SECTOR_SHIFT;
        lim.max_segments = u16::MAX;
        lim.dma_alignment = self.memory_alignment.max(SECTOR_SIZE) - 1;
        lim.max_segment_size = u32::MAX;
        if self.discard_granularity != 0 {
            lim.discard_granularity = self.discard_granularity;
            lim.discard_alignment = self.discard_alignment;
            lim.max_hw_discard_sectors = u32::MAX >> SECTOR_SHIFT;
        }
        if self.write_zeroes {
            lim.max_write_zeroes_sectors = u32::MAX >> SECTOR_SHIFT;
        }
        // SAFETY: `lim` is ours to write.
        unsafe {
            helpers::ubd_limits_features(
                &mut lim,
                self.write_cache,
                self.rotational,
                self.stable_writes,
            )
        };
        lim
    }
}

/// What a disk is made with.
pub(crate) struct Config<'a, T: Operations> {
    /// Its name, as in `/dev`.
    pub(crate) name: &'a CStr,
    /// Its device number.
    pub(crate) major: u32,
    /// Its first minor number.
    pub(crate) first_minor: u32,
    /// How many minor numbers it has: one for itself, the others for partitions.
    pub(crate) minors: u32,
    /// Its size in sectors of 512 bytes.
    pub(crate) sectors: u64,
    /// Whether writes are refused.
    pub(crate) read_only: bool,
    /// Its queue's limits.
    pub(crate) limits: Limits,
    /// Its attributes in sysfs, by the folder below the disk's that they are in.
    pub(crate) attributes: &'a [(Option<&'static CStr>, &'a [AttributeRef<T>])],
}

/// What a disk's private data points to.
struct Private<T: Operations> {
    data: Arc<T::Data>,
    /// Whether nobody can open the disk. Read and written under its `open_mutex`.
    claimed: Atomic<bool>,
}

/// A disk that is there for all to use, until it is dropped.
///
/// It is to be dropped when nobody has it open: after [`Self::claim`], or at the module's exit, as
/// a disk that is open holds on to its module. For whoever had it open all the same it would fail
/// from then on, and `T::Data` would never be freed.
///
/// # Invariants
///
/// `disk` was added by `device_add_disk()`; the data of its queue is that of `private`, and its
/// private data is `private`, which is not freed as long as the disk is open.
pub(crate) struct GenDisk<T: Operations> {
    disk: NonNull<bindings::gendisk>,
    tags: Pin<KBox<TagSet<T>>>,
    _groups: Groups,
    private: Arc<Private<T>>,
}

// SAFETY: A disk may be removed by any thread.
unsafe impl<T: Operations> Send for GenDisk<T> {}

// SAFETY: Its methods lock the disk's own lock, or use what may be used by several at a time.
unsafe impl<T: Operations> Sync for GenDisk<T> {}

impl<T: Operations> GenDisk<T> {
    /// Makes and adds a disk with `queues` hardware queues of `depth` requests. Its first
    /// requests, which read the partition table, come before this returns.
    ///
    /// May sleep. Returns `ENOMEM`, `EINVAL` for limits that the block layer refuses, and what
    /// else `device_add_disk()` does.
    pub(crate) fn new(
        config: &Config<'_, T>,
        parent: &Device,
        queues: u32,
        depth: u32,
        data: Arc<T::Data>,
    ) -> Result<Self> {
        let tags = KBox::pin_init(TagSet::new(queues, depth), GFP_KERNEL)?;
        let mut groups = Groups::new(config.attributes)?;
        let mut lim = config.limits.to_queue_limits();
        let raw_data = core::ptr::from_ref(&*data).cast_mut().cast();
        let private = Private {
            data,
            claimed: Atomic::new(false),
        };
        let private = Arc::new(private, GFP_KERNEL)?;

        // SAFETY: The tag set is initialised and pinned, and lives as long as the disk.
        let disk = error::from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                tags.as_ptr(),
                &mut lim,
                raw_data,
                kernel::static_lock_class!().as_ptr(),
            )
        })?;
        // SAFETY: On failure the disk has not been added, and nobody else has it.
        let failed = ScopeGuard::new_with_data(disk, |disk| unsafe { bindings::put_disk(disk) });
        {
            // SAFETY: The disk is new and not known to anybody.
            let disk = unsafe { &mut *disk };
            let name = config.name.to_bytes_with_nul();
            let field = disk.disk_name.get_mut(..name.len()).ok_or(EINVAL)?;
            field.copy_from_slice(name);
            disk.major = config.major as i32;
            disk.first_minor = config.first_minor as i32;
            disk.minors = config.minors as i32;
            disk.fops = &Self::FOPS;
            disk.private_data = core::ptr::from_ref(&*private).cast_mut().cast();
        }
        // SAFETY: The disk is valid.
        unsafe { bindings::set_capacity(disk, config.sectors) };
        // SAFETY: The disk is valid.
        unsafe { bindings::set_disk_ro(disk, config.read_only) };
        // SAFETY: The disk is valid and set up; the attributes are kept until it is deleted; the
        // parent is there, and stays for longer than the disk by the caller's holding on to it.
        error::to_result(unsafe {
            bindings::device_add_disk(parent.as_dev_ptr(), disk, groups.as_mut_ptr())
        })?;
        failed.dismiss();
        Ok(Self {
            // INVARIANT: The disk was added, with the data in both places.
            disk: NonNull::new(disk).ok_or(ENOMEM)?,
            tags,
            _groups: groups,
            private,
        })
    }

    /// Has the disk opened by nobody from now on, until [`Self::unclaim`]: who tries to gets
    /// `ENXIO`.
    ///
    /// May sleep. Returns `EBUSY`, and changes nothing, when the disk or one of its partitions is
    /// open. If not, its page cache is empty and its requests have ended: the last one to close it
    /// has waited for that.
    pub(crate) fn claim(&self) -> Result {
        let _locked = self.open_mutex().lock();
        // SAFETY: By the type invariant the disk is valid.
        if unsafe { helpers::ubd_disk_openers(self.disk.as_ptr()) } != 0 {
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

    /// The lock that the disk is opened and closed under.
    fn open_mutex(&self) -> &Mutex<()> {
        // SAFETY: By the type invariant the disk is valid, and the lock was initialised with it.
        unsafe { Mutex::from_raw(&raw mut (*self.disk.as_ptr()).open_mutex) }
    }

    const FOPS: bindings::block_device_operations = bindings::block_device_operations {
        submit_bio: None,
        poll_bio: None,
        open: Some(Self::open),
        release: None,
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
    /// `disk` must have been made by [`Self::new`], and its private data not be freed for `'a`: for
    /// as long as the disk is open, or could be.
    unsafe fn private<'a>(disk: *mut bindings::gendisk) -> &'a Private<T> {
        // SAFETY: By the type invariant and this function's requirement.
        unsafe { &*(*disk).private_data.cast() }
    }

    /// # Safety
    ///
    /// To be called by the block layer only, for a disk made by [`Self::new`].
    unsafe extern "C" fn open(disk: *mut bindings::gendisk, _mode: bindings::blk_mode_t) -> i32 {
        // SAFETY: The block layer holds the disk's `open_mutex`, and has seen under it that the
        // disk was not deleted: to delete it takes the lock, and the data goes after that.
        match unsafe { Self::private(disk) }.claimed.load(Relaxed) {
            true => ENXIO.to_errno(),
            false => 0,
        }
    }

    /// # Safety
    ///
    /// To be called by the block layer only, for a disk made by [`Self::new`].
    unsafe extern "C" fn ioctl(
        bdev: *mut bindings::block_device,
        _mode: bindings::blk_mode_t,
        command: u32,
        argument: usize,
    ) -> i32 {
        // SAFETY: Called for a disk that is open, and stays so until this returns.
        let data = &unsafe { Self::private((*bdev).bd_disk) }.data;
        error::from_result(|| T::ioctl(data, command, UserPtr::from_addr(argument)).map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called by the block layer only, for a disk made by [`Self::new`].
    unsafe extern "C" fn getgeo(
        disk: *mut bindings::gendisk,
        geo: *mut bindings::hd_geometry,
    ) -> i32 {
        // SAFETY: Called for a disk that is open, and stays so until this returns.
        let data = &unsafe { Self::private(disk) }.data;
        let (heads, sectors, cylinders) = T::geometry(data);
        // SAFETY: The caller gives a geometry to be filled.
        unsafe { helpers::ubd_fill_geometry(geo, heads, sectors, cylinders) };
        0
    }
}

impl<T: Operations> Drop for GenDisk<T> {
    fn drop(&mut self) {
        if self.claim().is_err() {
            // INVARIANT: Whoever has it open can still come for the private data.
            core::mem::forget(self.private.clone());
        }
        // SAFETY: By the type invariant the disk was added. Waits for its requests to end, and for
        // those who use its attributes.
        unsafe { bindings::del_gendisk(self.disk.as_ptr()) };
        // A request can have ended before the one who has handed it over is done with the data.
        // SAFETY: The tag set is initialised, and goes after this.
        unsafe { bindings::blk_mq_wait_quiesce_done(self.tags.as_ptr()) };
        // SAFETY: The reference from its making is ours.
        unsafe { bindings::put_disk(self.disk.as_ptr()) };
    }
}

/// The data that a disk was made with.
///
/// # Safety
///
/// `dev` must be the device of a disk made by [`GenDisk::new`] for `T`, whose attributes are there
/// for `'a`.
pub(super) unsafe fn data_of<'a, T: Operations>(dev: *mut bindings::device) -> &'a T::Data {
    // SAFETY: By this function's requirement the device is that of a disk.
    let disk = unsafe { helpers::ubd_disk(dev) };
    // SAFETY: By this function's requirement. The data is freed after the disk was deleted, and
    // with it its attributes.
    &unsafe { GenDisk::<T>::private(disk) }.data
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
    /// `dev` must be the device of a disk made by [`GenDisk::new`], which is not freed as long as
    /// the result is used.
    pub(super) unsafe fn of(dev: *mut bindings::device) -> Self {
        // SAFETY: By this function's requirement the device is that of a disk.
        let disk = unsafe { helpers::ubd_disk(dev) };
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

/// A major number that is registered for block devices.
///
/// # Invariants
///
/// `number` is registered with `name`.
pub(crate) struct Major<const N: u32> {
    name: &'static CStr,
    _data: PhantomData<()>,
}

impl<const N: u32> Major<N> {
    /// Registers major number `N`, as `name` in `/proc/devices`. May sleep. Returns `EBUSY` when
    /// another driver has it.
    pub(crate) fn register(name: &'static CStr) -> Result<Self> {
        // SAFETY: The name is static.
        error::to_result(unsafe { bindings::__register_blkdev(N, name.as_char_ptr(), None) })?;
        // INVARIANT: It is registered now.
        Ok(Self {
            name,
            _data: PhantomData,
        })
    }
}

impl<const N: u32> Drop for Major<N> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the number is registered with this name.
        unsafe { bindings::unregister_blkdev(N, self.name.as_char_ptr()) };
    }
}
