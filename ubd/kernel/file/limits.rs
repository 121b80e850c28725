// SPDX-License-Identifier: GPL-2.0

//! What a file, its file system and its device want I/O to be like.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::{DeviceLimits, DirectAlignment, File};
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
