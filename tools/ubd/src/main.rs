// SPDX-License-Identifier: GPL-2.0

//! `ubd`: attaches ubd disks, and works on their files.
//!
//! How a unit is named, what a header says, where a bitmap lies and which sectors are in which file is decided by the
//! driver's own sources.

use crate::{
    cli::Asked,
    failure::{Failure, Result},
    output::{report_error, Output},
};
use std::process::ExitCode;

mod bytes;
mod cli;
mod commands;
mod difference;
mod failure;
mod file;
mod image;
mod json;
mod manual;
mod output;
mod progress;
mod qcow2;
mod ranges;
mod table;
mod unfinished;
mod units;

// Not all of what they offer is used here.
#[allow(dead_code, unused_imports)]
mod ubd {
    pub(crate) mod cow {
        pub(crate) mod header;
        pub(crate) mod layout;
        pub(crate) mod other_time;
        pub(crate) mod replace;
        pub(crate) mod reset;
    }
    pub(crate) mod engine {
        pub(crate) mod plan;
    }
    pub(crate) mod options;
}

fn run(out: &mut Output) -> Result {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    match cli::parse(&args)? {
        Asked::Help(text) => write!(out, "{text}"),
        Asked::Command(cli) => {
            out.json = cli.json;
            cli.command.run(out)
        }
    }
}

fn main() -> ExitCode {
    let mut out = Output::new();
    let mut result = run(&mut out);
    // Before anything is said on standard error. An answer that is lost is none.
    if let Err(lost @ Failure::Error(_)) = out.flush() {
        if matches!(result, Ok(()) | Err(Failure::Inconsistent | Failure::Said)) {
            result = Err(lost);
        }
    }
    match result {
        // What is printed to a pipe that nobody reads any more is no one's loss.
        Ok(()) | Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(Failure::Inconsistent) => ExitCode::from(2),
        Err(Failure::Said) => ExitCode::FAILURE,
        Err(Failure::Error(text) | Failure::Unusable(text)) => {
            report_error(&text);
            ExitCode::FAILURE
        }
    }
}
