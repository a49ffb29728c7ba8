//! Names that become file names: steps, inspections, and where a link lies.

use std::fmt;
use std::str::FromStr;

use super::NameError;
use super::error::cut;

/// Most folders above a link: nested sublayouts.
pub(super) const MAX_FOLDERS: usize = 16;

/// The name of a step or inspection: 1 to 128 of `A-Z a-z 0-9 . _ -`, not beginning with a dot. The reference takes any text, and
/// a name like `../x` leads out of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepName(String);

impl StepName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StepName {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if s.is_empty() || s.len() > 128 || s.starts_with('.') || !s.bytes().all(legal) {
            return Err(NameError::Step(cut(s)));
        }
        Ok(Self(s.to_owned()))
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `<step>.<keyid8>`: whose evidence of which step. Key ids are hints, so this one is: the signature decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stem {
    step: StepName,
    keyid: String,
}

impl Stem {
    /// Of a step and a key id, of which the first eight characters count.
    ///
    /// # Errors
    /// A key id that does not begin with eight hex digits.
    pub fn new(step: StepName, keyid: &str) -> Result<Self, NameError> {
        let bad = || NameError::Link(cut(keyid));
        let keyid = keyid.get(..8).ok_or_else(bad)?;
        if !keyid.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        Ok(Self { step, keyid: keyid.to_owned() })
    }

    /// The step.
    pub fn step(&self) -> &StepName {
        &self.step
    }

    /// The first eight characters of a key id.
    pub fn keyid(&self) -> &str {
        &self.keyid
    }
}

impl FromStr for Stem {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let (step, keyid) = s.rsplit_once('.').ok_or_else(|| NameError::Link(cut(s)))?;
        if keyid.len() != 8 {
            return Err(NameError::Link(cut(s)));
        }
        Self::new(step.parse()?, keyid)
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.step, self.keyid)
    }
}

/// Where a link lies: `<step>.<keyid8>.link`, inside a folder `<step>.<keyid8>` for each sublayout above it. In TUF, where a
/// folder would be a path of its own, `~` stands for the slash; both are read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkPath {
    folders: Vec<Stem>,
    stem: Stem,
}

impl LinkPath {
    /// A link of the outermost layout.
    pub fn new(stem: Stem) -> Self {
        Self { folders: Vec::new(), stem }
    }

    /// The folders above it, outermost first.
    pub fn folders(&self) -> &[Stem] {
        &self.folders
    }

    /// Step and key id.
    pub fn stem(&self) -> &Stem {
        &self.stem
    }

    /// On one level, as TUF lists it: `outer.00112233~inner.44556677.link`.
    pub fn flat(&self) -> String {
        self.joined("~")
    }

    fn joined(&self, separator: &str) -> String {
        let folders: String = self.folders.iter().map(|f| format!("{f}{separator}")).collect();
        format!("{folders}{}.link", self.stem)
    }
}

impl FromStr for LinkPath {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        let bad = || NameError::Link(cut(s));
        let mut parts: Vec<&str> = s.strip_suffix(".link").ok_or_else(bad)?.split(['/', '~']).collect();
        let stem = parts.pop().ok_or_else(bad)?.parse()?;
        if parts.len() > MAX_FOLDERS {
            return Err(bad());
        }
        let folders = parts.into_iter().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { folders, stem })
    }
}

impl fmt::Display for LinkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined("/"))
    }
}
