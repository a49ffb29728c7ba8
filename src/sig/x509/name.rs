//! Distinguished names (RFC 5280 4.1.2.4, RFC 4514).

use std::fmt;

use x509_parser::x509::X509Name;

/// A name: compared byte for byte in its DER form, shown as RFC 4514 writes it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DistinguishedName {
    raw: Vec<u8>,
    /// As encoded: the most general first.
    rdns: Vec<Vec<Attribute>>,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Attribute {
    kind: String,
    /// Where it is of a string type with one meaning for its bytes.
    text: Option<String>,
    shown: String,
}

/// Attribute types with a short name (RFC 4514 3).
const SHORT: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

impl DistinguishedName {
    pub(super) fn of(name: &X509Name<'_>) -> Self {
        let attribute = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            let oid = a.attr_type().to_id_string();
            let short = SHORT.iter().find(|(id, _)| *id == oid).map_or(oid, |(_, short)| (*short).to_owned());
            // A string type without one meaning for its bytes is shown in hex (RFC 4514 2.4).
            let text = a.as_str().ok().map(ToOwned::to_owned);
            let shown =
                text.as_deref().map_or_else(|| format!("#{}", hex::encode(a.as_slice())), Self::escaped);
            Attribute { kind: short, text, shown }
        };
        let rdns = name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect()).collect();
        Self { raw: name.as_raw().to_vec(), rdns }
    }

    /// The DER form.
    pub fn as_der(&self) -> &[u8] {
        &self.raw
    }

    /// Type and value of each attribute, where each stands for itself: no two in one place, no type twice, every value a text.
    pub fn single_attributes(&self) -> Option<Vec<(&str, &str)>> {
        let mut out: Vec<(&str, &str)> = Vec::new();
        for rdn in &self.rdns {
            let [attribute] = &rdn[..] else { return None };
            let value = attribute.text.as_deref()?;
            if out.iter().any(|(kind, _)| *kind == attribute.kind) {
                return None;
            }
            out.push((&attribute.kind, value));
        }
        Some(out)
    }

    /// RFC 4514 2.4, and control characters, which a terminal must not see.
    pub fn escaped(value: &str) -> String {
        let mut out = String::new();
        let last = value.chars().count().saturating_sub(1);
        for (i, c) in value.chars().enumerate() {
            let edge = (c == ' ' && (i == 0 || i == last)) || (c == '#' && i == 0);
            if c.is_control() {
                for byte in c.to_string().bytes() {
                    out.push_str(&format!("\\{byte:02X}"));
                }
                continue;
            }
            if edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rdn = |rdn: &Vec<Attribute>| {
            rdn.iter().map(|a| format!("{}={}", a.kind, a.shown)).collect::<Vec<_>>().join("+")
        };
        f.write_str(&self.rdns.iter().rev().map(rdn).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        for (value, is) in [
            ("Example, Inc.", "Example\\, Inc."),
            (" a b ", "\\ a b\\ "),
            ("#1", "\\#1"),
            ("a\u{1b}[2J\n", "a\\1B[2J\\0A"),
            ("a=b+c", "a=b\\+c"),
            ("ä", "ä"),
            (" ", "\\ "),
            ("", ""),
        ] {
            assert_eq!(DistinguishedName::escaped(value), is);
        }
    }
}
