// SPDX-License-Identifier: GPL-2.0

//! What the program says: on standard output what was asked for, on standard error all else.

use crate::{Failure, Result};
use std::{
    fmt,
    io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

/// Standard output. What is written is sure to be there after [`Output::flush`] only.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(crate) fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    /// What `write!` and `writeln!` call. Returns [`Failure::Unread`] if nobody reads it any more.
    pub(crate) fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> Result {
        written(self.0.write_fmt(text))
    }

    /// Returns what [`Output::write_fmt`] does.
    pub(crate) fn flush(&mut self) -> Result {
        written(self.0.flush())
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
fn moves(c: char) -> bool {
    let breaks_or_turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || breaks_or_turns
}

/// A string of JSON. What is not UTF-8 shows as U+FFFD.
pub(crate) fn json(text: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if moves(c) => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
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

/// How far a long command has come, on a line of its own.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    shown: Option<Instant>,
    quiet: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: u64, quiet: bool) -> Self {
        Self {
            what,
            total,
            shown: None,
            quiet,
        }
    }

    pub(crate) fn at(&mut self, done: u64) {
        let interval = if io::stderr().is_terminal() {
            100
        } else {
            2000
        };
        let due = self
            .shown
            .is_none_or(|shown| shown.elapsed() >= Duration::from_millis(interval));
        if !self.quiet && due {
            self.show(done, false);
            self.shown = Some(Instant::now());
        }
    }

    pub(crate) fn end(&mut self) {
        if !self.quiet {
            self.show(self.total, true);
        }
    }

    fn show(&self, done: u64, last: bool) {
        let share = (u128::from(done) * 100).checked_div(u128::from(self.total));
        let share = share.unwrap_or(100);
        let text = format!("{}: {share} %, {done} of {} bytes", self.what, self.total);
        let mut stderr = io::stderr();
        // The work goes on, whether or not anyone can see it.
        let _ = if !stderr.is_terminal() {
            writeln!(stderr, "{text}")
        } else if last {
            writeln!(stderr, "\r\x1b[K{text}")
        } else {
            write!(stderr, "\r\x1b[K{text}")
        };
    }
}
