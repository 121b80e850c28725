// SPDX-License-Identifier: GPL-2.0

//! Numbers of bytes on the command line.

/// A number of bytes, which can end in K, M, G or T: times 1024 each.
///
/// Returns an error in words if it is none, or too great for 64 bits.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (text.strip_suffix('K'), 10),
        Some(b'M') => (text.strip_suffix('M'), 20),
        Some(b'G') => (text.strip_suffix('G'), 30),
        Some(b'T') => (text.strip_suffix('T'), 40),
        _ => (Some(text), 0),
    };
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| "is no number of bytes, as 65536, 64K or 10G".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_suffixes() {
        for (text, number) in [
            ("0", 0),
            ("512", 512),
            ("64K", 65536),
            ("3M", 3 << 20),
            ("10G", 10 << 30),
            ("2T", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "K",
            "-1",
            "+1",
            "1k",
            "1KB",
            "1.5G",
            "18446744073709551616",
            "16777216T",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
