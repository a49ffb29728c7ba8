//! What to do about an answer other than "trusted". Never: to trust more.

use std::collections::BTreeSet;

use crate::trust::{Check, Code, Report, TrustFile, Verdict};

/// What to do about an answer other than "trusted". Never: to trust more.
pub(in crate::cli) fn next_step(report: &Report, trust: &TrustFile) -> Option<String> {
    let because = report.because().filter(|_| report.verdict() != Verdict::Trusted)?;
    after(because, report, trust)
}

/// The step after one failed check.
pub(super) fn after(because: &Check, report: &Report, trust: &TrustFile) -> Option<String> {
    let next = match because.code {
        Code::AnchorNone => {
            let signers = trust.signers.iter().map(|a| &a.scope);
            let scopes: BTreeSet<String> =
                trust.all_anchors().map(|a| &a.scope).chain(signers).map(ToString::to_string).collect();
            let scopes: Vec<String> = scopes.into_iter().collect();
            let add = format!(
                "say whom you trust for it: bulla trust add {0} --root FILE --collection NAME, or for signatures alone bulla trust add {0} with --ca, --certificate, --public-key or --keyless",
                report.verified_as
            );
            if scopes.is_empty() { add } else { format!("{add}; anchored are {}", scopes.join(", ")) }
        }
        Code::RefAbsent => "check the repository and the tag or digest".into(),
        Code::BundleTagUnlisted | Code::BundleDigestUnlisted => {
            "ask the publisher for a release: only bulla publish makes one".into()
        }
        Code::BundleTagMoved | Code::BundleLength | Code::BundleMediaType => {
            "do not use it; tell the publisher, or name the release by its digest".into()
        }
        Code::BundleContent | Code::BundleAmbiguous => {
            "do not use this copy; get the bundle from another place".into()
        }
        Code::BundleResolve | Code::StateUnreadable | Code::SealUnreadable => {
            "nothing was decided: check the network and the login, and verify again".into()
        }
        Code::AgreementShort | Code::AgreementOwnerShort => {
            "do not use it before enough of them list it: ask those who do not why".into()
        }
        Code::AgreementOpen | Code::AgreementOwnerOpen => {
            "nothing was decided: look at what each source says could not be read, and verify again".into()
        }
        Code::AgreementOwnerUnreadable => "a newer version of bulla is needed to decide this".into(),
        Code::ProvenanceUnsupported => "a newer version of bulla is needed to decide this".into(),
        Code::SignatureNone | Code::SignatureShort => {
            "ask those whom the scope names for their signatures (bulla sign); a copy may have left them behind: copy it again with bulla copy"
                .into()
        }
        Code::SignatureOpen => {
            "nothing was decided: check the network and the login, and verify again".into()
        }
        Code::SignatureCap => {
            "nothing was decided: have whoever runs the registry remove what hangs on the bundle, or verify a fresh copy (bulla copy)"
                .into()
        }
        Code::SignatureOff => {
            "nothing vouches for it: the statement that turns the check off is in that file (bulla trust check)".into()
        }
        Code::SignatureExpired | Code::SignatureCertificateExpired => {
            "ask the signer to sign it again".into()
        }
        Code::SignatureRescinded
        | Code::SignatureKeyRescinded
        | Code::SignatureCertificateRescinded
        | Code::ListedDenied => "do not use it; take another release".into(),
        Code::RevocationKey => {
            "nothing that rests on the key counts: the publisher gives the role new keys (bulla tuf propose), then verify again"
                .into()
        }
        Code::SignaturePredicate => "an attestation is no signature: ask the publisher to sign the bundle (bulla sign)".into(),
        Code::SignatureUntrusted | Code::SignatureIdentity => {
            "find out whose signature it is before anything else; bulla trust check shows whose would count".into()
        }
        Code::AttestationNone | Code::AttestationShort => {
            "ask those whom the scope names for the attestation (bulla attest); a copy may have left it behind: copy it again with bulla copy".into()
        }
        Code::AttestationField => "do not use it for this scope; ask who attested it what became of it".into(),
        Code::AttestationOpen => "nothing was decided: check the network and the login, and verify again".into(),
        Code::AttestationCap => {
            "nothing was decided: have whoever runs the registry remove what hangs on the bundle, or verify a fresh copy (bulla copy)".into()
        }
        Code::CnabThin | Code::CnabThick | Code::CnabThickUnlisted | Code::CnabRelocation => {
            "do not install from that file; take the bundle from its repository".into()
        }
        Code::CnabUnreadable => "nothing was decided: check the network and the login, and verify again".into(),
        Code::CnabImageAbsent => "nothing was decided: copy the bundle again, with all its images (bulla copy)".into(),
        Code::CnabNone => "name the CNAB bundle that the file belongs to".into(),
        code if code.as_str().starts_with("cnab.") => {
            "do not install it; tell the publisher that index and bundle.json differ".into()
        }
        code if code.as_str().starts_with("signature.") => {
            "do not count on it; ask the signer for a sound signature".into()
        }
        Code::RevocationBundle => "do not use it; take another release".into(),
        Code::StateAbsent | Code::SealNone => {
            "copy it again with bulla copy, or name the state's place: bulla trust add … --state-at REPO"
                .into()
        }
        code if code.as_str().ends_with(".expired") => {
            "the publisher runs bulla renew; of a copy, make a fresh one then (bulla copy)".into()
        }
        code if code.as_str().ends_with(".rollback") => {
            "a newer state was seen here before: get a fresh copy, or ask who runs this place".into()
        }
        _ => return None,
    };
    Some(next)
}
