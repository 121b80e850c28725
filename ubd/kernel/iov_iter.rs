// SPDX-License-Identifier: GPL-2.0

//! Iterators over the pages of a bio.
//!
//! C header: [`include/linux/uio.h`](srctree/include/linux/uio.h)

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use kernel::{bindings, prelude::*};

extern "C" {
    fn ubd_bio_iov_iter(bio: *mut bindings::bio, iter: *mut bindings::iov_iter, write: bool);
}

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
        unsafe { ubd_bio_iov_iter(bio, iter.as_mut_ptr(), write) };
        Self {
            // INVARIANT: The iterator stands on the bio's pages, live for `'a`.
            // SAFETY: `ubd_bio_iov_iter()` initialised all of it.
            iter: unsafe { iter.assume_init() },
            bio: PhantomData,
        }
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: For an iterator over bvecs the union's member in use is the one with `count`.
        unsafe { self.iter.__bindgen_anon_1.__bindgen_anon_1.as_ref().count }
    }

    /// Calls `f` with an iterator over the next `len` bytes (all, if there are fewer), and advances
    /// by the number of bytes that it returns, if that is no error. Whatever `f` does to its
    /// iterator, shorten it for good for example, this one does not follow.
    pub(super) fn with_next(
        &mut self,
        len: usize,
        f: impl FnOnce(*mut bindings::iov_iter) -> isize,
    ) -> Result<usize> {
        // SAFETY: It is a valid C structure, and as an iterator over bvecs owns nothing, so that a
        // copy is as good.
        let mut next = unsafe { core::ptr::read(&self.iter) };
        let count = len.min(self.len());
        // SAFETY: As in `len()`. It gets no longer.
        unsafe { next.__bindgen_anon_1.__bindgen_anon_1.as_mut().count = count };
        let n = f(&mut next);
        let n = usize::try_from(n).map_err(|_| Error::from_errno(n as i32))?;
        self.advance(n);
        Ok(n)
    }

    /// Leaves out the next `len` bytes (all, if there are fewer).
    fn advance(&mut self, len: usize) {
        // SAFETY: By the type invariant it is valid, and it gets no further than its end.
        unsafe { bindings::iov_iter_advance(&mut self.iter, len) };
    }

    /// Fills the next `len` bytes (all, if there are fewer) with zeros, and advances by as many.
    pub(crate) fn zero(&mut self, len: usize) {
        // SAFETY: By the type invariant the iterator stands on live pages.
        unsafe { bindings::iov_iter_zero(len, &mut self.iter) };
    }
}
