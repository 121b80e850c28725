// SPDX-License-Identifier: GPL-2.0

//! `ubd create`: a new COW file.

use crate::{
    failure::Result,
    file::{absolute, sync_name, Access, File},
    image::{self, Image, Layer},
    json,
    output::{report_error, shown, Output},
    ubd::cow::{
        header::{Header, Version},
        layout::Layout,
    },
};
use clap::Args;
use serde_json::json;
use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Make a COW file over a backing file
///
/// Makes COW over BACKING, of version 3. The file must not exist. Sectors have 512 bytes, and bitmap
/// and data are aligned to 4096, unless the options say otherwise: a sector size is a power of two
/// from 512 to 65536, and the driver takes it up to the page size of its machine; an alignment is a
/// multiple of 512. A BACKING that is a COW file gives the size of its disk, and a warning, because
/// User-mode Linux cannot use such a pair.
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd create work.cow golden.img")]
pub(crate) struct Create {
    /// Bytes in a sector, of which the COW file has all or none
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    sector_size: u32,
    /// Bytes to which bitmap and data are aligned
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    alignment: u32,
    /// The new COW file
    cow: PathBuf,
    /// Its backing file
    backing: PathBuf,
}

impl Create {
    /// Makes it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        create(&self.cow, &self.backing, self.sector_size, self.alignment)?;
        if out.json {
            let backing = json::path(&absolute(&self.backing)?);
            out.write_json(&json!({"file": json::path(&self.cow), "backing_file": backing}))?;
        }
        Ok(())
    }
}

fn create(path: &Path, backing: &Path, sector_size: u32, alignment: u32) -> Result {
    let backing_path = absolute(backing)?;
    let layer = Layer::open(backing, Access::Read)?;
    let size = layer.disk_size()?;
    if let Layer::Cow(cow) = &layer {
        if cow.file.size()? == size {
            return Err(format!(
                "{}: its length and its disk's are the same, {size} bytes: a COW file over it \
                 could not say which is meant",
                shown(backing)
            )
            .into());
        }
        report_error(&format!(
            "{}: is a COW file: UML cannot use one over it",
            shown(backing)
        ));
    }
    let header = Header {
        version: Version::V3,
        mtime: layer.file().mtime()?,
        size,
        sector_size,
        alignment,
        backing_file: backing_path.as_os_str().as_bytes(),
    };
    let layout = Layout::new(&header, image::SECTOR_SIZE_MAX)
        .map_err(|e| format!("{}: {e}", shown(path)))?;
    // Whether what is below can be used.
    Image::of(layer, 1, &[])?;
    let file = File::open(path, Access::Create)?;
    let made = (|| {
        file.set_len(layout.file_len())?;
        // The header comes last: only with all else in place is this a COW file.
        file.sync()?;
        image::write_header(&file, None, &header)?;
        sync_name(path)
    })();
    if made.is_err() {
        // It is new, and of no use to anyone.
        let _ = std::fs::remove_file(path);
    }
    made
}
