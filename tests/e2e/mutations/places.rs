//! Where each byte of a JSON document stands.

use bulla::client::state;
use serde_json::Value;

/// For each byte a pointer (RFC 6901) with a file's name, or `*`, for the place in a list. A byte of a
/// member's name counts to the member.
pub(super) fn places(document: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(document).unwrap();
    let mut scanner = Scanner { bytes: document, at: 0, out: vec![String::new(); document.len()] };
    scanner.value("", &value);
    assert_eq!(scanner.at, document.len());
    scanner.out
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    out: Vec<String>,
}

impl Scanner<'_> {
    fn mark(&mut self, n: usize, path: &str) {
        for place in &mut self.out[self.at..self.at + n] {
            path.clone_into(place);
        }
        self.at += n;
    }

    /// A string, as it stands there.
    fn string(&mut self, path: &str) -> String {
        let start = self.at;
        let mut end = start + 1;
        while self.bytes[end] != b'"' {
            end += if self.bytes[end] == b'\\' { 2 } else { 1 };
        }
        let text: String = serde_json::from_slice(&self.bytes[start..=end]).unwrap();
        let path = if path.is_empty() { text.clone() } else { path.to_owned() };
        self.mark(end + 1 - start, &path);
        text
    }

    fn value(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(map) => {
                self.mark(1, path);
                for _ in 0..map.len() {
                    let start = self.at;
                    let name = self.string("?");
                    let inner = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                    let length = self.at + 1 - start;
                    self.at = start;
                    self.mark(length, &inner);
                    self.value(&inner, &map[&name]);
                    self.mark(1, path);
                }
                if map.is_empty() {
                    self.mark(1, path);
                }
            }
            Value::Array(list) => {
                self.mark(1, path);
                for element in list {
                    let named = element["annotations"][state::FILENAME].as_str();
                    let inner =
                        format!("{path}/{}", named.map_or("*", |n| n.rsplit('/').next().unwrap_or(n)));
                    self.value(&inner, element);
                    self.mark(1, path);
                }
                if list.is_empty() {
                    self.mark(1, path);
                }
            }
            Value::String(_) => drop(self.string(path)),
            other => self.mark(other.to_string().len(), path),
        }
    }
}
