// SPDX-License-Identifier: GPL-2.0

//! Images of QEMU, qcow2, by the crate imago.
//!
//! The format is described in QEMU's `docs/interop/qcow2.txt`. The crate reads and writes images, but
//! makes none: an empty one is made here.

use crate::{
    failure::{Failure, Result},
    file::File,
    output::shown,
};
use imago::{file::File as ImagoFile, qcow2::Qcow2, SyncFormatAccess};
use std::{io, path::Path};

/// What a qcow2 image begins with.
const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Where the header says how the image is encrypted: 0 is not.
const CRYPT_METHOD: u64 = 32;

/// log2 of the bytes in a cluster, which is what QEMU makes.
const CLUSTER_BITS: u32 = 16;

/// Bytes in a cluster.
pub(crate) const CLUSTER: u64 = 1 << CLUSTER_BITS;

/// Bytes in the header of version 3.
const HEADER_LEN: u32 = 104;

/// Says which file an error is about. The crate's errors may have text from a header.
fn about<T>(file: &File, what: &str, result: io::Result<T>) -> Result<T> {
    result.map_err(|e| {
        let why = e.to_string();
        let (path, why) = (shown(file.path()), shown(Path::new(&why)));
        Failure::Error(format!("{path}: {what}: {why}"))
    })
}

/// An image that is open.
pub(crate) struct Image {
    access: SyncFormatAccess<ImagoFile>,
    // Locks it.
    file: File,
}

impl Image {
    /// Whether `file` begins as one.
    pub(crate) fn is_one(file: &File) -> Result<bool> {
        let mut magic = [0; MAGIC.len()];
        file.read(&mut magic, 0)?;
        Ok(magic == MAGIC)
    }

    /// The image in `file` to be read, with the backing files that its header names.
    pub(crate) fn open(file: File) -> Result<Self> {
        // The crate would take for data what is encrypted.
        let mut method = [0; 4];
        file.read(&mut method, CRYPT_METHOD)?;
        if Self::is_one(&file)? && method != [0; 4] {
            return Err(format!("{}: is encrypted", shown(file.path())).into());
        }
        let opened = Self::access(file.path(), false).and_then(SyncFormatAccess::new);
        let access = about(&file, "cannot be read as qcow2", opened)?;
        Ok(Self { access, file })
    }

    fn access(path: &Path, write: bool) -> io::Result<Qcow2<ImagoFile>> {
        let mut image = Qcow2::open_path_sync(path, write)?;
        image.open_implicit_dependencies_sync()?;
        Ok(image)
    }

    /// The size of the disk, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.access.size()
    }

    /// Fills `buf` with the disk's bytes at `pos`.
    pub(crate) fn read(&self, buf: &mut [u8], pos: u64) -> Result {
        about(&self.file, "cannot be read", self.access.read(buf, pos))
    }
}

/// Writes an image into a new file.
pub(crate) struct Writer<'a> {
    access: SyncFormatAccess<ImagoFile>,
    file: &'a File,
}

impl<'a> Writer<'a> {
    /// Makes `file`, which is empty, the image of a disk of zeros. `size` is in bytes; QEMU counts in
    /// 512.
    pub(crate) fn create(file: &'a File, size: u64) -> Result<Self> {
        let size = size.next_multiple_of(512);
        let empty = Empty::new(size).ok_or_else(|| {
            Failure::Error(format!("{}: {size} bytes are too many", shown(file.path())))
        })?;
        file.set_len(empty.clusters() * CLUSTER)?;
        for (bytes, pos) in [
            (empty.header(), 0),
            (empty.refcount_table(), CLUSTER),
            (empty.refcount_block(), 2 * CLUSTER),
        ] {
            file.write(&bytes, pos)?;
        }
        let opened = Image::access(file.path(), true).and_then(SyncFormatAccess::new);
        let access = about(file, "cannot be written as qcow2", opened)?;
        Ok(Self { access, file })
    }

    /// Writes to the disk. Whole clusters are the quickest.
    pub(crate) fn write(&self, buf: &[u8], pos: u64) -> Result {
        about(self.file, "cannot be written", self.access.write(buf, pos))
    }

    /// Has all that was written be in the file.
    pub(crate) fn finish(self) -> Result {
        about(
            self.file,
            "cannot be written",
            self.access.flush().and_then(|()| self.access.sync()),
        )
    }
}

/// An image in which nothing was written: header, refcount table and refcount block have a cluster
/// each, and the L1 table, of zeros, comes behind them.
struct Empty {
    size: u64,
    l1_entries: u32,
}

impl Empty {
    /// `None` if the one refcount block has no room for the clusters of such an image.
    fn new(size: u64) -> Option<Self> {
        // An entry for each table of CLUSTER / 8 clusters.
        let entries = size.div_ceil(CLUSTER * CLUSTER / 8).max(1);
        let empty = Self {
            size,
            l1_entries: entries.try_into().ok()?,
        };
        // QEMU takes no larger table.
        (entries * 8 <= 32 << 20 && empty.clusters() <= CLUSTER / 2).then_some(empty)
    }

    /// How many clusters there are.
    fn clusters(&self) -> u64 {
        3 + (u64::from(self.l1_entries) * 8).div_ceil(CLUSTER)
    }

    fn header(&self) -> Vec<u8> {
        let mut header = MAGIC.to_vec();
        let mut word = |value: u32| header.extend(value.to_be_bytes());
        let long = |value: u64| [(value >> 32) as u32, value as u32];
        // Version; no backing file.
        [3, 0, 0, 0, CLUSTER_BITS].map(&mut word);
        long(self.size).map(&mut word);
        // No encryption.
        [0, self.l1_entries].map(&mut word);
        long(3 * CLUSTER).map(&mut word);
        long(CLUSTER).map(&mut word);
        // Clusters of the refcount table; no snapshots.
        [1, 0, 0, 0].map(&mut word);
        // No features of any kind; refcounts of 1 << 4 bits.
        [0, 0, 0, 0, 0, 0, 4, HEADER_LEN].map(&mut word);
        header
    }

    fn refcount_table(&self) -> Vec<u8> {
        (2 * CLUSTER).to_be_bytes().to_vec()
    }

    fn refcount_block(&self) -> Vec<u8> {
        1u16.to_be_bytes().repeat(self.clusters() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_image_has_a_cluster_for_each_of_its_parts() {
        let empty = Empty::new(1 << 30);
        let Some(empty) = empty else {
            panic!("no image of 1 GiB");
        };
        assert_eq!((empty.l1_entries, empty.clusters()), (2, 4));
        assert_eq!(empty.header().len(), HEADER_LEN as usize);
        assert_eq!(empty.header()[24..32], (1u64 << 30).to_be_bytes());
        assert_eq!(empty.refcount_block().len(), 8);
    }

    #[test]
    fn the_table_of_a_large_image_has_several_clusters() {
        let clusters = |size| Empty::new(size).map(|empty| empty.clusters());
        assert_eq!(clusters(0), Some(4));
        assert_eq!(clusters(4 << 40), Some(4));
        assert_eq!(clusters((4 << 40) + 1), Some(5));
        assert_eq!(clusters(2 << 50), Some(3 + 512));
        assert_eq!(clusters((2 << 50) + 1), None);
        assert_eq!(clusters(u64::MAX - 511), None);
    }
}
