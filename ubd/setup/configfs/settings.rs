// SPDX-License-Identifier: GPL-2.0

//! What a unit is to be attached with.

use crate::ubd::{files::open::bytes, files::usage::Usage, gendisk::disk::Disk, options::Flags};
use kernel::prelude::*;

/// How much of a write configfs hands on, in bytes. The rest comes as another write.
pub(super) const TEXT_MAX: usize = 4095;

/// Texts among the settings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    File,
    BackingFile,
    Serial,
}

/// What a unit is to be attached with.
#[derive(Default)]
pub(super) struct Settings {
    /// By [`Field`]. Empty is absent.
    pub(super) texts: [KVec<u8>; 3],
    pub(super) flags: Flags,
    pub(super) usage: Usage,
    /// Whether the backing file has been written since the unit was attached the last time: only
    /// then its writer asks for a COW file to be made. What was attached and is gone must not be
    /// taken for what was never there.
    pub(super) create: bool,
    /// How many bytes the disk is to have after the next snapshot; 0 for as many as before.
    pub(super) size: u64,
    /// The text that was as long as the last write can be, of which there may be more to come.
    pub(super) cut: Option<Field>,
}

impl Settings {
    pub(super) fn copy(&self) -> Result<Self> {
        let [file, backing, serial] = &self.texts;
        Ok(Self {
            texts: [bytes(file)?, bytes(backing)?, bytes(serial)?],
            ..*self
        })
    }

    /// What an attached unit has.
    pub(super) fn of(disk: &Disk) -> Result<Self> {
        let image = disk.image();
        let backing = image.layers().get(1);
        Ok(Self {
            texts: [
                bytes(&image.top()?.path)?,
                bytes(backing.map_or(&[][..], |layer| &layer.path))?,
                bytes(&disk.identity().serial)?,
            ],
            flags: disk.flags(),
            usage: Usage {
                direct: image.has_direct_io(),
                limit: image.limit(),
                low_space: image.low_space(),
                allocate: image.allocation(),
            },
            create: false,
            size: 0,
            cut: None,
        })
    }

    /// Has the files be those of a unit that has got another COW file: the old ones must not be
    /// written any more. Its backing file is named whether or not it was before, as the header that
    /// names it is new.
    pub(super) fn take_snapshot(&mut self, attached: Self) {
        let [file, backing, _] = attached.texts;
        let [own_file, own_backing, _] = &mut self.texts;
        *own_file = file;
        *own_backing = backing;
        self.flags.data = false;
        self.create = false;
        self.size = 0;
    }

    /// Has the backing file be that of a unit that has got another one: the old one may be gone the
    /// next time. Without the memory for that it is the one that the header names.
    pub(super) fn take_backing(&mut self, attached: Result<Self>) {
        let [_, own_backing, _] = &mut self.texts;
        let [_, backing, _] = attached.unwrap_or_default().texts;
        if !own_backing.is_empty() {
            *own_backing = backing;
        }
        self.create = false;
    }

    /// Has the paths that were written be those of an attached unit, which are absolute.
    pub(super) fn take_paths(&mut self, attached: Self) {
        let [file, backing, _] = attached.texts;
        let [own_file, own_backing, _] = &mut self.texts;
        *own_file = file;
        if !own_backing.is_empty() {
            *own_backing = backing;
        }
    }
}
