// SPDX-License-Identifier: GPL-2.0

//! Cuts a range of sectors into runs that lie wholly in one file.
//!
//! Sectors here are those of the COW file: of its own sector size, 512 bytes or more.

/// Which sectors are in the COW file, 64 at a time.
pub(crate) trait SectorMap {
    /// Why a part of the map can't be seen.
    type Error;

    /// Bit `i` of word `index` is set when sector `64 * index + i` is in the COW file.
    fn word(&self, index: u64) -> Result<u64, Self::Error>;
}

/// Sectors that follow each other and are in the same file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// Whether that is the COW file; otherwise it is the backing file.
    pub(crate) in_cow: bool,
    /// The sector behind the last one.
    pub(crate) end: u64,
}

/// The longest run that starts at sector `start` and ends at `end` at the latest.
///
/// `start` must be below `end`. Returns what the map does for a part that can't be seen.
#[inline]
pub(crate) fn run<M: SectorMap>(map: &M, start: u64, end: u64) -> Result<Run, M::Error> {
    let bit = start % 64;
    let word = map.word(start / 64)? >> bit;
    let in_cow = word & 1 == 1;
    // The zeros that the shift brought in end a run of ones, and must not lengthen one of zeros.
    let same = u64::from(same_bits(word, in_cow)).min(64 - bit);
    let mut at = start + same;
    if bit + same == 64 {
        while at < end {
            let same = same_bits(map.word(at / 64)?, in_cow);
            at += u64::from(same);
            if same < 64 {
                break;
            }
        }
    }
    Ok(Run {
        in_cow,
        end: at.min(end),
    })
}

/// The sectors from the first to the last one that is in the COW file, of those from `start` up to
/// `end`, as the first and the one behind the last. `None` if there are none.
///
/// Returns what the map does for a part that can't be seen.
pub(crate) fn extent<M: SectorMap>(
    map: &M,
    start: u64,
    end: u64,
) -> Result<Option<(u64, u64)>, M::Error> {
    let mut found = None;
    let mut at = start;
    while at < end {
        let run = run(map, at, end)?;
        if run.in_cow {
            found = Some((found.map_or(at, |(first, _)| first), run.end));
        }
        at = run.end;
    }
    Ok(found)
}

/// How many bits of `word`, from the lowest on, are set, or clear.
fn same_bits(word: u64, set: bool) -> u32 {
    if set {
        word.trailing_ones()
    } else {
        word.trailing_zeros()
    }
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(rnull_ubd_plan))]
mod tests {
    use super::*;

    struct Words<'a>(&'a [u64]);

    impl SectorMap for Words<'_> {
        type Error = u64;

        fn word(&self, index: u64) -> Result<u64, u64> {
            self.0.get(index as usize).copied().ok_or(index)
        }
    }

    fn all(map: &Words<'_>, mut start: u64, end: u64, expected: &[(bool, u64)]) {
        for (in_cow, run_end) in expected {
            let expected = Run {
                in_cow: *in_cow,
                end: *run_end,
            };
            assert_eq!(run(map, start, end), Ok(expected));
            start = *run_end;
        }
        assert_eq!(start, end);
    }

    #[test]
    fn uniform_words_make_one_run() {
        all(&Words(&[0, 0, 0]), 0, 192, &[(false, 192)]);
        all(&Words(&[u64::MAX, u64::MAX]), 5, 120, &[(true, 120)]);
    }

    #[test]
    fn runs_end_where_the_bits_change() {
        let map = Words(&[0xf0f0, 0, 1 << 63]);
        all(
            &map,
            0,
            16,
            &[(false, 4), (true, 8), (false, 12), (true, 16)],
        );
        all(&map, 14, 192, &[(true, 16), (false, 191), (true, 192)]);
    }

    #[test]
    fn runs_cross_words() {
        let map = Words(&[1 << 63, u64::MAX, 1]);
        all(&map, 62, 131, &[(false, 63), (true, 129), (false, 131)]);
        all(&map, 63, 64, &[(true, 64)]);
    }

    #[test]
    fn an_extent_is_from_the_first_to_the_last() {
        let map = Words(&[0xf0f0, 0, 1 << 63]);
        assert_eq!(extent(&map, 0, 192), Ok(Some((4, 192))));
        assert_eq!(extent(&map, 5, 191), Ok(Some((5, 16))));
        assert_eq!(extent(&map, 16, 191), Ok(None));
        assert_eq!(extent(&map, 9, 9), Ok(None));
        assert_eq!(extent(&map, 128, 193), Err(3));
    }

    #[test]
    fn words_behind_the_range_are_not_looked_at() {
        let map = Words(&[u64::MAX]);
        all(&map, 60, 64, &[(true, 64)]);
        assert_eq!(run(&map, 60, 65), Err(1));
    }
}
