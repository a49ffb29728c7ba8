//! What a new anchor takes from those that are there: anchors of one repository add up, and a narrower one unseats an organisation.

use std::fmt;

use super::{Anchor, AnchorId, Scope, TrustFile};
use crate::tuf::CollectionName;

/// One thing that is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Widened {
    /// Fewer must agree for this repository than one anchor asks for.
    Agreement {
        /// The anchor that asks for more.
        anchor: AnchorId,
        /// How many of its sources must agree.
        min: usize,
        /// The repository.
        scope: Scope,
    },
    /// No signature is demanded there any more.
    Signatures {
        /// What for.
        scope: Scope,
    },
    /// An organisation no longer speaks for this.
    Organisation {
        /// The organisation.
        organisation: CollectionName,
        /// What for.
        scope: Scope,
    },
}

impl fmt::Display for Widened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agreement { anchor, min, scope } => {
                let id = anchor.as_str();
                write!(
                    f,
                    "{id} asks {min} sources to agree for {scope}; from now on the new anchor alone suffices"
                )
            }
            Self::Signatures { scope } => write!(
                f,
                "a signature was demanded for {scope}, and TUF is from now on; write a statement with both to keep it"
            ),
            Self::Organisation { organisation, scope } => write!(
                f,
                "the organisation {organisation} no longer speaks for {scope}: neither what it lists nor what it takes out or revokes counts there"
            ),
        }
    }
}

impl TrustFile {
    /// What an anchor that is not there yet would take from those that are.
    pub fn widened_by(&self, new: &Anchor) -> Vec<Widened> {
        if self.anchors.iter().any(|a| a.id == new.id) {
            return Vec::new();
        }
        // From a locked file nothing is taken; one that is not stands beside the user's.
        let locked = self.system().is_some_and(|system| system.locked);
        let above = self.system().filter(|_| !locked).map(|system| &system.anchors[..]).unwrap_or_default();
        let anchors = || self.anchors.iter().chain(above);
        let scope = || new.scope.clone();
        let same: Vec<&Anchor> = anchors().filter(|a| a.scope.is_same(&new.scope)).collect();
        let asks = same.iter().filter(|a| a.min() > new.min());
        let mut out: Vec<Widened> =
            asks.map(|a| Widened::Agreement { anchor: a.id.clone(), min: a.min(), scope: scope() }).collect();
        // The narrowest organisation around it is the one that spoke, unless somebody narrower did already.
        let around = anchors().filter(|a| a.organisation && !a.scope.is_same(&new.scope));
        let around = around.filter(|a| a.scope.holds(&new.scope)).max_by_key(|a| a.scope.specificity());
        if same.is_empty() {
            out.extend(
                around.map(|a| Widened::Organisation { organisation: a.collection.clone(), scope: scope() }),
            );
        }
        if let Some(subject) = new.scope.example() {
            let required = self.rule(&subject).required;
            let implied = |l: &super::Signatures| l.stated_for.is_none() && !l.from.is_empty();
            if !required.tuf && required.tuf_waived.is_none() && required.signatures.iter().any(implied) {
                out.push(Widened::Signatures { scope: scope() });
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sig::SubjectKey;
    use crate::trust::{Rescissions, SignerAnchor, SourceSpec, Trusts};

    fn anchor(scope: &str, name: &str) -> Anchor {
        Anchor::tuf(scope.parse().unwrap(), name.parse().unwrap(), Bytes::from_static(b"{}"), vec![])
    }

    #[test]
    fn who_loses_what() {
        let mut file = TrustFile::default();
        let own = anchor("ex.com/org/app", "ex.com/org/app");
        assert_eq!(file.widened_by(&own), []);
        let organisation = |scope: &str| anchor(scope, "ex.com/org").of_organisation();
        file.anchors.push(organisation("ex.com/org/*"));
        let lost = file.widened_by(&own);
        assert!(matches!(&lost[..], [Widened::Organisation { .. }]), "{lost:?}");
        assert_eq!(file.widened_by(&anchor("ex.com/organisation/app", "ex.com/x/app")), []);
        assert_eq!(file.widened_by(&organisation("ex.com/*")), [], "the longer prefix stays");
        assert_eq!(file.widened_by(&organisation("ex.com/org/team/*")).len(), 1);
        // The system's stand beside the user's, unless they are locked.
        for locked in [false, true] {
            let level = crate::trust::Level::System { locked: false };
            let mut system = TrustFile { locked, ..TrustFile::default() };
            system.anchors.push(organisation("ex.com/org/*"));
            let both = TrustFile::default().under(system.named("/etc/bulla/trust.json", level)).unwrap();
            assert_eq!(both.widened_by(&own).len(), usize::from(!locked));
        }
        let at = |place: &str| SourceSpec { at: place.parse().ok(), ..SourceSpec::default() };
        let panel = own.clone().with_sources(vec![at("a.example/x"), at("b.example/x")], Some(2)).unwrap();
        file.anchors.push(panel.clone());
        let lost = file.widened_by(&own);
        assert_eq!(lost, [Widened::Agreement { anchor: panel.id.clone(), min: 2, scope: own.scope.clone() }]);
        assert_eq!(file.widened_by(&panel), [], "it is there");
        let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/sigstore/p256.pub");
        let key = SubjectKey::from_pem(&std::fs::read_to_string(pem).unwrap()).unwrap();
        let everywhere = SignerAnchor::new(Scope::Any, Trusts::Key(key), Rescissions::Nowhere).unwrap();
        let mut file = TrustFile { signers: vec![everywhere], ..TrustFile::default() };
        assert_eq!(file.widened_by(&own), [Widened::Signatures { scope: own.scope.clone() }]);
        file.anchors.push(panel);
        assert_eq!(
            file.widened_by(&anchor("ex.com/org/app", "ex.com/x")).len(),
            1,
            "it was demanded no more"
        );
    }
}
