// SPDX-License-Identifier: GPL-2.0

//! `do_io`: carries a request out on an image.

use crate::ubd::{
    image::{Image, Layer, Wait},
    kernel::blk_mq::{Operation, Operations, Request},
    kernel::file::File,
    kernel::iov_iter::IovIter,
};
use kernel::prelude::*;

/// Carries out a request, on the account of the cgroup that it came from. A flush has nothing to
/// carry out here, and no request is durable by this alone.
///
/// May sleep. To be called in a kernel thread, where allocations start no I/O. Returns what the
/// files do, `EROFS` for a write to a read-only image, `EIO` for one to an image that has failed.
pub(crate) fn do_io<T: Operations>(image: &Image, rq: &Request<T>) -> Result {
    rq.on_its_account(|| match rq.operation() {
        Operation::Read => read(image, rq, Wait::Allowed),
        Operation::Write => write(image, rq),
        Operation::Discard => zero(image, rq, true),
        Operation::WriteZeroes => zero(image, rq, rq.may_unmap()),
        Operation::Flush => Ok(()),
        Operation::Other => Err(EOPNOTSUPP),
    })
}

/// Fills the pages of a read. What the files lack reads as zeros.
///
/// With [`Wait::Never`] it returns `EAGAIN` rather than wait for a disk, and can be called again;
/// with [`Wait::Allowed`] it may sleep for long.
pub(crate) fn read<T: Operations>(image: &Image, rq: &Request<T>, wait: Wait) -> Result {
    let mut pos = rq.offset();
    rq.try_for_each_bio(|iter| {
        while iter.len() > 0 {
            let piece = image.locate(pos, iter.len() as u64, wait)?;
            let nowait = piece.layer.nowait(wait)?;
            iter.window(piece.len as usize, |iter| {
                fill(&piece.layer.file, iter, piece.offset, nowait)
            })?;
            pos += piece.len;
        }
        Ok(())
    })
}

/// Fills all of `iter` from `file` at `offset`, with zeros behind the file's end.
fn fill(file: &File, iter: &mut IovIter<'_>, mut offset: u64, nowait: bool) -> Result {
    while iter.len() > 0 {
        match file.read_iter(iter, offset, nowait) {
            Ok(0) => iter.zero(),
            Ok(n) => offset += n as u64,
            Err(e) if e == EOPNOTSUPP && nowait => return Err(EAGAIN),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Puts the pages of a write into the file, then sets the sectors' bits: only what is there is
/// ever said to be there.
fn write<T: Operations>(image: &Image, rq: &Request<T>) -> Result {
    image.check_writable()?;
    let layer = image.top()?;
    let mut offset = offset_in_top(layer, rq.offset());
    rq.try_for_each_bio(|iter| {
        while iter.len() > 0 {
            match layer.file.write_iter(iter, offset)? {
                0 => return Err(EIO),
                n => offset += n as u64,
            }
        }
        Ok(())
    })?;
    image.set_written(rq.offset(), rq.len())
}

/// Makes a range read as zeros, freeing its space in the file if `unmap`.
fn zero<T: Operations>(image: &Image, rq: &Request<T>, unmap: bool) -> Result {
    image.check_writable()?;
    let layer = image.top()?;
    let offset = offset_in_top(layer, rq.offset());
    let done = if unmap {
        layer.file.punch_hole(offset, rq.len())
    } else {
        layer.file.zero_range(offset, rq.len())
    };
    match done {
        // Only tmpfs and the like can do the one and not the other.
        Err(e) if e == EOPNOTSUPP && !unmap => layer.file.write_zeros(offset, rq.len())?,
        result => result?,
    }
    image.set_written(rq.offset(), rq.len())
}

/// Where byte `pos` of the disk, the start of a block, is in the file that is written.
fn offset_in_top(layer: &Layer, pos: u64) -> u64 {
    layer.map.as_ref().map_or(pos, |map| {
        map.layout.data_at(pos >> map.layout.sector_shift)
    })
}
