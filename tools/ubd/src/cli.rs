// SPDX-License-Identifier: GPL-2.0

//! The command line.

use crate::{
    commands::Command,
    failure::{Failure, Result},
    output::shown,
};
use clap::{error::ErrorKind, Parser};
use std::{ffi::OsString, iter, path::Path};

/// Attaches ubd disks, and works on their copy-on-write files
///
/// A unit is one disk of the driver rnull_ubd: /dev/ubda, /dev/ubdb and so on. Its contents are a
/// plain image, or a COW file over a backing file: then the COW file takes all changes, and the
/// backing file stays as it is. Units are named by number, by letters or by their disk: 16, q, ubdq
/// and /dev/ubdq are the same. To attach, detach and reset them is for root, and needs the driver
/// and configfs; all that is for files needs neither.
///
/// A copy-on-write (COW) file of User-mode Linux has those sectors of a disk that were written, and
/// a bitmap that says which ones they are. All other sectors are in its backing file, whose path is
/// in the COW file's header, with the size and the modification time that it must have; a block
/// device must have the size only. COW files of every version are read and written: 1 in both byte
/// orders, 2, 3, and the version 3 that 64-bit machines wrote before December 2005. A file keeps its
/// version.
///
/// Every file is locked as the driver and User-mode Linux lock it, by a record lock on the whole
/// file: shared to be read, exclusively to be written. A file that is attached, or in use by another
/// process, is refused. One that is attached read-only, or below a COW file, can be read.
///
/// A unit with the flag 'c' takes no lock, neither in the driver nor in User-mode Linux, so it
/// cannot be noticed: what is read under it may be half of a change, and 'commit' or 'rebase' under
/// it spoils the disk. Detach such a unit first.
///
/// A relative path in a header starts from the folder in which the COW file itself is, links
/// resolved. A backing file may be a COW file again, up to 8 of them upon each other. If its length
/// is the size in the upper header, its raw bytes are meant, as in User-mode Linux, whatever they
/// begin with; if the size of its disk is, the disk.
///
/// The path in a header can name any file that whoever runs ubd, or attaches a unit, may read. For a
/// COW file from elsewhere look at 'ubd info' first. The driver has a module parameter,
/// trust_header, which is on by default: with trust_header=n (on a kernel's command line
/// rnull_ubd.trust_header=n) it uses only backing files that are named when a unit is attached, and
/// refuses a COW file whose backing file only its header names, that of a lower COW file too. That
/// keeps a COW file from showing the contents of another file of the host to whoever gets the disk.
///
/// Characters in a path that move the cursor, break the line or turn the text around show as
/// escapes.
#[derive(Parser)]
#[command(
    name = "ubd",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  ubd attach work.cow:golden.img    # prints /dev/ubda
  ubd list
  ubd detach ubda
  ubd commit --to new.img work.cow

Exit status:
  0  All is well.
  1  The command could not be done, or its output could not be written, as on a full disk; standard
     error says why. Output to a pipe that nobody reads any more is no error.
  2  'check' has found something, and has printed it."
)]
pub(crate) struct Cli {
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What a command line asks for.
pub(crate) enum Asked {
    /// A command.
    Command(Cli),
    /// This text.
    Help(String),
}

/// Takes a command line apart, which is without the program's name. If it is wrong, returns an error
/// of several lines, which say how it should be.
pub(crate) fn parse(args: &[OsString]) -> Result<Asked> {
    // Whatever the file is called.
    let name = || iter::once(OsString::from("ubd"));
    let error = match Cli::try_parse_from(name().chain(args.iter().cloned())) {
        Ok(cli) => return Ok(Asked::Command(cli)),
        Err(error) => error,
    };
    if !error.use_stderr() {
        return Ok(Asked::Help(error.render().to_string()));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Err(Failure::Error(format!("no command\n\n{}", error.render())));
    }
    // The message quotes what is wrong, which may move the cursor: once more, with nothing in it that
    // does.
    let args = args.iter().map(|arg| shown(Path::new(arg)).into());
    let text = match Cli::try_parse_from(name().chain(args)) {
        Err(error) => error.render().to_string(),
        Ok(_) => error.kind().to_string(),
    };
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    Err(Failure::Error(text.trim_end().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn error(args: &[&str]) -> String {
        let args: Vec<_> = args.iter().map(OsString::from).collect();
        match parse(&args) {
            Err(Failure::Error(text)) => text,
            _ => String::new(),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert!(error(&[]).starts_with("no command\n"));
        assert!(error(&["frobnicate"]).contains("'frobnicate'"));
        assert!(error(&["info", "--frob", "cow"]).contains("'--frob'"));
        assert!(error(&["x\x1by"]).contains("'x\\u{1b}y'"));
    }
}
