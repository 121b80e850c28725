// SPDX-License-Identifier: GPL-2.0

//! What a file of the host, its file system and its device want I/O to be like.

use super::{DeviceLimits, DirectAlignment, File};

impl File {
    /// What direct I/O to the file has to be aligned to: none, as its page cache is the host's,
    /// which is there but once.
    pub(crate) fn direct_alignment(&self) -> Option<DirectAlignment> {
        None
    }

    /// What the device wants I/O to be like, of a file that is one. May sleep.
    pub(crate) fn device_limits(&self) -> DeviceLimits {
        let stat = self.host_stat().unwrap_or_default();
        DeviceLimits {
            logical_block_size: stat.logical_block_size,
            physical_block_size: stat.physical_block_size,
            optimal_io_size: stat.optimal_io_size,
            stable_writes: false,
        }
    }

    /// Whether the file is a device that turns. May sleep.
    pub(crate) fn is_rotational(&self) -> bool {
        self.host_stat().is_ok_and(|stat| stat.rotational)
    }

    /// The unit in which the file's space is allocated, in bytes; 0 if it can't be told. May sleep.
    pub(crate) fn block_size(&self) -> u32 {
        self.host_stat().map_or(0, |stat| stat.block_size)
    }
}
