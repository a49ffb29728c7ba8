//! Which file says something: the system's or the user's, and whether the system's is locked.

use std::fmt;

/// The file that an anchor, a statement or a listing comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// As the user knows it.
    pub file: String,
    /// Whose.
    pub level: Level,
}

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The user's own.
    User,
    /// The system's.
    System {
        /// Whether the user's file may weaken nothing of it.
        locked: bool,
    },
}

impl Default for Origin {
    fn default() -> Self {
        Self { file: "trust.json".to_owned(), level: Level::User }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.level {
            Level::User => Ok(()),
            Level::System { locked: false } => f.write_str(" (system)"),
            Level::System { locked: true } => f.write_str(" (system, locked)"),
        }
    }
}
