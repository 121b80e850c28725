// SPDX-License-Identifier: GPL-2.0

//! Files and block devices that are open and locked as the driver would lock them.

use crate::{
    failure::{Failure, Result},
    output::shown,
};
use nix::{
    errno::Errno,
    fcntl::{fallocate, fcntl, FallocateFlags, FcntlArg},
    libc,
    sys::{
        stat::futimens,
        statfs::{
            fstatfs, BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC,
            XFS_SUPER_MAGIC,
        },
        time::TimeSpec,
    },
    unistd::{lseek64, Whence},
};
use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

/// How much of a file is read or copied at a time, in bytes.
pub(crate) const STEP: usize = 1 << 20;

/// How much of a file is given its blocks at a time, in bytes, where the device does that.
const STEP_OF_DEVICE: u64 = 64 << 20;

/// `FALLOC_FL_WRITE_ZEROES` of Linux, which has it since 6.17.
const WRITE_ZEROES: FallocateFlags = FallocateFlags::from_bits_retain(0x80);

/// What is to be done with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// As the first, with no lock: the driver has one, which lets nobody else have any.
    Look,
    Write,
    /// It must not exist.
    Create,
}

/// An open file, locked until it is closed, unless it is only looked at.
///
/// The lock is the open file's own, not the process's: to close one of two that are the same file
/// leaves the other locked. Between processes the two kinds are one.
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
    Ok(result.map_err(|e| format!("{}: {what}: {e}", shown(path)))?)
}

/// Why there is no open file at `path`.
fn not_opened(path: &Path, e: io::Error) -> Failure {
    let text = format!("{}: cannot be opened: {e}", shown(path));
    match Errno::from_raw(e.raw_os_error().unwrap_or(0)) {
        Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENAMETOOLONG => {
            Failure::Unusable(text)
        }
        _ => Failure::Error(text),
    }
}

impl File {
    /// Returns [`Failure::Unusable`] if there is no such file, or it is none that a disk can be in.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        if access != Access::Create {
            // To open something else can wait for ever, or act.
            let metadata = fs::metadata(path).map_err(|e| not_opened(path, e))?;
            let kind = metadata.file_type();
            if !kind.is_file() && !kind.is_block_device() {
                return Err(Failure::Unusable(format!(
                    "{}: is neither a regular file nor a block device",
                    shown(path)
                )));
            }
        }
        let file = OpenOptions::new()
            .read(true)
            .write(matches!(access, Access::Write | Access::Create))
            .create_new(access == Access::Create)
            .open(path)
            .map_err(|e| not_opened(path, e))?;
        let opened = Self {
            file,
            path: path.to_owned(),
        };
        let kind = match access {
            Access::Look => return Ok(opened),
            Access::Read => libc::F_RDLCK,
            Access::Write | Access::Create => libc::F_WRLCK,
        };
        let whole = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(&opened.file, FcntlArg::F_OFD_SETLK(&whole)) {
            Err(Errno::EAGAIN | Errno::EACCES) => {
                return Err(format!(
                    "{}: is in use: a driver or another process has locked it",
                    shown(path)
                )
                .into());
            }
            result => about(path, "cannot be locked", result)?,
        };
        Ok(opened)
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

    /// Whether the file has not been modified since `mtime`, as a header has it. A block device is
    /// known by its size alone: the time is that of its node, which udev and every boot set.
    pub(crate) fn is_of_time(&self, mtime: u32) -> Result<bool> {
        use std::os::unix::fs::FileTypeExt;

        let metadata = self.metadata()?;
        Ok(metadata.file_type().is_block_device() || metadata.mtime() as u32 == mtime)
    }

    /// Whether this is a file whose length can change.
    pub(crate) fn is_regular(&self) -> Result<bool> {
        Ok(self.metadata()?.is_file())
    }

    /// The length of the file or the size of the device, in bytes.
    pub(crate) fn size(&self) -> Result<u64> {
        let end = lseek64(&self.file, 0, Whence::SeekEnd);
        Ok(about(&self.path, "has no size", end)? as u64)
    }

    /// Whether the file system's word on where there is data holds for what is dirty in the page
    /// cache. FUSE asks its server, which need not have heard of it; of others there is no telling.
    fn knows_data(&self) -> bool {
        let known = [
            BTRFS_SUPER_MAGIC,
            EXT4_SUPER_MAGIC,
            F2FS_SUPER_MAGIC,
            TMPFS_MAGIC,
            XFS_SUPER_MAGIC,
        ];
        fstatfs(&self.file).is_ok_and(|found| known.contains(&found.filesystem_type()))
    }

    /// Where in the file the first data at or behind `pos` is; `None` if there is none. Where the
    /// file system's word can't be relied on all is data.
    pub(crate) fn next_data(&self, pos: u64) -> Option<u64> {
        if !self.knows_data() {
            return Some(pos);
        }
        match lseek64(&self.file, pos as i64, Whence::SeekData) {
            Ok(at) => Some(at as u64),
            Err(Errno::ENXIO) => None,
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

    /// Gives the bytes from `start` up to `end`, which lie in a hole of the file, blocks with zeros,
    /// and calls `done` with where it is. Space that was only allocated would not do: a file system
    /// has to note of each block of that when it is first written.
    pub(crate) fn allocate(&self, start: u64, end: u64, mut done: impl FnMut(u64)) -> Result {
        let zeros = vec![0; STEP];
        let (mut at, mut by_device) = (start, true);
        while at < end {
            done(at);
            if by_device {
                let len = (end - at).min(STEP_OF_DEVICE);
                match fallocate(&self.file, WRITE_ZEROES, at as i64, len as i64) {
                    Ok(()) => at += len,
                    Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => by_device = false,
                    result => about(&self.path, "cannot be allocated", result)?,
                }
            } else {
                let len = (end - at).min(STEP as u64);
                self.write(&zeros[..len as usize], at)?;
                at += len;
            }
        }
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result {
        about(&self.path, "cannot be synced", self.file.sync_all())
    }

    /// Makes it durable that the file is modified now, and not at `old`, as long as that is not for
    /// ever the same second.
    pub(crate) fn touch(&self, old: u32) -> Result {
        for _ in 0..300 {
            let touched = futimens(&self.file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW);
            about(&self.path, "cannot be touched", touched)?;
            if self.mtime()? != old {
                break;
            }
            sleep(Duration::from_millis(10));
        }
        self.sync()
    }
}

/// Makes the name of a new file durable.
pub(crate) fn sync_name(path: &Path) -> Result {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    match fs::File::open(folder).and_then(|folder| folder.sync_all()) {
        // Not every file system can sync a folder.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => about(folder, "cannot be synced", result),
    }
}

/// The path of a file for a header, absolute.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    about(path, "has no absolute path", path.canonicalize())
}
