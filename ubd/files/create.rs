// SPDX-License-Identifier: GPL-2.0

//! Makes COW files.

use crate::ubd::{
    cow::header::{Header, Version},
    cow::layout::Layout,
    cow::replace::SECTOR,
    files::header::Cow,
    files::image::Image,
    files::open::{bytes, c_string, Backing, Opening},
    kernel::file::{Access, File},
    options::Abbreviated,
};
use kernel::{page::PAGE_SIZE, prelude::*, sync::Arc};

/// The sector size of a COW file that is made here, in bytes.
const NEW_SECTOR_SIZE: u32 = 512;

/// The alignment of bitmap and data of a COW file that is made here, in bytes. Where pages are
/// larger it is theirs: past the page cache, no page of it may have data and a part of the bitmap.
pub(super) const NEW_ALIGNMENT: u32 = if PAGE_SIZE > 4096 {
    PAGE_SIZE as u32
} else {
    4096
};

impl Opening<'_> {
    /// Makes a COW file over `backing` at `path`; of `file`, which has no COW header, if that is
    /// there and there is nothing in it.
    pub(super) fn create(
        mut self,
        file: Option<File>,
        path: &[u8],
        backing: &[u8],
    ) -> Result<Arc<Image>> {
        let at_path = file;
        if let Some(file) = &at_path {
            // Whether it can be made one depends on the backing file, and for most it is plain
            // without.
            if !file.is_regular() || self.read_only {
                return Err(self.no_cow_file(path));
            }
            self.upper.push(file.stat()?.id, GFP_KERNEL)?;
        }
        // What can be wrong with the backing file is found before there is a COW file.
        let (file, backing) = self.open_shared(backing)?;
        let cow = self.read_header(&file, &backing)?;
        let size = match &cow {
            Some(cow) if cow.size() == file.size() => {
                return Err(self.ambiguous(&backing, file.size()));
            }
            Some(cow) => cow.size(),
            None => file.size(),
        };
        let over_cow = cow.is_some();
        let layout = Layout::new_v3(size, NEW_SECTOR_SIZE, NEW_ALIGNMENT)
            .map_err(|e| self.unusable(&backing, &e))?;
        if let Some(file) = at_path.as_ref().filter(|file| file.size() != 0) {
            if !self.is_unfinished(file, path, &layout)? {
                return Err(self.no_cow_file(path));
            }
            pr_info!(
                "{}: {}: was left unfinished when it was made as a COW file, is made again\n",
                self.label,
                Abbreviated(path)
            );
        }
        let header = Header {
            version: Version::V3,
            mtime: file.stat()?.mtime as u32,
            size,
            backing_size: None,
            sector_size: NEW_SECTOR_SIZE,
            alignment: NEW_ALIGNMENT,
            backing_file: &backing,
        };
        let lower = self.lower(Backing {
            file,
            path: bytes(&backing)?,
            cow,
        })?;

        let file = match at_path {
            Some(file) => file,
            None => {
                let file = c_string(path)
                    .and_then(|path| File::open(&path, Access::Create))
                    .map_err(|e| self.failed(path, "cannot be created", e))?;
                self.lock(&file, path, true)?;
                file
            }
        };
        let path = &*self.absolute(&file, path)?;
        let filled = self
            .fill(&file, path, &header, &layout)
            .and_then(|()| File::sync_name(path));
        if let Err(e) = filled {
            // An empty file can be made a COW file by the next attempt; what else is wrong
            // with it, the first error tells better.
            let _ = file.truncate(0);
            return Err(self.failed(path, "cannot be made a COW file", e));
        }
        pr_info!(
            "{}: {}: made as a COW file over {}\n",
            self.label,
            Abbreviated(path),
            Abbreviated(&backing)
        );
        if over_cow {
            pr_warn!(
                "{}: {}: its backing file is a COW file itself, which UML cannot use\n",
                self.label,
                Abbreviated(path)
            );
        }
        let top = self.layer(file, path, Some(Cow::new(&header, layout)?))?;
        self.image(top, lower, size)
    }

    /// Says that a COW file can't be over the one at `path`, and returns `EINVAL`.
    pub(super) fn ambiguous(&self, path: &[u8], len: u64) -> Error {
        self.last_error.say(fmt!(
            "{}: {}: its length and its disk's are the same, {len} bytes: \
             a COW file over it could not say which is meant",
            self.label,
            Abbreviated(path)
        ));
        EINVAL
    }

    /// Whether `file` is what a crash leaves of a file that [`Self::fill`] was at work on, with
    /// nothing in it that anybody can miss.
    fn is_unfinished(&self, file: &File, path: &[u8], layout: &Layout) -> Result<bool> {
        let mut first = [0; SECTOR];
        file.read_at(&mut first, 0)
            .map_err(|e| self.failed(path, "cannot be read", e))?;
        Ok(file.size() == layout.file_len()
            && first == [0; SECTOR]
            && file.next_data(layout.bitmap_offset).is_none())
    }

    /// Makes `file`, which has no data from the bitmap on, a COW file.
    pub(super) fn fill(
        &self,
        file: &File,
        path: &[u8],
        header: &Header<'_>,
        layout: &Layout,
    ) -> Result {
        // The header comes last: only with all else in place is this a COW file.
        file.truncate(layout.file_len())?;
        file.sync()?;
        self.write_header(file, path, None, header)
    }
}
