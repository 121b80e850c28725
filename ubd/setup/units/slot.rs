// SPDX-License-Identifier: GPL-2.0

//! The places of the table of units, which come and go with what uses them.

use super::{State, Unit, Units};
use crate::ubd::{
    files::last_error::LastError, files::merging::Merging, kernel::configfs_item::Dependency,
    options::UNITS,
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    rbtree::{RBTree, RBTreeNode},
    sync::atomic::Atomic,
    sync::Arc,
};

/// A unit in the table.
pub(super) struct Entry {
    unit: Arc<Unit>,
    /// How many [`Slot`]s there are of it.
    slots: usize,
}

/// The table, by the numbers of the units.
pub(super) type Table = RBTree<usize, Entry>;

/// A unit, which is in the table as long as this is not dropped.
pub(crate) struct Slot<U: Deref<Target = Units>> {
    pub(super) units: U,
    pub(super) unit: Arc<Unit>,
}

impl<U: Deref<Target = Units>> Slot<U> {
    /// That of a unit, which comes into the table if it is not there.
    ///
    /// May sleep. Returns `ENOMEM`, or `EINVAL` if there is no such unit.
    pub(crate) fn new(units: U, number: usize) -> Result<Self> {
        if number >= UNITS {
            return Err(EINVAL);
        }
        // Before the lock is taken, which nobody is to wait for who waits for memory.
        let unit = Arc::pin_init(Unit::new(number), GFP_KERNEL)?;
        let entry = Entry { unit, slots: 0 };
        let new = RBTreeNode::new(number, entry, GFP_KERNEL)?;
        let unit = {
            let mut table = units.table.lock();
            if table.get(&number).is_none() {
                table.insert(new);
            }
            table.get_mut(&number).ok_or(EINVAL)?.take()
        };
        Ok(Self { units, unit })
    }

    /// That of a unit which is in the table.
    pub(super) fn find(units: U, number: usize) -> Option<Self> {
        let unit = units.table.lock().get_mut(&number)?.take();
        Some(Self { units, unit })
    }

    /// That of the unit in the table which has this number, or else the next higher one.
    pub(super) fn next(units: U, number: usize) -> Option<Self> {
        let unit = {
            let mut table = units.table.lock();
            let mut cursor = table.cursor_lower_bound_mut(&number)?;
            cursor.current_mut().1.take()
        };
        Some(Self { units, unit })
    }

    /// What keeps the folder of the unit as long as the unit is in use.
    pub(crate) fn dependency(&self) -> &Arc<Dependency> {
        &self.unit.dependency
    }

    /// What was said last of the unit when something with it failed.
    pub(crate) fn last_error(&self) -> &LastError {
        &self.unit.last_error
    }

    /// The last commit of the unit; [`Outcome::Never`] if there was none since it came into the
    /// table.
    ///
    /// [`Outcome::Never`]: crate::ubd::files::merging::Outcome::Never
    pub(crate) fn merging(&self) -> Arc<Merging> {
        self.unit.merging.lock().clone()
    }

    /// Whether the unit has a folder, or has not gone with it yet.
    pub(crate) fn has_folder(&self) -> &Atomic<bool> {
        &self.unit.has_folder
    }

    /// Whether its folder has gone, if it has one.
    pub(crate) fn folder_goes(&self) -> &Atomic<bool> {
        &self.unit.folder_goes
    }
}

impl Entry {
    /// The unit, for a [`Slot`].
    fn take(&mut self) -> Arc<Unit> {
        self.slots += 1;
        self.unit.clone()
    }
}

impl<U: Deref<Target = Units>> Drop for Slot<U> {
    fn drop(&mut self) {
        let mut table = self.units.table.lock();
        let Some(mut entry) = table.find_mut(&self.unit.number) else {
            return;
        };
        entry.get_mut().slots -= 1;
        // Without a slot it is either attached or detached, and stays so.
        let unused = entry.get().slots == 0
            && self.unit.state.lock().0 == State::Detached
            && self.unit.last_error.with(<[u8]>::is_empty);
        let removed = unused.then(|| entry.remove_node());
        drop(table);
        drop(removed);
    }
}
