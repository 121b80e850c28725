// SPDX-License-Identifier: GPL-2.0

//! Makes a COW file anew in place, so that its disk reads as the backing file.
//!
//! The header gets a mark by which it is none; that is made durable. The bitmap is cleared, the
//! data given back to the file system, and that is made durable; then the mark goes. After a crash
//! the file is as it was, or has the mark, and then who opens it to write goes on from there.

use crate::ubd::{
    cow::layout::Layout,
    cow::reset,
    files::image::{Image, Written},
    kernel::file::File, //
};
use kernel::{prelude::*, sync::Arc};

/// Puts the mark into the header of `file`, or takes it away. Makes nothing durable. May sleep.
fn turn(file: &File) -> Result {
    let mut start = [0; reset::LEN];
    if file.read_at(&mut start, 0)? != start.len() {
        return Err(EIO);
    }
    reset::turn(&mut start);
    let version = start.get(reset::VERSION_AT..).ok_or(EIO)?;
    file.write_at(version, reset::VERSION_AT as u64)
}

/// Clears the COW file `file`, whose header has the mark, and takes that away. May sleep, for long.
///
/// When it returns an error this has to be done again before the file can be used.
pub(super) fn finish(file: &File, layout: &Layout) -> Result {
    let (bitmap, data) = (layout.bitmap_offset, layout.data_offset);
    if file.is_block_device() || file.punch_hole(bitmap, layout.bitmap_len).is_err() {
        file.write_zeros(bitmap, layout.bitmap_len)?;
    }
    // What cannot be given back does no harm.
    let _ = file.punch_hole(data, layout.sectors << layout.sector_shift);
    file.sync()?;
    turn(file)?;
    Ok(file.sync()?)
}

impl Image {
    /// Begins to make the COW file anew, and returns the image of the same open files that the disk
    /// is to have then. When this has returned, what was written is gone: this image is not to be
    /// used any more, and [`Self::finish_reset`] of the new one to be called before that is.
    ///
    /// May sleep, for long. Returns `EINVAL` if there is no COW file, what
    /// [`Self::check_writable`] does, and what the file does. If it is not known whether the mark
    /// is durable the image has failed.
    pub(crate) fn begin_reset(&self) -> Result<Arc<Self>> {
        self.check_writable()?;
        let layer = self.top()?;
        if layer.map.is_none() {
            return Err(EINVAL);
        }
        let new = self.anew()?;
        turn(&layer.file)?;
        if let Err(e) = layer.file.sync() {
            self.fail(layer, "reset", e.error);
            return Err(e.error);
        }
        Ok(new)
    }

    /// Makes the COW file anew, see [`Self::begin_reset`]. May sleep, for long.
    pub(crate) fn finish_reset(&self) -> Result {
        let layer = self.top()?;
        let map = layer.map.as_ref().ok_or(EINVAL)?;
        finish(&layer.file, &map.layout)
    }

    /// An image of the same open files, of whose bitmaps nothing was read.
    fn anew(&self) -> Result<Arc<Self>> {
        let mut layers = KVec::with_capacity(self.layers().len(), GFP_KERNEL)?;
        for layer in self.layers() {
            layers.push(layer.anew()?, GFP_KERNEL)?;
        }
        let new = Self::new(
            layers,
            self.size(),
            false,
            self.is_direct(),
            Written::new()?,
        );
        let new = Arc::pin_init(new, GFP_KERNEL)?;
        new.set_low_space(self.low_space())?;
        new.set_allocation(self.allocation())?;
        Ok(new)
    }
}
