// SPDX-License-Identifier: GPL-2.0

//! Properties of the pure modules, on random input that is close to what is valid.

use crate::check;
use crate::ubd::cow::header::{self, Header, Version};
use crate::ubd::options::{self, Flags, Letters, Options, Setting, UNITS};
use proptest::prelude::*;

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![
        Just(Version::V1 { big_endian: false }),
        Just(Version::V1 { big_endian: true }),
        Just(Version::V2),
        Just(Version::V3),
        Just(Version::V3Broken),
    ]
}

/// A path that any version has space for, of any bytes but zero.
fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1u8.., 1..=255)
}

/// Mostly sizes that a disk may have, with many at the borders of sectors and bitmap bytes.
fn size() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..1 << 20, 9u32..=16, -1i64..=1)
            .prop_map(|(n, shift, off)| (n << shift).saturating_add_signed(off)),
        2 => 0u64..1 << 44,
        1 => (1u64 << 63) - (1 << 54)..(1 << 63) + 1,
        1 => any::<u64>(),
    ]
}

fn sector_size() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => (9u32..=16).prop_map(|shift| 1 << shift),
        1 => (0u32..=31).prop_map(|shift| 1 << shift),
        1 => any::<u32>(),
    ]
}

fn alignment() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => (1u32..=16).prop_map(|n| n * 512),
        4 => (9u32..=31).prop_map(|shift| 1 << shift),
        1 => (0u32..=1 << 22).prop_map(|n| n.wrapping_mul(512)),
        1 => any::<u32>(),
    ]
}

prop_compose! {
    fn values()(
        version in version(), mtime: u32, size in size(),
        sector_size in sector_size(), alignment in alignment(),
        backing_size in prop::option::weighted(0.2, size()),
    ) -> Header<'static> {
        let alignment = match version {
            Version::V1 { .. } | Version::V2 => sector_size,
            Version::V3 | Version::V3Broken => alignment,
        };
        let backing_size = backing_size.filter(|_| version == Version::V3);
        Header { version, mtime, size, backing_size, sector_size, alignment, backing_file: b"/gold" }
    }
}

/// Characters that paths have, and all others that a field may have.
fn field() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9/._ =-]{1,30}", "[^,:\\pC]{1,30}"]
}

/// User-mode Linux's units, and any.
fn unit() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..16, 0usize..1000, 0..UNITS]
}

prop_compose! {
    fn flags()(read_only: bool, sync: bool, data: bool, shared: bool, no_trim: bool) -> Flags {
        Flags { read_only, sync, data, shared, no_trim }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_written_header_parses_to_the_same(values in values(), path in path()) {
        check::written(&Header { backing_file: &path, ..values });
    }

    #[test]
    fn random_bytes_are_parsed_without_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 0..5000),
        start in prop::option::of(prop_oneof![
            Just(*b"MOOO\x01\0\0\0"), Just(*b"OOOM\0\0\0\x01"),
            Just(*b"OOOM\0\0\0\x02"), Just(*b"OOOM\0\0\0\x03"),
        ]),
    ) {
        if let (Some(start), Some(to)) = (start, bytes.first_chunk_mut()) {
            *to = start;
        }
        check::header(&bytes);
    }

    #[test]
    fn damaged_headers_are_parsed_without_harm(
        values in values(), path in path(),
        // Most damage goes to where the fields are.
        damage in prop::collection::vec(
            (prop_oneof![0usize..48, 256usize..284, 4096usize..4136], any::<u8>()), 0..6),
        len in prop_oneof![3 => Just(header::LEN_MAX), 1 => 0..=header::LEN_MAX],
    ) {
        let mut bytes = vec![0; header::LEN_MAX];
        Header { backing_file: &path, ..values }.write(&mut bytes).unwrap();
        for (at, value) in damage {
            bytes[at] = value;
        }
        check::header(&bytes[..len]);
    }

    #[test]
    fn regions_of_a_layout_never_overlap(
        values in values(), page_size in (12u32..=16).prop_map(|shift| 1 << shift),
    ) {
        check::layout(&values, page_size);
    }

    #[test]
    fn printed_options_parse_back(
        unit in unit(), flags in flags(), file in field(),
        backing in prop::option::of(field()), serial in prop::option::of(field()),
    ) {
        let backing = backing.as_ref().map(|b| b.as_bytes()).filter(|_| !flags.data);
        let options = Options {
            unit,
            flags,
            file: file.as_bytes(),
            backing,
            create: backing.is_some(),
            serial: serial.as_ref().map(|s| s.as_bytes()),
        };
        let text = options.to_string();
        prop_assert_eq!(options::parse(text.as_bytes()), Ok(Setting::Unit(options)));
        // The value of a parameter that is itself named `ubd`.
        let text = format!("={text}");
        prop_assert_eq!(options::parse(text.as_bytes()), Ok(Setting::Unit(options)));
    }

    #[test]
    fn letters_name_units(unit in unit(), flags in flags()) {
        let letters = Letters(unit).to_string();
        prop_assert_eq!(options::parse_unit(letters.as_bytes()), Ok(unit));

        // What comes behind the first letter and could be flags is.
        let text = format!("{letters}{flags}=/f");
        let name = letters[1..].trim_end_matches(|c| "rscdt".contains(c)).len() + 1;
        let parsed = match options::parse(text.as_bytes()) {
            Ok(Setting::Unit(options)) => Some((options.unit, options.flags)),
            Err(options::Error::TooManyFlags) if letters.len() > 1 => return Ok(()),
            _ => None,
        };
        let given = options::parse_flags(&text.as_bytes()[name..text.len() - 3]).unwrap();
        let unit = options::parse_unit(&letters.as_bytes()[..name]).unwrap();
        prop_assert_eq!(parsed, Some((unit, given)));
    }

    #[test]
    fn units_of_one_letter_are_those_of_uml(unit in 0u8..16, flags in "[rscdt]{0,6}") {
        let text = format!("{}{flags}=/f", char::from(b'a' + unit));
        match options::parse(text.as_bytes()) {
            Ok(Setting::Unit(options)) => prop_assert_eq!(options.unit, usize::from(unit)),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn random_options_are_parsed_without_harm(
        text in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "=?([0-9]{1,3}|0x[0-9a-f]{1,20}|[a-z]{1,6})[rscdt]{0,8}=?[a-z,:/=]{0,9}"
                .prop_map(String::into_bytes),
        ],
    ) {
        check::options(&text);
    }
}
