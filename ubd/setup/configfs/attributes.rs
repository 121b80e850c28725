// SPDX-License-Identifier: GPL-2.0

//! The files of a folder.

use super::folder::{put_line, FolderData};
use super::settings::Field;
use crate::ubd::{
    engine::last_close::LastClose,
    files::allocation::Ahead,
    files::merging::Outcome,
    files::usage::parse_bytes,
    options::{self, Abbreviated, Letters},
    setup::units::{State, Units},
};
use kernel::{
    configfs,
    fmt::{self, Write},
    page::PAGE_SIZE,
    prelude::*,
    str::{kstrtobool_bytes, Formatter},
};

#[vtable]
impl configfs::AttributeOperations<0> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show_text(Field::File, page)
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.store_text(Field::File, page)
    }
}

#[vtable]
impl configfs::AttributeOperations<1> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show_text(Field::BackingFile, page)
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.store_text(Field::BackingFile, page)
    }
}

#[vtable]
impl configfs::AttributeOperations<2> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show_text(Field::Serial, page)
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.store_text(Field::Serial, page)
    }
}

#[vtable]
impl configfs::AttributeOperations<3> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.with_settings(|settings| line(page, fmt!("{}", settings.flags)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let text = page.strip_suffix(b"\n").unwrap_or(page);
        let flags = options::parse_flags(text).map_err(|e| {
            let letters = Letters(folder.place().unit);
            pr_err!("ubd{letters}: flags {}: {e}\n", Abbreviated(text));
            EINVAL
        })?;
        folder.change(|settings, _| {
            settings.flags = flags;
            Ok(())
        })
    }
}

#[vtable]
impl configfs::AttributeOperations<4> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.with_settings(|settings| line(page, fmt!("{}", u8::from(settings.usage.direct))))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let direct_io = kstrtobool_bytes(page)?;
        folder.change(|settings, _| {
            settings.usage.direct = direct_io;
            Ok(())
        })
    }
}

#[vtable]
impl configfs::AttributeOperations<5> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let on = match folder.state()? {
            State::Attached
            | State::Detaching
            | State::Resetting
            | State::Snapshotting
            | State::Committing
            | State::Switching => 1,
            State::Attaching | State::Detached => 0,
        };
        line(page, fmt!("{on}"))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let power = kstrtobool_bytes(page)?;
        folder.settings.lock().cut = None;
        if power {
            folder.publish()?;
            folder.attach()
        } else {
            folder.units().detach(folder.place().unit)
        }
    }
}

#[vtable]
impl configfs::AttributeOperations<6> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        line(page, fmt!("{}", folder.state()?))
    }
}

#[vtable]
impl configfs::AttributeOperations<7> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let last_error = folder.place().slot.last_error();
        last_error.with(|text| put_line(page, text))
    }
}

#[vtable]
impl configfs::AttributeOperations<8> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let wanted = folder.with_disk(|disk| disk.last_close().is_wanted());
        line(page, fmt!("{}", u8::from(wanted.unwrap_or(false))))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let wanted = kstrtobool_bytes(page)?;
        folder.with_disk(|disk| LastClose::set_wanted(disk.last_close(), wanted))
    }
}

#[vtable]
impl configfs::AttributeOperations<9> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.with_settings(|settings| line(page, fmt!("{}", settings.usage.limit)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let limit = parse_bytes(page)?;
        folder.change(|settings, _| {
            settings.usage.limit = limit;
            Ok(())
        })
    }
}

#[vtable]
impl configfs::AttributeOperations<10> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.with_settings(|settings| line(page, fmt!("{}", settings.usage.low_space)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let low_space = parse_bytes(page)?;
        folder.change(|settings, _| {
            settings.usage.low_space = low_space;
            Ok(())
        })
    }
}

#[vtable]
impl configfs::AttributeOperations<11> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let resetting = folder.state()? == State::Resetting;
        line(page, fmt!("{}", u8::from(resetting)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        match kstrtobool_bytes(page)? {
            true => Units::reset(&folder.place().units, folder.place().unit),
            false => Err(EINVAL),
        }
    }
}

#[vtable]
impl configfs::AttributeOperations<12> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.with_settings(|settings| line(page, fmt!("{}", settings.usage.allocate)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let allocate = Ahead::parse(page)?;
        folder.change(|settings, _| {
            settings.usage.allocate = allocate;
            Ok(())
        })
    }
}

#[vtable]
impl configfs::AttributeOperations<13> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let snapshotting = folder.state()? == State::Snapshotting;
        line(page, fmt!("{}", u8::from(snapshotting)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.settings.lock().cut = None;
        folder.snapshot(page)
    }
}

#[vtable]
impl configfs::AttributeOperations<14> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.with_settings(|settings| line(page, fmt!("{}", settings.size)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let size = parse_bytes(page)?;
        folder.settings.lock().size = size;
        Ok(())
    }
}

#[vtable]
impl configfs::AttributeOperations<15> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let running = folder.place().slot.merging().outcome() == Outcome::Running;
        line(page, fmt!("{}", u8::from(running)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        match kstrtobool_bytes(page)? {
            true => folder.commit(),
            false => folder.place().slot.merging().cancel(),
        }
    }
}

#[vtable]
impl configfs::AttributeOperations<16> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        line(page, fmt!("{}", folder.place().slot.merging().outcome()))
    }
}

#[vtable]
impl configfs::AttributeOperations<17> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let (done, total) = folder.place().slot.merging().progress();
        line(page, fmt!("{done} {total}"))
    }
}

#[vtable]
impl configfs::AttributeOperations<18> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        line(page, fmt!("{}", folder.place().slot.merging().rate()))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.place().slot.merging().set_rate(parse_bytes(page)?);
        Ok(())
    }
}

#[vtable]
impl configfs::AttributeOperations<19> for FolderData {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let switching = folder.state()? == State::Switching;
        line(page, fmt!("{}", u8::from(switching)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.settings.lock().cut = None;
        folder.switch(page)
    }
}

fn line(page: &mut [u8; PAGE_SIZE], text: fmt::Arguments<'_>) -> Result<usize> {
    let mut out = Formatter::new(page);
    out.write_fmt(text)?;
    out.write_str("\n")?;
    Ok(out.bytes_written())
}
