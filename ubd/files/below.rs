// SPDX-License-Identifier: GPL-2.0

//! Other files below the one that a unit in use writes, with the same contents where they show
//! through.
//!
//! The header of the written file names them before they are used. As the disk reads the same with
//! the old ones and with the new ones, it does not matter which of them a crash leaves there.

use crate::ubd::{
    cow::header::{self, Header},
    cow::replace,
    files::image::Image,
    files::layer::Layer,
    files::open::Opening, //
};
use kernel::{prelude::*, sync::Arc};

/// An image with the same written file as another one, and other files below it.
pub(crate) struct Below {
    old: Arc<Image>,
    new: Arc<Image>,
}

impl Below {
    /// That of `old` with the files of `lower`, the first of which can be named by the header.
    ///
    /// May sleep. Returns `EINVAL` if it can't, or if the written file is no COW file, and what
    /// reading a file does.
    pub(super) fn new(opening: &Opening<'_>, old: Arc<Image>, lower: KVec<Layer>) -> Result<Self> {
        let top = old.top()?.again()?;
        let image = opening.image_of(top, lower, old.size(), old.written.clone())?;
        let this = Self { old, new: image };
        let path = &this.top()?.path;
        this.with_headers(opening, |old, new| {
            replace::steps(Some(old), new)
                .map(drop)
                .map_err(|e| opening.unusable(path, &e))
        })?;
        Ok(this)
    }

    /// The image with the new files.
    pub(crate) fn image(&self) -> &Arc<Image> {
        &self.new
    }

    pub(super) fn old(&self) -> &Arc<Image> {
        &self.old
    }

    fn top(&self) -> Result<&Layer> {
        self.old.top()
    }

    /// Makes the header of the written file name the new ones, durably.
    ///
    /// May sleep. Returns what [`Image::check_writable`] and the file do. Then the header names the
    /// old ones or the new ones, or is between two long paths, and the unit goes on with what it
    /// has.
    pub(super) fn name(&self, opening: &Opening<'_>) -> Result {
        let top = self.top()?;
        self.old.check_writable()?;
        let mut buf = KVVec::from_elem(0u8, header::LEN_MAX, GFP_KERNEL)?;
        self.with_headers(opening, |old, new| {
            let steps = replace::steps(Some(old), new);
            for step in steps.map_err(|e| opening.unusable(&top.path, &e))? {
                let bytes = step.bytes(&mut buf);
                let bytes = bytes.map_err(|e| opening.unusable(&top.path, &e))?;
                top.file.write_at(bytes, step.offset())?;
                self.old.synced(top, top.file.sync())?;
            }
            Ok(())
        })
    }

    /// Runs `f` on the header that the written file has, and on the one that it is to have.
    fn with_headers(
        &self,
        opening: &Opening<'_>,
        f: impl FnOnce(&Header<'_>, &Header<'_>) -> Result,
    ) -> Result {
        let top = self.top()?;
        let below = self.new.layers().get(1).ok_or(EIO)?;
        let cow = opening
            .read_header(&top.file, &top.path)?
            .ok_or_else(|| opening.no_cow_file(&top.path))?;
        let old = cow.header();
        let new = Header {
            mtime: below.file.stat()?.mtime as u32,
            backing_file: &below.path,
            ..old
        };
        f(&old, &new)
    }
}
