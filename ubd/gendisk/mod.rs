// SPDX-License-Identifier: GPL-2.0

//! The disk of a unit, as the block layer and its users see it.

pub(crate) mod attributes;
pub(crate) mod disk;
pub(crate) mod ioctl;
