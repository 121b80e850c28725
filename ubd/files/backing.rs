// SPDX-License-Identifier: GPL-2.0

//! Chooses and opens what is behind a COW file.

use crate::ubd::{
    cow::header::Header,
    files::header::Cow,
    files::layer::Layer,
    files::open::{bytes, c_string, Backing, Id, Opening, PATH_MAX},
    kernel::file::File,
    options::Abbreviated,
};
use kernel::{fmt, prelude::*};

/// How many COW files may lie upon each other.
pub(super) const DEPTH_MAX: usize = 8;

/// What a file is to a COW file over a disk of some size.
enum Fit {
    /// Its raw bytes are as many.
    Raw,
    /// It is a COW file whose disk has that size.
    Cow(Cow),
    /// It is no backing file for that. Has the size of its disk, if it is a COW file.
    No(Option<u64>),
}

impl Opening<'_> {
    /// Opens the backing file of the COW file at `path`: the one that was `given`, if it is the
    /// one in the header or can take its place, else the one in the header.
    pub(super) fn choose_backing(
        &self,
        file: &File,
        path: &[u8],
        cow: &Cow,
        given: Option<&[u8]>,
    ) -> Result<Backing> {
        let named = self.beside(file, &cow.backing_path)?;
        let Some(given) = given else {
            self.check_trust(path, &named)?;
            return self.backing(named, path, cow);
        };
        if *given == *named {
            return self.backing(named, path, cow);
        }
        let (given_file, given) = self.open_shared(given)?;
        // Who does not trust the header does not have its file opened to look what it is, either.
        let same = self.trust_header && id_of(&named) == Some(given_file.stat()?.id);
        if same || !self.trust_header {
            let backing = self.check(given_file, given, path, cow)?;
            if !same {
                self.switch(file, path, cow, &named, &backing)?;
            }
            return Ok(backing);
        }
        // What is wrong with its header, if that is why it can't be used, has been said.
        let fit = match self.fit(&given_file, &given, cow.backing_size()) {
            Err(e) if e == EINVAL => Fit::No(None),
            result => result?,
        };
        let mtime = given_file.stat()?.mtime;
        let (given_cow, disk) = match fit {
            Fit::Raw => (Some(None), None),
            Fit::Cow(given_cow) => (Some(Some(given_cow)), Some(cow.backing_size())),
            Fit::No(disk) => (None, disk),
        };
        let Some(given_cow) = given_cow.filter(|_| is_of_time(&given_file, mtime, cow)) else {
            // The label has the path that was given. With a long one twice, what comes last would
            // not be in the log, whose lines have 1023 bytes.
            pr_warn!(
                "{}: the backing file given has {} bytes{}, modified at {mtime}; the header says \
                 {}, modified at {}; using its {}\n",
                self.label,
                given_file.size(),
                DiskSize(disk),
                cow.backing_size(),
                cow.mtime,
                Abbreviated(&named)
            );
            return self.backing(named, path, cow);
        };
        let backing = Backing {
            file: given_file,
            path: given,
            cow: given_cow,
        };
        self.switch(file, path, cow, &named, &backing)?;
        Ok(backing)
    }

    /// Makes the header of the COW file at `path` name `backing` in place of `named`, in its own
    /// version. What can't be written stays as it is.
    fn switch(
        &self,
        file: &File,
        path: &[u8],
        cow: &Cow,
        named: &[u8],
        backing: &Backing,
    ) -> Result {
        if self.read_only {
            pr_info!(
                "{}: {}: using backing file {} in place of {} of the header\n",
                self.label,
                Abbreviated(path),
                Abbreviated(&backing.path),
                Abbreviated(named)
            );
            return Ok(());
        }
        let old = cow.header();
        let new = Header {
            // Of a device it can be another one, which UML compares.
            mtime: backing.file.stat()?.mtime as u32,
            backing_file: &backing.path,
            ..old
        };
        if *new.backing_file == *named {
            return Ok(());
        }
        self.write_header(file, path, Some(&old), &new)
            .map_err(|e| self.failed(path, "cannot be switched to another backing file", e))?;
        pr_info!(
            "{}: {}: switched from backing file {} to {}\n",
            self.label,
            Abbreviated(path),
            Abbreviated(named),
            Abbreviated(&backing.path)
        );
        Ok(())
    }

    /// Opens the backing file at `path` of the COW file at `upper`.
    fn backing(&self, path: KVec<u8>, upper: &[u8], cow: &Cow) -> Result<Backing> {
        let (file, path) = self.open_shared(&path)?;
        self.check(file, path, upper, cow)
    }

    /// Returns `EINVAL`, and says why, unless `file` can be the backing file of the COW file at
    /// `upper`.
    fn check(&self, file: File, path: KVec<u8>, upper: &[u8], cow: &Cow) -> Result<Backing> {
        let backing = self.check_size(file, path, upper, cow)?;
        let mtime = backing.file.stat()?.mtime;
        if !is_of_time(&backing.file, mtime, cow) {
            self.last_error.say(fmt!(
                "{}: {}: its header says that its backing file was modified at {}, but {} was \
                 at {mtime}",
                self.label,
                Abbreviated(upper),
                cow.mtime,
                Abbreviated(&backing.path)
            ));
            return Err(EINVAL);
        }
        Ok(backing)
    }

    /// Opens the file at `path` as another backing file of the COW file at `upper`, whenever it was
    /// modified.
    pub(super) fn other_backing(&self, path: &[u8], upper: &[u8], cow: &Cow) -> Result<Backing> {
        let (file, path) = self.open_shared(path)?;
        self.check_size(file, path, upper, cow)
    }

    /// As [`Self::check`], whenever the file was modified.
    fn check_size(&self, file: File, path: KVec<u8>, upper: &[u8], cow: &Cow) -> Result<Backing> {
        let lower = match self.fit(&file, &path, cow.backing_size())? {
            Fit::Raw => None,
            Fit::Cow(cow) => Some(cow),
            Fit::No(disk) => {
                self.last_error.say(fmt!(
                    "{}: {}: its header says that its backing file has {} bytes, but {} has {}{}",
                    self.label,
                    Abbreviated(upper),
                    cow.backing_size(),
                    Abbreviated(&path),
                    file.size(),
                    DiskSize(disk)
                ));
                return Err(EINVAL);
            }
        };
        Ok(Backing {
            file,
            path,
            cow: lower,
        })
    }

    /// The path of the backing file as the driver opens it: a relative one starts from the folder
    /// of the COW file.
    fn beside(&self, file: &File, path: &[u8]) -> Result<KVec<u8>> {
        if path.first() == Some(&b'/') {
            return bytes(path);
        }
        let mut buf = KVVec::from_elem(0u8, PATH_MAX, GFP_KERNEL)?;
        let own = file.path(&mut buf)?;
        let folder = own.iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1);
        let mut joined = bytes(own.get(..folder).unwrap_or_default())?;
        joined.extend_from_slice(path, GFP_KERNEL)?;
        Ok(joined)
    }

    /// What `file` is to a COW file whose header says that its backing file has `size` bytes.
    fn fit(&self, file: &File, path: &[u8], size: u64) -> Result<Fit> {
        if file.size() == size {
            return Ok(Fit::Raw);
        }
        Ok(match self.read_header(file, path)? {
            Some(cow) if cow.size() == size => Fit::Cow(cow),
            other => Fit::No(other.map(|cow| cow.size())),
        })
    }

    /// Returns `EINVAL`, and says why, if the file that only a header names must not be used.
    fn check_trust(&self, path: &[u8], named: &[u8]) -> Result {
        if self.trust_header {
            return Ok(());
        }
        self.last_error.say(fmt!(
            "{}: {}: its header names backing file {}, but the option does not, and trust_header \
             is off",
            self.label,
            Abbreviated(path),
            Abbreviated(named)
        ));
        Err(EINVAL)
    }

    /// Opens what is below the written file, from its backing file on.
    pub(super) fn lower(&mut self, mut backing: Backing) -> Result<KVec<Layer>> {
        let mut layers = KVec::with_capacity(DEPTH_MAX, GFP_KERNEL)?;
        loop {
            let Backing { file, path, cow } = backing;
            let Some(cow) = cow else {
                layers.push(self.layer(file, &path, None)?, GFP_KERNEL)?;
                return Ok(layers);
            };
            // One is the written file.
            let number = layers.len() + 2;
            if number > DEPTH_MAX {
                self.last_error.say(fmt!(
                    "{}: {}: is COW file number {number} upon each other, the limit is {DEPTH_MAX}",
                    self.label,
                    Abbreviated(&path)
                ));
                return Err(EINVAL);
            }
            let named = self.beside(&file, &cow.backing_path)?;
            self.check_trust(&path, &named)?;
            self.upper.push(file.stat()?.id, GFP_KERNEL)?;
            backing = self.backing(named, &path, &cow)?;
            layers.push(self.layer(file, &path, Some(cow))?, GFP_KERNEL)?;
        }
    }
}

/// For a message on a file's size: that of its disk, if it is a COW file.
struct DiskSize(Option<u64>);

impl fmt::Display for DiskSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(Some(size)) => f.write_fmt(fmt!(", or as a COW file {size}")),
            Self(None) => Ok(()),
        }
    }
}

fn id_of(path: &[u8]) -> Option<Id> {
    File::id_at(&c_string(path).ok()?).ok()
}

/// Whether a backing file that was modified at `mtime` has not been since the COW file was made, by
/// its header; but by a commit, of which the header tells. A block device is known by its size
/// alone: the time is that of its node, which udev and every boot set.
fn is_of_time(file: &File, mtime: i64, cow: &Cow) -> bool {
    let mtime = mtime as u32;
    file.is_block_device() || mtime == cow.mtime || cow.other_mtime == Some(mtime)
}
