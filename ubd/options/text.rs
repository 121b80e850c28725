// SPDX-License-Identifier: GPL-2.0

//! How texts of users are shown, which may have any bytes.

use core::fmt;

/// Bytes for a message: UTF-8 as it is, except that control characters and bytes that are not
/// UTF-8 show as `\xNN`, so that no path can forge a line of the log.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Escaped<'_> {
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

/// A path or another field for a message, as [`Escaped`]: of a very long one its start and its end,
/// so that the kernel log, whose lines are short, has what is said of it.
pub(crate) struct Abbreviated<'a>(pub(crate) &'a [u8]);

impl Abbreviated<'_> {
    const START: usize = 60;
    const END: usize = 120;
}

impl fmt::Display for Abbreviated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        match text.len().saturating_sub(Self::START + Self::END) {
            0 => write!(f, "{}", Escaped(text)),
            more => write!(
                f,
                "{}[{more} bytes more]{}",
                Escaped(text.get(..Self::START).unwrap_or_default()),
                Escaped(text.get(Self::START + more..).unwrap_or_default())
            ),
        }
    }
}
