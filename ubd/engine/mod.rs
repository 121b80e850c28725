// SPDX-License-Identifier: GPL-2.0

//! The way of a request, from the disk to the files and back, and the threads that it meets there.

pub(crate) mod filler;
pub(crate) mod flushes;
pub(crate) mod identity;
pub(crate) mod io;
pub(crate) mod last_close;
pub(crate) mod plan;
pub(crate) mod pool;
pub(crate) mod queue;
pub(crate) mod shared;
pub(crate) mod starter;
pub(crate) mod swap;
pub(crate) mod watch;
mod worker;
