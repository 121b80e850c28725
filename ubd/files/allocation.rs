// SPDX-License-Identifier: GPL-2.0

//! Space that is taken ahead of the writes.
//!
//! In a file of holes a file system has a transaction and an extent for each block that is written
//! for the first time. So pieces of the disk are filled: zeros are put into the holes that the COW
//! file has there, all at once. Space that is allocated without zeros (unwritten extents) would not
//! do: that takes a transaction for each block again.
//!
//! Where the device knows of zeros that need not be written, the file system has it put them there,
//! in one step and a transaction; else they are written.
//!
//! Zeros are put where no bits are set, so that nobody reads them and a crash at any point does no
//! harm. Nor must they meet a write, whose bits are set when it is done. There are two ways to see
//! to that. If the user names the pieces' length, the first write fills its piece, and a piece is
//! *settled* before that begins: no zeros come there any more. Who finds one that is not does that
//! under a lock, one at a time, and a write to a settled piece takes none.
//!
//! Otherwise a piece is filled when some of it has been written, or by nobody who writes. Then it
//! is settled when it was filled, and a write to one that is not goes through a gate: who fills a
//! piece closes that, and waits for those that are under way.

use crate::ubd::{
    cow::bitmap::{Bitmap, NotLoaded, PAGE_SECTORS, PART_SECTORS},
    engine::plan,
    files::bitmap_pages::OnDisk,
    files::image::Image,
    files::layer::{Layer, Map, Wait},
    files::usage::parse_bytes,
    kernel::gate::Gate,
};
use core::ops::Range;
use kernel::{
    fmt, new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    sync::Mutex,
};

/// The smallest piece, in bytes.
const PIECE_MIN: u64 = 128 << 10;

/// The largest, in bytes: as much as a page of the bitmap stands for, with sectors of 512 bytes.
const PIECE_MAX: u64 = 16 << 20;

/// The length of those that no user has named, in bytes.
const PIECE: u64 = 1 << 20;

/// A write of this part of a piece, or more, fills none: it fills holes by itself.
const PART: u64 = 8;

/// A piece of which this part has been written, 4 KiB, is filled when the next write comes. Later
/// there would be more holes to be filled, and fewer writes to gain by it.
const WRITTEN_PART: u64 = 256;

/// When space is taken ahead of the writes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ahead {
    /// When it pays, see [`Image::set_allocation`].
    #[default]
    Auto,
    /// Never.
    Off,
    /// By the first write into a piece of so many bytes.
    Pieces(u64),
    /// For the whole disk, while it is in use.
    All,
}

impl Ahead {
    /// As a user has said it: `auto`, `all`, or the length of pieces in bytes, 0 for none. Returns
    /// `EINVAL` for what is no power of two within the limits.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        match text.trim_ascii() {
            b"auto" => return Ok(Self::Auto),
            b"all" => return Ok(Self::All),
            _ => {}
        }
        match parse_bytes(text)? {
            0 => Ok(Self::Off),
            bytes if bytes.is_power_of_two() && (PIECE_MIN..=PIECE_MAX).contains(&bytes) => {
                Ok(Self::Pieces(bytes))
            }
            _ => Err(EINVAL),
        }
    }
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("0"),
            Self::Pieces(bytes) => f.write_fmt(fmt!("{bytes}")),
            Self::All => f.write_str("all"),
        }
    }
}

/// How a COW file takes space ahead of the writes.
pub(crate) struct Allocation {
    /// The pieces' length in bytes, a power of two; 0 if it does not.
    piece: Atomic<u64>,
    /// How many sectors of a piece have to be written until it is filled. 0: its first write fills
    /// it. If there are no pieces, whether there would be if they paid.
    written: Atomic<u64>,
    /// Whether the file system may have the device put zeros there without writing them.
    by_device: Atomic<bool>,
    /// Up to which byte of the disk all of it was filled.
    filled: Atomic<u64>,
    /// Held by the one who settles a piece.
    settling: Pin<KBox<Mutex<()>>>,
    /// Of sectors in pieces that are not settled, unless their first write fills them.
    gate: Gate,
}

impl Allocation {
    /// None. May sleep. Returns `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            piece: Atomic::new(0),
            written: Atomic::new(0),
            by_device: Atomic::new(true),
            filled: Atomic::new(0),
            settling: KBox::pin_init(new_mutex!((), "ubd_settling"), GFP_KERNEL)?,
            gate: Gate::new(),
        })
    }

    fn has_gate(&self) -> bool {
        self.written.load(Relaxed) != 0
    }
}

/// A write that nobody puts zeros in the way of, until this is dropped.
pub(crate) struct UnderWay<'a>(Option<&'a Gate>);

impl UnderWay<'_> {
    /// Has it last until [`Image::end_under_way`] is called, if this returns true.
    #[must_use]
    pub(crate) fn keep(mut self) -> bool {
        self.0.take().is_some()
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.leave();
        }
    }
}

impl Image {
    /// When space is taken ahead of the writes. That this is [`Ahead::Auto`] does not say that it
    /// pays.
    pub(crate) fn allocation(&self) -> Ahead {
        let Some(Map { allocation, .. }) = self.top_map() else {
            return Ahead::Auto;
        };
        match (
            allocation.piece.load(Relaxed),
            allocation.written.load(Relaxed),
        ) {
            (0, 0) => Ahead::Off,
            (0, _) => Ahead::Auto,
            (piece, 0) => Ahead::Pieces(piece),
            (_, u64::MAX) => Ahead::All,
            _ => Ahead::Auto,
        }
    }

    /// Has it taken so. With sectors of more than 512 bytes the smallest piece is longer. To be
    /// called before there are requests.
    ///
    /// By itself, that is, with [`Ahead::Auto`], it is taken where writes go past the page cache
    /// and a first one is so much more work than one to zeros that a few make up for the zeros.
    ///
    /// Returns `EINVAL` if there is no COW file that could take any.
    pub(crate) fn set_allocation(&self, ahead: Ahead) -> Result {
        let top = self.top()?;
        let Some(map) = &top.map else {
            return match ahead {
                Ahead::Off | Ahead::Auto => Ok(()),
                Ahead::Pieces(_) | Ahead::All => Err(EINVAL),
            };
        };
        map.allocation
            .written
            .store(u64::from(ahead == Ahead::Auto), Relaxed);
        // Where it takes no file system's work, or is memory.
        if self.is_read_only() || !top.file.is_regular() || top.file.is_in_memory() {
            return Ok(());
        }
        let shift = map.layout.sector_shift;
        let piece = |bytes: u64| bytes.max(PART_SECTORS << shift);
        let (piece, written) = match ahead {
            Ahead::Auto if self.writes_direct() && top.file.gains_by_zeros() => {
                (piece(PIECE), (piece(PIECE) >> shift) / WRITTEN_PART)
            }
            Ahead::Auto | Ahead::Off => return Ok(()),
            Ahead::Pieces(bytes) => (piece(bytes), 0),
            Ahead::All => (piece(PIECE), u64::MAX),
        };
        map.allocation.piece.store(piece, Relaxed);
        map.allocation.written.store(written, Relaxed);
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
    /// `pos`. To be called before the write begins; it has ended, with its bits set, when what is
    /// returned is dropped.
    ///
    /// May sleep, for long. Returns an error when the bitmap can't be read; if there is no space it
    /// returns none.
    pub(crate) fn allocate(&self, pos: u64, len: u64) -> Result<UnderWay<'_>> {
        loop {
            if let Some(under_way) = self.allocate_nowait(pos, len) {
                return Ok(under_way);
            }
            let layer = self.top()?;
            let map = layer.map.as_ref().ok_or(EIO)?;
            self.settle_as(layer, map, pos, len, true)?;
            if !map.allocation.has_gate() {
                continue;
            }
            let (start, end) = sectors(map, pos, len);
            if map.allocation.gate.enter(start..end) {
                return Ok(UnderWay(Some(&map.allocation.gate)));
            }
            // Waits for the one who has closed it.
            drop(map.allocation.settling.lock());
        }
    }

    /// As [`Self::allocate`], of a write for which there is nothing to wait for; else `None`. It
    /// fills nothing. May be called in any context.
    #[inline]
    pub(crate) fn allocate_nowait(&self, pos: u64, len: u64) -> Option<UnderWay<'_>> {
        self.is_allocated(pos, len).then(|| UnderWay(None))
    }

    /// As [`Self::allocate_nowait`], of one that can be expected to need no space.
    #[inline]
    pub(crate) fn start_nowait(&self, pos: u64, len: u64) -> Option<UnderWay<'_>> {
        if let Some(under_way) = self.allocate_nowait(pos, len) {
            return Some(under_way);
        }
        let map = self.top_map()?;
        let (start, end) = sectors(map, pos, len);
        let gate = &map.allocation.gate;
        let entered = map.allocation.has_gate() && gate.enter(start..end);
        entered.then(|| UnderWay(Some(gate)))
    }

    /// Ends a write for which [`UnderWay::keep`] has returned true. May be called in any context.
    pub(crate) fn end_under_way(&self) {
        if let Some(map) = self.top_map() {
            map.allocation.gate.leave();
        }
    }

    /// Sees to it that [`Self::allocate`] takes no space for such a write, for which there may have
    /// to be memory.
    pub(crate) fn settle(&self, pos: u64, len: u64) -> Result {
        if self.is_allocated(pos, len) {
            return Ok(());
        }
        let layer = self.top()?;
        let map = layer.map.as_ref().ok_or(EIO)?;
        self.settle_as(layer, map, pos, len, false)
    }

    /// Settles the pieces of such a write, unless they have a gate and are not to be filled yet.
    fn settle_as(&self, layer: &Layer, map: &Map, pos: u64, len: u64, filling: bool) -> Result {
        let Map {
            allocation, bitmap, ..
        } = map;
        let (mut at, end) = sectors(map, pos, len);
        let piece = allocation.piece.load(Relaxed) >> map.layout.sector_shift;
        while at < end {
            let first = at & !(piece - 1);
            let last = (first + piece).min(map.layout.sectors);
            let part = at..end.min(last);
            let small = (part.end - part.start) * PART < piece;
            match is_due(map, first..last, &part, filling, small) {
                Ok(false) => {}
                Ok(true) => {
                    let _one_at_a_time = allocation.settling.lock();
                    // Others may have done it meanwhile.
                    if bitmap.is_settled(first, last) != Ok(true) {
                        if filling && small {
                            // If there is no space for it, it does without.
                            let _ = self.fill_piece(layer, map, first..last);
                        }
                        bitmap.settle(first, last);
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

    /// Fills a piece, if there is anything to fill and there is the space for it, when no write is
    /// under way there. To be called with the lock held. Returns `ENOSPC`, or what writing does.
    fn fill_piece(&self, layer: &Layer, map: &Map, sectors: Range<u64>) -> Result {
        let layout = &map.layout;
        let (start, end) = (layout.data_at(sectors.start), layout.data_at(sectors.end));
        // What is not there yet of a file would have to get longer for it.
        let end = end.min(layer.file.size());
        if end <= start || !layer.file.has_hole(start, end - start) {
            return Ok(());
        }
        if !self.has_room(end - start) {
            return Err(ENOSPC);
        }
        let gate = map.allocation.has_gate().then_some(&map.allocation.gate);
        if let Some(gate) = gate {
            gate.close(sectors.clone());
        }
        let result = fill_holes(layer, map, sectors, end);
        if let Some(gate) = gate {
            gate.open();
        }
        self.ask_for_look();
        result
    }

    /// Up to which byte of the disk all of it was filled, for [`Ahead::All`].
    pub(crate) fn filled(&self) -> u64 {
        self.top_map()
            .map_or(0, |map| map.allocation.filled.load(Relaxed))
    }

    /// Fills the next piece, for [`Ahead::All`], as long as there is one. Of the bitmap nothing is
    /// kept in memory that has no bits. To be called by one at a time, who keeps the image from
    /// being replaced.
    ///
    /// May sleep, for long. Returns whether there may be more to do; `ENOSPC` if there is no space
    /// for it, or what writing does.
    pub(crate) fn fill_next(&self) -> Result<bool> {
        let layer = self.top()?;
        let Some(map) = layer.map.as_ref() else {
            return Ok(false);
        };
        let shift = map.layout.sector_shift;
        let piece = map.allocation.piece.load(Relaxed) >> shift;
        let first = map.allocation.filled.load(Relaxed) >> shift;
        if self.allocation() != Ahead::All || first >= map.layout.sectors || self.has_failed() {
            return Ok(false);
        }
        let last = (first + piece).min(map.layout.sectors);
        {
            let _one_at_a_time = map.allocation.settling.lock();
            // All of a piece is in one page.
            let page = Bitmap::page_of(first);
            let mut on_disk = OnDisk::new(layer, map);
            let loaded = on_disk.next_data(page) == page && on_disk.load_bits(page)?;
            self.fill_piece(layer, map, first..last)?;
            if loaded {
                map.bitmap.settle(first, last);
            }
        }
        let filled = (last << shift).min(self.size());
        map.allocation.filled.store(filled, Relaxed);
        Ok(last < map.layout.sectors)
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

/// Whether a piece, of whose sectors `part` is to be written, is to be settled before. If it has a
/// gate that is when it is to be filled.
fn is_due(
    map: &Map,
    piece: Range<u64>,
    part: &Range<u64>,
    filling: bool,
    small: bool,
) -> Result<bool, NotLoaded> {
    if map.bitmap.is_settled(part.start, part.end)? {
        return Ok(false);
    }
    let written = map.allocation.written.load(Relaxed);
    if written == 0 || !filling {
        return Ok(true);
    }
    let has = piece.end - piece.start - map.bitmap.missing(piece.start, piece.end)?;
    Ok(small && has >= written)
}

/// Puts zeros into the holes of these sectors, up to byte `end` of the file, where no bits are set.
fn fill_holes(layer: &Layer, map: &Map, sectors: Range<u64>, end: u64) -> Result {
    let layout = &map.layout;
    let mut at = sectors.start;
    while at < sectors.end {
        let run_end = match plan::run(&map.bitmap, at, sectors.end) {
            Ok(run) if run.in_cow => {
                at = run.end;
                continue;
            }
            Ok(run) => run.end,
            // It has no bits: who fills all has looked, before all others the page was there.
            Err(NotLoaded(page)) => ((page + 1) * PAGE_SECTORS).min(sectors.end),
        };
        let range = layout.data_at(at)..layout.data_at(run_end).min(end);
        fill(layer, map, range)?;
        at = run_end;
    }
    Ok(())
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
