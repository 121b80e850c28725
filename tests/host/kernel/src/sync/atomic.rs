// SPDX-License-Identifier: GPL-2.0

//! Atomics in the kernel's dress: the ordering is a type, and `Full` is a full barrier on both
//! sides. What `std` has that comes closest to the latter is sequential consistency.

use std::cell::Cell;
use std::sync::atomic::Ordering;

thread_local! {
    /// The state of the thread's random numbers; 0 if it is to run undisturbed.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// From here on, this thread now and then gives way to others before an atomic operation, so that
/// few rounds of a test see many of the orders in which threads can meet. `seed` is not 0. The
/// kernel crate has no such thing.
pub fn disturb(seed: u64) {
    RANDOM.set(seed);
}

/// What [`disturb`] asked for.
fn give_way() {
    let mut random = RANDOM.get();
    if random == 0 {
        return;
    }
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    RANDOM.set(random);
    if (random >> 32) & 7 == 0 {
        std::thread::yield_now();
    }
}

/// An ordering of a read-modify-write.
pub trait Any {
    /// The same for `std`.
    const ORDERING: Ordering;
}

/// An ordering of a load.
pub trait AcquireOrRelaxed: Any {}

/// An ordering of a store.
pub trait ReleaseOrRelaxed: Any {}

/// Orders nothing.
pub struct Relaxed;

/// What follows stays behind.
pub struct Acquire;

/// What precedes stays before.
pub struct Release;

/// Nothing moves across.
pub struct Full;

impl Any for Relaxed {
    const ORDERING: Ordering = Ordering::Relaxed;
}

impl Any for Acquire {
    const ORDERING: Ordering = Ordering::Acquire;
}

impl Any for Release {
    const ORDERING: Ordering = Ordering::Release;
}

impl Any for Full {
    const ORDERING: Ordering = Ordering::SeqCst;
}

impl AcquireOrRelaxed for Acquire {}
impl AcquireOrRelaxed for Relaxed {}
impl ReleaseOrRelaxed for Release {}
impl ReleaseOrRelaxed for Relaxed {}

/// A type that has an atomic one in `std`.
#[allow(missing_docs)]
pub trait AtomicType: Sized {
    type Repr;

    fn new(self) -> Self::Repr;
    fn load(repr: &Self::Repr, order: Ordering) -> Self;
    fn store(repr: &Self::Repr, value: Self, order: Ordering);
    fn swap(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
    fn compare_exchange(
        repr: &Self::Repr,
        old: Self,
        new: Self,
        order: Ordering,
        on_failure: Ordering,
    ) -> Result<Self, Self>;
}

/// A type whose atomic one counts.
#[allow(missing_docs)]
pub trait AtomicAdd: AtomicType {
    fn fetch_add(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
    fn fetch_sub(repr: &Self::Repr, value: Self, order: Ordering) -> Self;
}

/// An atomic value.
pub struct Atomic<T: AtomicType>(T::Repr);

impl<T: AtomicType> Atomic<T> {
    /// An atomic with this value.
    pub fn new(value: T) -> Self {
        Self(value.new())
    }

    /// The value.
    pub fn load<O: AcquireOrRelaxed>(&self, _: O) -> T {
        give_way();
        T::load(&self.0, O::ORDERING)
    }

    /// Replaces the value.
    pub fn store<O: ReleaseOrRelaxed>(&self, value: T, _: O) {
        give_way();
        T::store(&self.0, value, O::ORDERING);
    }

    /// Replaces the value and returns what it was.
    pub fn xchg<O: Any>(&self, value: T, _: O) -> T {
        give_way();
        T::swap(&self.0, value, O::ORDERING)
    }

    /// Replaces the value if it is `old`; returns what it was, as an error if it was not `old`.
    pub fn cmpxchg<O: Any>(&self, old: T, new: T, _: O) -> Result<T, T> {
        // A failed one orders nothing, as in the kernel.
        give_way();
        T::compare_exchange(&self.0, old, new, O::ORDERING, Ordering::Relaxed)
    }
}

impl<T: AtomicAdd> Atomic<T> {
    /// Adds `value`, wrapping around, and returns what it was.
    pub fn fetch_add<O: Any>(&self, value: T, _: O) -> T {
        give_way();
        T::fetch_add(&self.0, value, O::ORDERING)
    }

    /// Subtracts `value`, wrapping around, and returns what it was.
    pub fn fetch_sub<O: Any>(&self, value: T, _: O) -> T {
        give_way();
        T::fetch_sub(&self.0, value, O::ORDERING)
    }
}

macro_rules! atomics {
    ($($type:ty: $repr:ident,)*) => {$(
        impl AtomicType for $type {
            type Repr = std::sync::atomic::$repr;

            fn new(self) -> Self::Repr {
                Self::Repr::new(self)
            }

            fn load(repr: &Self::Repr, order: Ordering) -> Self {
                repr.load(order)
            }

            fn store(repr: &Self::Repr, value: Self, order: Ordering) {
                repr.store(value, order);
            }

            fn swap(repr: &Self::Repr, value: Self, order: Ordering) -> Self {
                repr.swap(value, order)
            }

            fn compare_exchange(
                repr: &Self::Repr,
                old: Self,
                new: Self,
                order: Ordering,
                on_failure: Ordering,
            ) -> Result<Self, Self> {
                repr.compare_exchange(old, new, order, on_failure)
            }
        }
    )*};
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl AtomicAdd for $type {
            fn fetch_add(repr: &Self::Repr, value: Self, order: Ordering) -> Self {
                repr.fetch_add(value, order)
            }

            fn fetch_sub(repr: &Self::Repr, value: Self, order: Ordering) -> Self {
                repr.fetch_sub(value, order)
            }
        }
    )*};
}

atomics! {
    i32: AtomicI32,
    u32: AtomicU32,
    i64: AtomicI64,
    u64: AtomicU64,
    usize: AtomicUsize,
    bool: AtomicBool,
}

numbers! { i32, u32, i64, u64, usize }
