// SPDX-License-Identifier: GPL-2.0

//! What attaches and detaches units: the table of them, and those who tell it to.

#[cfg(CONFIG_CONFIGFS_FS)]
pub(crate) mod configfs;
#[cfg(CONFIG_BLK_DEV_RUST_UBD_HOST)]
pub(crate) mod mconsole;
pub(crate) mod params;
pub(crate) mod units;
