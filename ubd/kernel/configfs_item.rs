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
    sync::SetOnce,
};

extern "C" {
    fn ubd_configfs_is_linked(group: *mut bindings::config_group) -> bool;
    fn ubd_configfs_depend(group: *mut bindings::config_group) -> i32;
    fn ubd_configfs_undepend(group: *mut bindings::config_group);
}

/// Where a group is.
#[cfg(CONFIG_CONFIGFS_FS)]
struct Address(NonNull<bindings::config_group>);

#[cfg(CONFIG_CONFIGFS_FS)]
// SAFETY: A group may be used by any thread.
unsafe impl Send for Address {}

#[cfg(CONFIG_CONFIGFS_FS)]
// SAFETY: As above.
unsafe impl Sync for Address {}

/// The data of a folder of configfs, by which its [`Dependency`] learns when it is gone.
///
/// # Invariants
///
/// `group` is not set before there is the group whose data this is, and then that.
#[cfg(CONFIG_CONFIGFS_FS)]
#[pin_data(PinnedDrop)]
pub(crate) struct Data<D> {
    dependency: Arc<Dependency>,
    group: Arc<SetOnce<Address>>,
    #[pin]
    data: D,
}

#[cfg(CONFIG_CONFIGFS_FS)]
#[pinned_drop]
impl<D> PinnedDrop for Data<D> {
    fn drop(self: Pin<&mut Self>) {
        let mut state = self.dependency.state.lock();
        state.goes |= state.item.take().is_some();
        state.depended = false;
    }
}

#[cfg(CONFIG_CONFIGFS_FS)]
impl<D> Data<D> {
    /// As [`Item::publish`], for a use by the folder itself, which may come before its mkdir has
    /// gone back to user space. To be called in one of its files. May sleep.
    ///
    /// Returns `ENOENT` if the folder is being removed.
    pub(crate) fn publish(&self) -> Result {
        let Some(Address(group)) = SetOnce::as_ref(&self.group) else {
            return Err(ENOENT);
        };
        // SAFETY: By the type invariant the group is there, and has this data.
        unsafe { self.dependency.publish(*group) }
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
/// end. Nothing fails here behind that.
///
/// Returns `ENOMEM`.
#[cfg(CONFIG_CONFIGFS_FS)]
pub(crate) fn group<D: 'static>(
    name: CString,
    item_type: &'static ItemType<Group<Data<D>>, Data<D>>,
    dependency: Arc<Dependency>,
    data: impl PinInit<D, Error>,
    made: impl FnOnce(Item),
) -> Result<impl PinInit<Group<Data<D>>, Error>> {
    let shared = dependency.clone();
    let address = Arc::new(SetOnce::new(), GFP_KERNEL)?;
    // INVARIANT: It is not set yet.
    let group = address.clone();
    let init = try_pin_init!(Data { dependency, group, data <- data });
    Ok(Group::new(name, item_type, init).pin_chain(move |group| {
        // SAFETY: The group is valid.
        let group = unsafe { HasGroup::<Data<D>>::group(&*group) }.cast_mut();
        // SAFETY: It is initialised, so its reference count is there.
        unsafe { bindings::config_item_get(&raw mut (*group).cg_item) };
        // SAFETY: What is part of a structure is not null.
        let group = unsafe { NonNull::new_unchecked(group) };
        address.populate(Address(group));
        // INVARIANT: The reference was just taken.
        made(Item {
            group,
            dependency: shared,
        });
        Ok(())
    }))
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
        // SAFETY: By the type invariant the group is there, and has the right data.
        unsafe { self.dependency.publish(self.group) }
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
/// has a dependent more, and so can't be removed. `goes` says that a published group has gone, and
/// what it stood for not yet.
struct State {
    item: Option<NonNull<bindings::config_group>>,
    users: usize,
    depended: bool,
    goes: bool,
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
                State { item: None, users: 0, depended: false, goes: false },
                "ubd_dependency"
            ),
        })
    }

    /// Keeps `group` from being removed from now on, as long as there is use. May sleep. Returns
    /// `ENOENT` if it has been removed, or is being.
    ///
    /// # Safety
    ///
    /// The group is there, and its data is a [`Data`] with this dependency.
    #[cfg(CONFIG_CONFIGFS_FS)]
    unsafe fn publish(&self, group: NonNull<bindings::config_group>) -> Result {
        let mut state = self.state.lock();
        if state.item == Some(group) {
            return Ok(());
        }
        // SAFETY: The caller says that the group is there.
        if !unsafe { ubd_configfs_is_linked(group.as_ptr()) } {
            return Err(ENOENT);
        }
        if state.users != 0 {
            // SAFETY: As above.
            to_result(unsafe { ubd_configfs_depend(group.as_ptr()) })?;
            state.depended = true;
        }
        // INVARIANT: The group's data takes it from here when it goes.
        state.item = Some(group);
        Ok(())
    }

    /// To be called when use begins. May sleep. Returns `ENXIO` when the folder is being removed,
    /// then `EBUSY` until what it stood for has gone with it.
    pub(crate) fn acquire(&self) -> Result {
        let mut state = self.state.lock();
        if state.goes {
            return Err(EBUSY);
        }
        if let (0, Some(item)) = (state.users, state.item) {
            // SAFETY: By the type invariant the group is there as long as the lock is held.
            match unsafe { ubd_configfs_depend(item.as_ptr()) } {
                // INVARIANT: It has a dependent now.
                0 => state.depended = true,
                _ => return Err(ENXIO),
            }
        }
        state.users += 1;
        Ok(())
    }

    /// To be called when what a folder stood for has gone too, or can't. May sleep.
    pub(crate) fn removed(&self) {
        self.state.lock().goes = false;
    }

    /// To be called when use ends that has begun with [`Self::acquire`]. May sleep.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.users = state.users.saturating_sub(1);
        if let (0, true, Some(item)) = (state.users, state.depended, state.item) {
            state.depended = false;
            // SAFETY: By the type invariant the group has a dependent, which is ours.
            unsafe { ubd_configfs_undepend(item.as_ptr()) };
        }
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
