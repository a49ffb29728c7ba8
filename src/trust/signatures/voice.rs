//! Who signed, for counting: keys and certificates are counted, never layers, envelopes or anchors.

use std::collections::BTreeSet;

use crate::oci::Digest;
use crate::sig::SubjectKey;
use crate::sig::x509::{Certificate, Chain};
use crate::trust::AnchorId;

/// One signer, by everything that would make two signatures his.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::trust) struct Voice {
    /// Names of him: the key; of a certificate also its subject under its root, for he may renew the key.
    names: BTreeSet<Digest>,
    who: String,
    anchors: BTreeSet<String>,
}

impl Voice {
    /// The holder of a key.
    pub(super) fn of_key(key: &SubjectKey, who: Option<String>, anchors: Vec<AnchorId>) -> Self {
        let fingerprint = key.fingerprint();
        let who = who.unwrap_or_else(|| format!("the key {fingerprint}"));
        Self { names: BTreeSet::from([fingerprint]), who, anchors: ids(anchors) }
    }

    /// Whoever proved an identity to an issuer: the key is one of many, each for minutes.
    pub(super) fn of_identity(
        key: &SubjectKey,
        identity: &str,
        issuer: &str,
        anchors: Vec<AnchorId>,
    ) -> Self {
        let named = Digest::sha256(&[b"keyless\n", issuer.as_bytes(), b"\n", identity.as_bytes()].concat());
        Self {
            names: BTreeSet::from([named, key.fingerprint()]),
            who: format!("{identity} (by {issuer})"),
            anchors: ids(anchors),
        }
    }

    /// The subject of a chain's leaf.
    pub(super) fn of_chain(chain: &Chain, anchors: Vec<AnchorId>) -> Self {
        let leaf = chain.leaf();
        let fingerprint = leaf.key().fingerprint();
        // Under each CA above him, by that one's key: the certificate of one CA can have many forms, and many issuers.
        let named = chain.certificates().iter().skip(1).map(|ca| under(ca, leaf));
        Self {
            names: named.chain([fingerprint]).collect(),
            who: leaf.subject().to_string(),
            anchors: ids(anchors),
        }
    }

    /// Also who these certificates say he is, each issued by the CA before it.
    pub(super) fn and_under<'c>(
        mut self,
        issued: impl Iterator<Item = (&'c Certificate, &'c Certificate)>,
    ) -> Self {
        self.names.extend(issued.map(|(ca, certificate)| under(ca, certificate)));
        self
    }

    /// Not by this anchor after all.
    pub(super) fn leave(&mut self, anchor: &AnchorId) {
        self.anchors.remove(anchor.as_str());
    }

    /// For people.
    pub(in crate::trust) fn who(&self) -> &str {
        &self.who
    }

    /// The anchors that trust him, by id.
    pub(in crate::trust) fn anchors(&self) -> &BTreeSet<String> {
        &self.anchors
    }
}

/// The subject of a certificate under one of the CAs above it.
fn under(ca: &Certificate, certificate: &Certificate) -> Digest {
    let ca = ca.key().fingerprint().to_string();
    Digest::sha256(&[ca.as_bytes(), b"\n", certificate.subject().as_der()].concat())
}

fn ids(anchors: Vec<AnchorId>) -> BTreeSet<String> {
    anchors.into_iter().map(|id| id.as_str().to_owned()).collect()
}

/// How many signers these are: those that share a name are one. Each with all that he is called.
pub(in crate::trust) fn distinct<'a>(voices: impl IntoIterator<Item = &'a Voice>) -> Vec<Vec<&'a Voice>> {
    let mut groups: Vec<(BTreeSet<&Digest>, Vec<&Voice>)> = Vec::new();
    for voice in voices {
        let names: BTreeSet<&Digest> = voice.names.iter().collect();
        let mut merged = (names, vec![voice]);
        let mut apart = Vec::new();
        for group in groups {
            if group.0.is_disjoint(&merged.0) {
                apart.push(group);
            } else {
                merged.0.extend(group.0);
                // Earlier ones first.
                merged.1.splice(..0, group.1);
            }
        }
        apart.push(merged);
        groups = apart;
    }
    groups.into_iter().map(|(_, voices)| voices).collect()
}
