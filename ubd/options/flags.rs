// SPDX-License-Identifier: GPL-2.0

//! The flags of an option.

use core::fmt;

/// The flags of an option, in any order and as often as the user likes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Flags {
    /// `r`: the files are opened read-only and the disk is read-only.
    pub(crate) read_only: bool,
    /// `s`: a write is on stable storage before it completes.
    pub(crate) sync: bool,
    /// `d`: the file is data and never a COW file, whatever its header says.
    pub(crate) data: bool,
    /// `c`: no lock is taken on the files, for cluster file systems.
    pub(crate) shared: bool,
    /// `t`: neither discard nor write-zeroes is advertised.
    pub(crate) no_trim: bool,
}

impl Flags {
    /// Sets the flag of `letter`; false if there is none.
    pub(super) fn set(&mut self, letter: u8) -> bool {
        let flag = match letter {
            b'r' => &mut self.read_only,
            b's' => &mut self.sync,
            b'c' => &mut self.shared,
            b'd' => &mut self.data,
            b't' => &mut self.no_trim,
            _ => return false,
        };
        *flag = true;
        true
    }
}

/// Prints the letters in the order `r`, `s`, `c`, `d`, `t`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (set, letter) in [
            (self.read_only, "r"),
            (self.sync, "s"),
            (self.shared, "c"),
            (self.data, "d"),
            (self.no_trim, "t"),
        ] {
            if set {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}
