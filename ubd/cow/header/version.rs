// SPDX-License-Identifier: GPL-2.0

//! The versions of a header, and where each has its fields.

use core::fmt;

/// The version of a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    /// Version 1, in the byte order of the machine that wrote it.
    V1 {
        /// Whether that machine was a big-endian one.
        big_endian: bool,
    },
    /// Version 2.
    V2,
    /// Version 3.
    V3,
    /// Version 3 with the fields where a 64-bit compiler put them.
    V3Broken,
}

impl Version {
    /// Where this version has its fields.
    pub(super) fn fields(self) -> &'static Fields {
        match self {
            Version::V1 { .. } => &V1,
            Version::V2 => &V2,
            Version::V3 => &V3,
            Version::V3Broken => &BROKEN,
        }
    }

    /// The number in the version field.
    pub(super) fn number(self) -> u32 {
        match self {
            Version::V1 { .. } => 1,
            Version::V2 => 2,
            Version::V3 | Version::V3Broken => 3,
        }
    }

    /// Whether all numbers are big-endian.
    pub(super) fn big_endian(self) -> bool {
        !matches!(self, Version::V1 { big_endian: false })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V1 { big_endian: false } => "V1 (little-endian)",
            Version::V1 { big_endian: true } => "V1 (big-endian)",
            Version::V2 => "V2",
            Version::V3 => "V3",
            Version::V3Broken => "V3 (64-bit layout of before December 2005)",
        })
    }
}

/// The offsets of a version's fields, the space for its path and the whole length, in bytes.
pub(super) struct Fields {
    pub(super) path: usize,
    pub(super) path_space: usize,
    pub(super) mtime: usize,
    pub(super) size: usize,
    pub(super) sector_size: usize,
    /// Of alignment and cow_format, which V1 and V2 do not have.
    pub(super) alignment_and_format: Option<(usize, usize)>,
    pub(super) len: usize,
}

const V1: Fields = Fields {
    path: 8,
    path_space: 256,
    mtime: 264,
    size: 268,
    sector_size: 276,
    alignment_and_format: None,
    len: 280,
};

const V2: Fields = Fields {
    path: 8,
    path_space: 4096,
    mtime: 4104,
    size: 4108,
    sector_size: 4116,
    alignment_and_format: None,
    len: 4120,
};

pub(super) const V3: Fields = Fields {
    path: 32,
    path_space: 4096,
    mtime: 8,
    size: 12,
    sector_size: 20,
    alignment_and_format: Some((24, 28)),
    len: 4128,
};

pub(super) const BROKEN: Fields = Fields {
    path: 36,
    path_space: 4096,
    mtime: 8,
    size: 16,
    sector_size: 24,
    alignment_and_format: Some((28, 32)),
    len: 4136,
};

// The kernel's printing macros take a trait of the kernel crate's own.
#[cfg(CONFIG_RUST)]
mod kernel_display {
    use super::Version;
    use core::fmt;

    impl kernel::fmt::Display for Version {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }
}
