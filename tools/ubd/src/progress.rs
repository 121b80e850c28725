// SPDX-License-Identifier: GPL-2.0

//! How far a long command has come.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// What a terminal shows: of the columns that there are, the bar has what is left.
const BAR: &str = "{msg}: {percent:>3} % [{wide_bar}] \
                   {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// What it shows in the end, and keeps.
const END: &str = "{msg}: 100 %, {binary_total_bytes} in {elapsed}";

/// How often a line is written where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(2);

/// How far a long command has come, on standard error: a bar on a terminal, which goes if the command
/// fails, and else a line now and then.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    way: Way,
}

/// How it is shown.
enum Way {
    Quiet,
    Bar(ProgressBar),
    /// Lines, of which the last one was written then.
    Lines(Option<Instant>),
}

impl Progress {
    /// `total` is in bytes. Nothing is shown if it is to be `quiet`.
    pub(crate) fn new(what: &'static str, total: u64, quiet: bool) -> Self {
        let way = if quiet {
            Way::Quiet
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            Way::Bar(bar.with_style(style(BAR)).with_message(what))
        } else {
            Way::Lines(None)
        };
        Self { what, total, way }
    }

    /// So many bytes are done. Shows it, if the last time is long enough ago.
    pub(crate) fn at(&mut self, done: u64) {
        match &mut self.way {
            Way::Quiet => {}
            Way::Bar(bar) => bar.set_position(done),
            Way::Lines(last) if last.is_none_or(|last| last.elapsed() >= INTERVAL) => {
                *last = Some(Instant::now());
                self.line(done);
            }
            Way::Lines(_) => {}
        }
    }

    /// All is done.
    pub(crate) fn end(&mut self) {
        match &self.way {
            Way::Quiet => {}
            Way::Bar(bar) => {
                bar.set_style(style(END));
                bar.finish();
            }
            Way::Lines(_) => self.line(self.total),
        }
    }

    fn line(&self, done: u64) {
        let share = (u128::from(done) * 100).checked_div(u128::from(self.total));
        let (what, share, total) = (self.what, share.unwrap_or(100), self.total);
        // The work goes on, whether or not anyone can see it.
        let _ = writeln!(io::stderr(), "{what}: {share} %, {done} of {total} bytes");
    }
}

/// A style by its text, of which the tests know that it is one.
fn style(text: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(text);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    // Not every terminal has blocks.
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_styles_are_good() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        assert!(ProgressStyle::with_template(END).is_ok());
    }
}
