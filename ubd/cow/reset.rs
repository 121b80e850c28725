// SPDX-License-Identifier: GPL-2.0

//! The mark of a COW file that is being made anew in place.
//!
//! What a disk writes wholly or not at all is a sector, and the version is in the first one. While
//! the mark is there the version is none that exists, in any byte order: so nobody takes the file
//! for a COW file, whatever his own version, and what is in its bitmap and its data is nothing. It
//! is durable before the bitmap is cleared, and taken away when that is durable.

use super::header::MAGIC;

/// Where the mark is: the version, in bytes from the start of the file.
pub(crate) const VERSION_AT: usize = 4;

/// How many bytes have to be there to see the mark, or to change it.
pub(crate) const LEN: usize = 8;

/// Puts the mark into the start of a header, or takes it away.
pub(crate) fn turn(start: &mut [u8]) {
    for byte in start.iter_mut().take(LEN).skip(VERSION_AT) {
        *byte = !*byte;
    }
}

/// Whether the start of a file is that of a header with the mark.
pub(crate) fn is_marked(start: &[u8]) -> bool {
    let (Some(magic), Some(version)) = (
        start.first_chunk(),
        start
            .get(VERSION_AT..)
            .and_then(|version| version.first_chunk()),
    ) else {
        return false;
    };
    if u32::from_be_bytes(*magic) == MAGIC {
        (1..=3).contains(&!u32::from_be_bytes(*version))
    } else {
        u32::from_le_bytes(*magic) == MAGIC && !u32::from_le_bytes(*version) == 1
    }
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), ::kernel::macros::kunit_tests(rnull_ubd_reset))]
mod tests {
    use super::super::header::{parse, Error, Header, Version, LEN_MAX};
    use super::*;

    #[test]
    fn a_marked_header_is_none() {
        for version in [
            Version::V1 { big_endian: false },
            Version::V1 { big_endian: true },
            Version::V2,
            Version::V3,
        ] {
            let header = Header {
                version,
                mtime: 1,
                size: 1 << 20,
                backing_size: None,
                sector_size: 512,
                alignment: 4096,
                backing_file: b"/back",
            };
            let mut buf = [0; LEN_MAX];
            assert!(header.write(&mut buf).is_ok());
            let before = buf;
            assert!(!is_marked(&buf));
            turn(&mut buf);
            assert!(is_marked(&buf));
            assert_eq!(parse(&buf), Err(Error::Resetting));
            turn(&mut buf);
            assert!(buf == before);
        }
    }

    #[test]
    fn what_is_no_header_has_no_mark() {
        assert!(!is_marked(b""));
        assert!(!is_marked(b"OOOM\xff\xff\xff"));
        assert!(!is_marked(b"OOOM\xff\xff\xff\xff"));
        assert!(!is_marked(b"MOOO\xfd\xff\xff\xff"));
        assert!(!is_marked(&[0; 512]));
    }
}
