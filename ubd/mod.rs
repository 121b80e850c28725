// SPDX-License-Identifier: GPL-2.0

//! The rooms of the driver, from its user's side down: each uses those below it only.

// Without configfs no unit is detached at run time.
#![cfg_attr(not(CONFIG_CONFIGFS_FS), allow(dead_code))]

pub(crate) mod setup;

pub(crate) mod gendisk;

pub(crate) mod engine;

pub(crate) mod files;

pub(crate) mod cow;

pub(crate) mod options;

pub(crate) mod kernel;
