// SPDX-License-Identifier: GPL-2.0

//! Whether the files of a unit can be used past the page cache.

use crate::ubd::{files::layer::Layer, files::open::Opening, options::Abbreviated};
use kernel::{block::SECTOR_SIZE, fmt, page::PAGE_SIZE, prelude::*};

impl Opening<'_> {
    /// Has all files of a disk used past the page cache, where requests are aligned to what they
    /// want. If one of them can't, says why, leaves all as they are and returns false.
    pub(super) fn set_direct(&self, layers: &mut [Layer]) -> bool {
        for layer in &*layers {
            let reason = match layer.alignment() {
                None if layer.file.is_in_memory() => continue,
                None => NoDirect::None,
                Some(found) if found.offset.max(found.memory) > PAGE_SIZE as u32 => {
                    NoDirect::Page(found.offset.max(found.memory))
                }
                // The bitmap is written by the page cache, of which no page must have data too.
                Some(_) => {
                    let data = layer.map.as_ref().map_or(0, |map| map.layout.data_offset);
                    if data % PAGE_SIZE as u64 == 0 {
                        continue;
                    }
                    NoDirect::Data(data)
                }
            };
            pr_warn!(
                "{}: {}: no direct I/O, {reason}; the page cache is used\n",
                self.label,
                Abbreviated(&layer.path)
            );
            return false;
        }
        let block = layers.first().map_or(SECTOR_SIZE, Layer::block_size);
        for (i, layer) in layers.iter_mut().enumerate() {
            // If some of what is written goes through the page cache, no page of that must have
            // other blocks that go past it: they would be overwritten with it.
            let mixed = layer.alignment().is_some_and(|found| found.offset > block);
            let written = i == 0 && !self.read_only;
            layer.set_direct(if written && mixed {
                PAGE_SIZE as u32
            } else {
                1
            });
        }
        if let Some(layer) = layers.first() {
            // What was read of it so far, or written before it came here.
            let map = layer.map.as_ref();
            let end = map.map_or_else(|| layer.file.size(), |map| map.layout.data_offset);
            layer.file.forget(0, end);
        }
        true
    }
}

/// Why a file can't be used past the page cache. All in bytes.
enum NoDirect {
    /// Its file system can't.
    None,
    /// It wants this alignment.
    Page(u32),
    /// The COW file's data starts here, in a page with a part of its bitmap.
    Data(u64),
}

impl fmt::Display for NoDirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_fmt(fmt!("its file system has none")),
            Self::Page(alignment) => f.write_fmt(fmt!(
                "it wants an alignment of {alignment} bytes, the limit is {PAGE_SIZE}"
            )),
            Self::Data(data) => f.write_fmt(fmt!(
                "its data starts at byte {data}, within one of the pages of {PAGE_SIZE} bytes"
            )),
        }
    }
}
