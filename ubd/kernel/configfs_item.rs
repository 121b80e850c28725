// SPDX-License-Identifier: GPL-2.0

//! Items of configfs, folders to its users, that can't be removed while what they stand for is in
//! use.
//!
//! The kernel crate's configfs has no way to refuse an rmdir.
//!
//! C header: [`include/linux/configfs.h`](srctree/include/linux/configfs.h)

#[cfg(CONFIG_CONFIGFS_FS)]
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::{
    bindings, new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};
#[cfg(CONFIG_CONFIGFS_FS)]
use kernel::{
    configfs::{Group, HasGroup, ItemType},
    error::to_result,
    str::CString,
};

extern "C" {
    fn ubd_configfs_is_linked(group: *mut bindings::config_group) -> bool;
    fn ubd_configfs_depend(group: *mut bindings::config_group) -> i32;
    fn ubd_configfs_undepend(group: *mut bindings::config_group);
}

/// The data of a folder of configfs, by which its [`Dependency`] learns when it is gone.
#[cfg(CONFIG_CONFIGFS_FS)]
#[pin_data(PinnedDrop)]
pub(crate) struct Data<D> {
    dependency: Arc<Dependency>,
    #[pin]
    data: D,
}

#[cfg(CONFIG_CONFIGFS_FS)]
#[pinned_drop]
impl<D> PinnedDrop for Data<D> {
    fn drop(self: Pin<&mut Self>) {
        let mut state = self.dependency.state.lock();
        if state.item.take().is_some() {
            state.removals += 1;
        }
        state.depended = false;
    }
}

#[cfg(CONFIG_CONFIGFS_FS)]
impl<D> Deref for Data<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.data
    }
}

/// The group for a new folder called `name`, with `data`, of what `dependency` knows to be in use.
/// `made` is called in the middle of mkdir, and has the folder [published](Item::publish) at its
/// end.
#[cfg(CONFIG_CONFIGFS_FS)]
pub(crate) fn group<D: 'static>(
    name: CString,
    item_type: &'static ItemType<Group<Data<D>>, Data<D>>,
    dependency: Arc<Dependency>,
    data: impl PinInit<D, Error>,
    made: impl FnOnce(Item) -> Result,
) -> impl PinInit<Group<Data<D>>, Error> {
    let shared = dependency.clone();
    Group::new(
        name,
        item_type,
        try_pin_init!(Data { dependency, data <- data }),
    )
    .pin_chain(move |group| {
        // SAFETY: The group is valid.
        let group = unsafe { HasGroup::<Data<D>>::group(&*group) }.cast_mut();
        // SAFETY: It is initialised, so its reference count is there.
        unsafe { bindings::config_item_get(&raw mut (*group).cg_item) };
        // INVARIANT: The reference was just taken.
        made(Item {
            // SAFETY: What is part of a structure is not null.
            group: unsafe { NonNull::new_unchecked(group) },
            dependency: shared,
        })
    })
}

/// A folder of configfs, whose mkdir may have failed, and which may have been removed.
///
/// # Invariants
///
/// `group` has a reference more, which is that of `self`. Its data is a [`Data`] with `dependency`.
#[cfg(CONFIG_CONFIGFS_FS)]
pub(crate) struct Item {
    group: NonNull<bindings::config_group>,
    dependency: Arc<Dependency>,
}

#[cfg(CONFIG_CONFIGFS_FS)]
// SAFETY: References to groups may be put by any thread.
unsafe impl Send for Item {}

#[cfg(CONFIG_CONFIGFS_FS)]
// SAFETY: Its methods do their own locking.
unsafe impl Sync for Item {}

#[cfg(CONFIG_CONFIGFS_FS)]
impl Item {
    /// Has the folder depended from being removed from now on, as long as what it stands for is in
    /// use. To be called when its mkdir has ended. May sleep.
    ///
    /// Returns `ENOENT` if that has failed, or the folder is gone already.
    pub(crate) fn publish(&self) -> Result {
        let mut state = self.dependency.state.lock();
        // SAFETY: By the type invariant the group is there.
        if !unsafe { ubd_configfs_is_linked(self.group.as_ptr()) } {
            return Err(ENOENT);
        }
        if state.users != 0 {
            // SAFETY: As above.
            to_result(unsafe { ubd_configfs_depend(self.group.as_ptr()) })?;
            state.depended = true;
        }
        // INVARIANT: By the type invariant the group's data takes it from here when it goes.
        state.item = Some(self.group);
        Ok(())
    }
}

#[cfg(CONFIG_CONFIGFS_FS)]
impl Drop for Item {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::config_item_put(&raw mut (*self.group.as_ptr()).cg_item) };
    }
}

/// # Invariants
///
/// `item` is a group that was published, whose data has not been dropped. `depended` says that it
/// has a dependent more, and so can't be removed. `removals` is the number of published groups that
/// have gone, and not yet what they stood for.
struct State {
    item: Option<NonNull<bindings::config_group>>,
    users: usize,
    removals: usize,
    depended: bool,
}

impl State {
    /// Counts a user. Returns `ENXIO` when the folder is being removed.
    fn add_user(&mut self) -> Result {
        if let (0, Some(item)) = (self.users, self.item) {
            // SAFETY: By the type invariant the group is there as long as the lock is held.
            match unsafe { ubd_configfs_depend(item.as_ptr()) } {
                // INVARIANT: It has a dependent now.
                0 => self.depended = true,
                _ => return Err(ENXIO),
            }
        }
        self.users += 1;
        Ok(())
    }

    /// Ends what [`Self::add_user`] has begun.
    fn remove_user(&mut self) {
        self.users = self.users.saturating_sub(1);
        if let (0, true, Some(item)) = (self.users, self.depended, self.item) {
            self.depended = false;
            // SAFETY: By the type invariant the group has a dependent, which is ours.
            unsafe { ubd_configfs_undepend(item.as_ptr()) };
        }
    }
}

// SAFETY: A group may be used by any thread.
unsafe impl Send for State {}

/// Keeps something's folder, if it has one, from being removed as long as it is in use.
///
/// Its lock is taken inside a disk's `open_mutex`, and the configfs subsystem's `su_mutex` inside
/// of it: so not in configfs' callbacks for mkdir.
#[pin_data]
pub(crate) struct Dependency {
    #[pin]
    state: Mutex<State>,
}

impl Dependency {
    /// For what has no folder, and is not in use.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(
                State { item: None, users: 0, removals: 0, depended: false },
                "ubd_dependency"
            ),
        })
    }

    /// To be called when use begins. May sleep. Returns `ENXIO` when the folder is being removed,
    /// then `EBUSY` until what it stood for has gone with it.
    pub(crate) fn acquire(&self) -> Result {
        let mut state = self.state.lock();
        match state.removals {
            0 => state.add_user(),
            _ => Err(EBUSY),
        }
    }

    /// To be called when use ends that has begun with [`Self::acquire`]. May sleep.
    pub(crate) fn release(&self) {
        self.state.lock().remove_user();
    }
}

/// A use that ends when it is dropped.
pub(crate) struct DependencyGuard(Arc<Dependency>);

impl DependencyGuard {
    /// See [`Dependency::acquire`].
    pub(crate) fn new(dependency: &Arc<Dependency>) -> Result<Self> {
        dependency.acquire()?;
        Ok(Self(dependency.clone()))
    }
}

impl Drop for DependencyGuard {
    fn drop(&mut self) {
        let Self(dependency) = self;
        dependency.release();
    }
}

/// The use by the one who removes what a folder stood for, when that has gone. Until it is dropped
/// there is no other use, and a folder that was made anew stays.
pub(crate) struct RemovalGuard(Arc<Dependency>);

impl RemovalGuard {
    /// To be called once for each [published](Item::publish) folder that has gone. May sleep.
    /// `None` if that of another folder has not ended: it is for both.
    pub(crate) fn new(dependency: &Arc<Dependency>) -> Option<Self> {
        let mut state = dependency.state.lock();
        if state.removals > 1 {
            state.removals -= 1;
            return None;
        }
        if state.add_user().is_err() {
            // The one who removes the next folder gets none.
            state.users += 1;
        }
        drop(state);
        Some(Self(dependency.clone()))
    }
}

impl Drop for RemovalGuard {
    fn drop(&mut self) {
        let Self(dependency) = self;
        let mut state = dependency.state.lock();
        state.removals = state.removals.saturating_sub(1);
        state.remove_user();
    }
}
