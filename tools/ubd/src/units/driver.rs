// SPDX-License-Identifier: GPL-2.0

//! Whether the driver is there, and which units it has.

use super::{
    claim::{PATIENCE, PAUSE},
    unit::Unit,
};
use crate::{
    failure::{Failure, Result},
    output::shown_bytes,
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

/// Where configfs is mounted.
const CONFIGFS: &str = "/sys/kernel/config";

/// The folder that has one for each unit.
pub(super) const UNITS: &str = "/sys/kernel/config/ubd";

/// Where all disks are.
pub(super) const DISKS: &str = "/sys/block";

/// The driver is there, and units can be attached and detached.
///
/// Returns an error that says what is missing, if something is.
pub(crate) fn require() -> Result {
    if Path::new(UNITS).is_dir() {
        return Ok(());
    }
    require_module()?;
    let mounted = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of_configfs = |line: &str| line.split(' ').nth(1) == Some(CONFIGFS);
    let why = if !Path::new(CONFIGFS).is_dir() {
        "the kernel has no configfs, or not yet: 'modprobe configfs' loads it"
    } else if !mounted.lines().any(of_configfs) {
        "configfs is not mounted: 'mount -t configfs configfs /sys/kernel/config' does that, as root"
    } else {
        "the driver has no folder in configfs: the kernel log says why"
    };
    Err(Failure::Error(why.into()))
}

/// Has the driver loaded if it is not there, and then what [`require`] does.
pub(crate) fn load() -> Result {
    if !is_loaded() {
        let modprobe = Command::new("modprobe")
            .arg("rnull_ubd")
            .stdin(Stdio::null())
            .output();
        match modprobe {
            Ok(output) if !output.status.success() => {
                let said = output.stderr.trim_ascii();
                let last = said.rsplit(|byte| *byte == b'\n').next();
                let why = shown_bytes(last.unwrap_or_default());
                return Err(Failure::Error(format!(
                    "the driver is not loaded, and cannot be: {why}"
                )));
            }
            // It came with the driver, and systemd mounts it when it hears of that.
            Ok(_) => {
                let deadline = Instant::now() + PATIENCE;
                while !Path::new(UNITS).is_dir() && Instant::now() < deadline {
                    thread::sleep(PAUSE);
                }
            }
            // There is none. What is to be done is said below.
            Err(_) => {}
        }
    }
    require()
}

fn is_loaded() -> bool {
    Path::new("/sys/module/rnull_ubd").is_dir() || Path::new(UNITS).is_dir()
}

/// The driver is there. Units that were attached when it was loaded can be seen without configfs.
///
/// Returns an error that says so if it is not.
pub(crate) fn require_module() -> Result {
    if is_loaded() {
        return Ok(());
    }
    let why = "the driver is not loaded: 'modprobe rnull_ubd' does that, as root";
    Err(Failure::Error(why.into()))
}

/// All units that are attached or have a folder in configfs.
pub(crate) fn units() -> BTreeSet<Unit> {
    let folders = names(UNITS).filter_map(|name| Unit::of_name(&name));
    let disks = names(DISKS).filter_map(|name| Unit::of_name(name.strip_prefix(b"ubd")?));
    folders.chain(disks).collect()
}

/// The first unit that is neither attached nor has a folder, nor is one of `others`.
pub(crate) fn first_unused(others: &BTreeSet<Unit>) -> Result<Unit> {
    let used = units();
    let unused = Unit::all().find(|unit| !used.contains(unit) && !others.contains(unit));
    unused.ok_or_else(|| Failure::Error("all units are in use".into()))
}

/// What is in a folder; nothing, if there is none.
fn names(folder: &str) -> impl Iterator<Item = Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().as_bytes().to_vec())
}
