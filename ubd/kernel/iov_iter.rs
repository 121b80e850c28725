// SPDX-License-Identifier: GPL-2.0

//! Iterators over the pages of a bio.
//!
//! C header: [`include/linux/uio.h`](srctree/include/linux/uio.h)

use super::helpers;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use kernel::bindings;

/// An iterator over the pages of one bio, from which a file takes, or into which it puts, bytes
/// with no copy in between.
///
/// # Invariants
///
/// `iter` is an iterator over bvecs whose pages are live for `'a`.
pub(crate) struct IovIter<'a> {
    iter: bindings::iov_iter,
    bio: PhantomData<&'a bindings::bio>,
}

impl<'a> IovIter<'a> {
    /// An iterator over all that is left of `bio`.
    ///
    /// # Safety
    ///
    /// `bio` must be valid, with its data pages, for `'a`, and carry data. Unless `write`, its
    /// pages must be the reader's to fill.
    pub(super) unsafe fn from_bio(bio: *mut bindings::bio, write: bool) -> Self {
        let mut iter = MaybeUninit::uninit();
        // SAFETY: `bio` is valid by this function's requirement, and `iter` is ours to write.
        unsafe { helpers::ubd_bio_iov_iter(bio, iter.as_mut_ptr(), write) };
        Self {
            // INVARIANT: The iterator stands on the bio's pages, live for `'a`.
            // SAFETY: `ubd_bio_iov_iter()` initialised all of it.
            iter: unsafe { iter.assume_init() },
            bio: PhantomData,
        }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut bindings::iov_iter {
        &mut self.iter
    }

    fn count_mut(&mut self) -> &mut usize {
        // SAFETY: For an iterator over bvecs the union's member in use is the one with `count`.
        unsafe { &mut self.iter.__bindgen_anon_1.__bindgen_anon_1.as_mut().count }
    }

    /// How many bytes are left.
    pub(crate) fn len(&mut self) -> usize {
        *self.count_mut()
    }

    /// Runs `f` on the next `len` bytes only (all, if there are fewer); it sees an iterator that
    /// ends there. What it advances stays advanced.
    pub(crate) fn window<R>(&mut self, len: usize, f: impl FnOnce(&mut Self) -> R) -> R {
        let beyond = self.len().saturating_sub(len);
        *self.count_mut() -= beyond;
        let result = f(self);
        // The bytes beyond were taken off above, so the iterator's pages reach that far.
        *self.count_mut() += beyond;
        result
    }

    /// Fills all that is left with zeros, and advances to the end.
    pub(crate) fn zero(&mut self) {
        let len = self.len();
        // SAFETY: By the type invariant the iterator stands on live pages.
        unsafe { bindings::iov_iter_zero(len, &mut self.iter) };
    }
}
