//! A look at the live state, the memory and the submissions that signs nothing, writes nothing and remembers nothing.

use std::collections::BTreeSet;

use super::install::Stand;
use super::round::Round;
use super::{Committer, Job, Ledger, Reason, WorkError};
use crate::client::submission::Fetched;
use crate::client::whole::Whole;
use crate::oci::{Content, Tag};
use crate::tuf::lineage::{RoleFile, Verdict, View, classify};
use crate::tuf::{Floor, RoleName, TufError, Version};

/// What was seen.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The manifest of the live state.
    pub manifest: Option<Content>,
    /// The live state; `None` when nothing lies there.
    pub live: Option<Whole>,
    /// What is remembered, where it verifies whole under the final root.
    pub memory: Option<Whole>,
    /// The floor that it makes under the final root, whole or not. No live state is below it that the memory could not put right.
    pub floor: Option<Floor>,
    /// Submissions that are not in.
    pub waiting: Vec<Waiting>,
}

/// A submission that is not in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its tag.
    pub tag: Tag,
    /// Its role, where it is known.
    pub role: Option<RoleName>,
    /// Its version.
    pub version: Version,
    /// What for, or why for ever.
    pub standing: Standing,
}

/// How a submission that is not in stands to the live state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The next renewal admits it.
    Ready,
    /// A holder of the role's key must merge it.
    Fork,
    /// Not related to the live role within 64 versions.
    Stale,
    /// So much newer that the live state must be old.
    Ahead,
    /// No submission of this collection: why.
    Invalid(String),
    /// There are more submissions than anybody looks at.
    NotLookedAt,
}

impl Committer<'_> {
    /// Look.
    ///
    /// # Errors
    /// See [`WorkError`]: the place or the memory cannot be read, nothing lies there and nothing is remembered, or what lies
    /// there does not verify.
    pub async fn survey(&self) -> Result<Survey, WorkError> {
        let (mut ledger, forced) = (Ledger::new(), BTreeSet::new());
        let job = Job { repair: false, ..Job::routine(&forced) };
        let mut round = self.around(&job, &mut ledger).await?;
        self.sift_all(&mut ledger, &mut round)?;
        let mut waiting = Vec::new();
        for listed in &round.listed {
            let Some(tag) = listed.tag(self.collection) else { continue };
            let role = round.roles.keys().find(|r| listed.is_of(r)).cloned();
            let mut stands = |standing| {
                waiting.push(Waiting {
                    tag: tag.clone(),
                    role: role.clone(),
                    version: listed.version(),
                    standing,
                });
            };
            match ledger.fetched.get(listed) {
                Some(Fetched::Invalid(why)) => stands(Standing::Invalid(why.clone())),
                Some(Fetched::TooMuch) => stands(Standing::NotLookedAt),
                None if round.not_looked_at.contains(listed) => stands(Standing::NotLookedAt),
                // Their tags alone say that they are in, or past the window.
                Some(Fetched::Gone) | None => {}
                Some(Fetched::Group(group)) => {
                    let group = group.clone();
                    match self.stand(listed, &group, &mut ledger, &round)? {
                        Stand::In => {}
                        Stand::Follows(_) => stands(Standing::Ready),
                        Stand::Not(refused) => stands(match refused.reason {
                            Reason::Stale => Standing::Stale,
                            Reason::Ahead => Standing::Ahead,
                            Reason::Invalid(why) => Standing::Invalid(why),
                            // Its new keys' holder signs what is missing.
                            _ => Standing::Fork,
                        }),
                    }
                }
                Some(Fetched::Valid(s)) => {
                    if let Some(Reason::Invalid(why)) = ledger.refused.get(listed) {
                        stands(Standing::Invalid(why.clone()));
                        continue;
                    }
                    let Some(file) = round.base.role(&s.role) else {
                        if round.vacant.contains_key(&s.role) {
                            stands(Standing::Ready);
                        }
                        continue;
                    };
                    let live = RoleFile::of(file).map_err(|fault| TufError::new(&s.role, fault))?;
                    let standing = classify(&View::of(&live), &s.lineage);
                    match standing.verdict {
                        Verdict::AlreadyIn => {}
                        Verdict::Fork if standing.conflict => stands(Standing::Stale),
                        Verdict::FastForward => stands(Standing::Ready),
                        Verdict::Fork => stands(Standing::Fork),
                        Verdict::Stale => stands(Standing::Stale),
                        Verdict::Ahead => stands(Standing::Ahead),
                    }
                }
            }
        }
        let Round { manifest, live, memory, floor, .. } = round;
        Ok(Survey { manifest, live, memory, floor, waiting })
    }
}
