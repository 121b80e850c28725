// SPDX-License-Identifier: GPL-2.0

//! Has a unit in use have another backing file, whose disk is the same.
//!
//! That it is the same is for the user to know: what is looked at is its size, and whether it can
//! be used.

use crate::ubd::{
    files::below::Below,
    files::image::Image,
    files::last_error::LastError,
    files::open::Opening,
    options::Options, //
};
use kernel::{prelude::*, sync::Arc};

/// A backing file that is to take the place of another one.
pub(crate) struct Switch {
    below: Below,
}

impl Switch {
    /// Opens the file at `path`, and what is behind it, as the backing file of `old`, the image of
    /// a unit with `options`. Says in `last_error` what failed.
    ///
    /// May sleep, for long. Sees files as the calling task does. Returns `EINVAL` for a unit that
    /// has no COW file, and for a file that can't be its backing file; `EROFS` or `EIO` for an
    /// image that is not written; `EAGAIN` or `EACCES` for a file that another process has locked,
    /// and what opening a file does.
    pub(crate) fn prepare(
        old: Arc<Image>,
        options: &Options<'_>,
        path: &[u8],
        last_error: &LastError,
    ) -> Result<Self> {
        let mut opening = Opening::of_image(options, &old, last_error);
        let top = old.top()?;
        if top.map.is_none() {
            return Err(opening.failed(&top.path, "has no backing file", EINVAL));
        }
        old.check_writable()
            .map_err(|e| opening.failed(&top.path, "is not written", e))?;
        opening.upper.push(top.file.stat()?.id, GFP_KERNEL)?;
        let cow = opening
            .read_header(&top.file, &top.path)?
            .ok_or_else(|| opening.no_cow_file(&top.path))?;
        let backing = opening.other_backing(path, &top.path, &cow)?;
        let lower = opening.lower(backing)?;
        let below = Below::new(&opening, old, lower)?;
        Ok(Self { below })
    }

    /// Makes the header of the written file name the new backing file, durably: see
    /// [`Below::name`].
    pub(crate) fn name(&self, options: &Options<'_>, last_error: &LastError) -> Result {
        let opening = Opening::of_image(options, self.below.image(), last_error);
        self.below.name(&opening).map_err(|e| {
            let path = self.image().top().map_or(&[][..], |top| &top.path);
            opening.failed(path, "cannot be switched to another backing file", e)
        })
    }

    /// The image that the unit is to have.
    pub(crate) fn image(&self) -> &Arc<Image> {
        self.below.image()
    }

    /// The path of the new backing file.
    pub(crate) fn path(&self) -> Result<&[u8]> {
        Ok(&self.image().layers().get(1).ok_or(EIO)?.path)
    }
}
