// SPDX-License-Identifier: GPL-2.0

//! What a disk is made with.

use super::{Events, GenDisk, Private};
use crate::ubd::kernel::attribute::{AttributeGroups, Groups};
use crate::ubd::kernel::blk_mq::{Operations, TagSet};
use crate::ubd::kernel::platform::Device;
use core::ptr::NonNull;
use kernel::{
    bindings,
    block::{SECTOR_SHIFT, SECTOR_SIZE},
    error,
    prelude::*,
    sync::atomic::Atomic,
    sync::Arc,
    types::ScopeGuard, //
};

extern "C" {
    fn ubd_limits_features(
        lim: *mut bindings::queue_limits,
        write_cache: bool,
        rotational: bool,
        stable_writes: bool,
    );
}

/// A disk in the making. What is not set is as the block layer has it by default.
pub(crate) struct GenDiskBuilder<'a, T: Operations> {
    lim: bindings::queue_limits,
    major: u32,
    first_minor: u32,
    minors: u32,
    capacity_sectors: u64,
    read_only: bool,
    attributes: &'a AttributeGroups<'a, T::QueueData>,
}

impl<'a, T: Operations> GenDiskBuilder<'a, T> {
    /// A disk with no sectors.
    pub(crate) fn new() -> Self {
        let mut lim: bindings::queue_limits = pin_init::zeroed();
        lim.max_segments = u16::MAX;
        lim.max_segment_size = u32::MAX;
        Self {
            lim,
            major: 0,
            first_minor: 0,
            minors: 0,
            capacity_sectors: 0,
            read_only: false,
            attributes: &[],
        }
    }

    /// Its device number, and how many minor numbers it has: one for itself, the others for
    /// partitions. Without them it gets what the kernel has left, and partitions too.
    pub(crate) fn device_numbers(mut self, major: u32, first_minor: u32, minors: u32) -> Self {
        self.major = major;
        self.first_minor = first_minor;
        self.minors = minors;
        self
    }

    /// Its size in sectors of 512 bytes.
    pub(crate) fn capacity_sectors(mut self, sectors: u64) -> Self {
        self.capacity_sectors = sectors;
        self
    }

    /// Whether writes are refused.
    pub(crate) fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Its attributes in sysfs.
    pub(crate) fn attributes(mut self, attributes: &'a AttributeGroups<'a, T::QueueData>) -> Self {
        self.attributes = attributes;
        self
    }

    /// The unit of requests, in bytes: a power of two from 512 to a page.
    pub(crate) fn logical_block_size(mut self, bytes: u32) -> Self {
        self.lim.logical_block_size = bytes;
        self
    }

    /// What the disk writes without reading first, in bytes: a power of two. Where the first of
    /// these blocks starts, for it need not be the disk's start.
    pub(crate) fn physical_block_size(mut self, bytes: u32, alignment_offset: u32) -> Self {
        self.lim.physical_block_size = bytes;
        self.lim.io_min = bytes;
        self.lim.alignment_offset = alignment_offset;
        self
    }

    /// What requests are best a multiple of, in bytes; 0 if there is nothing to tell.
    pub(crate) fn io_opt(mut self, bytes: u32) -> Self {
        self.lim.io_opt = bytes;
        self
    }

    /// The longest request, in sectors of 512 bytes.
    pub(crate) fn max_hw_sectors(mut self, sectors: u32) -> Self {
        self.lim.max_hw_sectors = sectors;
        self
    }

    /// What the memory of requests is aligned to, in bytes: a power of two. Less than 512 counts as
    /// 512.
    pub(crate) fn dma_alignment(mut self, bytes: u32) -> Self {
        self.lim.dma_alignment = bytes.max(SECTOR_SIZE) - 1;
        self
    }

    /// The disk takes discards. What one frees is a multiple of `granularity` bytes, of which the
    /// first starts at `alignment`.
    pub(crate) fn discard(mut self, granularity: u32, alignment: u32) -> Self {
        self.lim.discard_granularity = granularity;
        self.lim.discard_alignment = alignment;
        self.lim.max_hw_discard_sectors = u32::MAX >> SECTOR_SHIFT;
        self
    }

    /// The disk can be told to write zeros without being sent them.
    pub(crate) fn write_zeroes(mut self) -> Self {
        self.lim.max_write_zeroes_sectors = u32::MAX >> SECTOR_SHIFT;
        self
    }

    /// Whether completed writes may be lost until a flush, whether the medium turns, and whether
    /// the pages of a write must stay as they are until it has ended.
    pub(crate) fn features(
        mut self,
        write_cache: bool,
        rotational: bool,
        stable_writes: bool,
    ) -> Self {
        // SAFETY: The limits are ours to write.
        unsafe { ubd_limits_features(&mut self.lim, write_cache, rotational, stable_writes) };
        self
    }

    /// Makes and adds the disk, as `name` in `/dev`. Its first requests, which read the partition
    /// table, come before this returns.
    ///
    /// May sleep. Returns `ENOMEM`, `EINVAL` for a name that is too long or limits that the block
    /// layer refuses, and what else `device_add_disk()` does.
    pub(crate) fn build(
        mut self,
        name: &CStr,
        parent: &Device,
        tags: Pin<KBox<TagSet<T>>>,
        queue_data: Arc<T::QueueData>,
    ) -> Result<GenDisk<T>> {
        let mut groups = Groups::new(self.attributes)?;
        let raw_data = core::ptr::from_ref(&*queue_data).cast_mut().cast();
        let private = Private {
            data: queue_data,
            claimed: Atomic::new(false),
        };
        let private = Arc::new(private, GFP_KERNEL)?;
        let events = Arc::pin_init(Events::new(), GFP_KERNEL)?;

        // SAFETY: The tag set is initialised and pinned, and lives as long as the disk.
        let disk = error::from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                tags.as_ptr(),
                &mut self.lim,
                raw_data,
                kernel::static_lock_class!().as_ptr(),
            )
        })?;
        // SAFETY: On failure the disk has not been added, and nobody else has it.
        let failed = ScopeGuard::new_with_data(disk, |disk| unsafe { bindings::put_disk(disk) });
        {
            // SAFETY: The disk is new and not known to anybody.
            let disk = unsafe { &mut *disk };
            let name = name.to_bytes_with_nul();
            let field = disk.disk_name.get_mut(..name.len()).ok_or(EINVAL)?;
            field.copy_from_slice(name);
            disk.major = self.major as i32;
            disk.first_minor = self.first_minor as i32;
            disk.minors = self.minors as i32;
            disk.fops = &GenDisk::<T>::FOPS;
            disk.private_data = core::ptr::from_ref(&*private).cast_mut().cast();
        }
        // SAFETY: The disk is valid.
        unsafe { bindings::set_capacity(disk, self.capacity_sectors) };
        // SAFETY: The disk is valid.
        unsafe { bindings::set_disk_ro(disk, self.read_only) };
        // SAFETY: The disk is valid and set up; the attributes are kept until it is deleted; the
        // parent is there, and stays for longer than the disk by the caller's holding on to it.
        error::to_result(unsafe {
            bindings::device_add_disk(parent.as_dev_ptr(), disk, groups.as_mut_ptr())
        })?;
        failed.dismiss();
        // SAFETY: What was added is not null.
        let disk = unsafe { NonNull::new_unchecked(disk) };
        // SAFETY: The disk was added. It is deleted when the result is dropped, after the stop.
        unsafe { events.start(disk) };
        Ok(GenDisk {
            // INVARIANT: The disk was added, with the data in both places.
            disk,
            tags,
            _groups: groups,
            private,
            events,
        })
    }
}
