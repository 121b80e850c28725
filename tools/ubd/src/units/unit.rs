// SPDX-License-Identifier: GPL-2.0

//! The names of units.

use crate::{
    output::shown,
    ubd::options::{parse_unit, Letters, UNITS},
};
use std::{
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// A unit: one disk of the driver. Its text is the name of the disk, as `ubda`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Unit(usize);

impl Unit {
    /// All that there can be, from the first on.
    pub(crate) fn all() -> impl Iterator<Item = Unit> {
        (0..UNITS).map(Unit)
    }

    /// The unit that a user names: by its number, its letters or its disk, which may be a link.
    ///
    /// Returns an error in words if that names none.
    pub(crate) fn parse(name: OsString) -> Result<Self, String> {
        let path = Path::new(&name);
        let target = match path.canonicalize() {
            Ok(target) if path.is_absolute() => target,
            _ => path.to_owned(),
        };
        let bytes = target.as_os_str().as_bytes();
        let found = match bytes.strip_prefix(b"/dev/") {
            // All of it, which is no unit, if it is another disk's.
            Some(disk) => parse_unit(disk.strip_prefix(b"ubd").unwrap_or(bytes)),
            None => match bytes.strip_prefix(b"ubd") {
                Some(rest) if !rest.is_empty() => parse_unit(rest),
                _ => parse_unit(bytes),
            },
        };
        match found {
            Ok(unit) => Ok(Unit(unit)),
            Err(why) => Err(format!("{}: {why}", shown(path))),
        }
    }

    /// The unit that `name` names where a file can be named, too: by its disk, `ubdq`, unless there is
    /// a file of that name here, or `/dev/ubdq`.
    pub(crate) fn of_disk(name: &Path) -> Option<Self> {
        let bytes = name.as_os_str().as_bytes();
        let here = bytes.starts_with(b"ubd") && !bytes.contains(&b'/') && !name.exists();
        let node = bytes.starts_with(b"/dev/ubd");
        let unit = (here || node).then(|| Self::parse(name.into()));
        unit?.ok()
    }

    /// The unit whose folder in configfs, or whose disk in sysfs after `ubd`, has this name.
    pub(crate) fn of_name(name: &[u8]) -> Option<Self> {
        parse_unit(name).ok().map(Unit)
    }

    /// Its number.
    pub(crate) fn number(self) -> usize {
        self.0
    }

    /// The letters of its disk, which are behind `ubd`.
    pub(crate) fn letters(self) -> String {
        Letters(self.0).to_string()
    }

    /// The node of its disk.
    pub(crate) fn node(self) -> PathBuf {
        format!("/dev/{self}").into()
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ubd{}", Letters(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_many_names() {
        for (name, number) in [
            ("0", 0),
            ("16", 16),
            ("a", 0),
            ("q", 16),
            ("ubdq", 16),
            ("/dev/ubdq", 16),
            ("ubd16", 16),
            ("aa", 26),
            ("ubdac", 28),
            ("/dev/ubdbgqcv", UNITS - 1),
        ] {
            assert_eq!(Unit::parse(name.into()), Ok(Unit(number)), "{name}");
        }
    }

    #[test]
    fn a_disk_is_no_file() {
        for (name, number) in [
            ("ubdq", Some(16)),
            ("/dev/ubda", Some(0)),
            ("0", None),
            ("a", None),
            ("ubda1", None),
            ("./ubda", None),
            ("/tmp/ubda", None),
            ("work.cow", None),
        ] {
            let unit = Unit::of_disk(Path::new(name));
            assert_eq!(unit.map(Unit::number), number, "{name}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for name in [
            "",
            "A",
            "-1",
            "0x1",
            "07",
            "1048576",
            "ubda1",
            "/dev/sda",
            "/dev/null",
            "ubdubda",
            "a b",
            "q\n",
        ] {
            assert!(Unit::parse(name.into()).is_err(), "{name}");
        }
    }

    #[test]
    fn it_is_printed_as_its_disk() {
        assert_eq!(Unit(16).to_string(), "ubdq");
        assert_eq!(Unit(26).letters(), "aa");
        assert_eq!(Unit(0).node(), Path::new("/dev/ubda"));
    }
}
