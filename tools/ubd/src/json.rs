// SPDX-License-Identifier: GPL-2.0

//! JSON that is safe to show.

use crate::output::moves;
use serde_json::Value;
use std::{fmt::Write, os::unix::ffi::OsStrExt, path::Path};

/// Bytes as a string of JSON. What is not UTF-8 shows as U+FFFD.
pub(crate) fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

/// A path as a string of JSON.
pub(crate) fn path(path: &Path) -> Value {
    text(path.as_os_str().as_bytes())
}

/// The JSON of a value, over several lines and without a newline at its end. Characters that move
/// the cursor or turn the text around are escaped.
pub(crate) fn print(value: &Value) -> String {
    let mut out = String::new();
    // In the alternate form it is indented; nothing can fail in memory.
    for c in format!("{value:#}").chars() {
        // Within strings there is none: it is escaped already.
        if c != '\n' && moves(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_escaped() {
        let value = text(b"a\x1b\n\"\\\xe2\x80\xaeb\xff\x7f");
        let printed = print(&value);
        assert_eq!(printed, "\"a\\u001b\\n\\\"\\\\\\u202eb\u{fffd}\\u007f\"");
        assert_eq!(serde_json::from_str::<Value>(&printed).ok(), Some(value));
    }

    #[test]
    fn it_is_indented() {
        let value = serde_json::json!({"b": [1], "a": null});
        assert_eq!(
            print(&value),
            "{\n  \"b\": [\n    1\n  ],\n  \"a\": null\n}"
        );
    }
}
