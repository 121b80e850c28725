// SPDX-License-Identifier: GPL-2.0

//! Allocations that may fail. On the host they only do when a length is absurd.

use std::ops::{Deref, DerefMut};

/// There is no memory.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct AllocError;

/// How to allocate; means nothing here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(());

/// The flags there are.
pub mod flags {
    use super::Flags;

    /// May sleep.
    pub const GFP_KERNEL: Flags = Flags(());
    /// May sleep, but does no I/O to get memory.
    pub const GFP_NOIO: Flags = Flags(());

    /// No message when there is no memory.
    pub const __GFP_NOWARN: Flags = Flags(());

    impl core::ops::BitOr for Flags {
        type Output = Self;

        fn bitor(self, _other: Self) -> Self {
            self
        }
    }
}

/// A value on the heap.
pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    /// Moves `value` to the heap.
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        Ok(Self(Box::new(value)))
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A vector.
pub struct KVec<T>(Vec<T>);

/// A vector whose memory may be of any kind.
pub type KVVec<T> = KVec<T>;

/// A vector whose memory is contiguous in virtual addresses only.
pub type VVec<T> = KVec<T>;

impl<T> KVec<T> {
    /// An empty vector with room for `capacity` values.
    pub fn with_capacity(capacity: usize, _flags: Flags) -> Result<Self, AllocError> {
        let mut values = Vec::new();
        values.try_reserve_exact(capacity).map_err(|_| AllocError)?;
        Ok(Self(values))
    }

    /// Appends `value`.
    pub fn push(&mut self, value: T, _flags: Flags) -> Result<(), AllocError> {
        self.0.try_reserve(1).map_err(|_| AllocError)?;
        self.0.push(value);
        Ok(())
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
