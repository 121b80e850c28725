// SPDX-License-Identifier: GPL-2.0

//! New files that are there as a whole or not at all.

use crate::{
    failure::Result,
    file::{about, sync_name, Access, File},
    output::shown,
};
use nix::{
    errno::Errno,
    fcntl::{renameat2, RenameFlags, AT_FDCWD},
};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// A new file that gets its name when all of it is there. Until then it has another one, under
/// which it is removed if it comes to nothing.
pub(crate) struct Unfinished {
    pub(crate) file: File,
    name: PathBuf,
    has_name: bool,
}

impl Unfinished {
    pub(crate) fn create(name: &Path) -> Result<Self> {
        // Now, and not after all the work.
        if name.symlink_metadata().is_ok() {
            return Err(format!("{}: exists", shown(name)).into());
        }
        let mut partial = OsString::from(name);
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        if partial.symlink_metadata().is_ok() {
            return Err(format!(
                "{}: exists: another command makes it, or one that was interrupted has left it",
                shown(&partial)
            )
            .into());
        }
        Ok(Self {
            file: File::open(&partial, Access::Create)?,
            name: name.to_owned(),
            has_name: false,
        })
    }

    /// Gives the file its name, which must still be free.
    pub(crate) fn finish(mut self) -> Result {
        self.file.sync()?;
        let partial = self.file.path();
        let flags = RenameFlags::RENAME_NOREPLACE;
        let named = match renameat2(AT_FDCWD, partial, AT_FDCWD, &self.name, flags) {
            // Not every file system knows the flag. A second name for the file does as well, and
            // the first one goes when this is dropped.
            Err(Errno::EINVAL | Errno::ENOSYS) => fs::hard_link(partial, &self.name),
            result => {
                self.has_name = result.is_ok();
                result.map_err(io::Error::from)
            }
        };
        about(&self.name, "cannot be given its name", named)?;
        sync_name(&self.name)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.has_name {
            let _ = fs::remove_file(self.file.path());
        }
    }
}
