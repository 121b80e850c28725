// SPDX-License-Identifier: GPL-2.0

//! What sysfs says of a ubd: `serial` beside the block layer's own attributes, as in UML, and a
//! folder `ubd` with the files and what is in them.
//!
//! See `Documentation/ABI/testing/sysfs-block-ubd`.

use crate::ubd::{
    engine::shared::Shared,
    engine::watch::FOLDER,
    files::usage::parse_bytes,
    kernel::attribute::{Action, Attribute, AttributeGroups, AttributeRef},
    kernel::gen_disk::Capacity,
    options::Escaped,
};
use kernel::{
    block::{SECTOR_SHIFT, SECTOR_SIZE},
    fmt::{self, Write},
    prelude::*,
    str::Formatter,
};

/// All attributes, by folder.
pub(crate) const ALL: &AttributeGroups<'static, Shared> = &[
    (None, &[AttributeRef::new::<Serial>()]),
    (
        Some(FOLDER),
        &[
            AttributeRef::new::<File>(),
            AttributeRef::new::<BackingFile>(),
            AttributeRef::new::<FlagLetters>(),
            AttributeRef::new::<CowSectors>(),
            AttributeRef::new::<Used>(),
            AttributeRef::new_setting::<Limit>(),
            AttributeRef::new_setting::<LowSpace>(),
            AttributeRef::new::<Space>(),
            AttributeRef::new::<Allocate>(),
            AttributeRef::new::<Allocated>(),
            AttributeRef::new::<DirtyPages>(),
            AttributeRef::new::<State>(),
            AttributeRef::new::<DirectIo>(),
            AttributeRef::new_action::<Rescan>(),
        ],
    ),
];

struct Serial;

impl Attribute<Shared> for Serial {
    const NAME: &'static CStr = c"serial";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", Escaped(&shared.identity.serial)))
    }
}

struct File;

impl Attribute<Shared> for File {
    const NAME: &'static CStr = c"file";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", Escaped(&shared.image.get().top()?.path)))
    }
}

/// A line for every layer below the first.
struct BackingFile;

impl Attribute<Shared> for BackingFile {
    const NAME: &'static CStr = c"backing_file";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        for layer in shared.image.get().layers().iter().skip(1) {
            line(out, fmt!("{}", Escaped(&layer.path)))?;
        }
        Ok(())
    }
}

struct FlagLetters;

impl Attribute<Shared> for FlagLetters {
    const NAME: &'static CStr = c"flags";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.flags()))
    }
}

struct CowSectors;

impl Attribute<Shared> for CowSectors {
    const NAME: &'static CStr = c"cow_sectors";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.get().used()? >> SECTOR_SHIFT))
    }
}

struct Used;

impl Attribute<Shared> for Used {
    const NAME: &'static CStr = c"used";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.get().used()?))
    }
}

struct Limit;

impl Attribute<Shared> for Limit {
    const NAME: &'static CStr = c"limit";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.get().limit()))
    }
}

impl Action<Shared> for Limit {
    const NAME: &'static CStr = c"limit";

    fn store(shared: &Shared, _capacity: Capacity<'_>, text: &[u8]) -> Result {
        let _settings = shared.settings.lock();
        shared.image.get().set_limit(parse_bytes(text)?)?;
        shared.look_at_space();
        Ok(())
    }
}

struct LowSpace;

impl Attribute<Shared> for LowSpace {
    const NAME: &'static CStr = c"low_space";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.get().low_space()))
    }
}

impl Action<Shared> for LowSpace {
    const NAME: &'static CStr = c"low_space";

    fn store(shared: &Shared, _capacity: Capacity<'_>, text: &[u8]) -> Result {
        let _settings = shared.settings.lock();
        shared.image.get().set_low_space(parse_bytes(text)?)?;
        shared.look_at_space();
        Ok(())
    }
}

struct Allocate;

impl Attribute<Shared> for Allocate {
    const NAME: &'static CStr = c"allocate";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.get().allocation()))
    }
}

struct Allocated;

impl Attribute<Shared> for Allocated {
    const NAME: &'static CStr = c"allocated";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.get().filled()))
    }
}

struct Space;

impl Attribute<Shared> for Space {
    const NAME: &'static CStr = c"space";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        let space = if shared.watch.is_low() { "low" } else { "ok" };
        line(out, fmt!("{space}"))
    }
}

struct DirtyPages;

impl Attribute<Shared> for DirtyPages {
    const NAME: &'static CStr = c"dirty_pages";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(out, fmt!("{}", shared.image.get().dirty_pages()))
    }
}

struct State;

impl Attribute<Shared> for State {
    const NAME: &'static CStr = c"state";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        let image = shared.image.get();
        let state = if image.has_failed() {
            "failed"
        } else if image.is_read_only() {
            "read-only"
        } else {
            "ok"
        };
        line(out, fmt!("{state}"))
    }
}

struct DirectIo;

impl Attribute<Shared> for DirectIo {
    const NAME: &'static CStr = c"direct_io";

    fn show(shared: &Shared, out: &mut Formatter<'_>) -> Result {
        line(
            out,
            fmt!("{}", u8::from(shared.image.get().has_direct_io())),
        )
    }
}

struct Rescan;

impl Action<Shared> for Rescan {
    const NAME: &'static CStr = c"rescan";

    fn store(shared: &Shared, capacity: Capacity<'_>, text: &[u8]) -> Result {
        if text.trim_ascii() != b"1" {
            return Err(EINVAL);
        }
        let _settings = shared.settings.lock();
        shared
            .image
            .get()
            .revalidate_size(|size| capacity.set(size.div_ceil(u64::from(SECTOR_SIZE))))
    }
}

fn line(out: &mut Formatter<'_>, text: fmt::Arguments<'_>) -> Result {
    out.write_fmt(text)?;
    out.write_str("\n")?;
    Ok(())
}
