//! Runs bulla inside the test process, each time with a process around it of its own.
#![allow(dead_code, reason = "compiled into several test binaries that each use a part of it")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use bulla::cli::Env;
use bulla::keys::NoPrompt;
use bulla::time::{FixedClock, UnixTime};
use serde_json::Value;

/// The time at which commands run unless told otherwise.
pub(crate) const NOW: &str = "2026-05-01T12:00:00Z";

/// One run of bulla, to be started.
pub(crate) struct Bulla {
    args: Vec<OsString>,
    vars: BTreeMap<String, String>,
    stdin: Vec<u8>,
    now: UnixTime,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bulla {
    /// With `home` as its folder; nothing else of the environment.
    pub(crate) fn at(home: &Path) -> Self {
        let vars = BTreeMap::from([("BULLA_HOME".to_owned(), home.to_str().unwrap().to_owned())]);
        Self { args: vec!["bulla".into()], vars, stdin: Vec::new(), now: NOW.parse().unwrap() }
    }

    /// With no environment at all.
    pub(crate) fn bare() -> Self {
        let mut bulla = Self::at(Path::new(""));
        bulla.vars.clear();
        bulla
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }

    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    pub(crate) fn now(mut self, now: &str) -> Self {
        self.now = now.parse().unwrap();
        self
    }

    /// Words split at spaces.
    pub(crate) fn run(self, line: &str) -> Ran {
        self.args(line.split_whitespace())
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Ran {
        self.args.extend(args.into_iter().map(Into::into));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut env = Env {
            vars: self.vars,
            stdin: &mut &self.stdin[..],
            stdout: &mut out,
            stderr: &mut err,
            stderr_is_terminal: false,
            prompt: Arc::new(NoPrompt),
            clock: Arc::new(FixedClock(self.now)),
        };
        let exit = bulla::cli::run(self.args, &mut env);
        Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }
}

impl Ran {
    /// Standard output as the one JSON document it must be; its exit code must be the process's.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.out).expect("one JSON document on standard output");
        assert_eq!(document["exitCode"], self.exit, "{document:#}");
        assert_eq!(document["schemaVersion"], 1);
        // Whatever a test makes of `verify` fits what is promised of it.
        if document["command"] == "verify" {
            let fits = crate::schemas::fits_named("verify", &document);
            assert_eq!(fits, Ok(()), "{document:#}");
        }
        document
    }

    /// The result of a run that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.exit, 0, "{self:#?}");
        self.out
    }
}
