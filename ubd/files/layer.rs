// SPDX-License-Identifier: GPL-2.0

//! One open file of a unit, and how it is used.

use crate::ubd::kernel::compat::EOPNOTSUPP;
use crate::ubd::{
    cow::bitmap::Bitmap,
    cow::layout::Layout,
    files::allocation::Allocation,
    files::open::bytes,
    files::space::Space,
    kernel::file::{DirectAlignment, File, Through},
    options::Abbreviated,
};
use kernel::{
    block::SECTOR_SIZE,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::{Arc, Mutex, SetOnce},
};

/// What makes a file a COW file.
pub(crate) struct Map {
    /// Where in the file its bitmap and its data lie.
    pub(crate) layout: Layout,
    /// Which sectors are in this file.
    pub(crate) bitmap: Bitmap,
    /// What the file takes.
    pub(super) space: Space,
    /// How it takes space ahead of the writes.
    pub(super) allocation: Allocation,
    /// Held by the one who reads a page of the bitmap.
    pub(super) loading: Pin<KBox<Mutex<()>>>,
}

impl Map {
    /// That of a COW file with this layout, with no page of the bitmap read yet.
    ///
    /// May sleep. Returns `ENOMEM`.
    pub(crate) fn new(layout: Layout) -> Result<Self> {
        Ok(Self {
            bitmap: Bitmap::new(layout.sectors)?,
            layout,
            space: Space::new(),
            allocation: Allocation::new()?,
            loading: KBox::pin_init(new_mutex!((), "ubd_loading"), GFP_KERNEL)?,
        })
    }
}

/// After so many writes that could not be started where they were submitted, one after the other,
/// there are [`LEFT_OUT`] that are not tried.
const MISSES: u32 = 4;

/// See [`MISSES`].
const LEFT_OUT: u32 = 32;

/// One file of a unit.
pub(crate) struct Layer {
    /// The open file.
    pub(crate) file: Arc<File>,
    /// Its path, as the user or a COW header has it.
    pub(crate) path: KVec<u8>,
    /// `None` for a plain file.
    pub(crate) map: Option<Arc<Map>>,
    /// Whether a read may be tried where it must not wait for a disk.
    reads_at_once: bool,
    /// Whether a read past the page cache may be started there. Goes once at most, as below.
    reads_direct_at_once: Atomic<bool>,
    /// Whether a write may be. Goes once at most.
    writes_direct_at_once: Atomic<bool>,
    /// How many writes, one after the other, could not be.
    missed: Atomic<u32>,
    /// What a range that is freed or zeroed by the file itself has to be a multiple of, in bytes:
    /// a power of two.
    zeroing_unit: u64,
    /// How the file can be used past the page cache, if it can and has one.
    pub(super) alignment: Option<DirectAlignment>,
    /// Whether it is. Goes once at most, when the file refuses it after all.
    pub(super) direct: Atomic<bool>,
    /// What is kept open for its lock, see [`Self::keep_open`].
    lock: SetOnce<Arc<File>>,
}

impl Layer {
    /// A layer of `file`; with a map if it is a COW file. May sleep. Returns `ENOMEM`.
    pub(crate) fn new(file: File, path: KVec<u8>, map: Option<Arc<Map>>) -> Result<Self> {
        Self::of(Arc::new(file, GFP_KERNEL)?, path, map)
    }

    /// As [`Self::new`], of a file that others have, too.
    pub(super) fn of(file: Arc<File>, path: KVec<u8>, map: Option<Arc<Map>>) -> Result<Self> {
        let in_memory = file.is_in_memory();
        // A block device takes its inode's lock whatever is asked for.
        let reads_at_once = in_memory || file.can_read_nowait() && !file.is_block_device();
        let alignment = match in_memory {
            true => None,
            false => file.direct_alignment(),
        };
        let at_once = |write| alignment.is_some() && file.can_start_direct_at_once(write);
        let (reads_direct_at_once, writes_direct_at_once) = (at_once(false), at_once(true));
        let zeroing_unit = file.device_limits().logical_block_size.max(1).into();
        Ok(Self {
            file,
            path,
            map,
            reads_at_once,
            reads_direct_at_once: Atomic::new(reads_direct_at_once),
            writes_direct_at_once: Atomic::new(writes_direct_at_once),
            missed: Atomic::new(0),
            zeroing_unit,
            alignment,
            direct: Atomic::new(false),
            lock: SetOnce::new(),
        })
    }

    /// A layer of the same open file, of whose bitmap nothing was read. May sleep. Returns
    /// `ENOMEM`.
    pub(super) fn anew(&self) -> Result<Self> {
        let anew = |map: &Arc<Map>| Ok::<_, Error>(Arc::new(Map::new(map.layout)?, GFP_KERNEL)?);
        let map = self.map.as_ref().map(anew);
        Ok(Self {
            file: self.file.clone(),
            path: bytes(&self.path)?,
            map: map.transpose()?,
            reads_at_once: self.reads_at_once,
            reads_direct_at_once: Atomic::new(self.reads_direct_at_once.load(Relaxed)),
            writes_direct_at_once: Atomic::new(self.writes_direct_at_once.load(Relaxed)),
            missed: Atomic::new(0),
            zeroing_unit: self.zeroing_unit,
            alignment: self.alignment,
            direct: Atomic::new(self.direct.load(Relaxed)),
            lock: self.kept_lock(),
        })
    }

    /// A layer of the same open file and the same bitmap. May sleep. Returns `ENOMEM`.
    pub(super) fn again(&self) -> Result<Self> {
        Ok(Self {
            lock: self.kept_lock(),
            ..Self::of(self.file.clone(), bytes(&self.path)?, self.map.clone())?
        })
    }

    /// Keeps `file` open as long as this layer is there, as it has the lock of this one's file.
    pub(super) fn keep_open(&self, file: &Arc<File>) {
        self.lock.populate(file.clone());
    }

    fn kept_lock(&self) -> SetOnce<Arc<File>> {
        let kept = SetOnce::new();
        if let Some(file) = self.lock.as_ref() {
            kept.populate(file.clone());
        }
        kept
    }

    /// A layer of the same file and the same bitmap that is not written: of `file`, which is the
    /// same [opened once more](File::reopen). May sleep. Returns `ENOMEM`.
    pub(super) fn sealed(&self, file: Arc<File>) -> Result<Self> {
        Self::of(file, bytes(&self.path)?, self.map.clone())
    }

    /// What direct I/O to the file has to be aligned to. `None` if it has none, or, as a file in
    /// memory, nothing that it could be used past.
    pub(crate) fn alignment(&self) -> Option<DirectAlignment> {
        self.alignment
    }

    /// As [`Self::alignment`], if the file is used past the page cache.
    pub(super) fn direct_alignment(&self) -> Option<DirectAlignment> {
        self.alignment.filter(|_| self.direct.load(Relaxed))
    }

    /// Has the file used past the page cache, where offset and length are multiples of `unit`
    /// bytes, a power of two, and aligned.
    pub(crate) fn set_direct(&mut self, unit: u32) {
        if let Some(alignment) = &mut self.alignment {
            alignment.offset = alignment.offset.max(unit);
            self.direct.store(true, Relaxed);
            // A page of the bitmap must not come with pages of data, which it would write too.
            self.file.set_no_readahead();
        }
    }

    /// Whether `e`, which a request has ended with, says that the file can't be used past the page
    /// cache. A file system says that it can, and leaves it to another one below, which can't.
    pub(crate) fn refuses_direct(e: Error) -> bool {
        e == EINVAL || e == EOPNOTSUPP
    }

    /// Has the file used by the page cache from now on, because direct I/O has ended with `e`, and
    /// says so. May be called in any context.
    #[cold]
    pub(crate) fn give_up_direct(&self, e: Error) {
        if self.direct.xchg(false, Full) {
            pr_warn!(
                "{}: no direct I/O, its file system refuses it ({e:?}); the page cache is used\n",
                Abbreviated(&self.path)
            );
        }
    }

    /// The unit of requests to a disk of which this is the written layer, see
    /// [`Image::block_size`](super::image::Image::block_size).
    pub(crate) fn block_size(&self) -> u32 {
        match &self.map {
            Some(map) => 1 << map.layout.sector_shift,
            None => {
                let block = self.file.device_limits().logical_block_size;
                block.clamp(SECTOR_SIZE, PAGE_SIZE as u32)
            }
        }
    }

    /// See the field.
    pub(crate) fn zeroing_unit(&self) -> u64 {
        self.zeroing_unit
    }

    /// Whether this layer is to be used past the page cache, at offsets and lengths of which `bits`
    /// has all that are set in any of them.
    #[inline]
    pub(crate) fn is_direct(&self, bits: u64) -> bool {
        self.direct_alignment()
            .is_some_and(|alignment| alignment.fits(bits))
    }

    /// Whether a read past the page cache may be started where it must not wait.
    #[inline]
    pub(crate) fn reads_direct_at_once(&self) -> bool {
        self.reads_direct_at_once.load(Relaxed)
    }

    /// Whether a write may be, and is worth a try: of many that are the first to their places, or
    /// go to a file that shares them with others, none can be.
    #[inline]
    pub(crate) fn writes_direct_at_once(&self) -> bool {
        if !self.writes_direct_at_once.load(Relaxed) {
            return false;
        }
        let missed = self.missed.load(Relaxed);
        if missed >= MISSES {
            let next = match missed - MISSES {
                LEFT_OUT.. => MISSES - 1,
                _ => missed + 1,
            };
            self.missed.store(next, Relaxed);
        }
        missed < MISSES
    }

    /// Takes note of whether a write could be. It is but a guess for those that come.
    #[inline]
    pub(crate) fn count_missed(&self, missed: bool) {
        let before = self.missed.load(Relaxed);
        if missed {
            self.missed.store(before.saturating_add(1), Relaxed);
        } else if before != 0 {
            self.missed.store(0, Relaxed);
        }
    }

    /// Has no reads started there any more, or no `write`s. May be called in any context.
    #[cold]
    pub(crate) fn give_up_direct_at_once(&self, write: bool) {
        match write {
            true => self.writes_direct_at_once.store(false, Relaxed),
            false => self.reads_direct_at_once.store(false, Relaxed),
        }
    }

    /// How this layer is to be read or written, with `bits` as for [`Self::is_direct`].
    ///
    /// Returns `EAGAIN` when it must not be done at all without waiting.
    #[inline]
    pub(crate) fn through(&self, wait: Wait, bits: u64) -> Result<Through> {
        match wait {
            Wait::Allowed if self.is_direct(bits) => Ok(Through::Direct),
            Wait::Allowed => Ok(Through::Cache),
            Wait::Never if self.reads_at_once && !self.direct.load(Relaxed) => {
                Ok(Through::CacheOnly)
            }
            Wait::Never => Err(EAGAIN),
        }
    }
}

/// Whether something may wait for a disk, or returns `EAGAIN` instead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It may.
    Allowed,
    /// It must not.
    Never,
}

/// A part of the disk that is in one file. All in bytes.
pub(crate) struct Piece<'a> {
    /// The file.
    pub(crate) layer: &'a Layer,
    /// Where the part starts in the file.
    pub(crate) offset: u64,
    /// How long it is.
    pub(crate) len: u64,
}
