// SPDX-License-Identifier: GPL-2.0

//! Space that is taken ahead of the writes.
//!
//! In a file of holes a file system has a transaction and an extent for each block that is written
//! for the first time. So, where the user asks for it, the first write into a piece of the disk
//! fills the holes that the COW file has there with zeros, all at once. Space that is allocated
//! without zeros (unwritten extents) would not do: that takes a transaction for each block again.
//!
//! Where the device knows of zeros that need not be written, the file system has it put them there,
//! in one step and a transaction; else they are written.
//!
//! Zeros are put where no bits are set, so that nobody reads them and a crash at any point does no
//! harm. Nor must they meet a write, whose bits are set when it is done. So a piece is *settled*
//! before the first write to it begins, and no zeros come there any more: who finds one that is not
//! does that under a lock, one at a time, and a write to a settled piece takes none.

use crate::ubd::{
    cow::bitmap::{NotLoaded, PART_SECTORS},
    engine::plan,
    files::bitmap_pages::OnDisk,
    files::image::Image,
    files::layer::{Layer, Map, Wait},
};
use core::ops::Range;
use kernel::{
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    sync::Mutex,
};

/// The smallest piece, in bytes.
const PIECE_MIN: u64 = 128 << 10;

/// The largest, in bytes: as much as a page of the bitmap stands for, with sectors of 512 bytes.
const PIECE_MAX: u64 = 16 << 20;

/// A write of this part of a piece, or more, settles it with no zeros: it fills holes by itself.
const PART: u64 = 8;

/// How a COW file takes space ahead of the writes.
pub(crate) struct Allocation {
    /// The pieces' length in bytes, a power of two; 0 if it does not.
    piece: Atomic<u64>,
    /// Whether the file system may have the device put zeros there without writing them.
    by_device: Atomic<bool>,
    /// Held by the one who settles a piece.
    settling: Pin<KBox<Mutex<()>>>,
}

impl Allocation {
    /// None. May sleep. Returns `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            piece: Atomic::new(0),
            by_device: Atomic::new(true),
            settling: KBox::pin_init(new_mutex!((), "ubd_settling"), GFP_KERNEL)?,
        })
    }
}

/// The length of pieces, in bytes, as a user has said it. Returns `EINVAL` for what is neither 0
/// nor a power of two within the limits.
pub(crate) fn check_piece(bytes: u64) -> Result<u64> {
    let fits = bytes.is_power_of_two() && (PIECE_MIN..=PIECE_MAX).contains(&bytes);
    match fits || bytes == 0 {
        true => Ok(bytes),
        false => Err(EINVAL),
    }
}

impl Image {
    /// In which pieces space is taken ahead of the writes, in bytes; 0 if it is not.
    pub(crate) fn allocation(&self) -> u64 {
        let map = self.top_map();
        map.map_or(0, |map| map.allocation.piece.load(Relaxed))
    }

    /// Has it taken in pieces of `bytes`, for which [`check_piece`] was asked, or 0. With sectors
    /// of more than 512 bytes the smallest piece is longer. To be called before there are requests.
    ///
    /// Returns `EINVAL` if there is no COW file.
    pub(crate) fn set_allocation(&self, bytes: u64) -> Result {
        let top = self.top()?;
        let Some(map) = &top.map else {
            return match bytes {
                0 => Ok(()),
                _ => Err(EINVAL),
            };
        };
        // Where it takes no file system's work, or is memory.
        if bytes != 0 && top.file.is_regular() && !top.file.is_in_memory() {
            let least = PART_SECTORS << map.layout.sector_shift;
            map.allocation.piece.store(bytes.max(least), Relaxed);
        }
        Ok(())
    }

    /// Whether a write of the `len` bytes at `pos` can begin without [`Self::allocate`]. May be
    /// called in any context.
    #[inline]
    pub(crate) fn is_allocated(&self, pos: u64, len: u64) -> bool {
        self.top_map().is_none_or(|map| {
            let (start, end) = sectors(map, pos, len);
            map.allocation.piece.load(Relaxed) == 0 || map.bitmap.is_settled(start, end) == Ok(true)
        })
    }

    /// Has the written file take the space ahead, if it is to, for a write of the `len` bytes at
    /// `pos`, and settles their pieces. To be called before the write begins.
    ///
    /// May sleep, for long. Returns an error when the bitmap can't be read; if there is no space it
    /// returns none.
    pub(crate) fn allocate(&self, pos: u64, len: u64) -> Result {
        self.settle_as(pos, len, true)
    }

    /// As [`Self::allocate`], but takes no space, for which there may have to be memory.
    pub(crate) fn settle(&self, pos: u64, len: u64) -> Result {
        self.settle_as(pos, len, false)
    }

    fn settle_as(&self, pos: u64, len: u64, filling: bool) -> Result {
        if self.is_allocated(pos, len) {
            return Ok(());
        }
        let layer = self.top()?;
        let map = layer.map.as_ref().ok_or(EIO)?;
        let (mut at, end) = sectors(map, pos, len);
        let piece = map.allocation.piece.load(Relaxed) >> map.layout.sector_shift;
        while at < end {
            let first = at & !(piece - 1);
            let last = (first + piece).min(map.layout.sectors);
            let part = at..end.min(last);
            match map.bitmap.is_settled(part.start, part.end) {
                Ok(true) => {}
                Ok(false) => {
                    let _one_at_a_time = map.allocation.settling.lock();
                    // Others may have done it meanwhile.
                    if map.bitmap.is_settled(first, last) != Ok(true) {
                        if filling && (part.end - part.start) * PART < piece {
                            self.fill_holes(layer, map, first..last);
                        }
                        map.bitmap.settle(first, last);
                    }
                }
                Err(NotLoaded(page)) => {
                    OnDisk::new(layer, map).load(page)?;
                    continue;
                }
            }
            at = part.end;
        }
        Ok(())
    }

    /// Puts zeros into the holes of these sectors, where no bits are set, if there is the space for
    /// it. To be called with the lock held.
    fn fill_holes(&self, layer: &Layer, map: &Map, sectors: Range<u64>) {
        let layout = &map.layout;
        let (start, end) = (layout.data_at(sectors.start), layout.data_at(sectors.end));
        // What is not there yet of a file would have to get longer for it.
        let end = end.min(layer.file.size());
        if end <= start || !layer.file.has_hole(start, end - start) || !self.has_room(end - start) {
            return;
        }
        let mut at = sectors.start;
        while at < sectors.end {
            // Its page of the bitmap is there, or the piece would not be looked at.
            let Ok(run) = plan::run(&map.bitmap, at, sectors.end) else {
                return;
            };
            let range = layout.data_at(at)..layout.data_at(run.end).min(end);
            if !run.in_cow && fill(layer, map, range).is_err() {
                return;
            }
            at = run.end;
        }
        self.ask_for_look();
    }

    /// Whether `bytes` more can be taken ahead: what the file has stays within its limit, and as
    /// much and what there should be is left for others.
    fn has_room(&self, bytes: u64) -> bool {
        let Ok(Layer { file, .. }) = self.top() else {
            return false;
        };
        let within_limit = match self.limit() {
            0 => true,
            limit => file.allocated().is_ok_and(|has| has + bytes <= limit),
        };
        let wanted = bytes.saturating_add(self.low_space().max(bytes));
        within_limit && file.space_left().is_none_or(|left| left >= wanted)
    }
}

/// The sectors that the `len` bytes at `pos` of the disk touch: the first, and the one behind the
/// last.
fn sectors(map: &Map, pos: u64, len: u64) -> (u64, u64) {
    let shift = map.layout.sector_shift;
    (pos >> shift, (pos + len).div_ceil(1 << shift))
}

/// Puts zeros into the holes in these bytes of the file, whole pages of it. If that fails, those
/// that were put there are taken away again.
fn fill(layer: &Layer, map: &Map, bytes: Range<u64>) -> Result {
    const WITHIN: u64 = PAGE_SIZE as u64 - 1;
    let (mut at, end) = ((bytes.start + WITHIN) & !WITHIN, bytes.end & !WITHIN);
    while at < end {
        let Some(hole) = layer.file.next_hole(at).filter(|hole| *hole < end) else {
            break;
        };
        let data = layer.file.next_data(hole).unwrap_or(u64::MAX);
        if data <= hole {
            // It can't be told.
            break;
        }
        let (from, to) = ((hole + WITHIN) & !WITHIN, data.min(end) & !WITHIN);
        if from < to {
            put_zeros(layer, map, from..to).inspect_err(|_| {
                let _ = layer.file.punch_hole(from, to - from);
            })?;
        }
        at = data;
    }
    Ok(())
}

/// Puts zeros into these bytes of the file, a hole.
fn put_zeros(layer: &Layer, map: &Map, bytes: Range<u64>) -> Result {
    let (from, len) = (bytes.start, bytes.end - bytes.start);
    if map.allocation.by_device.load(Relaxed) {
        match layer.file.allocate_zeros(from, len) {
            Err(e) if Layer::refuses_direct(e) => map.allocation.by_device.store(false, Relaxed),
            result => return result,
        }
    }
    let through = layer.through(Wait::Allowed, from | len)?;
    layer.file.fill_zeros(from, len, through)
}
