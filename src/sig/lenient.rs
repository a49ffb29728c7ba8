//! JSON as people write it with PEM text in it: line breaks inside strings, which JSON forbids (RFC 8259 7). One step before the
//! strict parser, for files of a deployer alone, never for anything from a registry.

use serde_json::Value;

use super::json::{self, JsonError};

/// Parse `bytes` after line breaks and tabs inside strings are escaped; everything else is left as it is, and judged strictly.
///
/// # Errors
/// Not strict JSON otherwise.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    json::parse(&escaped(bytes))
}

fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut inside, mut after_backslash) = (false, false);
    for &byte in bytes {
        match byte {
            b'\n' if inside && !after_backslash => out.extend_from_slice(b"\\n"),
            b'\r' if inside && !after_backslash => out.extend_from_slice(b"\\r"),
            b'\t' if inside && !after_backslash => out.extend_from_slice(b"\\t"),
            _ => out.push(byte),
        }
        // A backslash outside of a string is an error that the parser finds.
        let escapes = byte == b'\\' && inside && !after_backslash;
        if byte == b'"' && !after_backslash {
            inside = !inside;
        }
        after_backslash = escapes;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn line_breaks_in_strings_are_read() {
        let text = "{\n\t\"root\": \"-----BEGIN X-----\n    AAAA\r\n\t-----END X-----\",\n  \"b\": \"\\\"\n\\\\\"\n}\n";
        let is = json!({"root": "-----BEGIN X-----\n    AAAA\r\n\t-----END X-----", "b": "\"\n\\"});
        assert_eq!(parse(text.as_bytes()).unwrap(), is);
    }

    #[test]
    fn everything_else_stays_forbidden() {
        for bad in
            ["{\"a\": \"\u{1}\"}", "{\"a\": \"\\\n\"}", "{\"a\":1,\"a\":1}", "\"\n", "{\"a\n\": 1.0}", "\\\n"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn strict_json_is_read_as_it_is(text in "[\\[\\]{}:,\"\\\\ \na-c0-9]{0,40}") {
            if let Ok(strict) = json::parse(text.as_bytes()) {
                prop_assert_eq!(parse(text.as_bytes()), Ok(strict));
            }
        }

        #[test]
        fn any_text_with_raw_line_breaks_comes_back(text in "[a-z\"\\\\\n\r\té]{0,40}") {
            let raw = Value::from(&text[..]).to_string().replace("\\n", "\n");
            // "\\" followed by n is an escaped backslash and a letter.
            if !text.contains('\\') {
                prop_assert_eq!(parse(raw.as_bytes()), Ok(Value::from(text)));
            }
        }
    }
}
