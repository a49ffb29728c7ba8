//! The ring table, the crates a ring may name, and the check of a source tree against both.

use super::source::{Source, Written};

/// What a top-level module may name.
pub(crate) struct Rule {
    pub(crate) module: &'static str,
    /// Other top-level modules of this crate.
    pub(crate) may: &'static [&'static str],
    /// External crates, outside of test code.
    pub(crate) crates: &'static [&'static str],
    /// No I/O, no `async`, no clock: rings 0 to 3.
    pub(crate) pure: bool,
}

const PURE: &[&str] = &["base64", "bytes", "hex", "serde", "serde_json", "thiserror"];
const PURE_CRYPTO: &[&str] = &["aws_lc_rs", "base64", "bytes", "hex", "serde", "serde_json", "thiserror"];
const PURE_SIG: &[&str] =
    &["aws_lc_rs", "base64", "bytes", "hex", "serde", "serde_json", "thiserror", "x509_parser"];
const PURE_ENVELOPE: &[&str] =
    &["base64", "bytes", "coset", "hex", "serde", "serde_json", "sigstore_verify", "thiserror"];
const PURE_TUF: &[&str] = &["base64", "bytes", "hex", "percent_encoding", "serde", "serde_json", "thiserror"];

/// docs/architecture.md holds the same table in words.
pub(crate) const RULES: &[Rule] = &[
    Rule { module: "oci", may: &[], crates: PURE_CRYPTO, pure: true },
    Rule { module: "time", may: &[], crates: &["jiff", "serde", "thiserror"], pure: true },
    Rule { module: "sig", may: &["oci", "time"], crates: PURE_SIG, pure: true },
    Rule { module: "tuf", may: &["oci", "time", "sig"], crates: PURE_TUF, pure: true },
    Rule { module: "intoto", may: &["oci", "time", "sig"], crates: PURE, pure: true },
    Rule { module: "envelope", may: &["oci", "time", "sig"], crates: PURE_ENVELOPE, pure: true },
    Rule {
        module: "trust",
        may: &["oci", "time", "sig", "tuf", "intoto", "envelope"],
        crates: PURE,
        pure: true,
    },
    Rule {
        module: "store",
        may: &["oci", "time"],
        crates: &[
            "async_trait",
            "base64",
            "bytes",
            "docker_credential",
            "futures",
            "hex",
            "jiff",
            "oci_client",
            "percent_encoding",
            "reqwest",
            "serde",
            "serde_json",
            "tempfile",
            "thiserror",
            "tokio",
            "tracing",
            "zeroize",
        ],
        pure: false,
    },
    Rule {
        module: "keys",
        may: &["oci", "time", "sig"],
        crates: &[
            "async_trait",
            "aws_lc_rs",
            "base64",
            "crypto_secretbox",
            "hex",
            "percent_encoding",
            "pkcs8",
            "rpassword",
            "rustix",
            "serde",
            "serde_json",
            "tempfile",
            "thiserror",
            "tokio",
            "zeroize",
        ],
        pure: false,
    },
    Rule {
        module: "client",
        may: &["oci", "time", "sig", "tuf", "intoto", "envelope", "trust", "store", "keys"],
        crates: &[
            "async_trait",
            "base64",
            "bytes",
            "futures",
            "hex",
            "rustix",
            "serde",
            "serde_json",
            "tempfile",
            "thiserror",
            "tokio",
            "toml",
            "tracing",
            "zeroize",
        ],
        pure: false,
    },
    Rule {
        module: "cli",
        may: &["oci", "time", "sig", "tuf", "intoto", "envelope", "trust", "store", "keys", "client"],
        crates: &[
            "clap",
            "clap_complete",
            "clap_mangen",
            "futures",
            "hex",
            "indicatif",
            "jiff",
            "rpassword",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tracing",
            "zeroize",
        ],
        pure: false,
    },
];

/// What rings 0 to 3 may not touch, by resolved path. `time` alone may ask for the present, and it alone names its clocks.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::future",
    "std::io::Stderr",
    "std::io::Stdin",
    "std::io::Stdout",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::sync::mpsc",
    "std::task",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "jiff::tz",
    "crate::time::Clock",
    "crate::time::FixedClock",
    "crate::time::SystemClock",
];
const CLOCKS: &[&str] = &[
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "crate::time::Clock",
    "crate::time::FixedClock",
    "crate::time::SystemClock",
];

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into this crate: the top-level module (`None`: the crate root itself), and the path from the root.
    Inside(Option<String>, Vec<String>),
    /// Into another crate: its name first.
    Outside(Vec<String>),
    /// A name declared here, a type parameter, a type from the prelude.
    Here,
}

/// Every violation in `source`, as one line each. `package` is the crate's own name, `known` the crates it may depend on.
pub(crate) fn violations(source: &Source, package: &str, known: &[String]) -> Vec<String> {
    let resolver = Resolver { source, package, known };
    let mut out = source.problems.clone();
    for (index, module) in source.modules.iter().enumerate() {
        let file = module.file.display();
        let Some(top) = &module.top else { continue };
        let Some(rule) = RULES.iter().find(|r| r.module == top) else {
            out.push(format!("{file}: module {top} has no ring"));
            continue;
        };
        if rule.pure {
            out.extend(module.constructs.iter().map(|c| format!("{file}: {c} in {top}, which is pure")));
        }
        for path in &module.paths {
            let written = path.segments.join("::");
            let target = resolver.resolve(index, path);
            if let Some(why) = judge(rule, path, &target) {
                out.push(format!("{file}: {written} {why}"));
            }
        }
    }
    out.sort();
    out.dedup();
    out
}

fn judge(rule: &Rule, path: &Written, target: &Target) -> Option<String> {
    let top = rule.module;
    let full = match target {
        Target::Here => return None,
        Target::Inside(None, rest) if rest.is_empty() => {
            let root = path.glob.then(|| format!("imports the crate root into {top}"));
            return root.or_else(|| {
                // `crate` or `super` alone, renamed: everything could follow.
                Some(format!("names the crate root in {top}")).filter(|_| !path.glob)
            });
        }
        Target::Inside(None, rest) => {
            return Some(format!("(crate::{}) stands in the crate root, above {top}", rest.join("::")));
        }
        Target::Inside(Some(other), rest) => {
            if other != top && !rule.may.contains(&other.as_str()) {
                return Some(format!("leads to {other}, which {top} may not know"));
            }
            format!("crate::{}", rest.join("::"))
        }
        Target::Outside(rest) => {
            let name = rest[0].as_str();
            let core = matches!(name, "std" | "core" | "alloc");
            if !core && !path.test && !rule.crates.contains(&name) {
                return Some(format!("names the crate {name}, which {top} may not use"));
            }
            let std = if core { "std" } else { name };
            std::iter::once(std).chain(rest[1..].iter().map(String::as_str)).collect::<Vec<_>>().join("::")
        }
    };
    if !rule.pure || path.test {
        return None;
    }
    let below =
        |path: &str, of: &str| path == of || path.strip_prefix(of).is_some_and(|r| r.starts_with("::"));
    let banned = IMPURE
        .iter()
        .filter(|b| !(top == "time" && CLOCKS.contains(b)))
        .find(|b| below(&full, b) || (path.glob && below(b, &full) && !b.starts_with("crate::")))?;
    Some(format!("is {banned}: {top} does no I/O and reads no clock"))
}

struct Resolver<'a> {
    source: &'a Source,
    package: &'a str,
    known: &'a [String],
}

impl Resolver<'_> {
    fn resolve(&self, module: usize, path: &Written) -> Target {
        let mut segments = path.segments.clone();
        if path.global {
            segments.insert(0, "::".to_owned());
        }
        self.walk(module, &segments, 0)
    }

    /// Follows `segments` from `module`, through aliases, globs and re-exports. `depth` ends circular imports.
    fn walk(&self, module: usize, segments: &[String], depth: usize) -> Target {
        let Some(first) = segments.first().filter(|_| depth < 64) else {
            return self.inside(module, &[]);
        };
        match first.as_str() {
            "::" => self.outside(&segments[1..], depth),
            "crate" | "$crate" => self.descend(0, &segments[1..], depth),
            "self" => self.descend(module, &segments[1..], depth),
            "super" => {
                let parent = self.source.modules[module].parent.unwrap_or(0);
                match segments.get(1).map(String::as_str) {
                    Some("super") => self.walk(parent, &segments[1..], depth + 1),
                    _ => self.descend(parent, &segments[1..], depth),
                }
            }
            "Self" => Target::Here,
            name if name == self.package => self.descend(0, &segments[1..], depth),
            name => match self.lookup(module, name, &segments[1..], depth) {
                Some(target) => target,
                None if self.is_crate(name) => self.outside(segments, depth),
                None => Target::Here,
            },
        }
    }

    fn is_crate(&self, name: &str) -> bool {
        matches!(name, "std" | "core" | "alloc" | "proc_macro" | "test")
            || self.known.iter().any(|k| k == name)
    }

    fn outside(&self, segments: &[String], depth: usize) -> Target {
        match segments.first() {
            Some(name) if name == self.package => self.descend(0, &segments[1..], depth),
            Some(_) => Target::Outside(segments.to_vec()),
            None => Target::Here,
        }
    }

    /// `segments` below `module`, which is known to be meant.
    fn descend(&self, module: usize, segments: &[String], depth: usize) -> Target {
        let Some(name) = segments.first() else { return self.inside(module, &[]) };
        self.lookup(module, name, &segments[1..], depth).unwrap_or_else(|| self.inside(module, segments))
    }

    /// `name` in the scope of `module`: a child, an alias, or what a glob brings. `None` when it is not found, or declared there.
    fn lookup(&self, module: usize, name: &str, rest: &[String], depth: usize) -> Option<Target> {
        let scope = &self.source.modules[module];
        if depth >= 64 {
            return None;
        }
        if let Some(child) = scope.children.get(name) {
            return Some(self.descend(*child, rest, depth + 1));
        }
        if scope.items.iter().any(|i| i == name) {
            let mut own = vec![name.to_owned()];
            own.extend_from_slice(rest);
            return Some(self.inside(module, &own));
        }
        if let Some((_, target)) = scope
            .aliases
            .iter()
            .find(|(a, t)| a == name && t.len() != 1)
            .or_else(|| scope.aliases.iter().find(|(a, t)| a == name && t[0] != name))
        {
            let mut full = target.clone();
            full.extend_from_slice(rest);
            return Some(self.walk(module, &full, depth + 1));
        }
        scope.globs.iter().find_map(|glob| match self.walk(module, glob, depth + 1) {
            Target::Inside(_, path) => {
                let at = self.module_at(&path)?;
                self.lookup(at, name, rest, depth + 1).filter(|t| *t != Target::Here)
            }
            _ => None,
        })
    }

    fn module_at(&self, path: &[String]) -> Option<usize> {
        path.iter().try_fold(0, |at, name| self.source.modules[at].children.get(name).copied())
    }

    fn inside(&self, module: usize, rest: &[String]) -> Target {
        let mut path = Vec::new();
        let mut at = module;
        while let Some(parent) = self.source.modules[at].parent {
            let children = &self.source.modules[parent].children;
            match children.iter().find(|(_, i)| **i == at) {
                Some((name, _)) => path.insert(0, name.clone()),
                None => break,
            }
            at = parent;
        }
        path.extend_from_slice(rest);
        Target::Inside(self.source.modules[module].top.clone(), path)
    }
}
