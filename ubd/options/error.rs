// SPDX-License-Identifier: GPL-2.0

//! What is wrong with an option.

use super::{Letters, FLAGS_MAX, UNITS};
use core::fmt;

/// Why an option cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// There is no unit where one should be.
    NoUnit,
    /// The unit is [`UNITS`] or more.
    UnitOutOfRange,
    /// This byte is neither `=` nor a flag.
    NotAFlag(u8),
    /// There are more than [`FLAGS_MAX`] flags.
    TooManyFlags,
    /// The text ends before its `=`.
    NoEquals,
    /// Flag `d` says that there is no COW file, a second file that there is one.
    DataWithBacking,
    /// The first field is empty.
    NoFile,
    /// There is a field after the serial number.
    TooManyFields,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoUnit => {
                write!(f, "couldn't parse device number: expected 0 to ")?;
                write!(f, "{} or a to {}", UNITS - 1, Letters(UNITS - 1))
            }
            Error::UnitOutOfRange => {
                write!(f, "device number out of range: the last is ")?;
                write!(f, "{} or {}", UNITS - 1, Letters(UNITS - 1))
            }
            Error::NotAFlag(byte) => {
                write!(f, "expected '=' or flag letter (r, s, c, t or d), not '")?;
                write!(f, "{}'", byte.escape_ascii())
            }
            Error::TooManyFlags => write!(f, "too many flags: more than {FLAGS_MAX}"),
            Error::NoEquals => f.write_str("missing '='"),
            Error::DataWithBacking => {
                f.write_str("flag 'd' (not a COW file) together with a second file")
            }
            Error::NoFile => f.write_str("no file named"),
            Error::TooManyFields => {
                f.write_str("too many fields: at most a file, its backing file and a serial number")
            }
        }
    }
}
