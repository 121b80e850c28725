// SPDX-License-Identifier: GPL-2.0

//! Direct I/O of requests, which files of the host have none of: see
//! [`File::direct_alignment`](super::file::File::direct_alignment).

use super::file::File;
use crate::ubd::kernel::blk_mq::Request;

/// What a file has for a request that it carries out.
pub(crate) struct Direct;

impl Request {
    /// Whether the request could be started as a whole: none can.
    pub(crate) fn has_one_bio(&self) -> bool {
        false
    }

    /// Ends with an I/O error: nobody calls it for a request that is not [of one
    /// bio](Self::has_one_bio).
    pub(crate) fn start_direct(self, _file: &File, _pos: u64) {}

    /// Gives the request back: none can be started so.
    pub(crate) fn start_direct_at_once(self, _file: &File, _pos: u64) -> Option<Self> {
        Some(self)
    }
}

impl File {
    /// Whether [`Request::start_direct_at_once`] is worth a try: never.
    pub(crate) fn can_start_direct_at_once(&self, _write: bool) -> bool {
        false
    }
}
