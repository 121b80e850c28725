// SPDX-License-Identifier: GPL-2.0

//! `ubd rescan`: a disk gets the length of its file.

use crate::{
    failure::{Failure, Result},
    output::Output,
    units::{disk, driver, unit::Unit},
};
use clap::{builder::OsStringValueParser, builder::TypedValueParser, Args};
use serde_json::json;
use std::io::ErrorKind;

/// Give a disk the length that its file has now
///
/// For a plain image that has grown or shrunk while it is attached: the disk, which can be in use,
/// has that size from then on. A file system on it is to be told by its own program. The size of a
/// COW file's disk is in its header, and stays.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd rescan ubda
  truncate -s 2G data.img && ubd rescan ubda && resize2fs /dev/ubda")]
pub(crate) struct Rescan {
    /// The unit, by number, letters or disk: 16, q, ubdq, /dev/ubdq
    #[arg(value_parser = OsStringValueParser::new().try_map(Unit::parse))]
    unit: Unit,
}

impl Rescan {
    /// Does it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        driver::require_module()?;
        let unit = self.unit;
        disk::write(unit, "ubd/rescan", b"1").map_err(|e| {
            let why = match e.kind() {
                ErrorKind::NotFound => "is not attached".into(),
                ErrorKind::PermissionDenied => "cannot be changed: only root may do that".into(),
                ErrorKind::InvalidInput => {
                    "keeps its size: its file is a COW file, or is empty".into()
                }
                _ => format!("keeps its size: {e}"),
            };
            Failure::Error(format!("{unit}: {why}"))
        })?;
        if out.json {
            let sectors = disk::read(unit, "size").and_then(|text| String::from_utf8(text).ok());
            let size = sectors.and_then(|text| text.parse::<u64>().ok());
            let size = size.map(|sectors| sectors * 512);
            out.write_json(&json!({"unit": unit.number(), "disk": unit.node(), "size": size}))?;
        }
        Ok(())
    }
}
