//! Where an installation keeps things: one folder, or the XDG places (XDG Base Directory Specification 0.8).

use std::path::{Path, PathBuf};

use super::context::Env;
use super::error::CliError;
use crate::client::anchors::SystemFile;

/// The system's file of anchors and statements.
const SYSTEM: &str = "/etc/bulla/trust.json";
/// The log of what was verified or copied.
const INSTALLED: &str = "installed.jsonl";

/// The places of an installation. None of them need exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Home {
    /// The file of anchors and statements.
    pub(super) trust: PathBuf,
    /// The key folder.
    pub(super) keys: PathBuf,
    /// The folder of remembered states.
    pub(super) memory: PathBuf,
    /// What was verified or copied here.
    pub(super) installed: PathBuf,
}

/// Where the system's file is: `BULLA_SYSTEM_TRUST` names another, which does not count where the fixed one is locked.
pub(super) fn system(env: &Env<'_>) -> SystemFile {
    SystemFile { fixed: SYSTEM.into(), instead: env.var("BULLA_SYSTEM_TRUST").map(PathBuf::from) }
}

impl Home {
    /// From `--home`, else `BULLA_HOME`, else the XDG variables, else `HOME`.
    ///
    /// # Errors
    /// None of them is set.
    pub(super) fn find(flag: Option<&Path>, env: &Env<'_>) -> Result<Self, CliError> {
        if let Some(dir) = flag.map(Path::to_owned).or_else(|| env.var("BULLA_HOME").map(PathBuf::from)) {
            let [trust, keys, memory] = ["trust.json", "keys", "memory"].map(|name| dir.join(name));
            return Ok(Self { trust, keys, memory, installed: dir.join(INSTALLED) });
        }
        let place = |variable: &str, default: &str| {
            // A relative path in them is invalid and to be ignored, says the specification.
            let set = env.var(variable).map(PathBuf::from).filter(|p| p.is_absolute());
            let base = set.or_else(|| env.var("HOME").map(|home| Path::new(home).join(default)));
            base.map(|b| b.join("bulla")).ok_or_else(|| {
                CliError::failed("config.home", "there is no place for configuration, keys and memory")
                    .reason(format!("neither BULLA_HOME nor {variable} nor HOME is set"))
                    .next("pass --home DIR")
            })
        };
        let state = place("XDG_STATE_HOME", ".local/state")?;
        Ok(Self {
            trust: place("XDG_CONFIG_HOME", ".config")?.join("trust.json"),
            keys: place("XDG_DATA_HOME", ".local/share")?.join("keys"),
            memory: state.join("memory"),
            installed: state.join(INSTALLED),
        })
    }
}
