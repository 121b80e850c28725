// SPDX-License-Identifier: GPL-2.0

//! The driver's pure modules, compiled from the very files that the kernel gets, with properties
//! that must hold for every input.
//!
//! What is public here is for the fuzzers in `fuzz/`.

// The list of modules is the kernel crate's; not all of what they offer is used here.
#[allow(dead_code, unused_imports)]
mod ubd {
    pub(crate) mod cow {
        pub(crate) mod bitmap;
        pub(crate) mod header;
        pub(crate) mod layout;
        pub(crate) mod other_time;
        pub(crate) mod replace;
        pub(crate) mod reset;
    }
    pub(crate) mod engine {
        pub(crate) mod plan;
    }
    pub(crate) mod kernel {
        pub(crate) mod compat {
            pub(crate) use kernel::sync::barrier::smp_mb;
        }
        pub(crate) mod words {
            use kernel::sync::atomic::{Acquire, Atomic};

            pub(crate) fn copy_acquire(words: &[Atomic<u64>], bytes: &mut [u8]) {
                for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(8)) {
                    bytes.copy_from_slice(&word.load(Acquire).to_le_bytes());
                }
            }
        }
    }
    pub(crate) mod options;
}

mod check;
#[cfg(test)]
mod map_properties;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod replace_properties;

pub use check::{header, options};
