//! The one strict JSON parser: before anything signed is believed, it has been here.
//!
//! Refuses duplicate names (two readers could see two documents), numbers that are no 64-bit integers,
//! nesting past [`MAX_DEPTH`] and trailing data. The caller caps the size.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Most that the values of one document weigh: 80 bytes of memory each. An object weighs as much as eight, for its map has places for
/// eleven members at once.
const MAX_WEIGHT: usize = 400_000;
const MAX_FEW: usize = 20_000;
const OBJECT: usize = 8;
/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 32;

/// Why bytes are not strict JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not strict JSON: {0}")]
pub struct JsonError(String);

/// Parse `bytes` as one strict JSON value.
///
/// # Errors
/// Malformed, duplicate names, a number that is no integer, too deep, or trailing data.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    read(bytes, false, usize::MAX)
}

/// The same for envelopes, in which there are few values: a hostile one costs little memory.
///
/// # Errors
/// As [`parse`], or too many values.
pub fn parse_few(bytes: &[u8]) -> Result<Value, JsonError> {
    read(bytes, false, MAX_FEW)
}

/// The same for documents that others define (`bundle.json`, predicates of attestations), which may hold any number. Such a value is
/// never signed or written again.
///
/// # Errors
/// As [`parse`], but for numbers; or too many values.
pub fn parse_with_fractions(bytes: &[u8]) -> Result<Value, JsonError> {
    read(bytes, true, MAX_WEIGHT)
}

fn read(bytes: &[u8], fractions: bool, most: usize) -> Result<Value, JsonError> {
    let left = Cell::new(most);
    let strict = Strict { depth: 0, fractions, left: &left };
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let value = strict.deserialize(&mut de).map_err(|e| JsonError(e.to_string()))?;
    de.end().map_err(|e| JsonError(e.to_string()))?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    fractions: bool,
    /// What is left of the memory that the values may take.
    left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn weigh<E: serde::de::Error>(self, weight: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(weight).ok_or_else(|| E::custom("too many values"))?;
        self.left.set(left);
        Ok(())
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value with integers only")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Value, E> {
        match i64::try_from(v) {
            Err(_) if self.fractions => Ok(v.into()),
            integer => integer.map(Value::from).map_err(|_| E::custom("a number past 64-bit integers")),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        if self.fractions {
            return Ok(v.into());
        }
        Err(E::custom(format_args!("the number {v} is no 64-bit integer")))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            self.weigh(1)?;
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        self.weigh(OBJECT)?;
        let mut out = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            self.weigh(1)?;
            let value = map.next_value_seed(inner)?;
            if out.contains_key(&name) {
                let name: String = name.chars().take(100).collect();
                return Err(serde::de::Error::custom(format_args!(
                    "the name {name:?} stands twice in one object"
                )));
            }
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_plain_documents() {
        let v = parse(br#"{"a":[1,-2,true,null,"x\n\u00e9"],"b":{"c":9223372036854775807}}"#).unwrap();
        assert_eq!(v["a"][1], -2);
        assert_eq!(v["b"]["c"], i64::MAX);
    }

    #[test]
    fn fractions_are_read_where_others_define_the_document() {
        let v = parse_with_fractions(br#"{"a":[0.5,-1e3,18446744073709551615,3]}"#).unwrap();
        assert_eq!(
            (v["a"][0].as_f64(), v["a"][2].as_u64(), v["a"][3].as_i64()),
            (Some(0.5), Some(u64::MAX), Some(3))
        );
        for bad in [r#"{"a":0.5,"a":1}"#, "1e999", "0.5 1", &"[".repeat(MAX_DEPTH + 1)] {
            assert!(parse_with_fractions(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    /// 4 MiB of text would be 400 MiB of memory.
    #[test]
    fn documents_of_whoever_hold_no_more_values_than_memory_allows() {
        let many = |n: usize| format!("[{}1]", "{\"a\":0},".repeat(n));
        assert!(parse_with_fractions(many(30_000).as_bytes()).is_ok());
        assert!(parse_with_fractions(many(50_000).as_bytes()).is_err());
        assert!(parse_few(many(1_000).as_bytes()).is_ok() && parse_few(many(3_000).as_bytes()).is_err());
        assert!(parse_few(format!("[{}1]", "0,".repeat(20_000)).as_bytes()).is_err());
        assert!(parse(many(50_000).as_bytes()).is_ok());
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        let deep = format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            "1.0",
            "1e3",
            "-0",
            "9223372036854775808",
            "1 2",
            "{} x",
            "",
            r#""\ud800""#,
            "{'a':1}",
            "[1,]",
            "NaN",
            &deep,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        // Nobody makes an error as long as a document.
        let name = "\u{1}".repeat(1 << 16).replace('\u{1}', "\\u0001");
        let twice = format!("{{\"{name}\":1,\"{name}\":1}}");
        assert!(parse(twice.as_bytes()).unwrap_err().to_string().len() < 1000);
        let fits = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(fits.as_bytes()).is_ok());
    }
}
