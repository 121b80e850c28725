// SPDX-License-Identifier: GPL-2.0

//! `ubd generate`: what is made from the command line.

use crate::{cli::Cli, failure::Result, manual, output::Output};
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

/// What can be made.
#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// The manual page
    Manual,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

/// Print the manual page, or the completions for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  ubd generate manual >/usr/local/share/man/man8/ubd.8
  ubd generate bash >/usr/share/bash-completion/completions/ubd
  ubd generate zsh >/usr/local/share/zsh/site-functions/_ubd
  ubd generate fish >/usr/share/fish/vendor_completions.d/ubd.fish")]
pub(crate) struct Generate {
    /// What to print
    what: What,
}

impl Generate {
    /// Prints it.
    pub(crate) fn run(&self, out: &mut Output) -> Result {
        let mut program = Cli::command();
        let shell = match self.what {
            What::Manual => return write!(out, "{}", manual::page(&program)?),
            What::Bash => Shell::Bash,
            What::Zsh => Shell::Zsh,
            What::Fish => Shell::Fish,
        };
        let mut bytes = Vec::new();
        clap_complete::generate(shell, &mut program, "ubd", &mut bytes);
        write!(out, "{}", String::from_utf8_lossy(&bytes))
    }
}
