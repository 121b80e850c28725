// SPDX-License-Identifier: GPL-2.0

//! What must be true for any bytes whatever: the property tests and the fuzzers call these, and
//! they panic when it is not.

use crate::ubd::cow::{
    header::{self, Header, Version},
    layout::{Error, Layout},
};
use crate::ubd::options::{self, Letters, Setting, UNITS};

/// Message texts end up in the log: one line each, with nothing in it that a terminal obeys.
fn message(text: &dyn std::fmt::Display) {
    let text = text.to_string();
    assert!(!text.is_empty());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// `bytes` as the start of a file that may be a COW file.
pub fn header(bytes: &[u8]) {
    let header = match header::parse(bytes) {
        Ok(Some(header)) => header,
        Ok(None) => return,
        Err(error) => return message(&error),
    };
    assert!(header.len() <= bytes.len() && header.len() <= header::LEN_MAX);
    assert!(!header.backing_file.is_empty() && !header.backing_file.contains(&0));
    written(&header);
    for page_size in [4096, 16384, 65536] {
        layout(&header, page_size);
    }
}

/// A header that is written parses to the same, whatever comes after it in the file, and takes
/// not a byte more than its length.
pub(crate) fn written(header: &Header<'_>) {
    for filler in [0x00, 0xff] {
        let mut buf = vec![filler; header::LEN_MAX + 8];
        let len = header.write(&mut buf).unwrap();
        assert_eq!(len, header.len());
        assert!(buf[len..].iter().all(|&c| c == filler));
        assert_eq!(header::parse(&buf), Ok(Some(*header)));
        assert_eq!(header::parse(&buf[..len]), Ok(Some(*header)));
    }
}

/// The layout of `header`, if it has one, is that of the format's formulas, its regions follow
/// each other without an overlap, and all of it fits into a file. The formulas are computed here
/// anew, with numbers that cannot overflow.
pub(crate) fn layout(header: &Header<'_>, page_size: u32) {
    let size = u128::from(header.size);
    let sector_size = u128::from(header.sector_size);
    let alignment = u128::from(header.alignment);
    let len = header.len() as u128;
    let old = matches!(header.version, Version::V1 { .. } | Version::V2);

    let layout = match Layout::new(header, page_size) {
        Ok(layout) => layout,
        Err(error) => {
            message(&error);
            match error {
                Error::SectorSize { value, max } => {
                    assert_eq!((value, max), (header.sector_size, page_size));
                    assert!(!value.is_power_of_two() || value < 512 || value > max);
                }
                Error::Alignment(value) => {
                    assert!(!old && value == header.alignment);
                    assert!(value == 0 || value % 512 != 0 || value > 1 << 30);
                }
                Error::NoSize => assert_eq!(header.size, 0),
                Error::BackingSize { value, size } => {
                    assert_eq!((Some(value), size), (header.backing_size, header.size));
                    assert!(value == 0 || value > size);
                }
                // The data alone, or with the bitmap, which is an eighth of a bit for each byte
                // at most, and with two alignments.
                Error::TooBig(value) => {
                    assert_eq!(value, header.size);
                    assert!(size + size / 4096 + (1 << 31) + 8192 > i64::MAX as u128);
                }
            }
            return;
        }
    };

    let sectors = size.div_ceil(sector_size);
    let (bitmap_offset, bitmap_len, data_offset) = if old {
        let bitmap_len = (size + sector_size - 1) / (8 * sector_size);
        let data_offset = (len + bitmap_len).div_ceil(sector_size) * sector_size;
        (len, bitmap_len, data_offset)
    } else {
        let bitmap_offset = len.div_ceil(alignment) * alignment;
        let bitmap_len = sectors.div_ceil(8);
        let data_offset = (bitmap_offset + bitmap_len).div_ceil(alignment) * alignment;
        (bitmap_offset, bitmap_len, data_offset)
    };
    assert_eq!(1u128 << layout.sector_shift, sector_size);
    assert_eq!(u128::from(layout.sectors), sectors);
    assert_eq!(layout.size, header.size);
    assert_eq!(u128::from(layout.bitmap_offset), bitmap_offset);
    assert_eq!(u128::from(layout.data_offset), data_offset);

    // Header, bitmap, data.
    assert!(len <= bitmap_offset);
    let bitmap_end = layout.bitmap_offset + layout.bitmap_len;
    assert!(bitmap_end <= layout.data_offset);
    let file_end = layout.data_at(layout.sectors);
    assert_eq!(u128::from(file_end), data_offset + sectors * sector_size);
    assert!(layout.data_at(layout.sectors - 1) < layout.file_len());
    assert!(layout.file_len() <= file_end && file_end <= i64::MAX as u64);

    // A sector without a bit is seen for what it is; the byte that the old formula forgets is
    // used if, and only if, it is not the data's.
    let mapped = u128::from(layout.mapped_sectors());
    let missing = old && sectors % 8 != 0;
    let room = bitmap_offset + bitmap_len < data_offset;
    assert_eq!(layout.short_of_room, missing && !room);
    assert_eq!(mapped < sectors, layout.short_of_room);
    assert!(mapped <= u128::from(layout.bitmap_len) * 8);
    let byte = u128::from(missing && room);
    assert_eq!(u128::from(layout.bitmap_len), bitmap_len + byte);
}

/// `text` as what follows the letters `ubd`.
pub fn options(text: &[u8]) {
    let options = match options::parse(text) {
        Ok(Setting::Unit(options)) => options,
        Ok(Setting::Sync) => return assert_eq!(text, b"=sync"),
        Ok(Setting::FakeMajor) => {
            let digits = text.strip_prefix(b"=").unwrap();
            assert!(!digits.is_empty() && digits[0].is_ascii_digit());
            return;
        }
        Err(error) => return message(&error),
    };
    assert!(options.unit < UNITS);
    let letters = Letters(options.unit).to_string();
    assert_eq!(options::parse_unit(letters.as_bytes()), Ok(options.unit));
    let fields = [Some(options.file), options.backing, options.serial];
    for field in fields.into_iter().flatten() {
        assert!(!field.is_empty() && !field.iter().any(|c| b",:".contains(c)));
    }
    assert!(!options.flags.data || options.backing.is_none());

    message(&options);
    let clean = std::str::from_utf8(text).is_ok_and(|t| !t.chars().any(char::is_control));
    if clean {
        let printed = options.to_string();
        assert_eq!(
            options::parse(printed.as_bytes()),
            Ok(Setting::Unit(options))
        );
    }
}
