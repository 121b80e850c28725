// SPDX-License-Identifier: GPL-2.0

//! The data and the holes of a file.
//!
//! C header: [`include/linux/falloc.h`](srctree/include/linux/falloc.h)

use super::{File, Through};
use kernel::{bindings, block::SECTOR_SIZE, error, prelude::*};

extern "C" {
    fn ubd_file_next_data(file: *mut bindings::file, pos: i64) -> i64;
    fn ubd_file_next_hole(file: *mut bindings::file, pos: i64) -> i64;
    fn ubd_file_space_left(file: *mut bindings::file, left: &mut u64) -> bool;
    fn ubd_file_fill_zeros(file: *mut bindings::file, pos: i64, len: usize, direct: bool) -> isize;
    fn ubd_file_gains_by_zeros(file: *mut bindings::file) -> bool;
    fn ubd_file_can_punch(file: *mut bindings::file) -> bool;
}

impl File {
    /// Where the first data at or behind `pos` (bytes) is; `None` if all behind it is a hole. Where
    /// that can't be told, or the file system's word can't be relied on, all is data.
    ///
    /// May sleep.
    pub(crate) fn next_data(&self, pos: u64) -> Option<u64> {
        let Ok(at) = i64::try_from(pos) else {
            return None;
        };
        if !self.is_regular() {
            return Some(pos);
        }
        // SAFETY: By the type invariant the file is open.
        let data = unsafe { ubd_file_next_data(self.as_ptr(), at) };
        if data == i64::from(ENXIO.to_errno()) {
            return None;
        }
        Some(u64::try_from(data).unwrap_or(pos))
    }

    /// Where the first hole at or behind `pos` (bytes) is: at the end of the file at the latest.
    /// `None` behind that, and where it can't be told.
    ///
    /// May sleep.
    pub(crate) fn next_hole(&self, pos: u64) -> Option<u64> {
        let at = i64::try_from(pos).ok().filter(|_| self.is_regular())?;
        // SAFETY: By the type invariant the file is open.
        let hole = unsafe { ubd_file_next_hole(self.as_ptr(), at) };
        u64::try_from(hole).ok()
    }

    /// Whether there is a hole in the `len` bytes at `pos`, or the file ends before they do. Space
    /// that was allocated and never written may count as one. Where that can't be told, there is
    /// none.
    ///
    /// May sleep.
    pub(crate) fn has_hole(&self, pos: u64, len: u64) -> bool {
        let (Ok(at), true) = (i64::try_from(pos), self.is_regular()) else {
            return false;
        };
        // SAFETY: By the type invariant the file is open.
        let hole = unsafe { ubd_file_next_hole(self.as_ptr(), at) };
        if hole == i64::from(ENXIO.to_errno()) {
            return len > 0;
        }
        u64::try_from(hole).is_ok_and(|hole| hole < pos + len)
    }

    /// How many bytes the file system of a regular file has left for anybody; `None` if it does not
    /// say. May sleep.
    pub(crate) fn space_left(&self) -> Option<u64> {
        if !self.is_regular() {
            return None;
        }
        let mut left = 0;
        // SAFETY: By the type invariant the file is open.
        let found = unsafe { ubd_file_space_left(self.as_ptr(), &mut left) };
        found.then_some(left)
    }

    /// How many bytes the file system has allocated for the file, the file's own metadata in part.
    /// May sleep.
    pub(crate) fn allocated(&self) -> Result<u64> {
        let mut stat: bindings::kstat = pin_init::zeroed();
        // SAFETY: The file is open, so that its path is valid, and `stat` is ours to write.
        error::to_result(unsafe {
            bindings::vfs_getattr(self.path_ptr(), &mut stat, bindings::STATX_BLOCKS, 0)
        })?;
        Ok(stat.blocks.saturating_mul(SECTOR_SIZE.into()))
    }

    /// Whether [`Self::punch_hole`] is worth a try on this file. To try it now would set the file's
    /// times, which are the identity of a backing file.
    pub(crate) fn can_punch_holes(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_can_punch(self.as_ptr()) }
    }

    /// Frees the `len` bytes at `pos`, which read as zeros from then on; the length stays.
    ///
    /// May sleep. Returns `EOPNOTSUPP` where the file system cannot.
    pub(crate) fn punch_hole(&self, pos: u64, len: u64) -> Result {
        self.fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len)
    }

    /// Makes the `len` bytes at `pos` read as zeros, keeping their space allocated.
    ///
    /// May sleep. Returns `EOPNOTSUPP` where the file system cannot.
    pub(crate) fn zero_range(&self, pos: u64, len: u64) -> Result {
        self.fallocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, pos, len)
    }

    /// Makes the `len` bytes at `pos`, within the file's length, zeros that are written: what comes
    /// to be written there finds its place as if it was not the first. The device need not write
    /// them, and takes the same time for a few as for many.
    ///
    /// May sleep. Returns `EOPNOTSUPP` where the file system or the device cannot.
    pub(crate) fn allocate_zeros(&self, pos: u64, len: u64) -> Result {
        self.fallocate(FALLOC_FL_WRITE_ZEROES, pos, len)
    }

    /// Whether first writes to the blocks of a regular file, past the page cache, are so much more
    /// work than others that [`Self::allocate_zeros`] or [`Self::fill_zeros`], for a MiB, pays for
    /// few of them.
    pub(crate) fn gains_by_zeros(&self) -> bool {
        // SAFETY: By the type invariant the file is open.
        unsafe { ubd_file_gains_by_zeros(self.as_ptr()) }
    }

    fn fallocate(&self, mode: u32, pos: u64, len: u64) -> Result {
        let (pos, len) = (i64::try_from(pos)?, i64::try_from(len)?);
        // SAFETY: By the type invariant the file is open; `vfs_fallocate()` refuses one that is
        // not open for writing, and any range that is none.
        error::to_result(unsafe { bindings::vfs_fallocate(self.as_ptr(), mode as i32, pos, len) })
    }

    /// Writes zeros to the `len` bytes at `pos`, both multiples of a page, allocating their space,
    /// and as few extents as can be.
    ///
    /// May sleep. Returns what writing does. Then some of them may have been written.
    pub(crate) fn fill_zeros(&self, pos: u64, len: u64, through: Through) -> Result {
        let direct = through == Through::Direct;
        let (mut at, end) = (pos, pos + len);
        self.check_open_for_writing()?;
        while at < end {
            let (from, len) = (i64::try_from(at)?, usize::try_from(end - at)?);
            // SAFETY: The file is open for writing and by the type invariants can be written by
            // iterators.
            let n = unsafe { ubd_file_fill_zeros(self.as_ptr(), from, len, direct) };
            match u64::try_from(n) {
                Ok(0) => return Err(EIO),
                Ok(n) => at += n,
                Err(_) => return Err(Error::from_errno(n as i32)),
            }
        }
        Ok(())
    }

    /// Sets the length of a regular file, in bytes. May sleep.
    pub(crate) fn truncate(&self, len: u64) -> Result {
        let len = i64::try_from(len)?;
        // SAFETY: The path is valid while the file is open.
        error::to_result(unsafe { bindings::vfs_truncate(self.path_ptr(), len) })
    }

    /// Writes zeros to the `len` bytes at `pos`, allocating their space. May sleep.
    pub(crate) fn write_zeros(&self, pos: u64, len: u64) -> Result {
        if len == 0 {
            return Ok(());
        }
        let zeros = KVec::from_elem(0u8, ZEROS, GFP_KERNEL)?;
        let mut done = 0;
        while done < len {
            let n = (len - done).min(ZEROS as u64);
            self.write_at(zeros.get(..n as usize).ok_or(EIO)?, pos + done)?;
            done += n;
        }
        Ok(())
    }
}

/// How many zeros are written at a time, in bytes, from memory of its own.
const ZEROS: usize = 32 << 10;

// Of `include/uapi/linux/falloc.h`, which has no bindings.
const FALLOC_FL_KEEP_SIZE: u32 = 0x01;
const FALLOC_FL_PUNCH_HOLE: u32 = 0x02;
const FALLOC_FL_ZERO_RANGE: u32 = 0x10;
const FALLOC_FL_WRITE_ZEROES: u32 = 0x80;
