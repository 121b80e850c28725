// SPDX-License-Identifier: GPL-2.0

//! Wrappers for what the kernel crate lacks, with all that is unsafe.

// As the bindings themselves: structures that are empty here are fine behind a pointer.
#![allow(improper_ctypes)]

pub(crate) mod attribute;
pub(crate) mod blk_mq;
#[cfg(not(MODULE))]
pub(crate) mod boot_param;
pub(crate) mod cgroup;
pub(crate) mod compat;
pub(crate) mod completion;
pub(crate) mod configfs_item;
#[cfg(not(CONFIG_BLK_DEV_RUST_UBD_HOST))]
pub(crate) mod direct_io;
#[cfg(not(CONFIG_BLK_DEV_RUST_UBD_HOST))]
pub(crate) mod file;
pub(crate) mod file_terms;
pub(crate) mod gate;
pub(crate) mod gen_disk;
pub(crate) mod held;
#[cfg(CONFIG_BLK_DEV_RUST_UBD_HOST)]
pub(crate) mod host;
pub(crate) mod iov_iter;
pub(crate) mod killable_thread;
pub(crate) mod major;
pub(crate) mod module;
#[cfg(MODULE)]
pub(crate) mod module_param;
pub(crate) mod platform;
pub(crate) mod ratelimit;
pub(crate) mod reboot;
pub(crate) mod request;
pub(crate) mod request_stack;
#[cfg(CONFIG_CONFIGFS_FS)]
pub(crate) mod task_work;
pub(crate) mod thread;
pub(crate) mod words;
pub(crate) mod workqueue;

#[cfg(CONFIG_BLK_DEV_RUST_UBD_HOST)]
pub(crate) use host::{direct_io, file};
