// SPDX-License-Identifier: GPL-2.0

//! Sets up the units that module parameters, or the kernel's command line, name.

use crate::ubd::{
    kernel::{module, params},
    options::{self, Brief},
    units::Units,
};
use kernel::prelude::*;

/// Sets up all units that were named when the driver was loaded or the kernel was booted.
///
/// May sleep. A unit that fails leaves the others alone, and says so itself. Returns `EINVAL` for
/// parameters that can't be understood.
pub(crate) fn apply(units: &Units) -> Result {
    let texts = params::options()?;
    params::check_all_known()?;
    if !texts.is_empty() {
        module::wait_for_initramfs();
    }
    for text in &texts {
        match options::parse(text) {
            // What failed has been said; the other units are none the worse for it.
            Ok(setting) => drop(units.set(&setting)),
            Err(e) => pr_err!("ubd{}: {e}\n", Brief(text)),
        }
    }
    Ok(())
}
