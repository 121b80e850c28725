// SPDX-License-Identifier: GPL-2.0

//! What a file, its file system and its device want I/O to be like.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::File;
use kernel::{bindings, ffi::c_uint};

extern "C" {
    fn ubd_file_direct_alignment(
        file: *mut bindings::file,
        memory: *mut c_uint,
        offset: *mut c_uint,
    ) -> bool;
    fn ubd_file_device_limits(
        file: *mut bindings::file,
        lbs: *mut c_uint,
        pbs: *mut c_uint,
        io_opt: *mut c_uint,
        stable_writes: *mut bool,
    );
    fn ubd_file_is_rotational(file: *mut bindings::file) -> bool;
    fn ubd_file_block_size(file: *mut bindings::file) -> c_uint;
}

/// What direct I/O to a file has to be aligned to, in bytes: powers of two.
#[derive(Clone, Copy)]
pub(crate) struct DirectAlignment {
    /// Where the data is in memory.
    pub(crate) memory: u32,
    /// Where it starts in the file, and how long it is.
    pub(crate) offset: u32,
}

impl DirectAlignment {
    /// Whether a number of bytes is a multiple of what offset and length have to be; of several
    /// numbers at once, if they were combined with "or".
    #[inline]
    pub(crate) fn fits(self, bytes: u64) -> bool {
        bytes & u64::from(self.offset - 1) == 0
    }
}

/// What the block device of a file, or that holds the file, wants. Sizes are in bytes, and 0 where
/// there is nothing to tell.
#[derive(Clone, Copy, Default)]
pub(crate) struct DeviceLimits {
    /// The unit of all requests, of a file that is a device itself.
    pub(crate) logical_block_size: u32,
    /// What it writes without reading first.
    pub(crate) physical_block_size: u32,
    /// What requests are best a multiple of.
    pub(crate) optimal_io_size: u32,
    /// Whether the pages of a write must stay as they are until it has ended.
    pub(crate) stable_writes: bool,
}

impl File {
    /// What direct I/O to the file has to be aligned to; `None` if it has none. May sleep.
    pub(crate) fn direct_alignment(&self) -> Option<DirectAlignment> {
        let (mut memory, mut offset) = (0, 0);
        // SAFETY: By the type invariant the file is open; the numbers are ours to write.
        let found = unsafe { ubd_file_direct_alignment(self.as_ptr(), &mut memory, &mut offset) };
        (found && memory.is_power_of_two() && offset.is_power_of_two())
            .then_some(DirectAlignment { memory, offset })
    }

    /// What the device below wants I/O to be like.
    pub(crate) fn device_limits(&self) -> DeviceLimits {
        let mut limits = DeviceLimits::default();
        // SAFETY: By the type invariant the file is open; the fields are ours to write.
        unsafe {
            ubd_file_device_limits(
                self.as_ptr(),
                &mut limits.logical_block_size,
                &mut limits.physical_block_size,
                &mut limits.optimal_io_size,
                &mut limits.stable_writes,
            )
        };
        limits
    }

    /// Whether the file is on a medium that turns.
    pub(crate) fn is_rotational(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_is_rotational(self.as_ptr()) }
    }

    /// The unit in which the file's space is allocated, in bytes; 0 if it can't be told. May sleep.
    pub(crate) fn block_size(&self) -> u32 {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_block_size(self.as_ptr()) }
    }
}
