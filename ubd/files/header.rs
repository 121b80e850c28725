// SPDX-License-Identifier: GPL-2.0

//! The header of a COW file, in its file.

use crate::ubd::{
    cow::header::{self, Header, Version},
    cow::layout::Layout,
    cow::other_time,
    cow::replace,
    cow::reset,
    files::open::{bytes, Opening},
    files::reset::finish,
    kernel::file::File,
    options::Abbreviated,
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// What a COW header says, apart from the bytes it was read from.
pub(super) struct Cow {
    pub(super) version: Version,
    pub(super) mtime: u32,
    /// The size of the backing file's disk in bytes, if the header says that it is smaller.
    pub(super) named_size: Option<u64>,
    /// Another time that the backing file may have, see [`other_time`].
    pub(super) other_mtime: Option<u32>,
    pub(super) sector_size: u32,
    pub(super) alignment: u32,
    pub(super) backing_path: KVec<u8>,
    pub(super) layout: Layout,
}

impl Cow {
    /// Returns `ENOMEM`.
    pub(super) fn new(header: &Header<'_>, layout: Layout) -> Result<Self> {
        Ok(Self {
            version: header.version,
            mtime: header.mtime,
            named_size: header.backing_size,
            other_mtime: None,
            sector_size: header.sector_size,
            alignment: header.alignment,
            backing_path: bytes(header.backing_file)?,
            layout,
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.layout.size
    }

    /// The size that the disk of the backing file must have, in bytes.
    pub(super) fn backing_size(&self) -> u64 {
        self.named_size.unwrap_or(self.layout.size)
    }

    /// The header itself.
    pub(super) fn header(&self) -> Header<'_> {
        Header {
            version: self.version,
            mtime: self.mtime,
            size: self.size(),
            backing_size: self.named_size,
            sector_size: self.sector_size,
            alignment: self.alignment,
            backing_file: &self.backing_path,
        }
    }
}

impl Opening<'_> {
    /// Puts `new` in the place of the header `old` of `file`, and makes it durable.
    pub(super) fn write_header(
        &self,
        file: &File,
        path: &[u8],
        old: Option<&Header<'_>>,
        new: &Header<'_>,
    ) -> Result {
        let mut buf = KVVec::from_elem(0u8, header::LEN_MAX, GFP_KERNEL)?;
        for step in replace::steps(old, new).map_err(|e| self.unusable(path, &e))? {
            let bytes = step.bytes(&mut buf).map_err(|e| self.unusable(path, &e))?;
            file.write_at(bytes, step.offset())?;
            file.sync()?;
        }
        Ok(())
    }

    /// Reads the header of the file at `path`. `None` if it is no COW file.
    pub(super) fn read_header(&self, file: &File, path: &[u8]) -> Result<Option<Cow>> {
        self.parse_header(file, path, |_| false)
    }

    /// As [`Self::read_header`], of the file that is to be written; to which a reset that was not
    /// finished is no hindrance, but is to be finished.
    pub(super) fn read_top_header(&self, file: &File, path: &[u8]) -> Result<Option<Cow>> {
        let mut resetting = false;
        let header = self.parse_header(file, path, |bytes| {
            resetting = !self.read_only && reset::is_marked(bytes);
            resetting
        })?;
        if let Some(cow) = header.as_ref().filter(|_| resetting) {
            finish(file, &cow.layout).map_err(|e| self.failed(path, "cannot be reset", e))?;
            pr_info!(
                "{}: {}: a reset was not finished, is finished now\n",
                self.label,
                Abbreviated(path)
            );
        }
        Ok(header)
    }

    /// As [`Self::read_header`]. `is_marked` is asked whether to take a header for one with the
    /// mark of a reset, and pass over that.
    fn parse_header(
        &self,
        file: &File,
        path: &[u8],
        is_marked: impl FnOnce(&[u8]) -> bool,
    ) -> Result<Option<Cow>> {
        let mut bytes = KVVec::from_elem(0u8, header::LEN_MAX, GFP_KERNEL)?;
        let len = file
            .read_at(&mut bytes, 0)
            .map_err(|e| self.failed(path, "cannot be read", e))?;
        let bytes = bytes.get_mut(..len).ok_or(EINVAL)?;
        if is_marked(bytes) {
            reset::turn(bytes);
        }
        let parsed = header::parse(bytes);
        let Some(header) = parsed.map_err(|e| self.unusable(path, &e))? else {
            return Ok(None);
        };
        let layout = Layout::new(&header, PAGE_SIZE as u32).map_err(|e| self.unusable(path, &e))?;
        let needed = layout.bitmap_offset + layout.bitmap_len;
        if file.size() < needed {
            self.last_error.say(fmt!(
                "{}: {}: has {} bytes, but its bitmap ends at {needed}",
                self.label,
                Abbreviated(path),
                file.size()
            ));
            return Err(EINVAL);
        }
        let mut cow = Cow::new(&header, layout)?;
        cow.other_mtime = other_time::of(bytes, &header);
        Ok(Some(cow))
    }
}
