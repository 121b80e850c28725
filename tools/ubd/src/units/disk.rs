// SPDX-License-Identifier: GPL-2.0

//! The disk of an attached unit in sysfs: see Documentation/ABI/testing/sysfs-block-ubd.

use super::{driver::DISKS, unit::Unit};
use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// Whether a unit is attached.
pub(crate) fn exists(unit: Unit) -> bool {
    folder(unit).is_dir()
}

/// What is in one of its files, without the newline at the end. `None` if it is not attached.
pub(crate) fn read(unit: Unit, file: &str) -> Option<Vec<u8>> {
    let mut text = fs::read(folder(unit).join(file)).ok()?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(text)
}

/// Writes to one of its files. Fails with [`io::ErrorKind::NotFound`] if it is not attached.
pub(crate) fn write(unit: Unit, file: &str, text: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(folder(unit).join(file));
    file?.write_all(text)
}

fn folder(unit: Unit) -> PathBuf {
    Path::new(DISKS).join(unit.to_string())
}

/// What tells a file from others: of a device, what any node of it has.
pub(crate) fn identity(path: &Path) -> Option<(bool, u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some(if found.file_type().is_block_device() {
        (true, found.rdev(), 0)
    } else {
        (false, found.dev(), found.ino())
    })
}

/// The paths that a line of sysfs can stand for: itself, and what it is without the escapes that
/// the driver puts there for control characters and what is not UTF-8.
pub(crate) fn paths(line: &[u8]) -> [PathBuf; 2] {
    let plain = unescaped(line);
    [line, &plain].map(|bytes| Path::new(OsStr::from_bytes(bytes)).to_owned())
}

fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some((&first, rest)) = text.split_first() {
        text = rest;
        let digits = rest.strip_prefix(b"x").and_then(|rest| rest.first_chunk());
        match digits.and_then(|digits: &[u8; 2]| byte(digits)) {
            Some(byte) if first == b'\\' => {
                plain.push(byte);
                text = rest.get(3..).unwrap_or_default();
            }
            _ => plain.push(first),
        }
    }
    plain
}

fn byte(digits: &[u8; 2]) -> Option<u8> {
    let digits = digits.map(|digit| char::from(digit).to_digit(16));
    match digits {
        [Some(high), Some(low)] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_taken_back() {
        for (line, path) in [
            (&b"/a/b"[..], &b"/a/b"[..]),
            (b"/a\\x0ab", b"/a\nb"),
            (b"\\xff", b"\xff"),
            (b"\\x1", b"\\x1"),
            (b"\\xzz\\", b"\\xzz\\"),
            (b"\\\\x41", b"\\A"),
        ] {
            assert_eq!(unescaped(line), path);
        }
    }
}
