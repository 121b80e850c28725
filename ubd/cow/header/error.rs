// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a header.

use super::{Version, FORMAT_BITMAP, FORMAT_LARGER, LARGER_LEN, NEWEST};
use core::fmt;

/// Why bytes are no usable header, or a header cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// The file ends within its header.
    Short {
        /// The header's version.
        version: Version,
        /// How many bytes there are.
        len: usize,
    },
    /// The file is being made anew, and has nothing in it until that is done.
    Resetting,
    /// The magic is right, the version is none that exists.
    UnknownVersion(u32),
    /// The magic is right and little-endian, and the version is not the one that can be.
    LittleEndian(u32),
    /// V3: the cow_format is none that exists.
    UnknownFormat(u32),
    /// To be written: the version has no place for the size of the backing file.
    NoBackingSize {
        /// The header's version.
        version: Version,
    },
    /// The path has no terminating zero.
    EndlessPath {
        /// The header's version.
        version: Version,
    },
    /// The path is empty.
    EmptyPath,
    /// To be written: the path has a zero byte in it.
    ZeroInPath,
    /// To be written: the path is longer than the version has space for.
    PathTooLong {
        /// The header's version.
        version: Version,
        /// The path's length in bytes, without the terminating zero.
        len: usize,
    },
    /// To be written: the buffer is shorter than the header.
    BufferTooShort {
        /// The header's version.
        version: Version,
        /// The buffer's length in bytes.
        len: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Short { version, len } => {
                // It is a larger one that does not end there.
                let need = match version.fields().len {
                    need if len < need => need,
                    _ => LARGER_LEN,
                };
                write!(
                    f,
                    "short COW header: {len} of the {need} bytes of a {version}"
                )
            }
            Error::Resetting => f.write_str(
                "a reset of this COW file was not finished: the driver does that when it is \
                 attached to be written",
            ),
            Error::UnknownVersion(version) => {
                write!(f, "unknown COW version {version}: known are 1 to {NEWEST}")
            }
            Error::LittleEndian(version) => {
                write!(
                    f,
                    "COW version {version} in little-endian byte order: only 1 can be"
                )
            }
            Error::UnknownFormat(format) => write!(
                f,
                "unknown cow_format {format} in the COW header: known are {FORMAT_BITMAP} and \
                 {FORMAT_LARGER}"
            ),
            Error::EndlessPath { version } => {
                let space = version.fields().path_space;
                write!(
                    f,
                    "no zero byte ends the backing file's path in the {space} bytes that \
                     the COW header ({version}) has for it"
                )
            }
            Error::NoBackingSize { version } => {
                write!(
                    f,
                    "a {version} has no place for the size of its backing file"
                )
            }
            Error::EmptyPath => f.write_str("empty path of the backing file in the COW header"),
            Error::ZeroInPath => f.write_str("zero byte in the path of the backing file"),
            Error::PathTooLong { version, len } => {
                let max = version.fields().path_space - 1;
                write!(
                    f,
                    "path of the backing file too long for a COW header ({version}): \
                     {len} bytes, the limit is {max}"
                )
            }
            Error::BufferTooShort { version, len } => {
                // It is a larger one that does not end there.
                let need = match version.fields().len {
                    need if len < need => need,
                    _ => LARGER_LEN,
                };
                write!(
                    f,
                    "buffer of {len} bytes for the {need} bytes of a COW header ({version})"
                )
            }
        }
    }
}

// The kernel's printing macros take a trait of the kernel crate's own.
#[cfg(CONFIG_RUST)]
impl kernel::fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
