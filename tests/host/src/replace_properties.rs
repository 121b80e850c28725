// SPDX-License-Identifier: GPL-2.0

//! Properties of the steps in which a header takes the place of another, with a crash in each.

use crate::ubd::cow::{
    header::{self, Header, Version, V3_LEN},
    replace::{self, SECTOR, SWITCHING},
};
use proptest::prelude::*;

/// Where `new` takes the place of `old`, or of none, a crash at any moment leaves a file that has
/// the one or the other whole, or that names no file: whichever sectors of a step have arrived.
fn replaced(old: Option<&Header<'_>>, new: &Header<'_>) {
    const FILLER: u8 = 0xa5;
    // What an earlier crash has left behind the first sector is of no account.
    let mut file = vec![FILLER; header::LEN_MAX.next_multiple_of(SECTOR)];
    file[..SECTOR].fill(0);
    if let Some(old) = old {
        let stale = old.path_end().max(SECTOR)..V3_LEN.min(new.len()).max(SECTOR);
        old.write(&mut file).unwrap();
        let mtime = old.mtime_offset();
        for at in stale {
            if !(mtime..mtime + 16).contains(&at) {
                file[at] = FILLER;
            }
        }
        file[old.len()..].fill(FILLER);
        assert_eq!(header::parse(&file), Ok(Some(*old)));
    }
    let before = file.clone();
    let mtimes = [old.map_or(new.mtime, |old| old.mtime), new.mtime];
    let fine = |file: &[u8]| match header::parse(file).unwrap() {
        None => old.is_none(),
        Some(found) if found == *new || Some(&found) == old => true,
        Some(found) => old.is_some_and(|old| {
            let between = Header {
                backing_file: SWITCHING,
                mtime: found.mtime,
                ..*old
            };
            found == between && mtimes.contains(&found.mtime)
        }),
    };

    let mut buf = [0; header::LEN_MAX];
    for step in replace::steps(old, new).unwrap() {
        let (at, bytes) = (step.offset() as usize, step.bytes(&mut buf).unwrap());
        let sectors: Vec<_> = (at..).step_by(SECTOR).zip(bytes.chunks(SECTOR)).collect();
        assert!(!sectors.is_empty() && at % SECTOR == 0);
        // Each state has one sector that is other than in the state before.
        let synced = file.clone();
        for i in 1..1u32 << sectors.len() {
            let (at, bytes) = sectors[i.trailing_zeros() as usize];
            let range = at..at + bytes.len();
            if file[range.clone()] == *bytes {
                file[range.clone()].copy_from_slice(&synced[range]);
            } else {
                file[range].copy_from_slice(bytes);
            }
            assert!(fine(&file), "{old:?} {new:?} {step:?} {i}");
        }
        for (at, bytes) in sectors {
            file[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
    assert_eq!(header::parse(&file), Ok(Some(*new)));
    let len = new.write(&mut buf).unwrap();
    assert_eq!(file[..len], buf[..len]);
    assert_eq!(file[len..], before[len..]);
}

/// Paths that end within any sector of a header: one byte, over and over, so that what is mixed of
/// two shows. Cut to what a version has space for.
fn path_of_any_length() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![1usize..=64, 440usize..=560, 1usize..=4095, 4040usize..=4095];
    (prop_oneof![Just(b'/'), 1u8..], len).prop_map(|(c, len)| vec![c; len])
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        1 => any::<bool>().prop_map(|big_endian| Version::V1 { big_endian }),
        3 => Just(Version::V2),
        3 => Just(Version::V3),
        1 => Just(Version::V3Broken),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_crash_leaves_one_header_or_the_other_or_says_so(
        version in version(), mtime: u32, size: u64,
        is_new in prop::bool::weighted(0.2), same_path in prop::bool::weighted(0.2),
        old_mtime in prop::option::of(any::<u32>()),
        backing_size in prop::option::weighted(0.3, any::<u64>()),
        same_size in prop::bool::weighted(0.7),
        mut old_path in path_of_any_length(), mut path in path_of_any_length(),
    ) {
        if let Version::V1 { .. } = version {
            old_path.truncate(255);
            path.truncate(255);
        }
        let (sector_size, alignment) = (512, 512);
        let backing_size = backing_size.filter(|_| version == Version::V3);
        let new = Header {
            version, mtime, size, backing_size, sector_size, alignment, backing_file: &path,
        };
        let old = Header {
            backing_size: backing_size.filter(|_| same_size),
            mtime: old_mtime.unwrap_or(new.mtime),
            backing_file: if same_path { &path } else { &old_path },
            ..new
        };
        replaced((!is_new).then_some(&old), &new);
    }
}
