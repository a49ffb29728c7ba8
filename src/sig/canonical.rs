//! OLPC canonical JSON, the form that TUF and classic in-toto sign (securesystemslib's `encode_canonical`).
//!
//! Keys sorted by code point, no white space, integers only; in strings only `"` and `\` are escaped, every other
//! character stands as itself, control characters too. No Unicode normalisation. This is not RFC 8785.

use std::collections::BTreeMap;

use serde_json::Value;

/// The canonical form of a value that [`super::json::parse`] accepted.
/// Numbers that are no integers cannot come from there; they are written as the parser keeps them.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::Number(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::String(s) => write_string(s, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        // Sorting UTF-8 by bytes is sorting by code point.
        Value::Object(map) => {
            out.push(b'{');
            let sorted: BTreeMap<&str, &Value> = map.iter().map(|(k, v)| (k.as_str(), v)).collect();
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
    }
}

fn write_string(s: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for b in s.bytes() {
        if b == b'"' || b == b'\\' {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_securesystemslib() {
        let v = super::super::json::parse(
            br#"{"b":[1,-2,true,false,null],"a":"x\n\"\\\u0001\u00e9","aa":{},"Z":"e\u0301"}"#,
        )
        .unwrap();
        let want = "{\"Z\":\"e\u{301}\",\"a\":\"x\n\\\"\\\\\u{1}é\",\"aa\":{},\"b\":[1,-2,true,false,null]}";
        assert_eq!(String::from_utf8(canonical(&v)).unwrap(), want);
    }
}
