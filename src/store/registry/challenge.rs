//! `WWW-Authenticate` (RFC 9110 11.6.1): which proof a registry asks for.

use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// A challenge that bulla can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from `realm` (distribution "Token Authentication Specification").
    Bearer {
        /// The token endpoint.
        realm: Url,
        /// The service that the token is for.
        service: Option<String>,
        /// The scopes the registry named, split at spaces.
        scopes: Vec<String>,
    },
}

/// Largest `WWW-Authenticate` header that is read, in bytes.
const MAX_HEADER: usize = 8 * 1024;

/// The challenge to answer: Bearer before Basic, the first of each.
pub(super) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let all: Vec<Challenge> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .filter(|v| v.len() <= MAX_HEADER)
        .flat_map(parse)
        .filter_map(|raw| raw.understood())
        .collect();
    let bearer = all.iter().find(|c| matches!(c, Challenge::Bearer { .. }));
    bearer.or_else(|| all.first()).cloned()
}

#[derive(Debug, PartialEq, Eq)]
struct Raw {
    scheme: String,
    params: Vec<(String, String)>,
}

impl Raw {
    fn understood(self) -> Option<Challenge> {
        let param =
            |name: &str| self.params.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !self.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let realm = Url::parse(param("realm")?).ok()?;
        let plain = matches!(realm.scheme(), "http" | "https") && realm.has_host();
        let bare = realm.username().is_empty() && realm.password().is_none();
        let scopes = param("scope").map(|s| s.split_ascii_whitespace().map(str::to_owned).collect());
        (plain && bare).then(|| Challenge::Bearer {
            realm: realm.clone(),
            service: param("service").filter(|s| !s.is_empty()).cloned(),
            scopes: scopes.unwrap_or_default(),
        })
    }
}

/// Split a header into its challenges. A word without `=` after it starts a new one; what cannot be read is skipped.
fn parse(header: &str) -> Vec<Raw> {
    let mut out: Vec<Raw> = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            // No token: skip one character, so that reading always ends.
            let mut chars = rest.chars();
            chars.next();
            rest = chars.as_str();
            continue;
        }
        let (word, after) = rest.split_at(end);
        let value = after.trim_start().strip_prefix('=').filter(|_| !out.is_empty());
        match value {
            Some(value) => {
                let (value, after) = read_value(value.trim_start());
                if let Some(raw) = out.last_mut() {
                    raw.params.push((word.to_owned(), value));
                }
                rest = after;
            }
            None => {
                out.push(Raw { scheme: word.to_owned(), params: Vec::new() });
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    out
}

/// A token or a quoted string with `\` escapes, and what follows it.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match (escaped, c) {
            (false, '\\') => escaped = true,
            (false, '"') => return (value, &quoted[at + 1..]),
            _ => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(values: &[&str]) -> Option<Challenge> {
        choose(&values.iter().map(|v| (WWW_AUTHENTICATE, v.parse().unwrap())).collect())
    }
    fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
        Challenge::Bearer {
            realm: Url::parse(realm).unwrap(),
            service: service.map(str::to_owned),
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    #[test]
    fn reads_quoted_strings_and_several_scopes() {
        let v = r#"Bearer realm="https://a.example/t?x=1,2",service="r, \"q\"",scope="repository:a/b:pull,push repository:c:pull""#;
        let want = bearer(
            "https://a.example/t?x=1,2",
            Some("r, \"q\""),
            &["repository:a/b:pull,push", "repository:c:pull"],
        );
        assert_eq!(chosen(&[v]), Some(want));
        assert_eq!(
            chosen(&["bearer REALM=https://a.example/t , service=r"]),
            Some(bearer("https://a.example/t", Some("r"), &[]))
        );
    }

    #[test]
    fn prefers_bearer_among_several() {
        let want = Some(bearer("https://a.example/t", None, &[]));
        assert_eq!(chosen(&[r#"Basic realm="x", Bearer realm="https://a.example/t""#]), want);
        assert_eq!(
            chosen(&["Negotiate", r#"Basic realm="x""#, r#"Bearer realm="https://a.example/t""#]),
            want
        );
        assert_eq!(chosen(&[r#"Negotiate abc==, Basic realm="x", charset="UTF-8""#]), Some(Challenge::Basic));
        assert_eq!(chosen(&["Basic"]), Some(Challenge::Basic));
    }

    #[test]
    fn refuses_what_it_cannot_answer() {
        for bad in [
            "",
            "Bearer",
            "Bearer service=x",
            "Bearer realm=\"/relative\"",
            "Bearer realm=\"ftp://a.example/\"",
            "Bearer realm=\"https://user:pw@a.example/\"",
            "Digest realm=\"x\"",
            "=,,\"",
            "Bearer realm=\"unterminated",
        ] {
            assert_eq!(chosen(&[bad]), None, "{bad}");
        }
        assert_eq!(chosen(&[&format!("Basic realm=\"{}\"", "x".repeat(9000))]), None);
    }

    proptest::proptest! {
        #[test]
        fn reading_ends(s in "[ -~]{0,200}") {
            let _ = parse(&s);
        }
    }
}
