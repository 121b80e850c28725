// SPDX-License-Identifier: GPL-2.0

//! The driver's units, as configfs and sysfs show them.

pub(crate) mod claim;
pub(crate) mod disk;
pub(crate) mod driver;
pub(crate) mod folder;
pub(crate) mod freeze;
pub(crate) mod interrupt;
pub(crate) mod status;
pub(crate) mod unit;
