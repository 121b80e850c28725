// SPDX-License-Identifier: GPL-2.0

//! How far a long command has come.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// How far a long command has come, on a line of its own of standard error.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    shown: Option<Instant>,
    quiet: bool,
}

impl Progress {
    /// `total` is in bytes. Nothing is shown if it is to be `quiet`.
    pub(crate) fn new(what: &'static str, total: u64, quiet: bool) -> Self {
        Self {
            what,
            total,
            shown: None,
            quiet,
        }
    }

    /// So many bytes are done. Shows it, if the last time is long enough ago.
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

    /// All is done.
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
