//! The codes of findings (docs/in-toto.md). Never renamed or reused.

use std::fmt;

use serde::{Serialize, Serializer};

/// What a finding does to the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is said, and changes nothing.
    Note,
    /// Could not decide.
    Open,
    /// Not fulfilled.
    No,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal $weight:ident,)*) => {
        /// A code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it is printed.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it does to the verdict.
            pub fn weight(self) -> Weight {
                match self { $(Self::$name => Weight::$weight,)* }
            }
        }
    };
}

codes! {
    /// The layout is not read.
    LayoutMalformed = "intoto.layout.malformed" No,
    /// No key was given to check the layout with.
    LayoutKeys = "intoto.layout.keys" No,
    /// A key that must have signed the layout has not.
    LayoutSignature = "intoto.layout.signature" No,
    /// The layout is expired.
    LayoutExpired = "intoto.layout.expired" No,
    /// A parameter is missing, or what it makes is no rule.
    LayoutParameter = "intoto.layout.parameter" No,
    /// The layout lists a key that cannot sign.
    LayoutKeyUnusable = "intoto.layout.key-unusable" Note,
    /// Sublayouts are nested deeper than is followed.
    LayoutDepth = "intoto.layout.depth" No,
    /// More documents are there than are read.
    LayoutDocuments = "intoto.layout.documents" Open,
    /// A file that does not count for its step.
    LinkSkipped = "intoto.link.skipped" Note,
    /// Fewer keys have signed a step than must.
    StepThreshold = "intoto.step.threshold" No,
    /// Links of one step say different things.
    StepDisagree = "intoto.step.disagree" No,
    /// A layout that stands for a step is not fulfilled.
    StepSublayout = "intoto.step.sublayout" No,
    /// A layout that stands for a step could not be decided.
    StepSublayoutOpen = "intoto.step.sublayout-open" Open,
    /// Another command was run than the layout expects.
    StepCommand = "intoto.step.command" Note,
    /// A rule names a step or inspection that the layout does not have, and so takes nothing.
    RuleNoStep = "intoto.rule.no-step" Note,
    /// DISALLOW found something.
    RuleDisallow = "intoto.rule.disallow" No,
    /// REQUIRE found nothing.
    RuleRequire = "intoto.rule.require" No,
    /// Rules and names are more than is looked at.
    Work = "intoto.rule.work" Open,
    /// An inspection was not run.
    InspectionOpen = "intoto.inspection.not-run" Open,
    /// An inspection failed.
    InspectionFailed = "intoto.inspection.failed" No,
    /// The last step did not make what is verified.
    Product = "intoto.product" No,
    /// Nobody said what is verified.
    ProductUnasked = "intoto.product.unasked" Note,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}
