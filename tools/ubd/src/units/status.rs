// SPDX-License-Identifier: GPL-2.0

//! What there is to be known of a unit.

use super::{disk, folder::Folder, unit::Unit};
use crate::{json, output::shown_bytes};
use serde_json::{json, Map, Value};

/// What is known of a unit, by the names that JSON has for it. What a unit has not is null.
pub(crate) struct Status(pub(crate) Map<String, Value>);

impl Status {
    /// Looks at a unit. `None` if it is neither attached nor has a folder.
    pub(crate) fn of(unit: Unit) -> Option<Self> {
        let folder = Folder::find(unit);
        let attached = disk::exists(unit);
        if folder.is_none() && !attached {
            return None;
        }
        let set = |file| folder.as_ref().and_then(|folder| folder.read(file));
        let sys = |file: &str| disk::read(unit, file);
        let some = |text: &Vec<u8>| !text.is_empty();
        // Who may not read the folder sees no more than that there is a disk.
        let state = set("state").or_else(|| attached.then(|| b"attached".to_vec()));
        // The folder has the bytes of a path, sysfs has escapes.
        let file = set("file").filter(some).or_else(|| sys("ubd/file"));
        let mut below = sys("ubd/backing_file").map_or(Vec::new(), |lines| lines_of(&lines));
        if let Some(first) = set("backing_file").filter(some) {
            match below.first_mut() {
                Some(known) => *known = first,
                None => below.push(first),
            }
        }
        let backing: Vec<_> = below.iter().map(|path| json::text(path)).collect();

        let mut all = Map::new();
        let mut add = |key: &str, value| all.insert(key.into(), value);
        add("unit", json!(unit.number()));
        add("disk", json::path(&unit.node()));
        add("state", optional(state));
        add("health", optional(sys("ubd/state")));
        add(
            "size",
            number(sys("size")).map_or(Value::Null, |sectors| json!(sectors * 512)),
        );
        add("read_only", flag(sys("ro")));
        add(
            "direct_io",
            flag(sys("ubd/direct_io").or_else(|| set("direct_io"))),
        );
        add("flags", optional(sys("ubd/flags").or_else(|| set("flags"))));
        add("serial", optional(set("serial").or_else(|| sys("serial"))));
        add("device", optional(sys("dev")));
        add("file", optional(file));
        add("backing_files", json!(backing));
        let limit = number(sys("ubd/limit")).or_else(|| number(set("limit")));
        add("limit", json!(limit));
        let low_space = number(sys("ubd/low_space")).or_else(|| number(set("low_space")));
        add("low_space", json!(low_space));
        add("space", optional(sys("ubd/space")));
        add("dirty_pages", json!(number(sys("ubd/dirty_pages"))));
        add("detach_on_close", flag(set("detach_on_close")));
        let path = folder.as_ref().map(|folder| json::path(folder.path()));
        add("folder", json!(path));
        add("last_error", optional(set("last_error").filter(some)));
        Some(Self(all))
    }

    /// The same with `used`, for which the driver may have to read all of a bitmap.
    pub(crate) fn with_used(unit: Unit) -> Option<Self> {
        let mut status = Self::of(unit)?;
        let used = number(disk::read(unit, "ubd/used"));
        status.0.insert("used".into(), json!(used));
        Some(status)
    }

    /// A value for people: nothing for null, 1 and 0 for true and false.
    pub(crate) fn cell(&self, key: &str) -> String {
        self.0.get(key).map_or_else(String::new, cell)
    }
}

/// Whether the unit uses the file that this is: as its own, or below that.
pub(crate) fn uses(unit: Unit, identity: (bool, u64, u64)) -> bool {
    let folder = Folder::find(unit);
    let set = |file| folder.as_ref().and_then(|folder| folder.read(file));
    let sys = |file| disk::read(unit, file).map_or(Vec::new(), |lines| lines_of(&lines));
    let mut lines = [sys("ubd/file"), sys("ubd/backing_file")].concat();
    lines.extend([set("file"), set("backing_file")].into_iter().flatten());
    let mut paths = lines.iter().flat_map(|line| disk::paths(line));
    paths.any(|path| disk::identity(&path) == Some(identity))
}

fn lines_of(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn optional(text: Option<Vec<u8>>) -> Value {
    text.map_or(Value::Null, |text| json::text(&text))
}

fn number(text: Option<Vec<u8>>) -> Option<u64> {
    String::from_utf8(text?).ok()?.parse().ok()
}

fn flag(text: Option<Vec<u8>>) -> Value {
    text.map_or(Value::Null, |text| json!(text == b"1"))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(set) => u8::from(*set).to_string(),
        Value::String(text) => shown_bytes(text.as_bytes()),
        Value::Array(values) => {
            let cells: Vec<_> = values.iter().map(cell).collect();
            cells.join(":")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_for_people() {
        let status = Status(
            [
                ("a".into(), json!(true)),
                ("b".into(), json!(["/x", "/y\u{1b}"])),
                ("c".into(), json!(null)),
                ("d".into(), json!(512)),
            ]
            .into_iter()
            .collect(),
        );
        let cells = ["a", "b", "c", "d", "e"].map(|key| status.cell(key));
        assert_eq!(cells, ["1", "/x:/y\\u{1b}", "", "512", ""]);
    }

    #[test]
    fn texts_become_values() {
        assert_eq!(number(Some(b"17".to_vec())), Some(17));
        assert_eq!(number(Some(b"x".to_vec())), None);
        assert_eq!(flag(Some(b"1".to_vec())), json!(true));
        assert_eq!(flag(None), json!(null));
        assert_eq!(lines_of(b"a\nb"), [b"a".to_vec(), b"b".to_vec()]);
    }
}
