// SPDX-License-Identifier: GPL-2.0

//! Which of several COW files upon each other has which ranges of the disk.

use crate::ubd::engine::plan::{self, Run, SectorMap};

/// A COW file's map.
pub(crate) struct Part<'a, M> {
    pub(crate) map: &'a M,
    /// The sector size is `1 << shift` bytes.
    pub(crate) shift: u32,
    /// How many sectors it has.
    pub(crate) sectors: u64,
}

/// A range of the disk, in bytes, that is in one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Which of the files: the uppermost that has it.
    pub(crate) part: usize,
}

/// Where one looks in a map. Each map is gone through once, however often the others change.
struct Cursor<'a, M> {
    part: &'a Part<'a, M>,
    in_cow: bool,
    /// The byte of the disk behind the run.
    end: u64,
}

impl<M: SectorMap> Cursor<'_, M> {
    /// Goes on to the run in which byte `at` is, which must not be before the present one.
    fn seek(&mut self, at: u64) -> Result<(), M::Error> {
        let Part {
            map,
            shift,
            sectors,
        } = *self.part;
        if at < self.end {
            return Ok(());
        }
        let sector = at >> shift;
        // Behind its last sector a file has nothing.
        let run = match sector < sectors {
            true => plan::run(map, sector, sectors)?,
            false => Run {
                in_cow: false,
                end: u64::MAX >> shift,
            },
        };
        self.in_cow = run.in_cow;
        self.end = match run.end == sectors && !run.in_cow {
            true => u64::MAX,
            false => run.end << shift,
        };
        Ok(())
    }
}

/// Calls `each` with every range of the disk of `size` bytes that is in one of `parts`, of which the
/// uppermost is the first. What is in the same file and has no gap is one range.
///
/// Returns what `each` does, or a map.
pub(crate) fn for_each<M: SectorMap>(
    parts: &[Part<'_, M>],
    size: u64,
    mut each: impl FnMut(Range) -> Result<(), M::Error>,
) -> Result<(), M::Error> {
    let start = |part| Cursor {
        part,
        in_cow: false,
        end: 0,
    };
    let mut cursors: Vec<_> = parts.iter().map(start).collect();
    let mut last: Option<Range> = None;
    let mut at = 0;
    while at < size {
        let mut end = size;
        let mut found = None;
        for (part, cursor) in cursors.iter_mut().enumerate() {
            cursor.seek(at)?;
            end = end.min(cursor.end);
            if cursor.in_cow {
                found = Some(part);
                break;
            }
        }
        if let Some(part) = found {
            match &mut last {
                Some(range) if range.end == at && range.part == part => range.end = end,
                _ => {
                    let start = at;
                    if let Some(range) = last.replace(Range { start, end, part }) {
                        each(range)?;
                    }
                }
            }
        }
        at = end;
    }
    last.map_or(Ok(()), each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Words(Vec<u64>, Cell<u64>);

    impl SectorMap for Words {
        type Error = u64;

        fn word(&self, index: u64) -> Result<u64, u64> {
            self.1.set(self.1.get() + 1);
            self.0.get(index as usize).copied().ok_or(index)
        }
    }

    fn words(words: &[u64]) -> Words {
        Words(words.to_vec(), Cell::new(0))
    }

    fn all(parts: &[Part<'_, Words>], size: u64) -> Vec<(u64, u64, usize)> {
        let mut all = Vec::new();
        let result = for_each(parts, size, |range| {
            all.push((range.start, range.end, range.part));
            Ok(())
        });
        assert_eq!(result, Ok(()));
        all
    }

    #[test]
    fn the_uppermost_file_has_a_range() {
        let (upper, lower) = (words(&[0b0110]), words(&[0b1100_0011]));
        let part = |map, shift| Part {
            map,
            shift,
            sectors: 8,
        };
        let one = [part(&upper, 9)];
        assert_eq!(all(&one, 4096), [(512, 1536, 0)]);
        let two = [part(&upper, 9), part(&lower, 9)];
        assert_eq!(
            all(&two, 4096),
            [(0, 512, 1), (512, 1536, 0), (3072, 4096, 1)]
        );
        // The lower one's sectors are larger, and the disk ends within the last one.
        let two = [part(&upper, 9), part(&lower, 10)];
        assert_eq!(
            all(&two, 7700),
            [
                (0, 512, 1),
                (512, 1536, 0),
                (1536, 2048, 1),
                (6144, 7700, 1)
            ]
        );
        assert_eq!(all(&two, 600), [(0, 512, 1), (512, 600, 0)]);
        assert!(all(&[], 4096).is_empty());
    }

    #[test]
    fn a_file_has_nothing_behind_its_last_sector() {
        let (upper, lower) = (words(&[1 << 20]), words(&[u64::MAX]));
        let part = |map, sectors| Part {
            map,
            shift: 9,
            sectors,
        };
        let two = [part(&upper, 64), part(&lower, 3)];
        assert_eq!(all(&two, 32768), [(0, 1536, 1), (10240, 10752, 0)]);
    }

    #[test]
    fn each_map_is_gone_through_once() {
        let upper = words(&[0; 1000]);
        let lower = words(&[0x5555_5555_5555_5555; 1000]);
        let part = |map| Part {
            map,
            shift: 9,
            sectors: 64000,
        };
        assert_eq!(all(&[part(&upper), part(&lower)], 64000 * 512).len(), 32000);
        assert!(upper.1.get() <= 1001);
    }

    #[test]
    fn what_a_map_says_is_returned() {
        let map = words(&[]);
        let part = Part {
            map: &map,
            shift: 9,
            sectors: 1,
        };
        assert_eq!(for_each(&[part], 512, |_| Ok(())), Err(0));
    }
}
