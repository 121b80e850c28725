// SPDX-License-Identifier: GPL-2.0

//! The data and the holes of a file of the host.

use super::{Arguments, File, Op, Through};
use kernel::prelude::*;

impl File {
    /// Where the first data at or behind `pos` (bytes) is; `None` if all behind it is a hole. Where
    /// that can't be told, or the file system's word can't be relied on, all is data.
    ///
    /// May sleep.
    pub(crate) fn next_data(&self, pos: u64) -> Option<u64> {
        let known = self.is_regular() && self.host_stat().is_ok_and(|stat| stat.knows_data);
        if !known {
            return Some(pos);
        }
        match self.seek(Op::NextData, pos) {
            Err(e) if e == ENXIO => None,
            result => Some(result.unwrap_or(pos)),
        }
    }

    /// Where the first hole at or behind `pos` (bytes) is: at the end of the file at the latest.
    /// `None` behind that, and where it can't be told.
    ///
    /// May sleep.
    pub(crate) fn next_hole(&self, pos: u64) -> Option<u64> {
        match self.is_regular() {
            true => self.seek(Op::NextHole, pos).ok(),
            false => None,
        }
    }

    /// Whether there is a hole in the `len` bytes at `pos`, or the file ends before they do. Space
    /// that was allocated and never written may count as one. Where that can't be told, there is
    /// none.
    ///
    /// May sleep.
    pub(crate) fn has_hole(&self, pos: u64, len: u64) -> bool {
        if !self.is_regular() {
            return false;
        }
        match self.seek(Op::NextHole, pos) {
            Err(e) if e == ENXIO => len > 0,
            result => result.is_ok_and(|hole| hole < pos + len),
        }
    }

    fn seek(&self, op: Op, pos: u64) -> Result<u64> {
        let arguments = Arguments {
            pos,
            ..Arguments::default()
        };
        self.call(op, arguments)
    }

    /// How many bytes the file system of a regular file has left for anybody; `None` if it does not
    /// say. May sleep.
    pub(crate) fn space_left(&self) -> Option<u64> {
        let stat = self.host_stat().ok().filter(|stat| stat.says_space)?;
        Some(stat.space_left)
    }

    /// Whether zeros pay before first writes: not where all goes through the host's page cache.
    pub(crate) fn gains_by_zeros(&self) -> bool {
        false
    }

    /// How many bytes the file system has allocated for the file, the file's own metadata in part.
    /// May sleep.
    pub(crate) fn allocated(&self) -> Result<u64> {
        Ok(self.host_stat()?.allocated)
    }

    /// Whether [`Self::punch_hole`] is worth a try on this file: what can't, says so then.
    pub(crate) fn can_punch_holes(&self) -> bool {
        self.host_stat().is_ok_and(|stat| stat.punches)
    }

    /// Frees the `len` bytes at `pos`, which read as zeros from then on; the length stays.
    ///
    /// May sleep. Returns `EOPNOTSUPP` where the file system cannot.
    pub(crate) fn punch_hole(&self, pos: u64, len: u64) -> Result {
        self.change(Op::Punch, pos, len)
    }

    /// Makes the `len` bytes at `pos` read as zeros, keeping their space allocated.
    ///
    /// May sleep. Returns `EOPNOTSUPP` where the file system cannot.
    pub(crate) fn zero_range(&self, pos: u64, len: u64) -> Result {
        self.change(Op::ZeroRange, pos, len)
    }

    /// Returns `EOPNOTSUPP`: what the host's device would do it leaves to [`Self::fill_zeros`].
    pub(crate) fn allocate_zeros(&self, _pos: u64, _len: u64) -> Result {
        Err(crate::ubd::kernel::compat::EOPNOTSUPP)
    }

    /// Writes zeros to the `len` bytes at `pos`, allocating their space.
    ///
    /// May sleep. Returns what writing does. Then some of them may have been written.
    pub(crate) fn fill_zeros(&self, pos: u64, len: u64, _through: Through) -> Result {
        self.write_zeros(pos, len)
    }

    /// Sets the length of a regular file, in bytes. May sleep.
    pub(crate) fn truncate(&self, len: u64) -> Result {
        self.change(Op::Truncate, 0, len)
    }

    /// Writes zeros to the `len` bytes at `pos`, allocating their space. May sleep.
    pub(crate) fn write_zeros(&self, pos: u64, len: u64) -> Result {
        match len {
            0 => Ok(()),
            len => self.change(Op::Zeros, pos, len),
        }
    }

    /// Makes a call that changes the `len` bytes at `pos`.
    fn change(&self, op: Op, pos: u64, len: u64) -> Result {
        self.check_open_for_writing()?;
        let arguments = Arguments {
            fd: self.fd,
            pos,
            len,
            ..Arguments::default()
        };
        // Of a file in memory it can be much, too.
        op.call(arguments, true).map(drop)
    }
}
