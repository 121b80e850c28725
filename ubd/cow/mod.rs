// SPDX-License-Identifier: GPL-2.0

//! The format of COW files. What is in here computes only.

pub(crate) mod bitmap;
pub(crate) mod header;
pub(crate) mod layout;
pub(crate) mod other_time;
pub(crate) mod replace;
pub(crate) mod reset;
