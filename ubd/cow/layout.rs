// SPDX-License-Identifier: GPL-2.0

//! Where in a COW file its bitmap and its data lie.
//!
//! Bit `i` of the bitmap (`bitmap[i / 8] >> (i % 8) & 1`) is sector `i` of the disk. If it is set,
//! the sector is in the COW file, at [`Layout::data_at`].
//!
//! | version | bitmap offset | bitmap length | data offset: end of bitmap, rounded up to |
//! | --- | --- | --- | --- |
//! | V1, V2 | the header's length | `(size + sector size - 1) / (8 * sector size)` | sector size |
//! | V3 | header's length rounded up to alignment | `ceil(sectors / 8)` | alignment |
//!
//! V1 and V2 lose a byte of bitmap when the number of sectors is no multiple of 8. The gap between
//! bitmap and data most often has room for it; see [`Layout::short_of_room`].
//!
//! Everything here comes from a header, so nothing is taken on trust: a [`Layout`] exists only if
//! all its offsets and lengths, and the end of the last sector, fit into a file.

use super::header::{Header, Version, V3_LEN};
use core::fmt;

/// The smallest sector size in bytes, and what every alignment is a multiple of.
const SECTOR_SIZE_MIN: u32 = 512;

/// The largest alignment in bytes: more is not something that anybody meant.
const ALIGNMENT_MAX: u32 = 1 << 30;

/// The greatest offset in a file: `loff_t` is signed.
const OFFSET_MAX: u64 = i64::MAX as u64;

/// Where bitmap and data lie. All offsets and lengths are bytes.
///
/// What [`Layout::new`] has made holds: header, bitmap and data follow each other in this order and
/// do not overlap; `data_offset + (sectors << sector_shift)` is at most [`i64::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// The sector size is `1 << sector_shift` bytes; 9 or more.
    pub(crate) sector_shift: u32,
    /// Number of sectors, of this COW file's own sector size; the last may be a part of one. Not 0.
    pub(crate) sectors: u64,
    /// Size of the disk as the header has it. Not 0.
    pub(crate) size: u64,
    /// Where the bitmap begins.
    pub(crate) bitmap_offset: u64,
    /// How many bytes of bitmap there are. In V1 and V2, with the byte that the format's formula
    /// forgets, if there is room for it before the data.
    pub(crate) bitmap_len: u64,
    /// Where the data of sector 0 lies.
    pub(crate) data_offset: u64,
    /// V1 and V2: the bitmap's last byte would be the data's first. The sectors from
    /// [`Layout::mapped_sectors`] on have no bit: they can only be in the backing file.
    pub(crate) short_of_room: bool,
}

/// Why a header's values make no layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// The sector size is no power of two, or out of range.
    SectorSize {
        /// The header's value, in bytes.
        value: u32,
        /// The largest that can be used, in bytes.
        max: u32,
    },
    /// The alignment is no multiple of 512, zero, or out of range. The header's value, in bytes.
    Alignment(u32),
    /// The size is 0.
    NoSize,
    /// The backing file has no size, or more than the disk.
    BackingSize {
        /// The header's value, in bytes.
        value: u64,
        /// The disk's, in bytes.
        size: u64,
    },
    /// The data would end behind the last byte that a file can have. The header's value, in bytes.
    TooBig(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::SectorSize { value, max } => write!(
                f,
                "sector size {value} in the COW header: \
                 it must be a power of two from {SECTOR_SIZE_MIN} to {max}"
            ),
            Error::Alignment(value) => write!(
                f,
                "alignment {value} in the COW header: \
                 it must be a multiple of {SECTOR_SIZE_MIN} from {SECTOR_SIZE_MIN} to \
                 {ALIGNMENT_MAX}"
            ),
            Error::NoSize => f.write_str("size 0 in the COW header: it must be 1 at least"),
            Error::BackingSize { value, size } => write!(
                f,
                "backing file's size {value} in the COW header: it must be from 1 to the disk's, \
                 {size}"
            ),
            Error::TooBig(value) => write!(
                f,
                "size {value} in the COW header: \
                 its data would end behind byte {OFFSET_MAX}, the limit of a file"
            ),
        }
    }
}

// The kernel's printing macros take a trait of the kernel crate's own.
#[cfg(CONFIG_RUST)]
impl kernel::fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Layout {
    /// The layout of the file that begins with `header`. `page_size`, in bytes, is the largest
    /// sector size that the caller can use.
    pub(crate) fn new(header: &Header<'_>, page_size: u32) -> Result<Layout, Error> {
        let len = header.len() as u64;
        let (size, backing_size) = (header.size, header.backing_size);
        if let Some(value) = backing_size.filter(|value| !(1..=size).contains(value)) {
            return Err(Error::BackingSize { value, size });
        }
        match header.version {
            Version::V1 { .. } | Version::V2 => {
                Self::old(len, header.size, header.sector_size, page_size)
            }
            Version::V3 | Version::V3Broken => Self::aligned(
                len,
                header.size,
                header.sector_size,
                header.alignment,
                page_size,
            ),
        }
    }

    /// The layout of a V3 file to be made for a disk of `size` bytes. `sector_size` and
    /// `alignment` are bytes and follow the rules for those of a header; of the sector size, any
    /// power of two will do.
    pub(crate) fn new_v3(size: u64, sector_size: u32, alignment: u32) -> Result<Layout, Error> {
        Self::aligned(V3_LEN as u64, size, sector_size, alignment, 1 << 31)
    }

    /// V1 and V2.
    fn old(header_len: u64, size: u64, sector_size: u32, page_size: u32) -> Result<Layout, Error> {
        let (sector_shift, sectors) = sectors(size, sector_size, page_size)?;
        let short_len = sectors / 8;
        let whole_len = sectors.div_ceil(8);
        let data_offset = round_up(header_len + short_len, sector_size);
        let short_of_room = header_len + whole_len > data_offset;
        Layout {
            sector_shift,
            sectors,
            size,
            bitmap_offset: header_len,
            bitmap_len: if short_of_room { short_len } else { whole_len },
            data_offset,
            short_of_room,
        }
        .checked()
    }

    /// V3, in both layouts of the header.
    fn aligned(
        header_len: u64,
        size: u64,
        sector_size: u32,
        alignment: u32,
        page_size: u32,
    ) -> Result<Layout, Error> {
        let (sector_shift, sectors) = sectors(size, sector_size, page_size)?;
        if alignment == 0 || alignment % SECTOR_SIZE_MIN != 0 || alignment > ALIGNMENT_MAX {
            return Err(Error::Alignment(alignment));
        }
        let bitmap_offset = round_up(header_len, alignment);
        let bitmap_len = sectors.div_ceil(8);
        Layout {
            sector_shift,
            sectors,
            size,
            bitmap_offset,
            bitmap_len,
            data_offset: round_up(bitmap_offset + bitmap_len, alignment),
            short_of_room: false,
        }
        .checked()
    }

    /// This layout, if the last sector ends within what a file can have.
    fn checked(self) -> Result<Layout, Error> {
        self.sectors
            .checked_mul(1 << self.sector_shift)
            .and_then(|len| len.checked_add(self.data_offset))
            .filter(|&end| end <= OFFSET_MAX)
            .map(|_| self)
            .ok_or(Error::TooBig(self.size))
    }

    /// How many sectors have a bit in the bitmap: all, unless [`Layout::short_of_room`].
    pub(crate) fn mapped_sectors(&self) -> u64 {
        self.sectors.min(self.bitmap_len * 8)
    }

    /// Where the data of `sector`, which is below [`Layout::sectors`], lies in the COW file.
    pub(crate) fn data_at(&self, sector: u64) -> u64 {
        // A sector beyond the disk gives an offset that no file has, not one that wraps around.
        sector
            .saturating_mul(1 << self.sector_shift)
            .saturating_add(self.data_offset)
    }

    /// The length of a new file of this layout.
    pub(crate) fn file_len(&self) -> u64 {
        self.data_offset + self.size
    }
}

/// The sector shift and the number of sectors of a disk.
fn sectors(size: u64, sector_size: u32, page_size: u32) -> Result<(u32, u64), Error> {
    if !sector_size.is_power_of_two() || sector_size < SECTOR_SIZE_MIN || sector_size > page_size {
        return Err(Error::SectorSize {
            value: sector_size,
            max: page_size,
        });
    }
    if size == 0 {
        return Err(Error::NoSize);
    }
    let shift = sector_size.trailing_zeros();
    let whole = size >> shift;
    let rest = size & (u64::from(sector_size) - 1);
    Ok((shift, whole + u64::from(rest != 0)))
}

/// `value`, which is an offset in bytes of at most 2^53 (a header and a bitmap), rounded up to a
/// multiple of `to`, which is 1 to [`ALIGNMENT_MAX`], so that nothing overflows.
fn round_up(value: u64, to: u32) -> u64 {
    // By hand, because a 32-bit kernel has no 64-bit division for Rust, and an alignment need not
    // be a power of two.
    let to = u64::from(to);
    let mut rest = 0;
    for bit in (0..u64::BITS).rev() {
        rest = (rest << 1) | ((value >> bit) & 1);
        if rest >= to {
            rest -= to;
        }
    }
    if rest == 0 {
        value
    } else {
        value + (to - rest)
    }
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), ::kernel::macros::kunit_tests(rnull_ubd_layout))]
mod tests {
    use super::*;

    const PAGE: u32 = 4096;
    const GIB: u64 = 1 << 30;
    const V1: Version = Version::V1 { big_endian: true };

    fn of(version: Version, size: u64, sector_size: u32, align: u32) -> Result<Layout, Error> {
        let header = Header {
            version,
            mtime: 0,
            size,
            backing_size: None,
            sector_size,
            alignment: align,
            backing_file: b"/gold",
        };
        Layout::new(&header, PAGE)
    }

    /// Bitmap offset, bitmap length and data offset.
    fn offsets(layout: Result<Layout, Error>) -> Option<(u64, u64, u64)> {
        layout
            .ok()
            .map(|l| (l.bitmap_offset, l.bitmap_len, l.data_offset))
    }

    #[test]
    fn v3_is_aligned() {
        assert_eq!(
            of(Version::V3, GIB, 512, 4096),
            Ok(Layout {
                sector_shift: 9,
                sectors: 2097152,
                size: GIB,
                bitmap_offset: 8192,
                bitmap_len: 262144,
                data_offset: 270336,
                short_of_room: false,
            })
        );
        assert_eq!(
            Layout::new_v3(GIB, 512, 4096),
            of(Version::V3, GIB, 512, 4096)
        );
        // One byte more is one sector and one byte of bitmap more.
        let more = of(Version::V3, GIB + 1, 512, 4096);
        assert_eq!(offsets(more), Some((8192, 262145, 274432)));
        assert_eq!(more.map(|l| l.sectors), Ok(2097153));
        assert_eq!(more.map(|l| l.file_len()), Ok(274432 + GIB + 1));
        assert_eq!(more.map(|l| l.data_at(3)), Ok(274432 + 1536));

        let v3 = |size, sector_size, align| offsets(of(Version::V3, size, sector_size, align));
        assert_eq!(v3(1, 512, 512), Some((4608, 1, 5120)));
        assert_eq!(v3(8 * 512, 512, 512), Some((4608, 1, 5120)));
        assert_eq!(v3(8 * 512 + 1, 512, 512), Some((4608, 2, 5120)));
        assert_eq!(v3(GIB, 4096, 4096), Some((8192, 32768, 40960)));
        assert_eq!(v3(GIB, 512, 1536), Some((4608, 262144, 267264)));
        assert_eq!(v3(512, 512, 1 << 30), Some((GIB, 1, 2 * GIB)));
        // The broken header is longer by 8 bytes, which never shows after rounding up to 512.
        assert_eq!(
            of(Version::V3Broken, GIB, 512, 4096),
            of(Version::V3, GIB, 512, 4096)
        );
    }

    #[test]
    fn a_larger_disk_lies_as_any_other() {
        let larger = |size, backing_size| {
            let header = Header {
                version: Version::V3,
                mtime: 0,
                size,
                backing_size: Some(backing_size),
                sector_size: 512,
                alignment: 512,
                backing_file: b"/gold",
            };
            Layout::new(&header, PAGE)
        };
        assert_eq!(larger(GIB, 1), of(Version::V3, GIB, 512, 512));
        assert_eq!(larger(GIB, GIB), of(Version::V3, GIB, 512, 512));
        for value in [0, GIB + 1, u64::MAX] {
            let error = Error::BackingSize { value, size: GIB };
            assert_eq!(larger(GIB, value), Err(error));
        }
    }

    #[test]
    fn old_versions_lack_a_byte() {
        let v1 = |size| of(V1, size, 512, 512);
        // 8 sectors: one byte, as it should be. 9: one byte by the formula, but there is room.
        assert_eq!(offsets(v1(8 * 512)), Some((280, 1, 512)));
        assert_eq!(offsets(v1(8 * 512 + 1)), Some((280, 2, 512)));
        assert_eq!(offsets(v1(1)), Some((280, 1, 512)));
        // 232 bytes fit between header and data: 1856 sectors, and the next seven have no bit.
        let full = v1(1856 * 512);
        assert_eq!(offsets(full), Some((280, 232, 512)));
        assert_eq!(full.map(|l| l.short_of_room), Ok(false));
        for sectors in [1857, 1863] {
            let short = v1(sectors * 512);
            assert_eq!(offsets(short), Some((280, 232, 512)));
            assert_eq!(short.map(|l| l.short_of_room), Ok(true));
            assert_eq!(short.map(|l| l.mapped_sectors()), Ok(1856));
        }
        let next = v1(1864 * 512);
        assert_eq!(offsets(next), Some((280, 233, 1024)));
        assert_eq!(next.map(|l| l.mapped_sectors()), Ok(1864));

        // The alignment of V1 and V2 is the sector size; the field is not looked at.
        let v2 = |size, sector_size| offsets(of(Version::V2, size, sector_size, 0));
        assert_eq!(v2(GIB, 512), Some((4120, 262144, 266752)));
        assert_eq!(v2(GIB, 4096), Some((4120, 32768, 40960)));
        assert_eq!(v2(9 * 4096, 4096), Some((4120, 2, 8192)));
    }

    #[test]
    fn bad_values_are_refused() {
        for value in [0, 1, 256, 511, 513, 1536, 8192, u32::MAX] {
            let error = Err(Error::SectorSize { value, max: PAGE });
            for version in [V1, Version::V2, Version::V3, Version::V3Broken] {
                assert_eq!(of(version, GIB, value, 4096), error);
            }
        }
        for value in [0, 1, 256, 511, 513, 4097, (1 << 30) + 512, u32::MAX] {
            let error = Err(Error::Alignment(value));
            assert_eq!(of(Version::V3, GIB, 512, value), error);
            assert_eq!(of(Version::V3Broken, GIB, 512, value), error);
            assert_eq!(Layout::new_v3(GIB, 512, value), error);
        }
        for version in [V1, Version::V2, Version::V3] {
            assert_eq!(of(version, 0, 512, 512), Err(Error::NoSize));
            for size in [1 << 63, u64::MAX - 511, u64::MAX] {
                assert_eq!(of(version, size, 512, 512), Err(Error::TooBig(size)));
                assert_eq!(of(version, size, 4096, 512), Err(Error::TooBig(size)));
            }
        }
    }

    #[test]
    fn rounding_is_exact() {
        for to in [1, 2, 3, 512, 1536, 4096, 0x3fff_fe00, 1 << 30] {
            for value in [0, 1, 511, 512, 513, 4128, 1 << 32, (1 << 53) - 1, 1 << 53] {
                assert_eq!(round_up(value, to), value.next_multiple_of(u64::from(to)));
            }
        }
    }

    #[test]
    fn the_last_sector_ends_within_a_file() {
        // The greatest size: one byte of bitmap for 4096 bytes of disk, all in 2^63 - 1 bytes.
        let (mut good, mut bad) = (1, u64::MAX);
        while bad - good > 1 {
            let size = good + (bad - good) / 2;
            if of(Version::V3, size, 512, 4096).is_ok() {
                good = size;
            } else {
                bad = size;
            }
        }
        let layout = of(Version::V3, good, 512, 4096);
        let end = layout.map(|l| l.data_at(l.sectors));
        assert!(end.is_ok_and(|end| end <= OFFSET_MAX && end > OFFSET_MAX - 2 * 4096));
        assert!(layout.is_ok_and(|l| l.file_len() <= OFFSET_MAX));
        assert_eq!(layout.map(|l| l.data_at(u64::MAX)), Ok(u64::MAX));
    }
}
