// SPDX-License-Identifier: GPL-2.0

//! The folder of a unit in configfs: see Documentation/ABI/testing/configfs-ubd.

use super::{driver::UNITS, unit::Unit};
use crate::{
    failure::{Failure, Result},
    output::shown_bytes,
};
use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// The folder of a unit.
pub(crate) struct Folder {
    /// Whose it is.
    pub(crate) unit: Unit,
    path: PathBuf,
}

impl Folder {
    /// The folder that a unit has, by whichever of its names.
    pub(crate) fn find(unit: Unit) -> Option<Self> {
        [unit.number().to_string(), unit.letters()]
            .into_iter()
            .map(|name| Path::new(UNITS).join(name))
            .find(|path| path.is_dir())
            .map(|path| Self { unit, path })
    }

    /// Makes a folder, which nobody else can do at the same time. Fails with
    /// [`ErrorKind::AlreadyExists`] if there is one.
    pub(crate) fn make(unit: Unit) -> io::Result<Self> {
        let path = Path::new(UNITS).join(unit.number().to_string());
        fs::create_dir(&path).map_err(named)?;
        Ok(Self { unit, path })
    }

    /// Removes it, which detaches the unit.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.path).map_err(named)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in one of its files, without the newline at the end. `None` if it is gone.
    pub(crate) fn read(&self, file: &str) -> Option<Vec<u8>> {
        let mut text = fs::read(self.path.join(file)).ok()?;
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        Some(text)
    }

    /// Writes to one of its files. The driver passes over one newline at the end, so that a name
    /// can end in one.
    pub(crate) fn write(&self, file: &str, text: &[u8]) -> io::Result<()> {
        let line = [text, b"\n"].concat();
        let file = OpenOptions::new().write(true).open(self.path.join(file));
        file.map_err(named)?.write_all(&line)
    }

    /// Whether the unit's state is this one.
    pub(crate) fn is(&self, state: &str) -> bool {
        self.read("state").as_deref() == Some(state.as_bytes())
    }

    /// What a failed write to one of its files comes to: the driver's own message, if there is one.
    pub(crate) fn failure(&self, what: &str, e: &io::Error) -> Failure {
        let message = self.read("last_error").unwrap_or_default();
        if e.raw_os_error().is_some() && !message.is_empty() {
            return Failure::Error(shown_bytes(&message));
        }
        failure(self.unit, what, e)
    }
}

/// An error of configfs in other words where they help. The driver has no part in it.
fn named(e: io::Error) -> io::Error {
    match e.kind() {
        ErrorKind::PermissionDenied => io::Error::new(e.kind(), "only root may do that"),
        _ => e,
    }
}

/// What it comes to that something can't be done with a unit.
pub(crate) fn failure(unit: Unit, what: &str, e: &io::Error) -> Failure {
    Failure::Error(format!("{unit}: {what}: {e}"))
}

/// The folder of a unit, made if there is none, and whether it was made.
///
/// Returns an error if the unit is not attached and has none.
pub(crate) fn find_or_make(unit: Unit) -> Result<(Folder, bool)> {
    if let Some(folder) = Folder::find(unit) {
        return Ok((folder, false));
    }
    if !super::disk::exists(unit) {
        return Err(Failure::Error(format!("{unit}: is not attached")));
    }
    match Folder::make(unit) {
        Ok(folder) => Ok((folder, true)),
        Err(e) => match Folder::find(unit) {
            Some(folder) => Ok((folder, false)),
            None => Err(failure(unit, "has no folder in configfs", &e)),
        },
    }
}

/// The folder of a unit whose files are to be changed, made if there is none. One that is made
/// stays: to remove it would detach the unit.
///
/// Returns an error if the driver is not there, or the unit is not attached and has none.
pub(crate) fn to_change(unit: Unit) -> Result<Folder> {
    super::driver::require()?;
    Ok(find_or_make(unit)?.0)
}
