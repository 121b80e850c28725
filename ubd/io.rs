// SPDX-License-Identifier: GPL-2.0

//! `do_io`: carries a request out on an image.

use crate::ubd::{
    image::{Image, Layer, Wait},
    kernel::blk_mq::{Operation, Operations, Request},
    kernel::file::{File, Through},
    kernel::iov_iter::IovIter,
    options::Brief,
};
use kernel::prelude::*;

/// Carries out a request, on the account of the cgroup that it came from. A flush has nothing to
/// carry out here, and no request is durable by this alone.
///
/// May sleep. To be called in a kernel thread, where allocations start no I/O. Returns what the
/// files do, `EROFS` for a write to a read-only image, `EIO` for one to an image that has failed.
pub(crate) fn do_io<T: Operations>(image: &Image, rq: &Request<T>) -> Result {
    let _account = rq.account();
    let result = match rq.operation() {
        Operation::Read => return read(image, rq, Wait::Allowed),
        Operation::Write => write(image, rq),
        Operation::Discard => zero(image, rq, true),
        Operation::WriteZeroes => zero(image, rq, rq.may_unmap()),
        Operation::Flush => Ok(()),
        Operation::Other => Err(EOPNOTSUPP),
    };
    match result {
        Ok(()) => result,
        Err(e) => complain(image, image.top().ok(), rq, e),
    }
}

/// Fills the pages of a read. What the files lack reads as zeros.
///
/// With [`Wait::Never`] it returns `EAGAIN` rather than wait for a disk, and can be called again;
/// with [`Wait::Allowed`] it may sleep for long.
pub(crate) fn read<T: Operations>(image: &Image, rq: &Request<T>, wait: Wait) -> Result {
    let mut pos = rq.offset();
    let mut layer = image.top().ok();
    let result = rq.try_for_each_bio(|iter| {
        while iter.len() > 0 {
            let piece = image.locate(pos, iter.len() as u64, wait)?;
            layer = Some(piece.layer);
            let through = piece.layer.through(wait, piece.offset | piece.len)?;
            iter.window(piece.len as usize, |iter| {
                fill(&piece.layer.file, iter, piece.offset, through)
            })?;
            pos += piece.len;
        }
        Ok(())
    });
    match result {
        Ok(()) => result,
        // A task that is about to be killed is told EINTR: others may wait for what it reads.
        Err(e) if wait == Wait::Never && (e == EAGAIN || e == EINTR) => Err(EAGAIN),
        Err(e) => complain(image, layer, rq, e),
    }
}

/// Says, now and then, which file a request has failed for and why: the block layer knows neither,
/// and has one status for most errors. Gives the error back.
///
/// May be called in any context.
#[cold]
fn complain<T: Operations>(
    image: &Image,
    layer: Option<&Layer>,
    rq: &Request<T>,
    e: Error,
) -> Result {
    // When the image failed that was said; and what is not supported is not tried again.
    if !image.has_failed() && e != EOPNOTSUPP && image.complaints.allows() {
        if let Some(layer) = layer {
            pr_err!(
                "{}: {:?} of {} bytes at byte {} of its disk failed: {e:?}\n",
                Brief(&layer.path),
                rq.operation(),
                rq.len(),
                rq.offset()
            );
        }
    }
    Err(e)
}

/// Fills all of `iter` from `file` at `offset`, with zeros behind the file's end.
fn fill(file: &File, iter: &mut IovIter<'_>, mut offset: u64, mut through: Through) -> Result {
    while iter.len() > 0 {
        match file.read_iter(iter, offset, through) {
            Ok(0) => iter.zero(),
            Ok(n) => {
                offset += n as u64;
                // What is left after a part need not be aligned.
                if through == Through::Direct {
                    through = Through::Cache;
                }
            }
            Err(e) if e == EOPNOTSUPP && through == Through::CacheOnly => return Err(EAGAIN),
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
            let through = layer.through(Wait::Allowed, offset | iter.len() as u64)?;
            match layer.file.write_iter(iter, offset, through)? {
                0 => return Err(EIO),
                n => offset += n as u64,
            }
        }
        Ok(())
    })?;
    image.set_written(rq.offset(), rq.len())
}

/// Starts a read or a write past the page cache, on the account of the cgroup that it came from;
/// [`end_direct`] ends it. The request is given back if it can't be done so, as a whole and in one
/// file, or the bitmap has to be read first.
///
/// May sleep, but does not wait for the data. To be called in a kernel thread.
pub(crate) fn start_direct<T: Operations>(image: &Image, rq: Request<T>) -> Option<Request<T>> {
    if !rq.has_one_bio() {
        return Some(rq);
    }
    let (offset, len) = (rq.offset(), rq.len());
    let found = match rq.operation() {
        Operation::Read => image
            .locate(offset, len, Wait::Never)
            .map(|piece| (piece.layer, piece.offset, piece.len)),
        Operation::Write if image.has_bits(offset, len) => image
            .check_writable()
            .and_then(|()| image.top())
            .map(|layer| (layer, offset_in_top(layer, offset), len)),
        _ => return Some(rq),
    };
    match found {
        Ok((layer, at, part)) if part == len && layer.is_direct(at | len) => {
            let _account = rq.account();
            rq.start_direct(&layer.file, at);
            None
        }
        // Whoever takes it up finds the error again.
        _ => Some(rq),
    }
}

/// Whether a request that [`start_direct`] has started is done with `result`. `None` if it, or a
/// part of it, has to be carried out by [`do_io`].
///
/// May be called in any context.
pub(crate) fn end_direct<T: Operations>(
    image: &Image,
    rq: &Request<T>,
    result: Result<usize>,
) -> Option<Result> {
    match result {
        Ok(n) if n as u64 == rq.len() => Some(match rq.operation() {
            Operation::Write => image.set_loaded(rq.offset(), rq.len()),
            _ => Ok(()),
        }),
        // The file ends here, or its file system is full.
        Ok(_) => None,
        Err(e) if e == EAGAIN || e == EOPNOTSUPP => None,
        Err(e) => {
            // What was started is in one file.
            let piece = image.locate(rq.offset(), rq.len(), Wait::Never);
            let layer = match rq.operation() {
                Operation::Read => piece.ok().map(|piece| piece.layer),
                _ => image.top().ok(),
            };
            Some(complain(image, layer, rq, e))
        }
    }
}

/// Makes a range read as zeros, freeing its space in the file if `unmap`.
fn zero<T: Operations>(image: &Image, rq: &Request<T>, unmap: bool) -> Result {
    image.check_writable()?;
    let layer = image.top()?;
    let file = &layer.file;
    let start = offset_in_top(layer, rq.offset());
    let end = start + rq.len();
    // The file does what it can do by itself, which of a device is whole blocks.
    let within = layer.zeroing_unit() - 1;
    let (from, to) = ((start + within) & !within, end & !within);
    if from < to {
        let done = if unmap {
            file.punch_hole(from, to - from)
        } else {
            file.zero_range(from, to - from)
        };
        match done {
            // A device has forgotten by now what was to be written there.
            Err(_) if file.is_block_device() => file
                .write_zeros(from, to - from)
                .inspect_err(|e| image.fail(layer, "zeroing", *e))?,
            // Only tmpfs and the like can do the one and not the other.
            Err(e) if e == EOPNOTSUPP && !unmap => file.write_zeros(from, to - from)?,
            result => result?,
        }
        file.write_zeros(start, from - start)?;
        file.write_zeros(to, end - to)?;
    } else {
        file.write_zeros(start, end - start)?;
    }
    image.set_written(rq.offset(), rq.len())
}

/// Where byte `pos` of the disk, the start of a block, is in the file that is written.
fn offset_in_top(layer: &Layer, pos: u64) -> u64 {
    layer.map.as_ref().map_or(pos, |map| {
        map.layout.data_at(pos >> map.layout.sector_shift)
    })
}
