// SPDX-License-Identifier: GPL-2.0

//! `ubd reset`: a COW file gives back all that is in it.

use crate::{
    failure::Result,
    output::Output,
    units::{
        claim::{unless_busy, PATIENCE},
        folder,
        unit::Unit,
    },
};
use clap::{builder::OsStringValueParser, builder::TypedValueParser, Args};
use serde_json::json;
use std::time::Instant;

/// Take a unit back to its backing file
///
/// All that was written is gone, and its space given back. The unit must be attached, and nobody
/// have its disk open: as udev looks at each new disk for a moment, that is tried again for a
/// second. The disk goes and comes back with the same settings. After a crash in the middle the COW
/// file has what was in it, or nothing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd reset ubda
  umount /mnt && ubd reset ubda && mount /dev/ubda /mnt")]
pub(crate) struct Reset {
    /// The unit, by number, letters or disk: 16, q, ubdq, /dev/ubdq
    #[arg(value_parser = OsStringValueParser::new().try_map(Unit::parse))]
    unit: Unit,
}

impl Reset {
    /// Resets it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let folder = folder::to_change(self.unit)?;
        unless_busy(Instant::now() + PATIENCE, || folder.write("reset", b"1"))
            .map_err(|e| folder.failure("cannot be reset", &e))?;
        if out.json {
            let unit = self.unit;
            out.write_json(&json!({"unit": unit.number(), "disk": unit.node()}))?;
        }
        Ok(())
    }
}
