// SPDX-License-Identifier: GPL-2.0

//! Properties of plan and bitmap, against a model that has a byte for every sector.

use crate::ubd::cow::bitmap::{Bitmap, NotLoaded, PageBytes, PAGE_LEN, PAGE_SECTORS};
use crate::ubd::engine::plan::{self, SectorMap};
use kernel::sync::atomic::disturb;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{
    atomic::{AtomicU64, Ordering::Relaxed},
    Barrier, Mutex,
};

/// Runs from `start` to `end` cover all sectors once, in order, and each says what `in_cow` says
/// of every sector in it; two that follow each other differ, so that none could be longer.
fn covered<M: SectorMap>(map: &M, start: u64, end: u64, in_cow: impl Fn(u64) -> bool)
where
    M::Error: std::fmt::Debug,
{
    let mut at = start;
    let mut before = None;
    while at < end {
        let run = plan::run(map, at, end).unwrap();
        assert!(at < run.end && run.end <= end);
        assert_ne!(before, Some(run.in_cow));
        for sector in at..run.end {
            assert_eq!(in_cow(sector), run.in_cow, "sector {sector}");
        }
        before = Some(run.in_cow);
        at = run.end;
    }
    assert_eq!(at, end);
}

struct Words(Vec<u64>);

impl SectorMap for Words {
    type Error = u64;

    fn word(&self, index: u64) -> Result<u64, u64> {
        self.0.get(index as usize).copied().ok_or(index)
    }
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => Just(0),
        3 => Just(u64::MAX),
        2 => (0u32..64).prop_map(|n| u64::MAX << n),
        2 => (0u32..64).prop_map(|n| u64::MAX >> n),
        1 => any::<u64>(),
    ]
}

/// A bitmap and the file that it is from, with the part of the driver that reads and writes it.
struct Disk {
    sectors: u64,
    bitmap: Bitmap,
    file: Mutex<Vec<PageBytes>>,
}

impl Disk {
    fn new(sectors: u64, fill: u8) -> Self {
        let pages = sectors.div_ceil(PAGE_SECTORS) as usize;
        Self {
            sectors,
            bitmap: Bitmap::new(sectors).unwrap(),
            file: Mutex::new(vec![[fill; PAGE_LEN]; pages]),
        }
    }

    fn load(&self, NotLoaded(page): NotLoaded) {
        let file = self.file.lock().unwrap();
        self.bitmap.load(page, &file[page as usize]).unwrap();
    }

    fn set(&self, mut start: u64, end: u64) {
        while let Err(NotLoaded(page)) = self.bitmap.set(start, end, &mut 0) {
            let first = page * PAGE_SECTORS;
            if first >= start && first + PAGE_SECTORS <= end {
                let _one_at_a_time = self.file.lock().unwrap();
                self.bitmap.fill(page, PAGE_SECTORS, &mut 0).unwrap();
            } else {
                self.load(NotLoaded(page));
            }
            // As in the driver: the pages before are done with.
            start = start.max(first);
        }
    }

    fn flush(&self, at_once: usize) {
        let mut file = self.file.lock().unwrap();
        let mut from = Some(0);
        while let Some(start) = from {
            let mut taken = Vec::new();
            from = self.bitmap.take_dirty(start, |page| {
                let room = taken.len() < at_once;
                if room {
                    taken.push(page);
                }
                room
            });
            for page in taken {
                self.bitmap.copy_page(page, &mut file[page as usize]);
            }
        }
    }

    /// Whether the file has the bit of `sector`.
    fn on_disk(&self, sector: u64) -> bool {
        let byte = (sector % PAGE_SECTORS / 8) as usize;
        let file = self.file.lock().unwrap();
        (file[(sector / PAGE_SECTORS) as usize][byte] >> (sector % 8)) & 1 == 1
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(u64, u64),
    Flush(usize),
    /// A flush that failed: what it had taken is marked again.
    FailedFlush,
    Load(u64),
}

fn step(sectors: u64) -> impl Strategy<Value = Step> {
    let near = |at: u64, len: u64| Step::Set(at, at + len);
    prop_oneof![
        4 => (0..sectors - 200, 1u64..200).prop_map(move |(at, len)| near(at, len)),
        2 => (1..sectors / PAGE_SECTORS, 0u64..70, 1u64..140)
            .prop_map(move |(page, back, len)| near(page * PAGE_SECTORS - back, len)),
        1 => (0..sectors, 0..sectors).prop_map(|(a, b)| Step::Set(a.min(b), a.max(b))),
        1 => (0..sectors / PAGE_SECTORS, 1..3u64)
            .prop_map(move |(page, n)| {
                Step::Set(page * PAGE_SECTORS, ((page + n) * PAGE_SECTORS).min(sectors))
            }),
        1 => (1usize..4).prop_map(Step::Flush),
        1 => Just(Step::FailedFlush),
        1 => (0..sectors.div_ceil(PAGE_SECTORS)).prop_map(Step::Load),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn runs_cover_a_range_once_and_agree_with_the_map(
        words in prop::collection::vec(word(), 1..8), a: prop::sample::Index, b: prop::sample::Index,
    ) {
        let sectors = words.len() * 64;
        let (a, b) = (a.index(sectors + 1) as u64, b.index(sectors + 1) as u64);
        let map = Words(words);
        covered(&map, a.min(b), a.max(b), |s| (map.0[(s / 64) as usize] >> (s % 64)) & 1 == 1);
    }

    #[test]
    fn an_extent_holds_all_that_is_set(
        words in prop::collection::vec(word(), 1..8), a: prop::sample::Index, b: prop::sample::Index,
    ) {
        let sectors = words.len() * 64;
        let (a, b) = (a.index(sectors + 1) as u64, b.index(sectors + 1) as u64);
        let (start, end) = (a.min(b), a.max(b));
        let map = Words(words);
        let set = |s: &u64| (map.0[(s / 64) as usize] >> (s % 64)) & 1 == 1;
        let first = (start..end).find(set);
        let last = (start..end).rfind(set);
        prop_assert_eq!(plan::extent(&map, start, end), Ok(first.zip(last.map(|s| s + 1))));
    }

    #[test]
    fn a_map_that_cannot_be_seen_stops_a_run(
        words in prop::collection::vec(Just(u64::MAX), 1..4), start in 0u64..64, more in 1u64..200,
    ) {
        let len = words.len() as u64;
        let map = Words(words);
        prop_assert_eq!(plan::run(&map, start, len * 64 + more), Err(len));
        prop_assert_eq!(plan::run(&map, start, len * 64).map(|run| run.end), Ok(len * 64));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64,
        ..Default::default() })]

    #[test]
    fn a_bitmap_is_what_was_set(
        extra in 1u64..200, fill in prop_oneof![3 => Just(0u8), 1 => Just(0xff), 1 => any::<u8>()],
        steps in prop::collection::vec(step(4 * PAGE_SECTORS), 1..30),
    ) {
        // The last page has bytes behind the last sector, whose content counts for nothing.
        let sectors = 4 * PAGE_SECTORS + extra;
        let disk = Disk::new(sectors, fill);
        let mut model: Vec<bool> = (0..sectors).map(|s| (fill >> (s % 8)) & 1 == 1).collect();
        let mut durable = model.clone();
        for step in steps {
            match step {
                Step::Set(start, end) => {
                    disk.set(start, end);
                    model[start as usize..end as usize].fill(true);
                }
                Step::Flush(at_once) => {
                    disk.flush(at_once);
                    durable.copy_from_slice(&model);
                    prop_assert!(!disk.bitmap.is_dirty());
                    prop_assert_eq!(disk.bitmap.dirty_pages(), 0);
                }
                Step::FailedFlush => {
                    let mut taken = Vec::new();
                    prop_assert_eq!(disk.bitmap.take_dirty(0, |page| { taken.push(page); true }), None);
                    prop_assert!(taken.windows(2).all(|pair| pair[0] < pair[1]));
                    taken.iter().for_each(|page| disk.bitmap.mark_dirty(*page));
                    prop_assert_eq!(disk.bitmap.dirty_pages(), taken.len() as u64);
                    prop_assert_eq!(disk.bitmap.is_dirty(), !taken.is_empty());
                }
                Step::Load(page) => disk.load(NotLoaded(page)),
            }
            for page in 0..sectors.div_ceil(PAGE_SECTORS) {
                let range = page * PAGE_SECTORS..((page + 1) * PAGE_SECTORS).min(sectors);
                let set = model[range.start as usize..range.end as usize].iter().filter(|b| **b);
                prop_assert!(disk.bitmap.count(page).is_none_or(|n| n == set.count() as u64));
            }
            // Nothing gets to the disk but by a flush, and nothing that differs is left clean.
            if model != durable {
                prop_assert!(disk.bitmap.is_dirty());
            }
        }
        for page in 0..sectors.div_ceil(PAGE_SECTORS) {
            disk.load(NotLoaded(page));
        }
        covered(&disk.bitmap, 0, sectors, |s| model[s as usize]);
        disk.flush(1);
        for sector in 0..disk.sectors {
            prop_assert_eq!(disk.on_disk(sector), model[sector as usize]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64,
        ..Default::default() })]

    /// On a bitmap of so many pages that no level of the marks is in one word.
    #[test]
    fn every_dirty_page_is_taken_once_and_in_order(
        steps in prop::collection::vec(
            (prop::collection::vec(0..PAGES, 0..20), 0..PAGES, 0usize..30), 1..20),
    ) {
        let bitmap = Bitmap::new(PAGES * PAGE_SECTORS).unwrap();
        let mut model = BTreeSet::new();
        for (marks, from, most) in steps {
            for page in marks {
                bitmap.load(page, &[0; PAGE_LEN]).unwrap();
                bitmap.mark_dirty(page);
                model.insert(page);
            }
            let expected: Vec<u64> = model.range(from..).copied().collect();
            let mut taken = Vec::new();
            let next = bitmap.take_dirty(from, |page| {
                let room = taken.len() < most;
                if room {
                    taken.push(page);
                }
                room
            });
            prop_assert_eq!(next, expected.get(most).copied());
            prop_assert_eq!(&taken, &expected[..most.min(expected.len())]);
            taken.iter().for_each(|page| { model.remove(page); });
            prop_assert_eq!(bitmap.dirty_pages(), model.len() as u64);
            if !model.is_empty() {
                prop_assert!(bitmap.is_dirty());
            }
        }
    }
}

const PAGES: u64 = 64 * 4096 + 64 * 64 + 100;

/// Threads that set the same sectors, or sectors of the same page, at the same time, and flush:
/// after its flush, each finds on the disk all that it has set, whoever was first to set it.
#[test]
fn a_flush_covers_what_was_set_before_by_any_thread() {
    const SECTORS: u64 = 4 * PAGE_SECTORS;
    const THREADS: u64 = 3;
    const STEP: u64 = 24;
    let disk = Disk::new(SECTORS, 0);
    (0..4).for_each(|page| disk.load(NotLoaded(page)));
    let together = Barrier::new(THREADS as usize);
    let lost = AtomicU64::new(0);

    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (disk, together, lost) = (&disk, &together, &lost);
            scope.spawn(move || {
                disturb(thread + 1);
                for step in 0..SECTORS / STEP {
                    together.wait();
                    // All clear so far; often in two words, at times in two pages.
                    let start = step * STEP;
                    let (start, len) = match step % 4 {
                        0 => (start, 20),
                        1 => (start + thread, 10),
                        _ => (start + thread * 8, 8),
                    };
                    if step % 2 == 1 && thread == 0 {
                        // One that only flushes comes between the others' steps.
                        (0..3).for_each(|_| disk.flush(usize::MAX));
                        continue;
                    }
                    disk.set(start, start + len);
                    disk.flush(usize::MAX);
                    // No panic here: the others would wait for this thread for ever.
                    if !(start..start + len).all(|sector| disk.on_disk(sector)) {
                        lost.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(lost.into_inner(), 0);
    assert!(!disk.bitmap.is_dirty());
    covered(&disk.bitmap, 0, SECTORS, |sector| disk.on_disk(sector));
}

/// The same where it is whole pages that are set, which no thread has to read, beside those who set
/// a part of them, and do.
#[test]
fn a_flush_covers_whole_pages_set_by_any_thread() {
    const PAGES: u64 = 192;
    const THREADS: u64 = 3;
    let disk = Disk::new(PAGES * PAGE_SECTORS, 0);
    let together = Barrier::new(THREADS as usize);
    let lost = AtomicU64::new(0);

    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (disk, together, lost) = (&disk, &together, &lost);
            scope.spawn(move || {
                disturb(thread + 1);
                for page in 0..PAGES {
                    together.wait();
                    let start = page * PAGE_SECTORS;
                    let (start, len) = match (page + thread) % 3 {
                        0 => (start + 100, 8),
                        _ => (start, PAGE_SECTORS),
                    };
                    disk.set(start, start + len);
                    disk.flush(usize::MAX);
                    if !(start..start + len)
                        .step_by(8)
                        .all(|sector| disk.on_disk(sector))
                    {
                        lost.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(lost.into_inner(), 0);
    assert!(!disk.bitmap.is_dirty());
    covered(&disk.bitmap, 0, PAGES * PAGE_SECTORS, |_| true);
}
