// SPDX-License-Identifier: GPL-2.0

//! Units at run time by User-mode Linux's management console, with the C driver's answers.

use crate::ubd::{
    kernel::host::mconsole::{self, Console, Refused},
    options::{self, Error, Setting, UNITS},
    setup::units::{State, Units},
};
use kernel::{alloc::flags::GFP_NOWAIT, prelude::*, sync::Arc};

/// Has the console configure units. May sleep. Without memory for it there is none.
pub(crate) fn register(units: &Arc<Units>) {
    if let Err(e) = mconsole::register(Commands(units.clone())) {
        pr_warn!("no units by the management console: {e:?}\n");
    }
}

/// What the console asks.
struct Commands(Arc<Units>);

impl Console for Commands {
    const LAST: usize = UNITS - 1;

    fn config(&self, option: &[u8]) -> Result<(), Refused> {
        let Self(units) = self;
        let setting = options::parse(option).map_err(|e| Refused(EINVAL, text(e)))?;
        Units::set(units, &setting).map_err(|e| {
            let busy = match &setting {
                Setting::Unit(options) => e == EBUSY && is_attached(units, options.unit),
                _ => false,
            };
            let why = match busy {
                true => c"Device is already configured",
                false => c"Couldn't determine size of device's file",
            };
            Refused(e, why)
        })
    }

    fn unit(&self, name: &[u8]) -> Option<usize> {
        match options::parse_unit(name) {
            Ok(unit) => Some(unit),
            Err(Error::UnitOutOfRange) => Some(UNITS),
            Err(_) => None,
        }
    }

    fn show(&self, unit: usize) -> Result<KVec<u8>> {
        let Self(units) = self;
        units.with(unit, |_, disk| {
            let mut shown = KVec::new();
            let Some(disk) = disk else {
                return Ok(shown);
            };
            // The C driver knows of no more than two.
            for (i, layer) in disk.image().layers().iter().take(2).enumerate() {
                if i > 0 {
                    shown.push(b',', GFP_NOWAIT)?;
                }
                shown.extend_from_slice(&layer.path, GFP_NOWAIT)?;
            }
            Ok(shown)
        })
    }

    fn remove(&self, unit: usize) -> Result<(), Refused> {
        let Self(units) = self;
        if !is_attached(units, unit) {
            return Err(Refused(ENODEV, c""));
        }
        units.detach(unit).map_err(|e| match e {
            e if e == EBUSY => Refused(e, c""),
            e => Refused(e, c"Couldn't be flushed"),
        })
    }
}

fn is_attached(units: &Units, unit: usize) -> bool {
    units
        .with(unit, |state, _| Ok(state != State::Detached))
        .unwrap_or(false)
}

/// The C driver's words.
fn text(e: Error) -> &'static CStr {
    match e {
        Error::NoUnit => c"Couldn't parse device number",
        Error::UnitOutOfRange => c"Device number out of range",
        Error::NotAFlag(_) => c"Expected '=' or flag letter (r, s, c, t or d)",
        Error::TooManyFlags => c"Too many flags specified",
        Error::NoEquals => c"Missing '='",
        Error::DataWithBacking => c"Can't specify both 'd' and a cow file",
        Error::NoFile => c"Couldn't determine size of device's file",
        Error::TooManyFields => c"Too many fields specified",
    }
}
