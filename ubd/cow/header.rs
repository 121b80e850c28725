// SPDX-License-Identifier: GPL-2.0

//! The header at the start of a COW file: bytes to [`Header`] and back.
//!
//! | version | byte order | path | mtime | size | sector size | alignment | format | length |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | V1 | the writer's | 8 (256) | 264 | 268 | 276 | - | - | 280 |
//! | V2 | big-endian | 8 (4096) | 4104 | 4108 | 4116 | - | - | 4120 |
//! | V3 | big-endian | 32 (4096) | 8 | 12 | 20 | 24 | 28 | 4128 |
//! | V3 broken | big-endian | 36 (4096) | 8 | 16 | 24 | 28 | 32 | 4136 |
//! | V3 larger | big-endian | 32 (4096) | 8 | 12 | 20 | 24 | 28 | 4136 |
//!
//! The broken V3 is what 64-bit UMLs wrote before December 2005, by a structure that was not
//! packed. All are offsets in bytes; every field is 32 bits, but size, which is 64, and the path,
//! whose length is in parentheses. A path ends with a zero byte.
//!
//! The larger V3 is this driver's own: a V3 whose cow_format is 1, and which has one more field, of
//! 64 bits at 4128: the size of the backing file, which is smaller than the disk.
//!
//! This file knows where the fields are. Whether their values make sense is the business of
//! [`layout`](super::layout).

mod error;
mod version;

pub(crate) use error::Error;
pub(crate) use version::Version;

use super::reset;
use version::{BROKEN, V3};

/// The length in bytes of the longest header. More than this need not be read.
pub(crate) const LEN_MAX: usize = BROKEN.len;

/// The length in bytes of the header that a new file gets.
pub(crate) const V3_LEN: usize = V3.len;

/// The first four bytes of every COW file, in its byte order.
pub(crate) const MAGIC: u32 = 0x4f4f_4f4d;

/// The newest version number there is.
const NEWEST: u32 = 3;

/// The cow_format of all files but those of a larger disk: a bitmap of sectors.
pub(crate) const FORMAT_BITMAP: u32 = 0;

/// The cow_format of a disk larger than its backing file. Also a bitmap of sectors.
pub(crate) const FORMAT_LARGER: u32 = 1;

/// Where that one has the size of the backing file, which is 64 bits.
const BACKING_SIZE: usize = V3.len;

/// The length in bytes of the header of such a file.
const LARGER_LEN: usize = BACKING_SIZE + 8;

/// A header's content, of any version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header<'a> {
    /// The version, which a file keeps for its life.
    pub(crate) version: Version,
    /// The backing file's modification time when the file was made: seconds since 1970, until 2106.
    pub(crate) mtime: u32,
    /// The disk's size in bytes: the backing file's when the file was made, unless it says so.
    pub(crate) size: u64,
    /// The backing file's size in bytes when the file was made, if that is another one. V3 only.
    /// Any value: not checked here.
    pub(crate) backing_size: Option<u64>,
    /// What one bit of the bitmap stands for, in bytes. Any value: not checked here.
    pub(crate) sector_size: u32,
    /// What bitmap and data are aligned to, in bytes. Any value: not checked here. V1 and V2 have
    /// none: there it is the sector size, and ignored when written.
    pub(crate) alignment: u32,
    /// The backing file's path without the terminating zero.
    pub(crate) backing_file: &'a [u8],
}

/// Parses the header that `bytes`, the first [`LEN_MAX`] bytes of a file or all of a shorter one,
/// begin with. `Ok(None)` if this is no COW file: no magic, or fewer bytes than magic and version.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Header<'_>>, Error> {
    let (Some(magic), Some(number)) = (bytes.first_chunk(), chunk(bytes, 4)) else {
        return Ok(None);
    };
    if reset::is_marked(bytes) {
        return Err(Error::Resetting);
    }
    let version = if u32::from_be_bytes(*magic) == MAGIC {
        match u32::from_be_bytes(number) {
            1 => Version::V1 { big_endian: true },
            2 => Version::V2,
            // The broken V3 has its cow_format, which is 0, where a V3 has the start of its path.
            // A file too short to tell is too short for either.
            3 if chunk(bytes, V3.path) == Some([0; 4]) => Version::V3Broken,
            3 => Version::V3,
            other => return Err(Error::UnknownVersion(other)),
        }
    } else if u32::from_le_bytes(*magic) == MAGIC {
        match u32::from_le_bytes(number) {
            1 => Version::V1 { big_endian: false },
            other => return Err(Error::LittleEndian(other)),
        }
    } else {
        return Ok(None);
    };
    fields(version, bytes)
        .ok_or(Error::Short {
            version,
            len: bytes.len(),
        })?
        .map(Some)
}

/// Parses the fields of a `version` header. `None` if there are not enough bytes.
fn fields(version: Version, bytes: &[u8]) -> Option<Result<Header<'_>, Error>> {
    let fields = version.fields();
    let whole = bytes;
    let bytes = bytes.get(..fields.len)?;
    let read_u32 = |at| {
        let bytes = chunk(bytes, at)?;
        Some(if version.big_endian() {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    };
    let size = chunk(bytes, fields.size)?;
    let size = if version.big_endian() {
        u64::from_be_bytes(size)
    } else {
        u64::from_le_bytes(size)
    };
    let mtime = read_u32(fields.mtime)?;
    let sector_size = read_u32(fields.sector_size)?;
    let (alignment, format) = match fields.alignment_and_format {
        Some((alignment, format)) => (read_u32(alignment)?, read_u32(format)?),
        None => (sector_size, FORMAT_BITMAP),
    };
    let path = bytes.get(fields.path..)?.get(..fields.path_space)?;

    let backing_size = match format {
        FORMAT_BITMAP => None,
        FORMAT_LARGER => Some(u64::from_be_bytes(chunk(whole, BACKING_SIZE)?)),
        _ => return Some(Err(Error::UnknownFormat(format))),
    };
    let Some(end) = path.iter().position(|&c| c == 0) else {
        return Some(Err(Error::EndlessPath { version }));
    };
    let backing_file = path.get(..end)?;
    if backing_file.is_empty() {
        return Some(Err(Error::EmptyPath));
    }
    Some(Ok(Header {
        version,
        mtime,
        size,
        backing_size,
        sector_size,
        alignment,
        backing_file,
    }))
}

/// The `N` bytes from offset `at`.
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Writes `value` at offset `at`. What does not fit is left out: the caller has checked the length.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..).and_then(|b| b.get_mut(..value.len())) {
        to.copy_from_slice(value);
    }
}

impl Header<'_> {
    /// The length in bytes of a header of this version. In V1 and V2 the bitmap follows at once.
    #[allow(clippy::len_without_is_empty)]
    pub(crate) fn len(&self) -> usize {
        match self.backing_size {
            Some(_) => LARGER_LEN,
            None => self.version.fields().len,
        }
    }

    /// The offset in the file behind the zero byte that ends the path.
    pub(crate) fn path_end(&self) -> usize {
        self.version.fields().path + self.backing_file.len() + 1
    }

    /// The offset in the file of the mtime, whose four bytes are all in one sector.
    pub(crate) fn mtime_offset(&self) -> usize {
        self.version.fields().mtime
    }

    /// Returns why this cannot be written, if it cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let path = self.backing_file;
        if self.backing_size.is_some() && self.version != Version::V3 {
            return Err(Error::NoBackingSize {
                version: self.version,
            });
        }
        if path.is_empty() {
            return Err(Error::EmptyPath);
        }
        if path.contains(&0) {
            return Err(Error::ZeroInPath);
        }
        if path.len() >= self.version.fields().path_space {
            return Err(Error::PathTooLong {
                version: self.version,
                len: path.len(),
            });
        }
        Ok(())
    }

    /// Writes the whole header to the start of `buf`, in the layout of its version and with zeros
    /// after the path, and returns its length in bytes. Nothing is written when it fails.
    ///
    /// [`parse`] gives back what was written, except that V1 and V2 have no place for an alignment.
    pub(crate) fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        self.check()?;
        let version = self.version;
        let fields = version.fields();
        let len = buf.len();
        let Some(buf) = buf.get_mut(..self.len()) else {
            return Err(Error::BufferTooShort { version, len });
        };

        buf.fill(0);
        put(buf, fields.path, self.backing_file);
        let size = if version.big_endian() {
            self.size.to_be_bytes()
        } else {
            self.size.to_le_bytes()
        };
        put(buf, fields.size, &size);
        let mut put_u32 = |at, value: u32| {
            let bytes = if version.big_endian() {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            };
            put(buf, at, &bytes);
        };
        put_u32(0, MAGIC);
        put_u32(4, version.number());
        put_u32(fields.mtime, self.mtime);
        put_u32(fields.sector_size, self.sector_size);
        if let Some((alignment, format)) = fields.alignment_and_format {
            put_u32(alignment, self.alignment);
            put_u32(
                format,
                match self.backing_size {
                    Some(_) => FORMAT_LARGER,
                    None => FORMAT_BITMAP,
                },
            );
        }
        if let Some(size) = self.backing_size {
            put(buf, BACKING_SIZE, &size.to_be_bytes());
        }
        Ok(self.len())
    }
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), ::kernel::macros::kunit_tests(rnull_ubd_header))]
mod tests {
    use super::version::Fields;
    use super::*;

    /// What all the headers here say; the alignment only where there is one.
    const SECTOR_SIZE: u32 = 512;
    const ALIGNMENT: u32 = 4096;
    const VERSIONS: [Version; 5] = [
        Version::V1 { big_endian: false },
        Version::V1 { big_endian: true },
        Version::V2,
        Version::V3,
        Version::V3Broken,
    ];

    fn header(version: Version) -> Header<'static> {
        Header {
            version,
            mtime: 0x8234_5678,
            size: 0x0000_0102_0304_0600,
            backing_size: None,
            sector_size: SECTOR_SIZE,
            alignment: match version {
                Version::V1 { .. } | Version::V2 => SECTOR_SIZE,
                Version::V3 | Version::V3Broken => ALIGNMENT,
            },
            backing_file: b"/gold",
        }
    }

    /// The bytes of [`header`] at their offsets, as the format's description has them. All else
    /// is zeros.
    fn literal(version: Version) -> &'static [(usize, &'static [u8])] {
        match version {
            Version::V1 { big_endian: false } => &[
                (0, b"MOOO\x01\0\0\0/gold"),
                (264, b"\x78\x56\x34\x82"),
                (268, b"\x00\x06\x04\x03\x02\x01\0\0"),
                (276, b"\x00\x02\0\0"),
            ],
            Version::V1 { big_endian: true } => &[
                (0, b"OOOM\0\0\0\x01/gold"),
                (264, b"\x82\x34\x56\x78"),
                (268, b"\0\0\x01\x02\x03\x04\x06\x00"),
                (276, b"\0\0\x02\x00"),
            ],
            Version::V2 => &[
                (0, b"OOOM\0\0\0\x02/gold"),
                (4104, b"\x82\x34\x56\x78"),
                (4108, b"\0\0\x01\x02\x03\x04\x06\x00"),
                (4116, b"\0\0\x02\x00"),
            ],
            Version::V3 => &[
                (0, b"OOOM\0\0\0\x03\x82\x34\x56\x78"),
                (12, b"\0\0\x01\x02\x03\x04\x06\x00"),
                (20, b"\0\0\x02\x00\0\0\x10\x00\0\0\0\0/gold"),
            ],
            Version::V3Broken => &[
                (0, b"OOOM\0\0\0\x03\x82\x34\x56\x78\0\0\0\0"),
                (16, b"\0\0\x01\x02\x03\x04\x06\x00"),
                (24, b"\0\0\x02\x00\0\0\x10\x00\0\0\0\0/gold"),
            ],
        }
    }

    /// Fills `buf` with the literal bytes of a header and returns their number.
    fn fill(buf: &mut [u8; LEN_MAX], version: Version) -> usize {
        buf.fill(0);
        for (at, bytes) in literal(version) {
            put(buf, *at, bytes);
        }
        header(version).len()
    }

    #[test]
    fn every_version_parses() {
        let mut buf = [0; LEN_MAX];
        for (version, len) in VERSIONS.into_iter().zip([280, 280, 4120, 4128, 4136]) {
            assert_eq!(fill(&mut buf, version), len);
            assert_eq!(parse(&buf), Ok(Some(header(version))));
            assert_eq!(parse(&buf[..len]), Ok(Some(header(version))));
            let short = Err(Error::Short {
                version,
                len: len - 1,
            });
            assert_eq!(parse(&buf[..len - 1]), short);
        }
    }

    #[test]
    fn every_version_is_written() {
        let mut buf = [0; LEN_MAX];
        for version in VERSIONS {
            // What was there before must not show through.
            buf.fill(0xff);
            let len = header(version).len();
            assert_eq!(header(version).write(&mut buf), Ok(len));
            assert!(buf[len..].iter().all(|&c| c == 0xff));
            for (at, bytes) in literal(version) {
                assert_eq!(buf.get(*at..at + bytes.len()), Some(*bytes));
                buf[*at..at + bytes.len()].fill(0);
            }
            assert!(buf[..len].iter().all(|&c| c == 0));
        }
    }

    #[test]
    fn a_larger_disk_has_the_size_of_its_backing_file() {
        let mut buf = [0; LEN_MAX];
        let larger = Header {
            backing_size: Some(0x0000_0001_0203_0405),
            ..header(Version::V3)
        };
        fill(&mut buf, Version::V3);
        buf[31] = 1;
        put(&mut buf, 4128, b"\0\0\0\x01\x02\x03\x04\x05");
        assert_eq!(parse(&buf), Ok(Some(larger)));
        let short = Err(Error::Short {
            version: Version::V3,
            len: 4135,
        });
        assert_eq!(parse(&buf[..4135]), short);

        let wanted = buf;
        buf.fill(0xff);
        assert_eq!(larger.write(&mut buf), Ok(4136));
        assert!(buf == wanted);
        for version in [Version::V1 { big_endian: true }, Version::V2] {
            let header = Header { version, ..larger };
            assert_eq!(header.check(), Err(Error::NoBackingSize { version }));
        }
    }

    #[test]
    fn other_files_are_no_cow_files() {
        let mut buf = [0; LEN_MAX];
        assert_eq!(parse(&buf), Ok(None));
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"OOOM\0\0\0"), Ok(None));
        fill(&mut buf, Version::V3);
        buf[3] = b'N';
        assert_eq!(parse(&buf), Ok(None));
    }

    #[test]
    fn bad_headers_are_refused() {
        let mut buf = [0; LEN_MAX];

        assert_eq!(parse(b"OOOM\0\0\0\0"), Err(Error::UnknownVersion(0)));
        assert_eq!(parse(b"OOOM\0\0\0\x04"), Err(Error::UnknownVersion(4)));
        assert_eq!(parse(b"MOOO\0\0\0\0"), Err(Error::LittleEndian(0)));
        assert_eq!(parse(b"MOOO\x03\0\0\0"), Err(Error::LittleEndian(3)));
        assert_eq!(
            parse(b"OOOM\x01\0\0\0"),
            Err(Error::UnknownVersion(0x0100_0000))
        );

        fill(&mut buf, Version::V3);
        buf[31] = 2;
        assert_eq!(parse(&buf), Err(Error::UnknownFormat(2)));

        // An empty path makes a V3 look like a broken one, whose path is empty as well.
        for version in VERSIONS {
            fill(&mut buf, version);
            let path = version.fields().path;
            buf[path..path + 5].fill(0);
            assert_eq!(parse(&buf), Err(Error::EmptyPath));
        }

        for version in VERSIONS {
            fill(&mut buf, version);
            let Fields {
                path, path_space, ..
            } = *version.fields();
            buf[path..path + path_space - 1].fill(b'x');
            assert!(parse(&buf).is_ok_and(|h| h.is_some()));
            buf[path + path_space - 1] = b'x';
            assert_eq!(parse(&buf), Err(Error::EndlessPath { version }));
        }
    }

    #[test]
    fn bad_values_are_not_written() {
        let mut buf = [0; LEN_MAX];
        static PATH: [u8; 4096] = [b'x'; 4096];

        for version in VERSIONS {
            let mut header = header(version);
            let max = version.fields().path_space - 1;
            header.backing_file = &PATH[..max];
            assert!(header.write(&mut buf).is_ok());
            assert_eq!(parse(&buf), Ok(Some(header)));

            buf.fill(0);
            header.backing_file = &PATH[..max + 1];
            let error = Err(Error::PathTooLong {
                version,
                len: max + 1,
            });
            assert_eq!(header.write(&mut buf), error);
            header.backing_file = b"";
            assert_eq!(header.write(&mut buf), Err(Error::EmptyPath));
            header.backing_file = b"/a\0b";
            assert_eq!(header.write(&mut buf), Err(Error::ZeroInPath));
            header.backing_file = b"/a";
            let len = header.len() - 1;
            assert_eq!(
                header.write(&mut buf[..len]),
                Err(Error::BufferTooShort { version, len })
            );
            assert!(buf.iter().all(|&c| c == 0));
        }
    }
}
