// SPDX-License-Identifier: GPL-2.0

//! What the program says: on standard output what was asked for, on standard error all else.

use crate::{
    failure::{Failure, Result},
    json,
};
use serde_json::Value;
use std::{
    fmt,
    io::{self, BufWriter, ErrorKind, StdoutLock, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// Standard output. What is written is sure to be there after [`Output::flush`] only.
pub(crate) struct Output {
    writer: BufWriter<StdoutLock<'static>>,
    /// Whether JSON was asked for.
    pub(crate) json: bool,
}

impl Output {
    /// Standard output, for text.
    pub(crate) fn new() -> Self {
        Self {
            writer: BufWriter::new(io::stdout().lock()),
            json: false,
        }
    }

    /// What `write!` and `writeln!` call. Returns [`Failure::Unread`] if nobody reads it any more.
    pub(crate) fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result {
        written(self.writer.write_fmt(text))
    }

    /// Writes a value as JSON, and a newline. Returns what [`Output::write_fmt`] does.
    pub(crate) fn write_json(&mut self, value: &Value) -> Result {
        writeln!(self, "{}", json::print(value))
    }

    /// Returns what [`Output::write_fmt`] does.
    pub(crate) fn flush(&mut self) -> Result {
        written(self.writer.flush())
    }
}

fn written(result: io::Result<()>) -> Result {
    result.map_err(|e| match e.kind() {
        ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::Error(format!("standard output: {e}")),
    })
}

/// Says something on standard error. If that can't be, there is no one left to tell.
pub(crate) fn report_error(text: &str) {
    let _ = writeln!(io::stderr(), "ubd: {text}");
}

/// Whether a character moves the cursor, breaks the line or turns the text around. Such a one in a
/// name can make a message say another thing than it does.
pub(crate) fn moves(c: char) -> bool {
    let breaks_or_turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || breaks_or_turns
}

/// A path for people: every path in a message goes through here.
pub(crate) fn shown(path: &Path) -> String {
    shown_bytes(path.as_os_str().as_bytes())
}

/// Bytes for people, with escapes for what moves text.
pub(crate) fn shown_bytes(bytes: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        if moves(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}
