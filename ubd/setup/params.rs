// SPDX-License-Identifier: GPL-2.0

//! Sets up the units that module parameters, or the kernel's command line, name.

#[cfg(not(MODULE))]
use crate::ubd::kernel::boot_param as param;
#[cfg(MODULE)]
use crate::ubd::kernel::module_param as param;
use crate::ubd::{
    kernel::file::File,
    kernel::module,
    options::{self, Abbreviated, Letters, Setting},
    setup::units::Units,
};
use kernel::{prelude::*, sync::Arc};

/// Sets up all units that were named when the driver was loaded or the kernel was booted.
///
/// May sleep. A unit that fails leaves the others alone, and says so itself. A module with an
/// option that can't be understood sets up nothing, and returns `EINVAL`, or `EBUSY` for two
/// options for one unit; the command line is for all, and what is wrong there is only said. If it
/// returns no error the module's init must not fail: see [`Units::attach`].
pub(crate) fn apply(units: &Arc<Units>) -> Result {
    let texts = param::take()?;
    let mut settings = KVec::new();
    for text in &texts {
        match setting(text, &settings) {
            Ok(Some(setting)) => settings.push(setting, GFP_KERNEL)?,
            Err(e) if cfg!(MODULE) => return Err(e),
            Ok(None) | Err(_) => {}
        }
    }
    if File::OUTSIDE {
        add_default(&mut settings)?;
    } else if !settings.is_empty() {
        module::wait_for_initramfs();
    }
    for setting in &settings {
        // What failed has been said; the other units are none the worse for it.
        let _ = Units::set(units, setting);
    }
    Ok(())
}

/// Adds what unit 0 is if nobody says: as ever in User-mode Linux, the file `root_fs` of the folder
/// that it was started in.
fn add_default(settings: &mut KVec<Setting<'_>>) -> Result {
    if !settings.iter().any(|setting| unit(setting) == Some(0)) {
        let default = options::parse(b"0=root_fs").map_err(|_| EINVAL)?;
        settings.push(default, GFP_KERNEL)?;
    }
    Ok(())
}

/// The unit that a setting is for, if it is for one.
fn unit(setting: &Setting<'_>) -> Option<usize> {
    match setting {
        Setting::Unit(options) => Some(options.unit),
        _ => None,
    }
}

/// What a text says, after the `earlier` ones; `None` if there is nothing to do. Says what is wrong
/// with it.
fn setting<'a>(text: &'a [u8], earlier: &[Setting<'_>]) -> Result<Option<Setting<'a>>> {
    let Some(option) = text.strip_prefix(b"ubd") else {
        if text.starts_with(b"udb") {
            pr_warn!(
                "{}: almost certainly a typo, ubd was meant\n",
                Abbreviated(text)
            );
        } else {
            // In UML it once gave the disks the major number of an IDE controller, too.
            pr_warn!("fake_ide is obsolete and does nothing\n");
        }
        return Ok(None);
    };
    let setting = options::parse(option).map_err(|e| {
        pr_err!("{}: {e}\n", Abbreviated(text));
        EINVAL
    })?;
    if let Some(new) = unit(&setting) {
        if earlier.iter().any(|earlier| unit(earlier) == Some(new)) {
            pr_err!(
                "ubd{}: device already configured: {}\n",
                Letters(new),
                Abbreviated(text)
            );
            return Err(EBUSY);
        }
    }
    Ok(Some(setting))
}

/// The names of the module's parameters.
#[cfg(MODULE)]
mod names {
    use crate::ubd::{
        kernel::module_param::{module_text_params, Name, NAME_LEN},
        options::FIXED_UNITS,
    };

    /// The flags in the order in which they are part of a parameter's name.
    const FLAGS: &[u8] = b"rscdt";

    /// Every unit that has parameters of its own, as a number and as a letter.
    const UNIT_NAMES: usize = FIXED_UNITS * 2;

    const FLAG_SETS: usize = 1 << FLAGS.len();

    /// Those that name no unit.
    const OTHERS: [&[u8]; 3] = [b"ubd", b"udb", b"fake_ide"];

    /// Every such unit with each set of flags, every one as a typo has it, and the others.
    const NAMES: usize = UNIT_NAMES * FLAG_SETS + UNIT_NAMES + OTHERS.len();

    module_text_params!(NAMES, ALL);

    static ALL: [Name; NAMES] = {
        let mut names = [[0; NAME_LEN]; NAMES];
        let mut i = 0;
        while i < NAMES {
            let typo = i.saturating_sub(UNIT_NAMES * FLAG_SETS);
            names[i] = if i < UNIT_NAMES * FLAG_SETS {
                name(b"ubd", i / FLAG_SETS, i % FLAG_SETS)
            } else if typo < UNIT_NAMES {
                name(b"udb", typo, 0)
            } else {
                text(OTHERS[typo - UNIT_NAMES])
            };
            i += 1;
        }
        names
    };

    const fn text(text: &[u8]) -> Name {
        let mut name = [0; NAME_LEN];
        let mut i = 0;
        while i < text.len() {
            name[i] = text[i];
            i += 1;
        }
        name
    }

    /// The name for a unit and a set of flags: `ubd15rs`, `ubdprs`.
    const fn name(start: &[u8], unit: usize, set: usize) -> Name {
        let mut name = text(start);
        let mut len = start.len();
        if unit >= FIXED_UNITS {
            name[len] = b'a' + (unit - FIXED_UNITS) as u8;
            len += 1;
        } else {
            if unit >= 10 {
                name[len] = b'0' + (unit / 10) as u8;
                len += 1;
            }
            name[len] = b'0' + (unit % 10) as u8;
            len += 1;
        }
        let mut flag = 0;
        while flag < FLAGS.len() {
            if set & 1 << flag != 0 {
                name[len] = FLAGS[flag];
                len += 1;
            }
            flag += 1;
        }
        name
    }
}
