// SPDX-License-Identifier: GPL-2.0

//! What is known of a commit of a unit in use, and what its user says of it.

use crate::ubd::kernel::{completion::Completion, thread};
use kernel::{
    fmt,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::Arc,
    time::{msecs_to_jiffies, Instant, Monotonic},
};

/// How long a commit sleeps at most before it looks at its rate again, in milliseconds.
const NAP_MS: u32 = 100;

/// How a commit goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was none.
    Never,
    /// It goes on.
    Running,
    /// It has come to its end.
    Done,
    /// Its user did not want it any more.
    Cancelled,
    /// It has ended with an error.
    Failed,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Never,
        Self::Running,
        Self::Done,
        Self::Cancelled,
        Self::Failed,
    ];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "none",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        })
    }
}

/// What was copied since the last time that the rate was kept.
pub(super) struct Pace {
    since: Instant<Monotonic>,
    bytes: u64,
}

impl Pace {
    /// Nothing, from now on.
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            bytes: 0,
        }
    }
}

/// A commit.
#[pin_data]
pub(crate) struct Merging {
    /// In bytes per second; 0 for any number.
    rate: Atomic<u64>,
    cancelled: Atomic<bool>,
    /// An [`Outcome`], by its place among all.
    outcome: Atomic<u32>,
    /// In bytes of data.
    done: Atomic<u64>,
    total: Atomic<u64>,
    #[pin]
    ended: Completion,
}

impl Merging {
    /// One that there never was, if `outcome` is that, or one that begins. `rate` is in bytes per
    /// second. May sleep. Returns `ENOMEM`.
    pub(crate) fn new(outcome: Outcome, rate: u64) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                rate: Atomic::new(rate),
                cancelled: Atomic::new(false),
                outcome: Atomic::new(outcome as u32),
                done: Atomic::new(0),
                total: Atomic::new(0),
                ended <- Completion::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// How it goes.
    pub(crate) fn outcome(&self) -> Outcome {
        let outcome = self.outcome.load(Relaxed) as usize;
        Outcome::ALL
            .get(outcome)
            .copied()
            .unwrap_or(Outcome::Failed)
    }

    /// How many bytes of data were looked at, and how many there are.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let total = self.total.load(Relaxed);
        (self.done.load(Relaxed).min(total), total)
    }

    /// How many bytes it copies in a second at most; 0 for any number.
    pub(crate) fn rate(&self) -> u64 {
        self.rate.load(Relaxed)
    }

    /// Changes that, at any time.
    pub(crate) fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Relaxed);
    }

    /// Has it end before it has come to its end, and waits for that; it may come to its end all the
    /// same. May sleep, for long. Returns `EINTR` when the calling task was killed.
    pub(crate) fn cancel(&self) -> Result {
        if self.outcome() == Outcome::Running {
            self.cancelled.store(true, Relaxed);
            self.ended.wait_for_completion_killable()?;
        }
        Ok(())
    }

    /// Whether it is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Says how many bytes there are to copy.
    pub(super) fn begin(&self, total: u64) {
        self.total.store(total, Relaxed);
    }

    /// To be called when so many bytes more were copied. Sleeps for as long as the rate wants, and
    /// while the machine is suspended. For a kernel thread that can be frozen.
    pub(super) fn copied(&self, bytes: u64, pace: &mut Pace) {
        self.done.fetch_add(bytes, Relaxed);
        thread::nap(0);
        pace.bytes = pace.bytes.saturating_add(bytes);
        loop {
            let rate = self.rate();
            if rate == 0 || self.is_cancelled() {
                break;
            }
            let milliseconds = pace.bytes.saturating_mul(1000) / rate;
            if milliseconds == 0 {
                // What is too little to wait for counts with the next.
                return;
            }
            let passed = u64::try_from(pace.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            let left = milliseconds.saturating_sub(passed);
            if left == 0 {
                break;
            }
            let nap = left.min(u64::from(NAP_MS)) as u32;
            thread::nap(isize::try_from(msecs_to_jiffies(nap)).unwrap_or(1));
        }
        *pace = Pace::new();
    }

    /// It has ended: whoever waits goes on.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.outcome.xchg(outcome as u32, Full);
        self.ended.complete_all();
    }
}
