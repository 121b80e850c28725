// SPDX-License-Identifier: GPL-2.0

//! What the program can do.

use crate::{failure::Result, output::Output};
use clap::Subcommand;

mod check;
mod commit;
mod create;
mod diff;
mod info;
mod rebase;

/// A command, with its options and files.
#[derive(Subcommand)]
pub(crate) enum Command {
    Create(create::Create),
    Info(info::Info),
    Check(check::Check),
    Commit(commit::Commit),
    Rebase(rebase::Rebase),
    Diff(diff::Diff),
}

impl Command {
    /// Does it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        match self {
            Command::Create(create) => create.run(out),
            Command::Info(info) => info.run(out),
            Command::Check(check) => check.run(out),
            Command::Commit(commit) => commit.run(out),
            Command::Rebase(rebase) => rebase.run(out),
            Command::Diff(diff) => diff.run(out),
        }
    }
}
