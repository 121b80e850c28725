// SPDX-License-Identifier: GPL-2.0

//! What sysfs says of a ubd: `serial` beside the block layer's own attributes, as in UML, and a
//! folder `ubd` with the files and what is in them.
//!
//! See `Documentation/ABI/testing/sysfs-block-ubd`.

use crate::ubd::{
    disk::Ubd,
    kernel::attribute::{Action, Attribute, AttributeRef},
    kernel::gen_disk::Capacity,
    options::{Flags, Text},
    worker::Shared,
};
use kernel::{
    block::SECTOR_SIZE,
    fmt::{self, Write},
    prelude::*,
    str::Formatter,
};

/// What is shown of a unit that its files do not tell.
pub(crate) struct Identity {
    /// The flags of its option.
    pub(crate) flags: Flags,
    /// The serial number of its option, or nothing.
    pub(crate) serial: KVec<u8>,
}

/// All attributes, by folder.
pub(crate) const ALL: &[(Option<&CStr>, &[AttributeRef<Ubd>])] = &[
    (None, &[AttributeRef::new::<Serial>()]),
    (
        Some(c"ubd"),
        &[
            AttributeRef::new::<File>(),
            AttributeRef::new::<BackingFile>(),
            AttributeRef::new::<FlagLetters>(),
            AttributeRef::new::<CowSectors>(),
            AttributeRef::new::<DirtyPages>(),
            AttributeRef::new::<State>(),
            AttributeRef::new::<DirectIo>(),
            AttributeRef::new_action::<Rescan>(),
        ],
    ),
];

struct Serial;

impl Attribute<Ubd> for Serial {
    const NAME: &'static CStr = c"serial";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", Text(&shared.identity.serial)))
    }
}

struct File;

impl Attribute<Ubd> for File {
    const NAME: &'static CStr = c"file";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", Text(&shared.image.top()?.path)))
    }
}

/// A line for every layer below the first.
struct BackingFile;

impl Attribute<Ubd> for BackingFile {
    const NAME: &'static CStr = c"backing_file";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        for layer in shared.image.layers().iter().skip(1) {
            line(out, fmt!("{}", Text(&layer.path)))?;
        }
        Ok(())
    }
}

struct FlagLetters;

impl Attribute<Ubd> for FlagLetters {
    const NAME: &'static CStr = c"flags";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.identity.flags))
    }
}

struct CowSectors;

impl Attribute<Ubd> for CowSectors {
    const NAME: &'static CStr = c"cow_sectors";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.cow_sectors()?))
    }
}

struct DirtyPages;

impl Attribute<Ubd> for DirtyPages {
    const NAME: &'static CStr = c"dirty_pages";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.dirty_pages()))
    }
}

struct State;

impl Attribute<Ubd> for State {
    const NAME: &'static CStr = c"state";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        let state = if shared.image.has_failed() {
            "failed"
        } else if shared.image.is_read_only() {
            "read-only"
        } else {
            "ok"
        };
        line(out, fmt!("{state}"))
    }
}

struct DirectIo;

impl Attribute<Ubd> for DirectIo {
    const NAME: &'static CStr = c"direct_io";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", u8::from(shared.image.has_direct_io())))
    }
}

struct Rescan;

impl Action<Ubd> for Rescan {
    const NAME: &'static CStr = c"rescan";

    fn store(shared: &Shared, capacity: Capacity<'_>, text: &[u8]) -> Result {
        if text.trim_ascii() != b"1" {
            return Err(EINVAL);
        }
        shared
            .image
            .take_up_size(|size| capacity.set(size.div_ceil(u64::from(SECTOR_SIZE))))
    }
}

fn line(out: &mut Formatter<'_>, text: fmt::Arguments<'_>) -> Result {
    out.write_fmt(text)?;
    out.write_str("\n")?;
    Ok(())
}
