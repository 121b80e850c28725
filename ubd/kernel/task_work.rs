// SPDX-License-Identifier: GPL-2.0

//! Task work: what a task does when it goes back to user space, with no lock of the VFS held any
//! more.
//!
//! The last reference of a file is put there. So this is a file, of which the kernel sees to the
//! module's reference, and to tasks that are about to end or have no user space.
//!
//! C header: [`include/linux/file.h`](srctree/include/linux/file.h)

use super::module::THIS_MODULE;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::{bindings, error, prelude::*};

extern "C" {
    fn ubd_file_with_release(
        fops: *const bindings::file_operations,
        data: *mut c_void,
    ) -> *mut bindings::file;
}

/// A value that is dropped later than `self` is: when the task that has dropped `self` goes back to
/// user space, before that sees the system call's end. For a kernel thread it is dropped by another
/// one, soon. The module stays until then.
///
/// # Invariants
///
/// `0` is a file with [`Self::FOPS`], whose private data comes from [`KBox::into_raw`] of a `T`.
pub(crate) struct DeferredDrop<T: Send + Sync + 'static>(NonNull<bindings::file>, PhantomData<T>);

// SAFETY: A file may be put by any thread, and `T` be dropped by any.
unsafe impl<T: Send + Sync> Send for DeferredDrop<T> {}

// SAFETY: It gives references to `T` only.
unsafe impl<T: Send + Sync> Sync for DeferredDrop<T> {}

impl<T: Send + Sync> DeferredDrop<T> {
    const FOPS: bindings::file_operations = bindings::file_operations {
        owner: THIS_MODULE,
        release: Some(Self::release),
        ..pin_init::zeroed()
    };

    /// May sleep. Returns `ENOMEM`, or `ENFILE` when there are too many files.
    pub(crate) fn new(value: T) -> Result<Self> {
        let data = KBox::into_raw(KBox::new(value, GFP_KERNEL)?);
        // SAFETY: The operations are static, and `data` is what they want.
        let file = unsafe { ubd_file_with_release(&Self::FOPS, data.cast()) };
        let file = error::from_err_ptr(file).inspect_err(|_| {
            // SAFETY: There is no file that has it.
            drop(unsafe { KBox::from_raw(data) });
        })?;
        // INVARIANT: The file was just made so.
        Ok(Self(NonNull::new(file).ok_or(ENOMEM)?, PhantomData))
    }

    /// # Safety
    ///
    /// To be called by the VFS only, for a file made by [`Self::new`].
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> i32 {
        // SAFETY: By the type invariant; the file is not used after this.
        drop(unsafe { KBox::from_raw((*file).private_data.cast::<T>()) });
        0
    }
}

impl<T: Send + Sync> Deref for DeferredDrop<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant, and as the file has not been put.
        unsafe { &*(*self.0.as_ptr()).private_data.cast() }
    }
}

impl<T: Send + Sync> Drop for DeferredDrop<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the file is valid, and nobody else has it.
        unsafe { bindings::fput(self.0.as_ptr()) };
    }
}
