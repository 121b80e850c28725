// SPDX-License-Identifier: GPL-2.0

//! What the program can do.

use crate::{failure::Result, output::Output};
use clap::Subcommand;

mod attach;
mod check;
mod commit;
mod convert;
mod create;
mod detach;
mod diff;
mod generate;
mod info;
mod list;
mod rebase;
mod rescan;
mod reset;
mod show;
mod snapshot;

/// A command, with its options and files.
#[derive(Subcommand)]
pub(crate) enum Command {
    Attach(attach::Attach),
    List(list::List),
    Show(show::Show),
    Detach(detach::Detach),
    Reset(reset::Reset),
    Rescan(rescan::Rescan),
    Snapshot(snapshot::Snapshot),
    Create(create::Create),
    Info(info::Info),
    Check(check::Check),
    Commit(commit::Commit),
    Convert(convert::Convert),
    Rebase(rebase::Rebase),
    Diff(diff::Diff),
    #[command(hide = true)]
    Generate(generate::Generate),
}

impl Command {
    /// Does it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        match self {
            Command::Attach(attach) => attach.run(out),
            Command::List(list) => list.run(out),
            Command::Show(show) => show.run(out),
            Command::Detach(detach) => detach.run(out),
            Command::Reset(reset) => reset.run(out),
            Command::Rescan(rescan) => rescan.run(out),
            Command::Snapshot(snapshot) => snapshot.run(out),
            Command::Create(create) => create.run(out),
            Command::Info(info) => info.run(out),
            Command::Check(check) => check.run(out),
            Command::Commit(commit) => commit.run(out),
            Command::Convert(convert) => convert.run(out),
            Command::Rebase(rebase) => rebase.run(out),
            Command::Diff(diff) => diff.run(out),
            Command::Generate(generate) => generate.run(out),
        }
    }
}
