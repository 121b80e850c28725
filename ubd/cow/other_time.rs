// SPDX-License-Identifier: GPL-2.0

//! A second modification time of the backing file, for as long as it is being changed.
//!
//! A header names one time that its backing file must have. When a COW file in use is merged into
//! the file below it, that one gets another time, so that other COW files over it are refused, and
//! so does the header. Both can't be on disk at once; so before either is changed the header says
//! that the file may have the new time, too.
//!
//! The place for that is the end of the path's, in a sector of its own: no program reads behind the
//! zero that ends the path, and whoever writes a header anew leaves zeros there.
//!
//! | offset | length | contents |
//! | --- | --- | --- |
//! | 4112 | 8 | [`MARK`] |
//! | 4120 | 4 | zeros |
//! | 4124 | 4 | the time, big-endian, as in the header's own field |

use super::header::{Header, Version, V3_LEN};

/// Where it is, in bytes from the start of the file: at the end of a V3 header.
pub(crate) const AT: usize = V3_LEN - LEN;

/// How long it is, in bytes.
pub(crate) const LEN: usize = 16;

/// What tells it from the zeros that are there otherwise.
const MARK: [u8; 8] = *b"ubd-time";

/// Whether `header` has a place for it: it is a V3, and its path ends before.
pub(crate) fn fits(header: &Header<'_>) -> bool {
    header.version == Version::V3 && header.path_end() <= AT
}

/// The bytes that say `time`.
pub(crate) fn bytes(time: u32) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let (mark, rest) = bytes.split_at_mut(MARK.len());
    mark.copy_from_slice(&MARK);
    if let Some(to) = rest.last_chunk_mut() {
        *to = time.to_be_bytes();
    }
    bytes
}

/// The second time in the file that begins with `start`, of which `header` was parsed. `None` if
/// there is none.
pub(crate) fn of(start: &[u8], header: &Header<'_>) -> Option<u32> {
    let found: &[u8; LEN] = start.get(AT..)?.first_chunk()?;
    let time = u32::from_be_bytes(*found.last_chunk()?);
    (fits(header) && *found == bytes(time)).then_some(time)
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), ::kernel::macros::kunit_tests(rnull_ubd_other_time))]
mod tests {
    use super::super::header::{parse, LEN_MAX};
    use super::*;

    static LONG: [u8; 4095] = [b'x'; 4095];

    fn header(version: Version, backing_file: &'static [u8]) -> Header<'static> {
        Header {
            version,
            mtime: 1,
            size: 1 << 20,
            backing_size: None,
            sector_size: 512,
            alignment: 4096,
            backing_file,
        }
    }

    #[test]
    fn it_is_found_where_it_fits() {
        for (version, path, fitting) in [
            (Version::V3, &b"/short"[..], true),
            (Version::V3, &LONG[..4079], true),
            (Version::V3, &LONG[..4080], false),
            (Version::V3, &LONG[..], false),
            (Version::V3Broken, b"/short", false),
            (Version::V2, b"/short", false),
        ] {
            let header = header(version, path);
            assert_eq!(fits(&header), fitting);
            let mut start = [0; LEN_MAX];
            assert!(header.write(&mut start).is_ok());
            assert_eq!(of(&start, &header), None);
            if let Some(to) = start.get_mut(AT..AT + LEN).filter(|_| fitting) {
                to.copy_from_slice(&bytes(0x8765_4321));
                assert_eq!(of(&start, &header), Some(0x8765_4321));
                // It is no part of the path.
                assert_eq!(parse(&start), Ok(Some(header)));
            }
        }
    }

    #[test]
    fn it_is_within_a_sector() {
        assert_eq!(AT / 512, (AT + LEN - 1) / 512);
    }

    #[test]
    fn what_is_cut_short_has_none() {
        let header = header(Version::V3, b"/short");
        let mut start = [0; LEN_MAX];
        assert!(header.write(&mut start).is_ok());
        assert_eq!(of(start.get(..AT + 8).unwrap_or_default(), &header), None);
    }
}
