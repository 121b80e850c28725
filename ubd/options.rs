// SPDX-License-Identifier: GPL-2.0

//! The text of a `ubd` option and what it says.
//!
//! The grammar is that of User-mode Linux: `ubd<unit><flags>=<file>[(:|,)<file2>[(:|,)<serial>]]`.
//! There, a unit is a number or one letter. Here it can be several, as a disk's name has them. For
//! all that User-mode Linux takes to mean the same, letters at the end that can be flags are flags,
//! but the first is always the unit's: `ac` is unit `a` with flag `c`, `rs` is `r` with `s`, and
//! `aa` is `aa`. What has `ac` for its letters is named by its number.
//!
//! Nothing here allocates: what is named in the text is handed out as slices of it, as bytes,
//! because a path need not be UTF-8.

mod error;
mod flags;
mod text;
mod unit;

pub(crate) use error::Error;
pub(crate) use flags::Flags;
pub(crate) use text::{Abbreviated, Escaped};
pub(crate) use unit::{parse_unit, Letters, FIXED_UNITS, UNITS};

use core::fmt;
use unit::{leading_unit, number};

/// How many flag letters an option may have: as many as the C driver takes.
const FLAGS_MAX: usize = 6;

/// What one option says of one unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Options<'a> {
    /// The unit, below [`UNITS`].
    pub(crate) unit: usize,
    /// The flags.
    pub(crate) flags: Flags,
    /// The COW file or the plain image, never empty.
    pub(crate) file: &'a [u8],
    /// The backing file, never empty.
    pub(crate) backing: Option<&'a [u8]>,
    /// Whether `file` is made a COW file over that if there is none.
    pub(crate) create: bool,
    /// The serial number for sysfs, never empty.
    pub(crate) serial: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// The options of a unit, below [`UNITS`], from texts that may be empty.
    pub(crate) fn new(
        unit: usize,
        flags: Flags,
        file: &'a [u8],
        backing: &'a [u8],
        serial: &'a [u8],
    ) -> Result<Self, Error> {
        let some = |text: &'a [u8]| (!text.is_empty()).then_some(text);
        let backing = some(backing);
        if flags.data && backing.is_some() {
            return Err(Error::DataWithBacking);
        }
        Ok(Self {
            unit,
            flags,
            file: some(file).ok_or(Error::NoFile)?,
            create: backing.is_some(),
            backing,
            serial: some(serial),
        })
    }
}

/// Prints the option as it follows the letters `ubd`. It parses back to the same, as long as it
/// has neither control characters nor bytes that are not UTF-8 (see [`Escaped`]).
impl fmt::Display for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}", self.unit, self.flags, Escaped(self.file))?;
        match (self.backing, self.serial) {
            (None, None) => Ok(()),
            (Some(backing), None) => write!(f, ",{}", Escaped(backing)),
            (backing, Some(serial)) => {
                let backing = backing.unwrap_or_default();
                write!(f, ",{},{}", Escaped(backing), Escaped(serial))
            }
        }
    }
}

/// What an option asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Setting<'a> {
    /// A unit.
    Unit(Options<'a>),
    /// `ubd=sync`: every unit from here on as if it had the flag `s`.
    Sync,
    /// `ubd=<n>`: the obsolete major number of a fake IDE disk, to be warned of and ignored.
    FakeMajor,
}

// The kernel's printing macros take a trait of the kernel crate's own.
#[cfg(CONFIG_RUST)]
mod kernel_display {
    use super::{Abbreviated, Error, Escaped, Flags, Letters};
    use core::fmt;

    impl kernel::fmt::Display for Letters {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    impl kernel::fmt::Display for Error {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    impl kernel::fmt::Display for Flags {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    impl kernel::fmt::Display for Abbreviated<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    impl kernel::fmt::Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }
}

/// Parses what follows the letters `ubd`: `0rs=file:backing`, `=sync`, `=5`.
///
/// `=0rs=file:backing` is a unit too: the value of a module parameter that is itself named `ubd`.
/// All of `text` counts: the caller takes off a newline.
pub(crate) fn parse(text: &[u8]) -> Result<Setting<'_>, Error> {
    let Some((b'=', value)) = text.split_first() else {
        return unit(text).map(Setting::Unit);
    };
    if value == b"sync" {
        return Ok(Setting::Sync);
    }
    match number(value) {
        Some((_, [])) => Ok(Setting::FakeMajor),
        _ => unit(value).map(Setting::Unit),
    }
}

/// Parses flags, all of `text`.
pub(crate) fn parse_flags(text: &[u8]) -> Result<Flags, Error> {
    match leading_flags(text)? {
        (flags, []) => Ok(flags),
        (_, [c, ..]) => Err(Error::NotAFlag(*c)),
    }
}

/// Parses `<unit><flags>=<file>[(:|,)<file2>[(:|,)<serial>]]`.
fn unit(text: &[u8]) -> Result<Options<'_>, Error> {
    let (unit, rest) = leading_unit(text)?;
    let (flags, rest) = leading_flags(rest)?;
    let rest = rest.strip_prefix(b"=").ok_or(Error::NoEquals)?;

    let mut fields = rest.split(|&c| c == b',' || c == b':');
    let mut field = || fields.next().unwrap_or_default();
    let (file, backing, serial) = (field(), field(), field());
    if fields.next().is_some() {
        return Err(Error::TooManyFields);
    }
    Options::new(unit, flags, file, backing, serial)
}

/// The flags that `text` has before a `=` or its end, and what follows them.
fn leading_flags(text: &[u8]) -> Result<(Flags, &[u8]), Error> {
    let mut flags = Flags::default();
    let mut rest = text;
    while let Some((&c, after)) = rest.split_first() {
        if c == b'=' {
            break;
        }
        if !flags.set(c) {
            return Err(Error::NotAFlag(c));
        }
        rest = after;
        if text.len() - rest.len() > FLAGS_MAX {
            return Err(Error::TooManyFlags);
        }
    }
    Ok((flags, rest))
}

#[cfg(any(test, CONFIG_BLK_DEV_RUST_UBD_KUNIT_TEST))]
#[cfg_attr(not(test), ::kernel::macros::kunit_tests(rnull_ubd_options))]
mod tests {
    use super::*;
    use core::fmt::Write;

    /// A line that can be compared without allocating.
    struct Line([u8; 160], usize);

    impl Line {
        fn is(value: &dyn fmt::Display, expected: &[u8]) -> bool {
            let mut line = Line([0; 160], 0);
            write!(line, "{}", value).is_ok() && line.0.get(..line.1) == Some(expected)
        }
    }

    impl Write for Line {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            let end = self.1 + s.len();
            let to = self.0.get_mut(self.1..end).ok_or(fmt::Error)?;
            to.copy_from_slice(s.as_bytes());
            self.1 = end;
            Ok(())
        }
    }

    /// An option of one file, without flags.
    fn plain(unit: usize, file: &[u8]) -> Result<Setting<'_>, Error> {
        Ok(Setting::Unit(Options {
            unit,
            flags: Flags::default(),
            file,
            backing: None,
            create: false,
            serial: None,
        }))
    }

    #[test]
    fn units_are_numbers_or_letters() {
        assert_eq!(parse(b"0=f"), plain(0, b"f"));
        assert_eq!(parse(b"15=f"), plain(15, b"f"));
        assert_eq!(parse(b"0xF=f"), plain(15, b"f"));
        assert_eq!(parse(b"0X0b=f"), plain(11, b"f"));
        assert_eq!(parse(b"017=f"), plain(15, b"f"));
        assert_eq!(parse(b"a=f"), plain(0, b"f"));
        assert_eq!(parse(b"p=f"), plain(15, b"f"));
        assert_eq!(parse(b"=3=f"), plain(3, b"f"));
        assert_eq!(parse(b"=b=f"), plain(1, b"f"));
        assert_eq!(parse(b"16=f"), plain(16, b"f"));
        assert_eq!(parse(b"0x10=f"), plain(16, b"f"));
        assert_eq!(parse(b"020=f"), plain(16, b"f"));
        assert_eq!(parse(b"=1048575=f"), plain(1048575, b"f"));
        for (text, unit) in [
            (&b"q=f"[..], 16),
            (b"z=f", 25),
            (b"aa=f", 26),
            (b"az=f", 51),
            (b"ba=f", 52),
            (b"zz=f", 701),
            (b"aaa=f", 702),
            (b"bgqcv=f", 1048575),
        ] {
            assert_eq!(parse(text), plain(unit, b"f"));
        }

        assert_eq!(parse(b""), Err(Error::NoUnit));
        assert_eq!(parse(b"A=f"), Err(Error::NoUnit));
        assert_eq!(parse(b"-1=f"), Err(Error::NoUnit));
        assert_eq!(parse(b"="), Err(Error::NoUnit));
        assert_eq!(parse(b"=="), Err(Error::NoUnit));
        assert_eq!(parse(b"1048576=f"), Err(Error::UnitOutOfRange));
        assert_eq!(parse(b"bgqcw=f"), Err(Error::UnitOutOfRange));
        // 2^64 and far more: no wrapping around to a unit that exists.
        assert_eq!(parse(b"18446744073709551616=f"), Err(Error::UnitOutOfRange));
        assert_eq!(
            parse(b"99999999999999999999999999=f"),
            Err(Error::UnitOutOfRange)
        );
        assert_eq!(parse(b"0x10000000000000001=f"), Err(Error::UnitOutOfRange));
        // Octal ends before an 8, and 0x without a digit is an octal 0.
        assert_eq!(parse(b"08=f"), Err(Error::NotAFlag(b'8')));
        assert_eq!(parse(b"0x=f"), Err(Error::NotAFlag(b'x')));
    }

    #[test]
    fn flags_come_in_any_order() {
        let all = Flags {
            read_only: true,
            sync: true,
            data: true,
            shared: true,
            no_trim: true,
        };
        for text in [&b"1tdcsr=f"[..], b"brscdt=f", b"1rrscdt=f"] {
            let flags = match parse(text) {
                Ok(Setting::Unit(options)) => options.flags,
                _ => Flags::default(),
            };
            assert_eq!(flags, all);
        }
        assert!(Line::is(&all, b"rscdt"));
        assert!(Line::is(&Flags::default(), b""));

        assert_eq!(parse(b"0rx=f"), Err(Error::NotAFlag(b'x')));
        assert_eq!(parse(b"0R=f"), Err(Error::NotAFlag(b'R')));
        assert_eq!(parse(b"0rrrrrrr=f"), Err(Error::TooManyFlags));
        assert!(parse(b"0rrrrrr=f").is_ok());
        assert_eq!(parse(b"0"), Err(Error::NoEquals));
        assert_eq!(parse(b"0rs"), Err(Error::NoEquals));
        assert_eq!(parse(b"=0rs"), Err(Error::NoEquals));
    }

    /// The unit and the flags of an option.
    fn named(text: &[u8]) -> Option<(usize, Flags)> {
        match parse(text) {
            Ok(Setting::Unit(options)) => Some((options.unit, options.flags)),
            _ => None,
        }
    }

    #[test]
    fn letters_at_the_end_are_flags() {
        // As User-mode Linux has them, and units behind its own.
        for (text, unit, flags) in [
            (&b"ac=f"[..], 0, &b"c"[..]),
            (b"ctt=f", 2, b"t"),
            (b"cd=f", 2, b"d"),
            (b"drs=f", 3, b"rs"),
            (b"q=f", 16, b""),
            (b"r=f", 17, b""),
            (b"rs=f", 17, b"s"),
            (b"ss=f", 18, b"s"),
            (b"tdcsr=f", 19, b"rscd"),
            (b"qr=f", 16, b"r"),
            (b"aa=f", 26, b""),
            (b"aar=f", 26, b"r"),
            (b"aaras=f", 18720, b"s"),
        ] {
            let flags = parse_flags(flags).unwrap_or_default();
            assert_eq!(named(text), Some((unit, flags)));
        }
        // By number there is no doubt.
        assert_eq!(named(b"28=f"), Some((28, Flags::default())));
        assert_eq!(parse_unit(b"ac"), Ok(28));
        assert_eq!(parse(b"arrrrrrr=f"), Err(Error::TooManyFlags));
        assert_eq!(parse(b"aaR=f"), Err(Error::NotAFlag(b'R')));
        assert_eq!(parse(b"aa1=f"), Err(Error::NotAFlag(b'1')));
        assert_eq!(parse(b"rs"), Err(Error::NoEquals));
    }

    #[test]
    fn fields_may_be_absent() {
        let mut options = Options {
            unit: 2,
            flags: Flags::default(),
            file: b"f",
            backing: Some(b"b"),
            create: true,
            serial: Some(b"s"),
        };
        assert_eq!(parse(b"2=f:b:s"), Ok(Setting::Unit(options)));
        assert_eq!(parse(b"2=f,b:s"), Ok(Setting::Unit(options)));
        assert!(Line::is(&options, b"2=f,b,s"));
        options.serial = None;
        assert_eq!(parse(b"2=f:b"), Ok(Setting::Unit(options)));
        assert_eq!(parse(b"2=f:b,"), Ok(Setting::Unit(options)));
        assert!(Line::is(&options, b"2=f,b"));
        options.backing = None;
        options.create = false;
        assert_eq!(parse(b"2=f"), Ok(Setting::Unit(options)));
        assert_eq!(parse(b"2=f,,"), Ok(Setting::Unit(options)));
        assert!(Line::is(&options, b"2=f"));
        options.serial = Some(b"s=1");
        options.flags.data = true;
        options.flags.no_trim = true;
        assert_eq!(parse(b"2td=f,,s=1"), Ok(Setting::Unit(options)));
        assert!(Line::is(&options, b"2dt=f,,s=1"));

        assert_eq!(parse(b"0="), Err(Error::NoFile));
        assert_eq!(parse(b"0=,b"), Err(Error::NoFile));
        assert_eq!(parse(b"0d=f:b"), Err(Error::DataWithBacking));
        assert_eq!(parse(b"0=f:b:s:"), Err(Error::TooManyFields));
        assert_eq!(parse(b"0=f:b:s:x"), Err(Error::TooManyFields));
    }

    #[test]
    fn settings_without_a_unit() {
        assert_eq!(parse(b"=sync"), Ok(Setting::Sync));
        assert_eq!(parse(b"=5"), Ok(Setting::FakeMajor));
        assert_eq!(parse(b"=0x62"), Ok(Setting::FakeMajor));
        assert_eq!(parse(b"=synchronous"), Err(Error::UnitOutOfRange));
        assert_eq!(parse(b"=5 "), Err(Error::NotAFlag(b' ')));
        assert_eq!(parse(b"=5\n"), Err(Error::NotAFlag(b'\n')));
    }

    #[test]
    fn units_and_flags_stand_alone() {
        assert_eq!(parse_unit(b"0"), Ok(0));
        assert_eq!(parse_unit(b"15"), Ok(15));
        assert_eq!(parse_unit(b"a"), Ok(0));
        assert_eq!(parse_unit(b"p"), Ok(15));
        assert_eq!(parse_unit(b"16"), Ok(16));
        assert_eq!(parse_unit(b"aa"), Ok(26));
        assert_eq!(parse_unit(b"rs"), Ok(18 * 26 + 18));
        assert_eq!(parse_unit(b"1048575"), Ok(1048575));
        assert_eq!(parse_unit(b"bgqcv"), Ok(1048575));
        assert!(parse_unit(b"ubd").is_ok());
        assert_eq!(parse_unit(b"ubda"), Err(Error::NoUnit));
        for text in [
            &b""[..],
            b"A",
            b"-1",
            b"00",
            b"07",
            b"0x1",
            b"1r",
            b"aA",
            b"a1",
            b"a ",
            b"1 ",
        ] {
            assert_eq!(parse_unit(text), Err(Error::NoUnit));
        }
        for text in [
            &b"1048576"[..],
            b"bgqcw",
            b"99999999999999999999",
            b"zzzzzzzzzzzzzzzzzzzz",
        ] {
            assert_eq!(parse_unit(text), Err(Error::UnitOutOfRange));
        }

        assert_eq!(parse_flags(b""), Ok(Flags::default()));
        for text in [&b"rscdt"[..], b"tdcsr", b"trscdt"] {
            assert!(parse_flags(text).is_ok_and(|flags| Line::is(&flags, b"rscdt")));
        }
        assert_eq!(parse_flags(b"rx"), Err(Error::NotAFlag(b'x')));
        assert_eq!(parse_flags(b"r="), Err(Error::NotAFlag(b'=')));
        assert_eq!(parse_flags(b"r\n"), Err(Error::NotAFlag(b'\n')));
        assert_eq!(parse_flags(b"rrrrrrr"), Err(Error::TooManyFlags));
    }

    #[test]
    fn messages_are_clean() {
        assert!(Line::is(
            &Escaped(b"/t\xc3\xa9/\xff\n\x1b[1m"),
            b"/t\xc3\xa9/\\xff\\x0a\\x1b[1m"
        ));
        assert!(Line::is(
            &Error::NotAFlag(b'\n'),
            b"expected '=' or flag letter (r, s, c, t or d), not '\\n'"
        ));
        assert!(Line::is(
            &Error::UnitOutOfRange,
            b"device number out of range: the last is 1048575 or bgqcv"
        ));
        for (unit, letters) in [
            (0, &b"a"[..]),
            (FIXED_UNITS - 1, b"p"),
            (25, b"z"),
            (26, b"aa"),
            (701, b"zz"),
            (702, b"aaa"),
        ] {
            assert!(Line::is(&Letters(unit), letters));
        }
    }
}
