// SPDX-License-Identifier: GPL-2.0

//! User-mode Linux's host: its files, in place of those of the kernel's own VFS.
//!
//! Only for a driver that is built in. A module can't call the host's C library.

mod call;
pub(crate) mod direct_io;
pub(crate) mod file;
pub(crate) mod mconsole;
