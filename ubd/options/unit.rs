// SPDX-License-Identifier: GPL-2.0

//! The names of units: numbers and letters.

use super::{Error, Flags};
use core::fmt;

/// Number of units: the kernel has so many device numbers for disks that have none of their own.
pub(crate) const UNITS: usize = 1 << 20;

/// Of these, those that have numbers of their own: major 98 has 256 minors, and a unit takes 16 of
/// them. They have module parameters of their own, too.
pub(crate) const FIXED_UNITS: usize = 16;

/// The letters of a unit, as in `/dev/ubda`: `a` to `z`, `aa` to `az` and so on.
#[derive(Clone, Copy)]
pub(crate) struct Letters(pub(crate) usize);

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(unit) = self;
        if let Some(before) = (unit / 26).checked_sub(1) {
            fmt::Display::fmt(&Self(before), f)?;
        }
        fmt::Write::write_char(f, char::from(b'a' + (unit % 26) as u8))
    }
}

/// Parses the name of a unit, all of `text`: a decimal number or letters, which are no flags here.
pub(crate) fn parse_unit(text: &[u8]) -> Result<usize, Error> {
    let unit = match text {
        // Elsewhere these are octal and hexadecimal numbers.
        [b'0', _, ..] => return Err(Error::NoUnit),
        // Who says `ubda` means unit `a`, and no other is to be there instead. Units as high as
        // that have their numbers.
        [b'u', b'b', b'd', _, ..] => return Err(Error::NoUnit),
        _ if text.iter().all(u8::is_ascii_lowercase) => letters(text),
        _ => match number(text) {
            Some((unit, [])) => Some(unit),
            _ => None,
        },
    };
    in_range(unit.ok_or(Error::NoUnit)?)
}

/// The unit that `text` begins with, and what follows it.
pub(super) fn leading_unit(text: &[u8]) -> Result<(usize, &[u8]), Error> {
    let all = text.iter().take_while(|c| c.is_ascii_lowercase()).count();
    let is_flag = |&c: &u8| Flags::default().set(c);
    let flags = text
        .iter()
        .take(all)
        .skip(1)
        .rev()
        .take_while(|c| is_flag(c));
    let (unit, rest) = text
        .split_at_checked(all - flags.count())
        .ok_or(Error::NoUnit)?;
    let (unit, rest) = match letters(unit) {
        Some(unit) => (unit, rest),
        None => number(text).ok_or(Error::NoUnit)?,
    };
    Ok((in_range(unit)?, rest))
}

/// The unit that these letters name; `None` if there are none. One that is too great for 64 bits is
/// [`u64::MAX`].
fn letters(text: &[u8]) -> Option<u64> {
    let digit = |c: &u8| u64::from(c - b'a') + 1;
    let add = |value: u64, c| value.saturating_mul(26).saturating_add(digit(c));
    text.iter().fold(0, add).checked_sub(1)
}

fn in_range(unit: u64) -> Result<usize, Error> {
    match usize::try_from(unit) {
        Ok(unit) if unit < UNITS => Ok(unit),
        _ => Err(Error::UnitOutOfRange),
    }
}

/// The number that `text` begins with, and what follows it. As in the kernel's
/// `simple_strtoul(.., 0)`, `0x` begins a hexadecimal and `0` an octal number; one that is too
/// great for 64 bits is [`u64::MAX`] here, instead of some small number.
pub(super) fn number(text: &[u8]) -> Option<(u64, &[u8])> {
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
