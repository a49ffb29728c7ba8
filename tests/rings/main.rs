//! The ring test: an arrow points only to a smaller ring (docs/architecture.md).
//!
//! Every path in the source is resolved: `use` trees, inline paths, `super` chains, aliases, globs, re-exports, and paths inside
//! macro and attribute arguments. Violations are printed with file and path.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod registry_rules;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use source::Source;

const PACKAGE: &str = "bulla";

/// The crates that Cargo.toml names, as they are written in paths.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut out = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            out.push(name.trim().replace('-', "_"));
        }
    }
    out
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn load(file: &str) -> Source {
    Source::load(Path::new(file), &|p| std::fs::read_to_string(root().join(p)).ok())
}

#[test]
fn the_source_keeps_to_its_rings() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let known = dependencies(&manifest);
    assert!(known.iter().any(|k| k == "serde_json"), "dependencies were read: {known:?}");
    let source = load("src/lib.rs");
    let found = rules::violations(&source, PACKAGE, &known);
    assert!(found.is_empty(), "{} violations:\n  {}", found.len(), found.join("\n  "));

    // The walk has seen something, and every file of the source.
    assert!(source.modules.iter().map(|m| m.paths.len()).sum::<usize>() > 100);
    let mut seen: BTreeSet<PathBuf> = source.files.iter().cloned().collect();
    seen.insert("src/main.rs".into());
    let mut all = BTreeSet::new();
    walk_files(&root().join("src"), &mut all);
    let missed: Vec<_> = all.difference(&seen).collect();
    assert!(missed.is_empty(), "files that no module declares: {missed:?}");
}

#[test]
fn the_program_is_a_thin_shell() {
    let source = load("src/main.rs");
    assert_eq!(source.files.len(), 1, "main.rs declares no modules");
    for path in &source.modules[0].paths {
        let ok = matches!(
            path.segments.iter().map(String::as_str).collect::<Vec<_>>()[..],
            ["bulla", "cli", ..] | ["std", "process" | "env", ..]
        );
        assert!(ok, "src/main.rs: {} (only bulla::cli, std::process and std::env)", path.segments.join("::"));
    }
}

fn walk_files(dir: &Path, out: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a readable folder").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            walk_files(&entry, out);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            out.insert(entry.strip_prefix(root()).expect("below the package").to_owned());
        }
    }
}

/// The violations of a made-up crate; `files` are path and text. `src/lib.rs` declares the top-level modules unless given.
fn planted(files: &[(&str, &str)]) -> Vec<String> {
    let lib = "pub mod oci; pub mod time; pub mod sig; pub mod tuf; pub mod trust; pub mod store; pub mod keys; pub mod client; pub mod cli;";
    let source = Source::load(Path::new("src/lib.rs"), &|p| {
        let given = files.iter().find(|(name, _)| Path::new(name) == p).map(|(_, text)| (*text).to_owned());
        let top = p.parent() == Some(Path::new("src")) && p.file_name().is_some_and(|f| f != "lib.rs");
        given.or_else(|| (p == Path::new("src/lib.rs")).then(|| lib.to_owned())).or_else(|| {
            let stem = p.file_stem()?.to_str()?;
            let nested = format!("src/{stem}/mod.rs");
            (top && !files.iter().any(|(name, _)| *name == nested)).then(|| "pub struct Thing;".to_owned())
        })
    });
    let known: Vec<String> = ["serde", "tokio", "reqwest", "jiff", "thiserror"].map(String::from).into();
    rules::violations(&source, PACKAGE, &known)
}

/// `text` in ring 2, as a module two levels deep, breaks a rule, and the message names `path`.
#[track_caller]
fn caught(text: &str, path: &str) {
    let found = planted(&[("src/tuf/mod.rs", "mod inner;"), ("src/tuf/inner.rs", text)]);
    assert!(
        found.iter().any(|v| v.starts_with("src/tuf/inner.rs") && v.contains(path)),
        "{text}\n  was not caught as {path}: {found:?}"
    );
}

#[track_caller]
fn allowed(text: &str) {
    let found = planted(&[("src/tuf/mod.rs", "mod inner; pub struct Near;"), ("src/tuf/inner.rs", text)]);
    assert!(found.is_empty(), "{text}\n  was refused: {found:?}");
}

#[test]
fn arrows_upwards_are_caught_however_they_are_written() {
    caught("use crate::store::Thing;", "crate::store::Thing leads to store");
    caught("use crate::{oci, store as s};", "crate::store");
    caught("use crate::{oci::{self, Thing}, keys};", "crate::keys");
    caught("fn f() { crate::client::Thing::go() }", "crate::client::Thing::go");
    caught("fn f(x: &dyn crate::store::Thing) {}", "crate::store::Thing");
    caught("fn f() -> Vec<Box<crate::cli::Thing>> { todo!() }", "crate::cli::Thing");
    caught("impl crate::trust::Thing for X {} struct X;", "crate::trust::Thing");
    caught("use super::super::store::Thing;", "super::super::store::Thing");
    caught("fn f() { super::super::store::f() }", "super::super::store::f");
    caught("use super::super as root; fn f() { root::store::f() }", "root::store::f");
    caught("use crate as c; fn f() { c::store::f() }", "c::store::f");
    caught("use bulla::store::Thing;", "bulla::store::Thing");
    caught("use ::bulla::store::Thing;", "bulla::store::Thing");
    caught("fn f() { use crate::store; }", "crate::store");
    caught("mod deep { fn f() { super::super::super::store::f() } }", "super::super::super::store::f");
    caught("use crate::*;", "imports the crate root");
    caught("pub use crate::store::Thing as Other;", "crate::store::Thing");
}

#[test]
fn arrows_inside_macros_and_attributes_are_caught() {
    caught("fn f() { println!(\"{}\", crate::store::f()) }", "crate::store::f");
    caught("fn f() { vec![g(crate::store::f())]; }", "crate::store::f");
    caught("macro_rules! m { () => { $crate::store::f() } }", "crate::store::f");
    caught("macro_rules! m { () => { use crate::{oci, store}; } }", "crate::store");
    caught("#[derive(tokio::Thing)] struct X;", "tokio::Thing");
    caught("#[cfg_attr(unix, tokio::main)] fn f() {}", "tokio::main");
    caught("fn f() { tokio::join!(a) }", "tokio::join");
    caught("fn f() { m!(async { 1 }) }", "async in a macro");
}

#[test]
fn re_exports_are_followed() {
    let lib = "pub mod oci; pub mod tuf; pub mod store; pub use store::Thing as Facade; pub use tokio as rt;";
    let found = planted(&[
        ("src/lib.rs", lib),
        ("src/tuf.rs", "use crate::Facade; fn f() { crate::rt::spawn(1) } use super::rt;"),
    ]);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().any(|v| v.contains("crate::Facade leads to store")), "{found:?}");
    assert!(found.iter().any(|v| v.contains("crate::rt::spawn names the crate tokio")), "{found:?}");

    // Through a glob in the root.
    let lib = "pub mod oci; pub mod tuf; pub mod store; pub use store::*;";
    let found = planted(&[("src/lib.rs", lib), ("src/tuf.rs", "use crate::Thing;")]);
    assert!(found.iter().any(|v| v.contains("crate::Thing leads to store")), "{found:?}");

    // What the root declares itself is above every ring.
    let found = planted(&[("src/lib.rs", "pub mod tuf; pub fn all() {}"), ("src/tuf.rs", "use crate::all;")]);
    assert!(found.iter().any(|v| v.contains("stands in the crate root")), "{found:?}");
}

#[test]
fn neighbours_are_caught() {
    for (file, text, path) in [
        ("src/store.rs", "use crate::sig::Thing;", "crate::sig::Thing leads to sig"),
        ("src/store.rs", "use crate::keys::Thing;", "leads to keys"),
        ("src/keys.rs", "use crate::store::Thing;", "leads to store"),
        ("src/keys.rs", "use crate::tuf::Thing;", "leads to tuf"),
        ("src/client.rs", "use crate::cli::Thing;", "leads to cli"),
        ("src/client.rs", "use reqwest::Client;", "names the crate reqwest"),
        ("src/oci.rs", "use crate::time::Thing;", "leads to time"),
        ("src/time.rs", "use std::time::SystemTime;", "std::time::SystemTime"),
    ] {
        let found = planted(&[(file, text)]);
        assert!(found.iter().any(|v| v.starts_with(file) && v.contains(path)), "{text}: {found:?}");
    }
    let found = planted(&[("src/lib.rs", "mod helpers;"), ("src/helpers.rs", "")]);
    assert_eq!(found, ["src/helpers.rs: module helpers has no ring"]);
}

#[test]
fn impurity_is_caught() {
    caught("use std::fs;", "is std::fs");
    caught("use std::{fmt, fs::File};", "std::fs::File is std::fs");
    caught("use std as s; fn f() { s::fs::read(\"x\") }", "s::fs::read is std::fs");
    caught("use std::time; fn f() { time::SystemTime::now() }", "time::SystemTime::now");
    caught("use std::time::*;", "std::time is std::time::Instant");
    caught("fn f() { ::std::net::TcpStream::connect(1) }", "std::net");
    caught("fn f() { std::env::var(\"X\") }", "std::env");
    caught("fn f() { jiff::Timestamp::now() }", "names the crate jiff");
    caught("use crate::time::SystemClock;", "crate::time::SystemClock");
    caught("fn f(c: &dyn crate::time::Clock) {}", "crate::time::Clock");
    caught("async fn f() {}", "async fn");
    caught("fn f() { async { 1 } }", "async block");
    caught("fn f() { g().await }", ".await");
    caught("trait T { async fn f(); }", "async fn");
    caught("fn f(p: &std::path::Path) -> bool { p.exists() }", "exists");
    caught("use tokio::fs;", "names the crate tokio");
    caught("extern crate reqwest as r; fn f() { r::get(1) }", "reqwest");
    caught("include!(\"x.rs\");", "include! is not followed");
    caught("#[path = \"../store.rs\"] mod x;", "#[path] on mod x");
}

#[test]
fn what_is_fine_passes() {
    allowed("use crate::sig::Thing; use super::Near; use super::super::oci; fn f(_: oci::Thing) {}");
    allowed(
        "use std::collections::BTreeMap; use serde::Serialize; fn f() { String::from(\"x\"); u8::from(true); }",
    );
    allowed("use super::*; fn f() -> Near { Near }");
    allowed("use std::net::Ipv6Addr; use std::io::Write; use std::time::Duration;");
    allowed("enum E { A } use E::*; fn f() -> E { E::A }");
    allowed("fn f<T: Default>() -> T { T::default() }");
    // Tests may use any crate and any file, but the rings bind them too.
    allowed(
        "#[cfg(test)] mod tests { use tokio::fs; #[test] fn t() { std::fs::read(\"x\"); } async fn f() {} }",
    );
    allowed("#[cfg(test)] use tokio::fs;");
    caught("#[cfg(test)] mod tests { use crate::store::Thing; }", "crate::store::Thing");
    caught("#[cfg(any(test, unix))] use tokio::fs;", "tokio");
    caught("#[cfg(not(test))] use tokio::fs;", "tokio");
    let test_file = [("src/tuf/mod.rs", "#[cfg(test)] mod tests;"), ("src/tuf/tests.rs", "use tokio::fs;")];
    assert_eq!(planted(&test_file), [""; 0]);
}
