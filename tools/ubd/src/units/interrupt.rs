// SPDX-License-Identifier: GPL-2.0

//! Signals that end the program, kept back while there is something to undo.

use crate::failure::{Failure, Result};
use nix::sys::signal::{raise, SigSet, Signal};

/// SIGINT, SIGTERM and SIGHUP, which wait from when this is made: in all threads that are started
/// after that.
#[derive(Clone, Copy)]
pub(crate) struct Interrupts(SigSet);

impl Interrupts {
    /// Has them wait.
    pub(crate) fn hold() -> Result<Self> {
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .collect();
        let held = set.thread_block();
        held.map_err(|e| Failure::Error(format!("signals cannot be held: {e}")))?;
        Ok(Self(set))
    }

    /// Waits for one to come, and returns it.
    pub(crate) fn wait(self) -> Result<Signal> {
        let came = self.0.wait();
        came.map_err(|e| Failure::Error(format!("signals cannot be waited for: {e}")))
    }

    /// Ends the program as the signal would have. Returns if the signal is ignored.
    pub(crate) fn end_by(self, signal: Signal) -> Failure {
        match self.0.thread_unblock().and_then(|()| raise(signal)) {
            Ok(()) => Failure::Error(format!("ended by {signal}")),
            Err(e) => Failure::Error(format!("{signal}: {e}")),
        }
    }
}
