// SPDX-License-Identifier: GPL-2.0

//! `do_io`: carries a request out on an image.

use crate::ubd::kernel::compat::EOPNOTSUPP;
use crate::ubd::{
    files::allocation::UnderWay,
    files::image::Image,
    files::layer::{Layer, Piece, Wait},
    kernel::blk_mq::{Command, Flag, Request},
    kernel::file::Through,
    kernel::iov_iter::IovIter,
    options::Abbreviated,
};
use kernel::{block::SECTOR_SHIFT, prelude::*};

/// Carries out a request, on the account of the cgroup that it came from. A flush has nothing to
/// carry out here, and no request is durable by this alone.
///
/// May sleep. To be called in a kernel thread, where allocations start no I/O. Returns what the
/// files do, `EROFS` for a write to a read-only image, `EIO` for one to an image that has failed.
pub(crate) fn do_io(image: &Image, rq: &Request) -> Result {
    let _account = rq.account();
    let result = match rq.command() {
        Command::Read => return read(image, rq, Wait::Allowed),
        Command::Write => write(image, rq),
        Command::Discard => discard(image, rq),
        Command::WriteZeroes => write_zeroes(image, rq),
        Command::Flush => Ok(()),
        Command::Other => Err(EOPNOTSUPP),
    };
    match result {
        Ok(()) => result,
        Err(e) => report_error(image, image.top().ok(), rq, e),
    }
}

/// Fills the pages of a read. What the files lack reads as zeros.
///
/// With [`Wait::Never`] it returns `EAGAIN` rather than wait for a disk, and can be called again;
/// with [`Wait::Allowed`] it may sleep for long.
pub(crate) fn read(image: &Image, rq: &Request, wait: Wait) -> Result {
    let (mut pos, _) = byte_range(rq);
    let mut layer = image.top().ok();
    let result = rq.try_for_each_bio(|iter| {
        while iter.len() > 0 {
            let piece = image.locate(pos, iter.len() as u64, wait)?;
            layer = Some(piece.layer);
            let through = piece.layer.through(wait, piece.offset | piece.len)?;
            fill(&piece, iter, through)?;
            pos += piece.len;
        }
        Ok(())
    });
    match result {
        Ok(()) => result,
        // A task that is about to be killed is told EINTR: others may wait for what it reads.
        Err(e) if wait == Wait::Never && (e == EAGAIN || e == EINTR) => Err(EAGAIN),
        Err(e) => report_error(image, layer, rq, e),
    }
}

/// Says, now and then, which file a request has failed for and why: the block layer knows neither,
/// and has one status for most errors. Gives the error back.
///
/// May be called in any context.
#[cold]
fn report_error(image: &Image, layer: Option<&Layer>, rq: &Request, e: Error) -> Result {
    if e == ENOSPC {
        image.ask_for_look();
    }
    // When the image failed that was said; and what is not supported is not tried again.
    if !image.has_failed() && e != EOPNOTSUPP && image.ratelimit.allows() {
        if let Some(layer) = layer {
            let (pos, len) = byte_range(rq);
            pr_err!(
                "{}: {:?} of {} bytes at byte {} of its disk failed: {e:?}\n",
                Abbreviated(&layer.path),
                rq.command(),
                len,
                pos
            );
        }
    }
    Err(e)
}

/// Fills the next bytes of `iter` from a piece of the disk, with zeros behind the file's end.
fn fill(piece: &Piece<'_>, iter: &mut IovIter<'_>, mut through: Through) -> Result {
    let (mut offset, mut len) = (piece.offset, piece.len as usize);
    while len > 0 {
        match piece.layer.file.read_iter(iter, len, offset, through) {
            Ok(0) => {
                iter.zero(len);
                len = 0;
            }
            Ok(n) => {
                offset += n as u64;
                len = len.saturating_sub(n);
                // What is left after a part need not be aligned.
                if through == Through::Direct {
                    through = Through::Cache;
                }
            }
            Err(e) if e == EOPNOTSUPP && through == Through::CacheOnly => return Err(EAGAIN),
            Err(e) if through == Through::Direct && Layer::refuses_direct(e) => {
                piece.layer.give_up_direct(e);
                through = Through::Cache;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Puts the pages of a write into the file, then sets the sectors' bits: only what is there is
/// ever said to be there.
fn write(image: &Image, rq: &Request) -> Result {
    image.check_writable()?;
    let layer = image.top()?;
    let (pos, len) = byte_range(rq);
    let mut offset = offset_in_top(layer, pos);
    let _until_its_bits_are_set = image.allocate(pos, len)?;
    let write_all = || {
        rq.try_for_each_bio(|iter| {
            while iter.len() > 0 {
                let through = layer.through(Wait::Allowed, offset | iter.len() as u64)?;
                match layer.file.write_iter(iter, offset, through) {
                    Ok(0) => return Err(EIO),
                    Ok(n) => offset += n as u64,
                    Err(e) if through == Through::Direct && Layer::refuses_direct(e) => {
                        layer.give_up_direct(e);
                    }
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        })
    };
    adding(image, pos, len, write_all)
}

/// Has `f` put the `len` bytes at `pos` of the disk into the written file, if there may be as much
/// in there, and says that they are there.
fn adding(image: &Image, pos: u64, len: u64, f: impl FnOnce() -> Result) -> Result {
    let mut reserved = image.reserve(pos, len)?;
    let result = f().and_then(|()| image.set_written(pos, len, &mut reserved));
    image.give_back(reserved);
    result
}

/// Starts a read or a write past the page cache, on the account of the cgroup that it came from;
/// [`end_direct`] ends it. The request is given back if it can't be done so, as a whole and in one
/// file, or the bitmap has to be read first.
///
/// May sleep, but does not wait for the data, only for space that is taken ahead. To be called in a
/// kernel thread.
pub(crate) fn start_direct(image: &Image, mut rq: Request) -> Option<Request> {
    if !rq.has_one_bio() {
        return Some(rq);
    }
    let (offset, len) = byte_range(&rq);
    let mut under_way = None;
    let found = match rq.command() {
        Command::Read => image
            .locate(offset, len, Wait::Never)
            .map(|piece| (piece.layer, piece.offset, piece.len)),
        Command::Write if image.is_ready_to_write(offset, len) => image
            .check_writable()
            .and_then(|()| allocate(image, &rq))
            .and_then(|until_its_end| {
                under_way = Some(until_its_end);
                image.top()
            })
            .map(|layer| (layer, offset_in_top(layer, offset), len)),
        _ => return Some(rq),
    };
    match found {
        Ok((layer, at, part)) if part == len && layer.is_direct(at | len) => {
            rq.set_mark(under_way.is_some_and(UnderWay::keep));
            let _account = rq.account();
            rq.start_direct(&layer.file, at);
            None
        }
        // Whoever takes it up finds the error again.
        _ => Some(rq),
    }
}

/// As [`start_direct`], where it was submitted, if nothing has to be waited for: of a write neither
/// a journal nor space that is taken ahead.
///
/// To be called where allocations start no I/O.
pub(crate) fn start_direct_at_once(image: &Image, mut rq: Request) -> Option<Request> {
    if !rq.has_one_bio() {
        return Some(rq);
    }
    let (pos, len) = byte_range(&rq);
    if rq.command() == Command::Write {
        return start_write_at_once(image, rq, pos, len);
    }
    match image.locate(pos, len, Wait::Never) {
        Ok(Piece {
            layer,
            offset,
            len: part,
        }) if part == len && layer.reads_direct_at_once() && layer.is_direct(offset | len) => {
            rq.set_mark(false);
            rq.start_direct_at_once(&layer.file, offset)
        }
        _ => Some(rq),
    }
}

fn start_write_at_once(image: &Image, mut rq: Request, pos: u64, len: u64) -> Option<Request> {
    let Ok(layer) = image.top() else {
        return Some(rq);
    };
    let at = offset_in_top(layer, pos);
    if image.check_writable().is_err()
        || !layer.is_direct(at | len)
        || !image.is_ready_to_write(pos, len)
        || !layer.writes_direct_at_once()
    {
        return Some(rq);
    }
    let Some(under_way) = image.start_nowait(pos, len) else {
        return Some(rq);
    };
    let mark = under_way.keep();
    rq.set_mark(mark);
    let returned = rq.start_direct_at_once(&layer.file, at);
    layer.count_missed(returned.is_some());
    if mark && returned.is_some() {
        image.end_under_way();
    }
    returned
}

/// Has the file take the space of a write ahead, see [`Image::allocate`]. May sleep.
#[inline]
fn allocate<'a>(image: &'a Image, rq: &Request) -> Result<UnderWay<'a>> {
    let (pos, len) = byte_range(rq);
    if let Some(under_way) = image.allocate_nowait(pos, len) {
        return Ok(under_way);
    }
    let _account = rq.account();
    image.allocate(pos, len)
}

/// Sees to it that [`do_io`] takes no space ahead for a write. May sleep. What is wrong with the
/// bitmap it finds again.
pub(crate) fn settle(image: &Image, rq: &Request) {
    let (pos, len) = byte_range(rq);
    let _ = image.settle(pos, len);
}

/// Whether a request that [`start_direct`] has started is done with `result`. `None` if it, or a
/// part of it, has to be carried out by [`do_io`].
///
/// May be called in any context.
pub(crate) fn end_direct(image: &Image, rq: &Request, result: Result<usize>) -> Option<Result> {
    let ended = ended(image, rq, result);
    if rq.mark() {
        image.end_under_way();
    }
    ended
}

fn ended(image: &Image, rq: &Request, result: Result<usize>) -> Option<Result> {
    let (pos, len) = byte_range(rq);
    match result {
        Ok(n) if n as u64 == len => Some(match rq.command() {
            Command::Write => image.set_written_nowait(pos, len),
            _ => Ok(()),
        }),
        // The file ends here, or its file system is full.
        Ok(_) => None,
        Err(e) if e == EAGAIN => None,
        Err(e) => {
            // What was started is in one file.
            let piece = image.locate(pos, len, Wait::Never);
            if Layer::refuses_direct(e) {
                // Which may not be for the direct I/O, but for a device that can't but wait.
                match (&piece, rq.command()) {
                    (Ok(piece), Command::Read) => piece.layer.give_up_direct_at_once(false),
                    (_, Command::Write) => {
                        let _ = image.top().map(|top| top.give_up_direct_at_once(true));
                    }
                    _ => {}
                }
                return None;
            }
            let layer = match rq.command() {
                Command::Read => piece.ok().map(|piece| piece.layer),
                _ => image.top().ok(),
            };
            Some(report_error(image, layer, rq, e))
        }
    }
}

/// Frees what the written file has of a range, which then reads as zeros. What it has not stays as
/// it is, and takes neither memory nor a bit: the range may be all of a large disk.
fn discard(image: &Image, rq: &Request) -> Result {
    image.check_writable()?;
    let (pos, len) = byte_range(rq);
    match image.written_part(pos, len)? {
        Some((pos, len)) => zero(image, pos, len, Zeroing::Discard),
        None => Ok(()),
    }
}

/// Makes a range read as zeros.
fn write_zeroes(image: &Image, rq: &Request) -> Result {
    image.check_writable()?;
    let how = Zeroing::WriteZeroes {
        unmap: !rq.flags().contains(Flag::NoUnmap),
    };
    let (pos, len) = byte_range(rq);
    adding(image, pos, len, || zero(image, pos, len, how))
}

/// Why a range is zeroed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeroing {
    /// To free its space, which need not be done.
    Discard,
    /// To read as zeros. Its space may be freed if `unmap`.
    WriteZeroes { unmap: bool },
}

/// Zeros the `len` bytes at `pos` of the disk in the written file.
///
/// Returns `EOPNOTSUPP`, and has done nothing, for a discard where the file has no holes.
fn zero(image: &Image, pos: u64, len: u64, how: Zeroing) -> Result {
    let layer = image.top()?;
    let file = &layer.file;
    let start = offset_in_top(layer, pos);
    let end = start + len;
    // The file does what it can do by itself, which of a device is whole blocks.
    let within = layer.zeroing_unit() - 1;
    let (from, to) = ((start + within) & !within, end & !within);
    if from < to {
        let done = match how {
            Zeroing::WriteZeroes { unmap: false } => file.zero_range(from, to - from),
            _ => file.punch_hole(from, to - from),
        };
        match done {
            // A device has forgotten by now what was to be written there.
            Err(_) if file.is_block_device() => file
                .write_zeros(from, to - from)
                .inspect_err(|e| image.fail(layer, "zeroing", *e))?,
            Err(e) if e == EOPNOTSUPP && how != Zeroing::Discard => {
                file.write_zeros(from, to - from)?
            }
            result => result?,
        }
        file.write_zeros(start, from - start)?;
        file.write_zeros(to, end - to)?;
    } else {
        file.write_zeros(start, end - start)?;
    }
    Ok(())
}

/// Where on the disk a request is, and how long it is; in bytes.
fn byte_range(rq: &Request) -> (u64, u64) {
    (rq.sector() << SECTOR_SHIFT, u64::from(rq.bytes()))
}

/// Where byte `pos` of the disk, the start of a block, is in the file that is written.
fn offset_in_top(layer: &Layer, pos: u64) -> u64 {
    layer.map.as_ref().map_or(pos, |map| {
        map.layout.data_at(pos >> map.layout.sector_shift)
    })
}
