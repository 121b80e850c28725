// SPDX-License-Identifier: GPL-2.0

//! The manual page, made from what the command line says of itself.

use crate::failure::Result;
use clap::Command;
use clap_mangen::{
    roff::{bold, roman, Roff},
    Man,
};

/// What the page begins with: what it is made by, how clap_mangen has quotes be written, and the
/// title, of which a part is empty, which its own writer leaves out.
const START: &str = r#".\" SPDX-License-Identifier: GPL-2.0
.\" Made by 'ubd generate manual'.
.ie \n(.g .ds Aq \(aq
.el .ds Aq '
.TH UBD 8 "" rnull_ubd "System Administration"
"#;

/// The page of a program whose commands are those of `program`, in section 8, in roff.
pub(crate) fn page(program: &Command) -> Result<String> {
    let mut program = program.clone();
    program.build();
    let name = program.get_name().to_owned();
    let about = program.get_about().map(ToString::to_string);
    let long = program.get_long_about().map(ToString::to_string);
    let after = program.get_after_help().map(ToString::to_string);

    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    let about = about.unwrap_or_default();
    roff.text([roman(format!("{name} - {}", lower(&about)))]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.control("nf", []);
    for command in commands(&program) {
        roff.text([bold(usage(&command))]);
    }
    roff.control("fi", []);
    roff.control("SH", ["DESCRIPTION"]);
    // The first paragraph is the program's name in words.
    let long = long.unwrap_or_default();
    paragraphs(
        &mut roff,
        long.split_once("\n\n").map_or("", |(_, rest)| rest),
    );
    roff.control("SH", ["COMMANDS"]);
    let mut text = roff.to_roff();
    for command in commands(&program) {
        text += &section(&command)?;
    }
    text += ".SH OPTIONS\n";
    text += &options(&program)?;
    let mut roff = Roff::new();
    for part in after.unwrap_or_default().split("\n\n") {
        let (heading, lines) = part.split_once('\n').unwrap_or((part, ""));
        let heading = heading.trim_end_matches(':').to_uppercase();
        roff.control("SH", [&*heading]);
        preformatted(&mut roff, lines);
    }
    roff.control("SH", ["SEE ALSO"]);
    let others = [
        ("losetup", 8),
        ("mount", 8),
        ("uml_mkcow", 1),
        ("uml_moo", 1),
    ];
    for (i, (other, section)) in others.iter().enumerate() {
        let comma = if i + 1 < others.len() { "," } else { "" };
        roff.text([bold(*other), roman(format!("({section}){comma}"))]);
    }
    text += &roff.to_roff();
    Ok(format!("{START}{text}"))
}

/// The commands that a user is to know of, without the options that all of them have.
fn commands(program: &Command) -> impl Iterator<Item = Command> + '_ {
    let shown = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let shown = shown.filter(|command| command.get_name() != "help");
    shown.cloned().map(|command| {
        command
            .mut_arg("json", |arg| arg.hide(true))
            .mut_arg("help", |arg| arg.hide(true))
    })
}

/// How a command is called, on one line.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let words: Vec<_> = usage.split_whitespace().skip(1).collect();
    words.join(" ")
}

/// What the page says of one command.
fn section(command: &Command) -> Result<String> {
    let mut roff = Roff::new();
    roff.control("SS", [&*usage(command)]);
    let about = command.get_long_about().or(command.get_about());
    // The first paragraph is the list's, and has no full stop.
    let about = about.map(ToString::to_string).unwrap_or_default();
    let (first, rest) = about.split_once("\n\n").unwrap_or((&about, ""));
    paragraphs(&mut roff, &format!("{}.", first.trim_end_matches('.')));
    if !rest.is_empty() {
        roff.control("PP", []);
        paragraphs(&mut roff, rest);
    }
    let mut text = roff.to_roff();
    text += &options(command)?;
    if let Some(examples) = command.get_after_help() {
        let mut roff = Roff::new();
        roff.control("PP", []);
        let examples = examples.to_string();
        let (heading, lines) = examples.split_once('\n').unwrap_or((&examples, ""));
        roff.text([roman(heading)]);
        preformatted(&mut roff, lines);
        text += &roff.to_roff();
    }
    Ok(text)
}

/// The options of a command, without a heading.
fn options(command: &Command) -> Result<String> {
    let mut bytes = Vec::new();
    let written = Man::new(command.clone()).render_options_section(&mut bytes);
    written.map_err(|e| format!("the manual: {e}"))?;
    let text = String::from_utf8_lossy(&bytes);
    // What is for the quotes in it is at the start of the page already.
    let not_here = [".ie ", ".el ", ".SH "];
    let lines = text
        .lines()
        .filter(|line| !not_here.iter().any(|start| line.starts_with(start)));
    Ok(lines.flat_map(|line| [line, "\n"]).collect())
}

fn paragraphs(roff: &mut Roff, text: &str) {
    for (i, paragraph) in text.split("\n\n").enumerate() {
        if i > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph)]);
    }
}

fn preformatted(roff: &mut Roff, lines: &str) {
    roff.control("RS", ["2"]);
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
    }
    roff.control("fi", []);
    roff.control("RE", []);
}

/// A sentence as it stands within another one.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}
