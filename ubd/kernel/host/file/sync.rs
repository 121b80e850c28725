// SPDX-License-Identifier: GPL-2.0

//! What was written to a file of the host, and whether its disk has it.

use super::{Arguments, File, Op, SyncError};
use crate::ubd::kernel::file_terms::folder_of;
use core::ops::Range;
use kernel::prelude::*;

impl File {
    /// Makes all that was written to the file durable, by `fdatasync(2)`.
    ///
    /// May sleep. Returns an error once for every write-back that failed since the last call, or
    /// that nobody had been told of when the file was opened.
    pub(crate) fn sync(&self) -> Result<(), SyncError> {
        self.sync_by(Op::Sync)
    }

    /// As [`Self::sync`], and the file's times too, by `fsync(2)`. May sleep.
    pub(crate) fn sync_all(&self) -> Result<(), SyncError> {
        self.sync_by(Op::SyncAll)
    }

    fn sync_by(&self, op: Op) -> Result<(), SyncError> {
        self.call(op, Arguments::default())
            .map(drop)
            .map_err(|error| SyncError {
                error,
                lost: error != ENOMEM && error != EINTR,
            })
    }

    /// As [`Self::sync`], of what was written to these bytes: it is the whole file that the host
    /// syncs.
    pub(crate) fn sync_range(&self, _bytes: Range<u64>) -> Result<(), SyncError> {
        self.sync()
    }

    /// Returns `EOPNOTSUPP`, and has written nothing: there is no direct I/O.
    pub(crate) fn write_direct<'a, const N: usize>(
        &self,
        _pages: impl Iterator<Item = &'a KBox<[u8; N]>>,
        _len: usize,
        _pos: u64,
        _durable: bool,
    ) -> Result<usize, SyncError> {
        Err(SyncError {
            error: crate::ubd::kernel::compat::EOPNOTSUPP,
            lost: false,
        })
    }

    /// Nothing: no file of the host is used past its page cache.
    pub(crate) fn forget(&self, _pos: u64, _len: u64) {}

    /// Nothing: of a write-back that has failed before, and that nobody was told of, the host tells
    /// the first [`Self::sync`].
    pub(crate) fn invalidate_failed_writeback(&self) -> Result<Option<Error>> {
        Ok(None)
    }

    /// Makes the name of the new file at `path` durable, in the folder that holds it.
    ///
    /// May sleep. Returns what opening and syncing the folder does. Where folders can't be synced
    /// there is nothing to do.
    pub(crate) fn sync_name(path: &[u8]) -> Result {
        let folder = folder_of(path)?;
        let arguments = Arguments {
            path: Some(&folder),
            ..Arguments::default()
        };
        Op::SyncFolder.call(arguments, true).map(drop)
    }
}
