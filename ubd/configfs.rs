// SPDX-License-Identifier: GPL-2.0

//! Units at run time: a folder of configfs for each, with a file for each part of an option, and
//! one that attaches and detaches.
//!
//! See `Documentation/ABI/testing/configfs-ubd`.
//!
//! Locks are taken in this order: those of configfs, the settings of a folder, the unit in
//! [`Units`], and then those of the files and of the block layer.

use crate::ubd::{
    disk::Disk,
    options::{self, letter, Brief, Flags, Options, UNITS},
    units::Units,
};
use kernel::{
    configfs::{self, configfs_attrs},
    fmt::{self, Write},
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    str::{kstrtobool_bytes, Formatter},
    sync::atomic::{Atomic, Full},
    sync::{Arc, Mutex},
};

/// How much of a write configfs hands on, in bytes. The rest comes as another write.
const TEXT_MAX: usize = 4095;

/// The folder `ubd` of configfs, for as long as this is not dropped.
pub(crate) type Registration = Pin<KBox<configfs::Subsystem<Root>>>;

/// Makes the folder `ubd` of configfs. If it can't be made says why: units that are attached are
/// worth more than that.
///
/// May sleep.
pub(crate) fn register(units: &Arc<Units>) -> Option<Registration> {
    let item_type = configfs_attrs! {
        container: configfs::Subsystem<Root>,
        data: Root,
        child: Folder,
        attributes: [],
    };
    let folders = Folders {
        units: units.clone(),
        taken: [const { Atomic::new(false) }; UNITS],
    };
    Arc::new(folders, GFP_KERNEL)
        .map_err(Error::from)
        .and_then(|folders| {
            let root = configfs::Subsystem::new(c"ubd", item_type, try_pin_init!(Root { folders }));
            KBox::pin_init(root, GFP_KERNEL)
        })
        .inspect_err(|e| {
            pr_err!("there is no folder in configfs: {e:?}\n");
        })
        .ok()
}

/// What the folders of all units have in common.
struct Folders {
    units: Arc<Units>,
    /// Whether a unit has one.
    taken: [Atomic<bool>; UNITS],
}

/// The folder of all folders.
#[pin_data]
pub(crate) struct Root {
    folders: Arc<Folders>,
}

#[vtable]
impl configfs::GroupOperations for Root {
    type Child = Folder;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<configfs::Group<Folder>, Error>> {
        let item_type = configfs_attrs! {
            container: configfs::Group<Folder>,
            data: Folder,
            attributes: [
                file: 0,
                backing_file: 1,
                serial: 2,
                flags: 3,
                direct_io: 4,
                power: 5,
            ],
        };
        let unit = options::parse_unit(name.to_bytes()).map_err(|e| {
            pr_err!("ubd{}: {e}\n", Brief(name.to_bytes()));
            EINVAL
        })?;
        let place = Place::take(&self.folders, unit)?;
        let settings = self.folders.units.with(unit, |disk| match disk {
            // Read-only only if that was asked for: what was in the way may be gone the next time.
            Some(disk) => Ok(Settings {
                flags: disk.identity().flags,
                ..Settings::of(disk)?
            }),
            None => Ok(Settings::default()),
        })?;
        Ok(configfs::Group::new(
            name.try_into()?,
            item_type,
            try_pin_init!(Folder {
                settings <- new_mutex!(settings, "ubd_settings"),
                place,
            }),
        ))
    }
}

/// A unit's right to a folder, which no two have at a time. It is given back when it is dropped.
struct Place {
    folders: Arc<Folders>,
    unit: usize,
}

impl Place {
    fn take(folders: &Arc<Folders>, unit: usize) -> Result<Self> {
        if folders.taken.get(unit).ok_or(EINVAL)?.xchg(true, Full) {
            pr_err!(
                "ubd{}: has a folder in configfs by its other name\n",
                letter(unit)
            );
            return Err(EEXIST);
        }
        Ok(Self {
            folders: folders.clone(),
            unit,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(taken) = self.folders.taken.get(self.unit) {
            taken.xchg(false, Full);
        }
    }
}

/// The folder of a unit.
#[pin_data(PinnedDrop)]
pub(crate) struct Folder {
    #[pin]
    settings: Mutex<Settings>,
    place: Place,
}

// At rmdir, or when the folder's files could not be made at mkdir. Not in `drop_item()`: from there
// the folder can't be looked into, and configfs is locked for all others.
#[pinned_drop]
impl PinnedDrop for Folder {
    fn drop(self: Pin<&mut Self>) {
        let unit = self.place.unit;
        if let Err(e) = self.units().detach(unit) {
            pr_warn!(
                "ubd{}: stays attached without its folder in configfs: {e:?}\n",
                letter(unit)
            );
        }
    }
}

/// Texts among the settings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    File,
    BackingFile,
    Serial,
}

/// What a unit is to be attached with.
#[derive(Default)]
struct Settings {
    /// By [`Field`]. Empty is absent.
    texts: [KVec<u8>; 3],
    flags: Flags,
    direct_io: bool,
    /// The text that was as long as the last write can be, of which there may be more to come.
    cut: Option<Field>,
}

impl Settings {
    /// What an attached unit has.
    fn of(disk: &Disk) -> Result<Self> {
        let image = disk.image();
        let backing = image.layers().get(1);
        Ok(Self {
            texts: [
                copy(&image.top()?.path)?,
                copy(backing.map_or(&[][..], |layer| &layer.path))?,
                copy(&disk.identity().serial)?,
            ],
            flags: disk.flags(),
            direct_io: image.has_direct_io(),
            cut: None,
        })
    }
}

impl Folder {
    fn units(&self) -> &Units {
        &self.place.folders.units
    }

    /// Runs `f` on what the unit has, if it is attached, or else on what it is to have.
    fn look<R>(&self, f: impl FnOnce(&Settings) -> Result<R>) -> Result<R> {
        let mut settings = self.settings.lock();
        settings.cut = None;
        self.units().with(self.place.unit, |disk| match disk {
            Some(disk) => f(&Settings::of(disk)?),
            None => f(&settings),
        })
    }

    /// Has `f` change the settings. It is told which text was cut by the last write, if any.
    ///
    /// Returns `EBUSY` when the unit is attached: it is so by whoever holds the lock of the
    /// settings, and detached by others at most.
    fn change(&self, f: impl FnOnce(&mut Settings, Option<Field>) -> Result) -> Result {
        let mut settings = self.settings.lock();
        let cut = settings.cut.take();
        self.units()
            .with(self.place.unit, |disk| match disk {
                Some(_) => Err(EBUSY),
                None => Ok(()),
            })
            .and_then(|()| f(&mut settings, cut))
    }

    fn show_text(&self, field: Field, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        self.look(|settings| {
            let text = settings.texts.get(field as usize).ok_or(EINVAL)?;
            let len = text.len();
            if len > TEXT_MAX {
                return Err(ENAMETOOLONG);
            }
            page.get_mut(..len).ok_or(EINVAL)?.copy_from_slice(text);
            *page.get_mut(len).ok_or(EINVAL)? = b'\n';
            Ok(len + 1)
        })
    }

    fn store_text(&self, field: Field, text: &[u8]) -> Result {
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
            *to = copy(value)?;
            settings.cut = (value.len() >= TEXT_MAX).then_some(field);
            Ok(())
        })
    }

    fn attach(&self, settings: &Settings) -> Result {
        let unit = self.place.unit;
        let [file, backing, serial] = &settings.texts;
        let options = Options::new(unit, settings.flags, file, backing, serial).map_err(|e| {
            pr_err!("ubd{}: {e}\n", letter(unit));
            EINVAL
        })?;
        self.units().attach(&options, settings.direct_io)
    }
}

#[vtable]
impl configfs::AttributeOperations<0> for Folder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show_text(Field::File, page)
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.store_text(Field::File, page)
    }
}

#[vtable]
impl configfs::AttributeOperations<1> for Folder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show_text(Field::BackingFile, page)
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.store_text(Field::BackingFile, page)
    }
}

#[vtable]
impl configfs::AttributeOperations<2> for Folder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.show_text(Field::Serial, page)
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        folder.store_text(Field::Serial, page)
    }
}

#[vtable]
impl configfs::AttributeOperations<3> for Folder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.look(|settings| line(page, fmt!("{}", settings.flags)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let text = page.strip_suffix(b"\n").unwrap_or(page);
        let flags = options::parse_flags(text).map_err(|e| {
            let letter = letter(folder.place.unit);
            pr_err!("ubd{letter}: flags {}: {e}\n", Brief(text));
            EINVAL
        })?;
        folder.change(|settings, _| {
            settings.flags = flags;
            Ok(())
        })
    }
}

#[vtable]
impl configfs::AttributeOperations<4> for Folder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        folder.look(|settings| line(page, fmt!("{}", u8::from(settings.direct_io))))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let direct_io = kstrtobool_bytes(page)?;
        folder.change(|settings, _| {
            settings.direct_io = direct_io;
            Ok(())
        })
    }
}

#[vtable]
impl configfs::AttributeOperations<5> for Folder {
    type Data = Self;

    fn show(folder: &Self, page: &mut [u8; PAGE_SIZE]) -> Result<usize> {
        let attached = folder
            .units()
            .with(folder.place.unit, |disk| Ok(disk.is_some()))?;
        line(page, fmt!("{}", u8::from(attached)))
    }

    fn store(folder: &Self, page: &[u8]) -> Result {
        let power = kstrtobool_bytes(page)?;
        // Held, so that what is shown of a unit stays what it was attached with.
        let mut settings = folder.settings.lock();
        settings.cut = None;
        if power {
            folder.attach(&settings)
        } else {
            folder.units().detach(folder.place.unit)
        }
    }
}

fn line(page: &mut [u8; PAGE_SIZE], text: fmt::Arguments<'_>) -> Result<usize> {
    let mut out = Formatter::new(page);
    out.write_fmt(text)?;
    out.write_str("\n")?;
    Ok(out.bytes_written())
}

fn copy(text: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::with_capacity(text.len(), GFP_KERNEL)?;
    copy.extend_from_slice(text, GFP_KERNEL)?;
    Ok(copy)
}
