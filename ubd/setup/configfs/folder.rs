// SPDX-License-Identifier: GPL-2.0

//! The folder of a unit, and what is done by its files.

use super::lifetime::Removal;
use super::place::Place;
use super::settings::{Field, Settings, TEXT_MAX};
use crate::ubd::kernel::compat::ENAMETOOLONG;
use crate::ubd::{
    files::open::bytes,
    gendisk::disk::Disk,
    kernel::configfs_item,
    kernel::task_work::DeferredDrop,
    options::{Letters, Options},
    setup::units::{State, Units},
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{Full, Relaxed},
    sync::{Arc, Mutex},
};

/// The folder of a unit.
#[pin_data(PinnedDrop)]
pub(crate) struct Folder {
    /// A commit has it, too.
    pub(super) settings: Arc<Mutex<Settings>>,
    pub(super) removal: Arc<DeferredDrop<Removal>>,
}

#[pinned_drop]
impl PinnedDrop for Folder {
    fn drop(self: Pin<&mut Self>) {
        self.place().slot.folder_goes().store(true, Relaxed);
    }
}

/// As configfs has it.
pub(crate) type FolderData = configfs_item::Data<Folder>;

impl Folder {
    pub(super) fn place(&self) -> &Place {
        &self.removal.place
    }

    pub(super) fn units(&self) -> &Units {
        &self.place().units
    }

    pub(super) fn state(&self) -> Result<State> {
        self.units().with(self.place().unit, |state, _| Ok(state))
    }

    /// Runs `f` on what the unit has, if it is attached, or else on what it is to have.
    pub(super) fn with_settings<R>(&self, f: impl FnOnce(&Settings) -> Result<R>) -> Result<R> {
        let mut settings = self.settings.lock();
        settings.cut = None;
        self.units().with(self.place().unit, |_, disk| match disk {
            Some(disk) => f(&Settings::of(disk)?),
            None => f(&settings),
        })
    }

    /// Runs `f`, which must not wait for anything, on the disk of the unit.
    ///
    /// Returns `ENXIO` when the unit is not attached.
    pub(super) fn with_disk<R>(&self, f: impl FnOnce(&Disk) -> R) -> Result<R> {
        self.units()
            .with(self.place().unit, |_, disk| disk.map(f).ok_or(ENXIO))
    }

    /// Has `f` change the settings. It is told which text was cut by the last write, if any.
    ///
    /// Returns `EBUSY` when the unit is not detached.
    pub(super) fn change(&self, f: impl FnOnce(&mut Settings, Option<Field>) -> Result) -> Result {
        let mut settings = self.settings.lock();
        let cut = settings.cut.take();
        self.units()
            .with(self.place().unit, |state, _| match state {
                State::Detached => Ok(()),
                _ => Err(EBUSY),
            })
            .and_then(|()| f(&mut settings, cut))
    }

    pub(super) fn show_text(&self, field: Field, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        self.with_settings(|settings| {
            let text = settings.texts.get(field as usize).ok_or(EINVAL)?;
            put_line(page, text)
        })
    }

    pub(super) fn store_text(&self, field: Field, text: &[u8]) -> Result {
        self.change(|settings, cut| {
            let to = settings.texts.get_mut(field as usize).ok_or(EINVAL)?;
            if cut == Some(field) {
                if text == b"\n" {
                    return Ok(());
                }
                to.clear();
                return Err(ENAMETOOLONG);
            }
            let value = text.strip_suffix(b"\n").unwrap_or(text);
            if value.contains(&0) {
                return Err(EINVAL);
            }
            *to = bytes(value)?;
            settings.create |= field == Field::BackingFile;
            settings.cut = (value.len() >= TEXT_MAX).then_some(field);
            Ok(())
        })
    }

    /// Has the unit write to a new COW file at the path `text` from now on.
    pub(super) fn snapshot(&self, text: &[u8]) -> Result {
        let path = path(text)?;
        let mut copied = Ok(());
        let made = |disk: &Disk| {
            let attached = Settings::of(disk);
            let mut settings = self.settings.lock();
            // Without the memory for the new path none is better than the old one.
            copied = attached.as_ref().map(|_| ()).map_err(|e| *e);
            settings.take_snapshot(attached.unwrap_or_default());
        };
        let size = self.settings.lock().size;
        let Place { units, unit, .. } = self.place();
        Units::snapshot(units, *unit, bytes(path)?, size, made)?;
        copied
    }

    /// Begins to merge the COW file below the written one into the file below that.
    pub(super) fn commit(&self) -> Result {
        let settings = self.settings.clone();
        let made = move |disk: &Disk| {
            let attached = Settings::of(disk);
            settings.lock().take_backing(attached);
        };
        Units::commit(&self.place().units, self.place().unit, made)
    }

    /// Has the unit have another backing file, at the path `text`.
    pub(super) fn switch(&self, text: &[u8]) -> Result {
        let path = path(text)?;
        let made = |disk: &Disk| {
            let attached = Settings::of(disk);
            self.settings.lock().take_backing(attached);
        };
        Units::switch(&self.place().units, self.place().unit, bytes(path)?, made)
    }

    /// Attaches the unit, which goes with the folder from now on, so that this has to be
    /// [published](FolderData::publish).
    pub(super) fn attach(&self) -> Result {
        self.removal.detaches.xchg(true, Full);
        let unit = self.place().unit;
        // Others look at them meanwhile.
        let settings = self.settings.lock().copy()?;
        let [file, backing, serial] = &settings.texts;
        let mut options =
            Options::new(unit, settings.flags, file, backing, serial).map_err(|e| {
                let last_error = self.place().slot.last_error();
                last_error.say(fmt!("ubd{}: {e}", Letters(unit)));
                EINVAL
            })?;
        options.create &= settings.create;
        Units::attach(&self.place().units, &options, settings.usage)?;
        let mut settings = self.settings.lock();
        settings.create = false;
        // The next one to attach it may be in another folder.
        self.units().with(unit, |_, disk| match disk {
            Some(disk) => {
                settings.take_paths(Settings::of(disk)?);
                Ok(())
            }
            None => Ok(()),
        })
    }
}

/// The path that was written, of which there must be no more to come.
fn path(text: &[u8]) -> Result<&[u8]> {
    let path = text.strip_suffix(b"\n").unwrap_or(text);
    if path.len() >= TEXT_MAX {
        return Err(ENAMETOOLONG);
    }
    match path.is_empty() || path.contains(&0) {
        true => Err(EINVAL),
        false => Ok(path),
    }
}

/// Puts `text` and a newline on the page. Returns how many bytes that are, or `ENAMETOOLONG`.
pub(super) fn put_line(page: &mut [u8; PAGE_SIZE], text: &[u8]) -> Result<usize> {
    let len = text.len();
    if len > TEXT_MAX {
        return Err(ENAMETOOLONG);
    }
    page.get_mut(..len).ok_or(EINVAL)?.copy_from_slice(text);
    *page.get_mut(len).ok_or(EINVAL)? = b'\n';
    Ok(len + 1)
}
