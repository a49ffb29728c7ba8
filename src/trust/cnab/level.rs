//! The security levels of CNAB-Sec 300.

use std::fmt;

/// What the evidence says of a bundle and of its images. What was not verified is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// TUF vouches for the bundle.
    pub bundle_signed: bool,
    /// TUF lists every image by its digest.
    pub images_signed: bool,
    /// The provenance that was verified.
    pub provenance: Provenance,
}

/// Provenance that was verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Of the bundle.
    pub bundle: bool,
    /// Of every image.
    pub images: bool,
}

/// A level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is signed.
    L0,
    /// The images are signed.
    L1a,
    /// The bundle is signed.
    L1b,
    /// Both are.
    L2,
    /// Both are, and the images have provenance.
    L3a,
    /// Both are, and the bundle has provenance.
    L3b,
    /// Both are, and both have provenance.
    L4,
}

impl Level {
    /// The highest level of which every part was verified. Provenance counts only above signatures of both: 300 has no level for it
    /// alone.
    pub fn of(reached: Reached) -> Self {
        let Reached { bundle_signed, images_signed, provenance } = reached;
        match (bundle_signed, images_signed) {
            (false, false) => Self::L0,
            (false, true) => Self::L1a,
            (true, false) => Self::L1b,
            (true, true) => match (provenance.bundle, provenance.images) {
                (false, false) => Self::L2,
                (false, true) => Self::L3a,
                (true, false) => Self::L3b,
                (true, true) => Self::L4,
            },
        }
    }

    /// As 300 writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L0 => "0",
            Self::L1a => "1a",
            Self::L1b => "1b",
            Self::L2 => "2",
            Self::L3a => "3a",
            Self::L3b => "3b",
            Self::L4 => "4",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
