// SPDX-License-Identifier: GPL-2.0

//! Units at run time: a folder of configfs for each, with a file for each part of an option, and
//! one that attaches and detaches.
//!
//! See `Documentation/ABI/testing/configfs-ubd`.
//!
//! Configfs holds locks of its own around all that is done here, and others wait for them: rmdir
//! and mkdir of any unit wait for those of an rmdir or mkdir, and rmdir of a folder for a write to
//! one of its files, while mkdir waits for it. So a unit's folder can't be removed while the unit
//! is in use, being attached or being detached (see
//! [`Dependency`](crate::ubd::kernel::configfs_item::Dependency)), and what rmdir has to wait for
//! comes when it has given its locks back (see [`DeferredDrop`]).
//!
//! Locks are taken in this order: those of configfs, the settings of a folder, the unit in
//! [`Units`]. The settings are not held while a unit is attached or detached.

use crate::ubd::{
    kernel::{compat::configfs_attrs, configfs_item, task_work::DeferredDrop},
    options::{self, Abbreviated},
    setup::units::Units,
};
use kernel::{
    configfs, new_mutex,
    prelude::*,
    sync::atomic::Atomic,
    sync::{Arc, SetOnce},
};

mod attributes;
mod folder;
mod lifetime;
mod place;
mod settings;

use folder::{Folder, FolderData};
use lifetime::{Made, Removal};
use place::Place;
use settings::Settings;

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
        child: FolderData,
        attributes: [],
    };
    let units = units.clone();
    let root = configfs::Subsystem::new(c"ubd", item_type, try_pin_init!(Root { units }));
    KBox::pin_init(root, GFP_KERNEL)
        .inspect_err(|e| {
            pr_err!("there is no folder in configfs: {e:?}\n");
        })
        .ok()
}

/// The folder of all folders.
#[pin_data]
pub(crate) struct Root {
    units: Arc<Units>,
}

#[vtable]
impl configfs::GroupOperations for Root {
    type Child = FolderData;

    fn make_group(&self, name: &CStr) -> Result<impl PinInit<configfs::Group<FolderData>, Error>> {
        let item_type = configfs_attrs! {
            container: configfs::Group<FolderData>,
            data: FolderData,
            attributes: [
                file: 0,
                backing_file: 1,
                serial: 2,
                flags: 3,
                direct_io: 4,
                power: 5,
                state: 6,
                last_error: 7,
                detach_on_close: 8,
                limit: 9,
                low_space: 10,
                reset: 11,
                allocate: 12,
                snapshot: 13,
                size: 14,
                commit: 15,
                commit_state: 16,
                commit_progress: 17,
                commit_rate: 18,
                switch: 19,
            ],
        };
        let unit = options::parse_unit(name.to_bytes()).map_err(|e| {
            pr_err!("ubd{}: {e}\n", Abbreviated(name.to_bytes()));
            EINVAL
        })?;
        let place = Place::take(&self.units, unit)?;
        let settings = self.units.with(unit, |_, disk| match disk {
            // Read-only only if that was asked for: what was in the way may be gone the next time.
            Some(disk) => Ok(Settings {
                flags: disk.asked_flags(),
                ..Settings::of(disk)?
            }),
            None => Ok(Settings::default()),
        })?;
        let dependency = place.slot.dependency().clone();
        let removal = Arc::new(
            DeferredDrop::new(Removal {
                place,
                detaches: Atomic::new(false),
            })?,
            GFP_KERNEL,
        )?;
        // Before the group, whose end takes a lock that is not to be taken here.
        let made = DeferredDrop::new(Made {
            folder: SetOnce::new(),
            removal: removal.clone(),
        })?;
        configfs_item::group(
            name.try_into()?,
            item_type,
            dependency,
            try_pin_init!(Folder {
                settings: Arc::pin_init(new_mutex!(settings, "ubd_settings"), GFP_KERNEL)?,
                removal,
            }),
            // Dropped at once, which is when mkdir has ended.
            move |folder| {
                made.folder.populate(folder);
            },
        )
    }
}
