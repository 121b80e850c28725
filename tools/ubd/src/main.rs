// SPDX-License-Identifier: GPL-2.0

//! `ubd`: looks into COW files of ubd disks, and works on them.
//!
//! What a header says, where a bitmap lies and which sectors are in which file is decided by the
//! driver's own sources.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
};

mod check;
mod commands;
mod file;
mod image;
mod output;

// Not all of what they offer is used here.
#[allow(dead_code)]
mod ubd {
    pub(crate) mod cow {
        pub(crate) mod header;
        pub(crate) mod layout;
        pub(crate) mod replace;
        pub(crate) mod reset;
    }
    pub(crate) mod engine {
        pub(crate) mod plan;
    }
}

const USAGE: &str = "\
usage: ubd info [--json] COW
       ubd create [--sector-size BYTES] [--alignment BYTES] COW BACKING
       ubd check COW
       ubd commit [--to NEW] [--quiet] COW
       ubd rebase [--unsafe] [--quiet] COW BACKING
       ubd diff [--json] COW

info    what the header says, and how much of the disk is in the COW file
create  make a COW file over BACKING
check   whether the COW file and its backing file can be used; exit code 2 if not
commit  write what is in the COW file to its backing file, or the whole disk to NEW
rebase  give it another backing file, of the same content unless --unsafe
diff    the ranges that are in the COW file: offset and length in bytes, a line each

A file that a driver or another process has locked is refused. See ubd(8).
";

use output::{report_error, shown, Output};

/// What a command can end with, but for success.
pub(crate) enum Failure {
    /// One line that says what went wrong.
    Error(String),
    /// One line that says why a file is not what it should be: missing, or with wrong contents.
    /// Unlike other errors, that is still so when it is tried again, by whomever.
    Unusable(String),
    /// The command line is wrong.
    Usage(String),
    /// There is something wrong with the file that was to be checked, and it has been said.
    Inconsistent,
    /// Nobody reads what is printed.
    Unread,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Failure::Error(text)
    }
}

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// A command line: options, their values, and files.
struct Arguments {
    flags: Vec<OsString>,
    values: Vec<(OsString, OsString)>,
    files: Vec<PathBuf>,
}

impl Arguments {
    /// Takes `args` apart; only `flags`, and `options` with a value each, are known.
    fn new(
        args: impl Iterator<Item = OsString>,
        flags: &[&str],
        options: &[&str],
        files: usize,
    ) -> Result<Self> {
        let mut found = Self {
            flags: Vec::new(),
            values: Vec::new(),
            files: Vec::new(),
        };
        let mut args = args.peekable();
        let mut only_files = false;
        while let Some(arg) = args.next() {
            let known = |names: &[&str]| names.iter().any(|name| arg == **name);
            if only_files || !arg.as_encoded_bytes().starts_with(b"-") {
                found.files.push(arg.into());
            } else if arg == "--" {
                only_files = true;
            } else if known(flags) {
                found.flags.push(arg);
            } else if known(options) {
                let value = args.next().ok_or_else(|| {
                    Failure::Usage(format!("{} needs a value", shown(Path::new(&arg))))
                })?;
                found.values.push((arg, value));
            } else {
                return Err(Failure::Usage(format!(
                    "unknown option {}",
                    shown(Path::new(&arg))
                )));
            }
        }
        if found.files.len() != files {
            return Err(Failure::Usage(format!(
                "{} files named, must be {files}",
                found.files.len()
            )));
        }
        Ok(found)
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|found| found == flag)
    }

    fn value(&self, option: &str) -> Option<&OsStr> {
        let found = self.values.iter().rev().find(|(name, _)| name == option);
        found.map(|(_, value)| value.as_os_str())
    }

    fn number(&self, option: &str, default: u32) -> Result<u32> {
        let Some(value) = self.value(option) else {
            return Ok(default);
        };
        let number = value.to_str().and_then(|value| value.parse().ok());
        number.ok_or_else(|| {
            Failure::Usage(format!(
                "{option}: {} is no number of bytes",
                shown(Path::new(value))
            ))
        })
    }
}

fn run(mut args: impl Iterator<Item = OsString>, out: &mut Output) -> Result {
    let command = args
        .next()
        .ok_or_else(|| Failure::Usage("no command".into()))?;
    match &*command.to_string_lossy() {
        "info" => {
            let args = Arguments::new(args, &["--json"], &[], 1)?;
            commands::info(&args.files[0], args.has("--json"), out)
        }
        "create" => {
            let args = Arguments::new(args, &[], &["--sector-size", "--alignment"], 2)?;
            commands::create(
                &args.files[0],
                &args.files[1],
                args.number("--sector-size", 512)?,
                args.number("--alignment", 4096)?,
            )
        }
        "check" => {
            let args = Arguments::new(args, &[], &[], 1)?;
            check::check(&args.files[0], out)
        }
        "commit" => {
            let args = Arguments::new(args, &["--quiet"], &["--to"], 1)?;
            let to = args.value("--to").map(PathBuf::from);
            commands::commit(&args.files[0], to.as_deref(), args.has("--quiet"))
        }
        "rebase" => {
            let args = Arguments::new(args, &["--unsafe", "--quiet"], &[], 2)?;
            commands::rebase(
                &args.files[0],
                &args.files[1],
                args.has("--unsafe"),
                args.has("--quiet"),
            )
        }
        "diff" => {
            let args = Arguments::new(args, &["--json"], &[], 1)?;
            commands::diff(&args.files[0], args.has("--json"), out)
        }
        "--help" | "-h" | "help" => write!(out, "{USAGE}"),
        _ => Err(Failure::Usage(format!(
            "unknown command {}",
            shown(Path::new(&command))
        ))),
    }
}

fn main() -> ExitCode {
    let mut out = Output::new();
    let mut result = run(std::env::args_os().skip(1), &mut out);
    // Before anything is said on standard error. An answer that is lost is none.
    if let Err(lost @ Failure::Error(_)) = out.flush() {
        if matches!(result, Ok(()) | Err(Failure::Inconsistent)) {
            result = Err(lost);
        }
    }
    match result {
        // What is printed to a pipe that nobody reads any more is no one's loss.
        Ok(()) | Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(Failure::Inconsistent) => ExitCode::from(2),
        Err(Failure::Error(text) | Failure::Unusable(text)) => {
            report_error(&text);
            ExitCode::FAILURE
        }
        Err(Failure::Usage(text)) => {
            report_error(&format!("{text}\n{}", USAGE.trim_end()));
            ExitCode::FAILURE
        }
    }
}
