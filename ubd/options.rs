// SPDX-License-Identifier: GPL-2.0

//! The text of a `ubd` option and what it says.
//!
//! The grammar is that of User-mode Linux: `ubd<unit><flags>=<file>[(:|,)<file2>[(:|,)<serial>]]`.
//! Nothing here allocates: what is named in the text is handed out as slices of it, as bytes,
//! because a path need not be UTF-8.

use core::fmt;

/// Number of units: major 98 has 256 minors, and a unit takes 16 of them.
pub(crate) const UNITS: usize = 16;

/// How many flag letters an option may have: as many as the C driver takes.
const FLAGS_MAX: usize = 6;

/// The letter of a unit, as in `/dev/ubda`: `a` for unit 0.
///
/// `unit` is below [`UNITS`]; for anything that no letter is left for, this is `?`.
pub(crate) fn letter(unit: usize) -> char {
    match u8::try_from(unit) {
        Ok(n @ 0..=25) => char::from(b'a' + n),
        _ => '?',
    }
}

/// The flags of an option, in any order and as often as the user likes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Flags {
    /// `r`: the files are opened read-only and the disk is read-only.
    pub(crate) read_only: bool,
    /// `s`: a write is on stable storage before it completes.
    pub(crate) sync: bool,
    /// `d`: the file is data and never a COW file, whatever its header says.
    pub(crate) data: bool,
    /// `c`: no lock is taken on the files, for cluster file systems.
    pub(crate) shared: bool,
    /// `t`: neither discard nor write-zeroes is advertised.
    pub(crate) no_trim: bool,
}

impl Flags {
    /// Sets the flag of `letter`; false if there is none.
    fn set(&mut self, letter: u8) -> bool {
        let flag = match letter {
            b'r' => &mut self.read_only,
            b's' => &mut self.sync,
            b'c' => &mut self.shared,
            b'd' => &mut self.data,
            b't' => &mut self.no_trim,
            _ => return false,
        };
        *flag = true;
        true
    }
}

/// Prints the letters in the order `r`, `s`, `c`, `d`, `t`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (set, letter) in [
            (self.read_only, "r"),
            (self.sync, "s"),
            (self.shared, "c"),
            (self.data, "d"),
            (self.no_trim, "t"),
        ] {
            if set {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Bytes for a message: UTF-8 as it is, except that control characters and bytes that are not
/// UTF-8 show as `\xNN`, so that no path can forge a line of the log.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        write!(f, "\\x{byte:02x}")?;
                    }
                } else {
                    fmt::Write::write_char(f, c)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A path or another field for a message, as [`Text`]: of a very long one its start and its end, so
/// that the kernel log, whose lines are short, has what is said of it.
pub(crate) struct Brief<'a>(pub(crate) &'a [u8]);

impl Brief<'_> {
    const START: usize = 60;
    const END: usize = 120;
}

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        match text.len().saturating_sub(Self::START + Self::END) {
            0 => write!(f, "{}", Text(text)),
            more => write!(
                f,
                "{}[{more} bytes more]{}",
                Text(text.get(..Self::START).unwrap_or_default()),
                Text(text.get(Self::START + more..).unwrap_or_default())
            ),
        }
    }
}

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
            backing,
            serial: some(serial),
        })
    }
}

/// Prints the option as it follows the letters `ubd`. It parses back to the same, as long as it
/// has neither control characters nor bytes that are not UTF-8 (see [`Text`]).
impl fmt::Display for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}={}", self.unit, self.flags, Text(self.file))?;
        match (self.backing, self.serial) {
            (None, None) => Ok(()),
            (Some(backing), None) => write!(f, ",{}", Text(backing)),
            (backing, Some(serial)) => {
                let backing = backing.unwrap_or_default();
                write!(f, ",{},{}", Text(backing), Text(serial))
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

/// Why an option cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// There is no unit where one should be.
    NoUnit,
    /// The unit is [`UNITS`] or more.
    UnitOutOfRange,
    /// This byte is neither `=` nor a flag.
    NotAFlag(u8),
    /// There are more than [`FLAGS_MAX`] flags.
    TooManyFlags,
    /// The text ends before its `=`.
    NoEquals,
    /// Flag `d` says that there is no COW file, a second file that there is one.
    DataWithBacking,
    /// The first field is empty.
    NoFile,
    /// There is a field after the serial number.
    TooManyFields,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoUnit => {
                write!(f, "couldn't parse device number: expected 0 to ")?;
                write!(f, "{} or a to {}", UNITS - 1, letter(UNITS - 1))
            }
            Error::UnitOutOfRange => {
                write!(f, "device number out of range: the last is ")?;
                write!(f, "{} or {}", UNITS - 1, letter(UNITS - 1))
            }
            Error::NotAFlag(byte) => {
                write!(f, "expected '=' or flag letter (r, s, c, t or d), not '")?;
                write!(f, "{}'", byte.escape_ascii())
            }
            Error::TooManyFlags => write!(f, "too many flags: more than {FLAGS_MAX}"),
            Error::NoEquals => f.write_str("missing '='"),
            Error::DataWithBacking => {
                f.write_str("flag 'd' (not a COW file) together with a second file")
            }
            Error::NoFile => f.write_str("no file named"),
            Error::TooManyFields => {
                f.write_str("too many fields: at most a file, its backing file and a serial number")
            }
        }
    }
}

// The kernel's printing macros take a trait of the kernel crate's own.
#[cfg(CONFIG_RUST)]
mod kernel_display {
    use super::{Brief, Error, Flags, Text};
    use core::fmt;

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

    impl kernel::fmt::Display for Brief<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    impl kernel::fmt::Display for Text<'_> {
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

/// Parses the name of a unit, all of `text`: a decimal number or a letter.
pub(crate) fn parse_unit(text: &[u8]) -> Result<usize, Error> {
    // Elsewhere these are octal and hexadecimal numbers.
    if let [b'0', _, ..] = text {
        return Err(Error::NoUnit);
    }
    match leading_unit(text)? {
        (unit, []) => Ok(unit),
        _ => Err(Error::NoUnit),
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

/// The unit that `text` begins with, and what follows it.
fn leading_unit(text: &[u8]) -> Result<(usize, &[u8]), Error> {
    let (unit, rest) = match text.split_first() {
        Some((&c @ b'a'..=b'z', rest)) => (u64::from(c - b'a'), rest),
        _ => number(text).ok_or(Error::NoUnit)?,
    };
    match usize::try_from(unit) {
        Ok(unit) if unit < UNITS => Ok((unit, rest)),
        _ => Err(Error::UnitOutOfRange),
    }
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

/// The number that `text` begins with, and what follows it. As in the kernel's
/// `simple_strtoul(.., 0)`, `0x` begins a hexadecimal and `0` an octal number; one that is too
/// great for 64 bits is [`u64::MAX`] here, instead of some small number.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (radix, digits) = match text {
        [b'0', b'x' | b'X', digits @ ..] if digits.first().is_some_and(u8::is_ascii_hexdigit) => {
            (16, digits)
        }
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    let mut value: u64 = 0;
    let mut rest = digits;
    while let Some((&c, after)) = rest.split_first() {
        let Some(digit) = char::from(c).to_digit(radix) else {
            break;
        };
        value = value
            .saturating_mul(u64::from(radix))
            .saturating_add(u64::from(digit));
        rest = after;
    }
    (rest.len() < digits.len()).then_some((value, rest))
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

        assert_eq!(parse(b""), Err(Error::NoUnit));
        assert_eq!(parse(b"A=f"), Err(Error::NoUnit));
        assert_eq!(parse(b"-1=f"), Err(Error::NoUnit));
        assert_eq!(parse(b"="), Err(Error::NoUnit));
        assert_eq!(parse(b"=="), Err(Error::NoUnit));
        assert_eq!(parse(b"16=f"), Err(Error::UnitOutOfRange));
        assert_eq!(parse(b"0x10=f"), Err(Error::UnitOutOfRange));
        assert_eq!(parse(b"020=f"), Err(Error::UnitOutOfRange));
        assert_eq!(parse(b"q=f"), Err(Error::UnitOutOfRange));
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

    #[test]
    fn fields_may_be_absent() {
        let mut options = Options {
            unit: 2,
            flags: Flags::default(),
            file: b"f",
            backing: Some(b"b"),
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
        for text in [
            &b""[..],
            b"A",
            b"-1",
            b"00",
            b"07",
            b"0x1",
            b"1r",
            b"aa",
            b"1 ",
        ] {
            assert_eq!(parse_unit(text), Err(Error::NoUnit));
        }
        for text in [&b"16"[..], b"q", b"99999999999999999999"] {
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
            &Text(b"/t\xc3\xa9/\xff\n\x1b[1m"),
            b"/t\xc3\xa9/\\xff\\x0a\\x1b[1m"
        ));
        assert!(Line::is(
            &Error::NotAFlag(b'\n'),
            b"expected '=' or flag letter (r, s, c, t or d), not '\\n'"
        ));
        assert!(Line::is(
            &Error::UnitOutOfRange,
            b"device number out of range: the last is 15 or p"
        ));
        assert_eq!(letter(0), 'a');
        assert_eq!(letter(UNITS - 1), 'p');
        assert_eq!(letter(usize::MAX), '?');
    }
}
