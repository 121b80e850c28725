// SPDX-License-Identifier: GPL-2.0

//! Files and block devices that are open and locked as the driver would lock them.

use crate::Result;
use rustix::{
    fs::{fcntl_lock, FlockOperation, SeekFrom},
    io::Errno,
};
use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

/// What is to be done with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// It must not exist.
    Create,
}

/// An open file, locked until it is closed.
///
/// The lock is the process's, and goes with the first of the file's descriptors that is closed: no
/// file must be opened twice. [`File::id`] tells.
pub(crate) struct File {
    file: fs::File,
    path: PathBuf,
}

/// Says which file an error is about.
pub(crate) fn about<T, E: std::fmt::Display>(
    path: &Path,
    what: &str,
    result: std::result::Result<T, E>,
) -> Result<T> {
    Ok(result.map_err(|e| format!("{}: {what}: {e}", path.display()))?)
}

impl File {
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        if access != Access::Create {
            // To open something else can wait for ever, or act.
            let kind = about(path, "cannot be opened", fs::metadata(path))?.file_type();
            if !kind.is_file() && !kind.is_block_device() {
                return Err(format!(
                    "{}: is neither a regular file nor a block device",
                    path.display()
                )
                .into());
            }
        }
        let file = OpenOptions::new()
            .read(true)
            .write(access != Access::Read)
            .create_new(access == Access::Create)
            .open(path);
        let file = about(path, "cannot be opened", file)?;
        let kind = if access == Access::Read {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        match fcntl_lock(&file, kind) {
            Err(Errno::AGAIN | Errno::ACCESS) => {
                return Err(format!(
                    "{}: is in use: a driver or another process has locked it",
                    path.display()
                )
                .into());
            }
            result => about(path, "cannot be locked", result)?,
        }
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn metadata(&self) -> Result<fs::Metadata> {
        about(&self.path, "cannot be looked at", self.file.metadata())
    }

    /// What tells this file from others.
    pub(crate) fn id(&self) -> Result<(u64, u64)> {
        let metadata = self.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// When the file was modified, as a header has it.
    pub(crate) fn mtime(&self) -> Result<u32> {
        Ok(self.metadata()?.mtime() as u32)
    }

    /// The length of the file or the size of the device, in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        let end = rustix::fs::seek(&self.file, SeekFrom::End(0));
        about(&self.path, "has no size", end)
    }

    /// Where in the file the first data at or behind `pos` is; `None` if there is none.
    pub(crate) fn next_data(&self, pos: u64) -> Option<u64> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(pos)) {
            Ok(at) => Some(at),
            Err(Errno::NXIO) => None,
            // Where that can't be told, all is data.
            Err(_) => Some(pos),
        }
    }

    /// Fills `buf` with the bytes at `pos`, and with zeros behind the end of the file. Returns how
    /// many bytes the file had.
    pub(crate) fn read(&self, buf: &mut [u8], pos: u64) -> Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], pos + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return about(&self.path, "cannot be read", Err(e)),
            }
        }
        buf[done..].fill(0);
        Ok(done)
    }

    pub(crate) fn write(&self, buf: &[u8], pos: u64) -> Result {
        about(
            &self.path,
            "cannot be written",
            self.file.write_all_at(buf, pos),
        )
    }

    pub(crate) fn set_len(&self, len: u64) -> Result {
        about(&self.path, "cannot be lengthened", self.file.set_len(len))
    }

    pub(crate) fn sync(&self) -> Result {
        about(&self.path, "cannot be synced", self.file.sync_all())
    }
}
