// SPDX-License-Identifier: GPL-2.0

//! The files of a unit: how they are opened and made, and what is done with them as a whole.

pub(crate) mod allocation;
mod backing;
pub(crate) mod below;
mod bitmap_pages;
pub(crate) mod commit;
mod create;
mod direct;
mod flush;
mod header;
pub(crate) mod image;
pub(crate) mod last_error;
pub(crate) mod layer;
pub(crate) mod merging;
pub(crate) mod open;
mod reset;
pub(crate) mod snapshot;
mod space;
pub(crate) mod switch;
pub(crate) mod usage;
