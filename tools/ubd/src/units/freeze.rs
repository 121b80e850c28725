// SPDX-License-Identifier: GPL-2.0

//! File systems on a unit's disk, which are frozen for a while.
//!
//! A file system that stays frozen takes the machine with it. So each is frozen by a process of its
//! own, `fsfreeze` of util-linux in a shell, which thaws it when this one closes its end of a pipe,
//! or ends, by whatever it is. It has a session of its own, which no signal of a terminal reaches.

use super::{driver::DISKS, unit::Unit};
use crate::failure::{Failure, Result};
use crate::output::shown;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        ffi::OsStringExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Freezes the file system that is mounted at its argument, says so, and thaws it at the end of its
/// input.
const GUARD: &str = "trap '' HUP INT TERM PIPE
fsfreeze --freeze \"$1\" || exit
echo frozen
cat >/dev/null
exec fsfreeze --unfreeze \"$1\"";

/// A file system that is frozen. It is thawed when this is dropped.
struct Frozen {
    mount_point: PathBuf,
    guard: Child,
}

impl Frozen {
    fn new(mount_point: &Path) -> Result<Self> {
        let what = |e| Failure::Error(format!("{}: cannot be frozen: {e}", shown(mount_point)));
        let mut guard = Command::new("setsid")
            .args(["sh", "-c", GUARD, "sh"])
            .arg(mount_point)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| what(format!("setsid: {e}")))?;
        let mut line = String::new();
        if let Some(out) = guard.stdout.take() {
            // What it says of an error is on standard error.
            let _ = BufReader::new(out).read_line(&mut line);
        }
        let this = Self {
            mount_point: mount_point.into(),
            guard,
        };
        match line.as_str() {
            "frozen\n" => Ok(this),
            _ => {
                let mut this = this;
                this.end();
                // Not to be thawed, which another one may have frozen.
                std::mem::forget(this);
                Err(what("fsfreeze failed".into()))
            }
        }
    }

    /// Has the guard end, and says whether it thaws.
    fn end(&mut self) -> bool {
        drop(self.guard.stdin.take());
        self.guard.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if !self.end() {
            // Somebody has killed it.
            let _ = Command::new("fsfreeze")
                .arg("--unfreeze")
                .arg(&self.mount_point)
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// All file systems on a unit's disk, and on its partitions, frozen until this is dropped.
pub(crate) struct AllFrozen(Vec<Frozen>);

impl AllFrozen {
    /// Freezes those that are mounted where this process sees it; not those on something else that
    /// is on the disk.
    ///
    /// Returns an error, and thaws what was frozen, if one can't be, or if it is where the new file
    /// at `path` would be: who makes that would wait for itself.
    pub(crate) fn new(unit: Unit, path: &Path) -> Result<Self> {
        let table = fs::read("/proc/self/mountinfo")
            .map_err(|e| Failure::Error(format!("/proc/self/mountinfo: {e}")))?;
        let points = mount_points(&table, &devices(unit), |source| {
            let found = fs::metadata(source).ok()?;
            found.file_type().is_block_device().then(|| found.rdev())
        });
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let device = |path: &Path| fs::metadata(path).ok().map(|found| found.dev());
        let own = device(folder);
        if let Some(point) = points.iter().find(|point| device(point) == own) {
            return Err(Failure::Error(format!(
                "{}: is on the unit's own disk, mounted at {}",
                shown(path),
                shown(point)
            )));
        }
        let mut frozen = Self(Vec::new());
        for point in points {
            frozen.0.push(Frozen::new(&point)?);
        }
        Ok(frozen)
    }

    /// Where they are mounted.
    pub(crate) fn mount_points(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|frozen| &*frozen.mount_point)
    }
}

/// The numbers of a unit's disk and of its partitions.
fn devices(unit: Unit) -> BTreeSet<u64> {
    let folder = Path::new(DISKS).join(unit.to_string());
    let parts = fs::read_dir(&folder).into_iter().flatten().flatten();
    let folders = parts.map(|entry| entry.path()).chain([folder.clone()]);
    let number = |folder: PathBuf| device_number(&fs::read_to_string(folder.join("dev")).ok()?);
    folders.filter_map(number).collect()
}

/// `7:3`, as a number.
fn device_number(text: &str) -> Option<u64> {
    let (major, minor) = text.trim().split_once(':')?;
    Some(nix::sys::stat::makedev(
        major.parse().ok()?,
        minor.parse().ok()?,
    ))
}

/// Where the file systems are mounted that are on one of these devices, by a table as
/// /proc/self/mountinfo, each once. A file system that can be on many devices has a number of its
/// own there, but is said to come from one of them, whose number `rdev` tells.
fn mount_points(
    table: &[u8],
    devices: &BTreeSet<u64>,
    rdev: impl Fn(&Path) -> Option<u64>,
) -> Vec<PathBuf> {
    let mut found = BTreeMap::new();
    for line in table.split(|c| *c == b'\n') {
        let fields: Vec<_> = line.split(|c| *c == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-");
        let (Some(number), Some(point), Some(dash)) = (fields.get(2), fields.get(4), dash) else {
            continue;
        };
        let Some(number) = std::str::from_utf8(number).ok().and_then(device_number) else {
            continue;
        };
        let source = fields.get(dash + 2).copied().unwrap_or_default();
        let on = devices.contains(&number)
            || rdev(&path(source)).is_some_and(|source| devices.contains(&source));
        if on {
            found.entry(number).or_insert_with(|| path(point));
        }
    }
    found.into_values().collect()
}

/// A path of that table, without its escapes.
fn path(mut text: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    while let Some((&first, rest)) = text.split_first() {
        let digits = rest.get(..3).filter(|_| first == b'\\');
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(value.unwrap_or(first));
        text = match value {
            Some(_) => rest.get(3..).unwrap_or_default(),
            None => rest,
        };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found() {
        let table = b"\
21 1 254:0 / / rw - ext4 /dev/root rw
30 21 98:1 / /mnt/a\\040b rw shared:1 - ext4 /dev/ubda1 rw
31 21 98:1 /x /mnt/again rw - ext4 /dev/ubda1 rw
32 21 0:44 / /mnt/many rw - btrfs /dev/ubda2 rw
33 21 98:16 / /mnt/other rw - xfs /dev/ubdb rw
34 21 0:45 / /mnt/memory rw - tmpfs tmpfs rw
broken
";
        let devices = ["98:0", "98:1", "98:2"]
            .iter()
            .filter_map(|n| device_number(n));
        let rdev = |source: &Path| {
            (source == Path::new("/dev/ubda2"))
                .then(|| device_number("98:2"))
                .flatten()
        };
        let found = mount_points(table, &devices.collect(), rdev);
        assert_eq!(found, ["/mnt/many", "/mnt/a b"].map(PathBuf::from));
        assert!(mount_points(table, &BTreeSet::new(), rdev).is_empty());
    }

    #[test]
    fn what_is_no_escape_stays() {
        for (text, want) in [
            (&b"/a\\134b"[..], "/a\\b"),
            (b"/a\\9", "/a\\9"),
            (b"/a\\777", "/a\\777"),
            (b"\\", "\\"),
        ] {
            assert_eq!(path(text), Path::new(want));
        }
    }
}
