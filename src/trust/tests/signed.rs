//! TUF beside signatures of other tools.

use super::*;
use crate::trust::rule::Waivable;
use crate::trust::signatures::tests::{Pair, by, end, line};
use crate::tuf::CollectionName;

/// A collection that lists the bundle, and a signature that the scope needs too.
fn both(signed: bool) -> Deployer {
    let mut d = Deployer::new();
    let pair = Pair::new();
    let anchor = pair.anchor();
    if signed {
        d.hung = end(vec![pair.sign(&d.bundle.digest)]);
    }
    d.rule = Some(Box::new(move |rule| {
        rule.signers.push(anchor.clone());
        rule.required.signatures.push(line(1, std::slice::from_ref(&anchor)));
    }));
    d
}

fn says(d: &mut Deployer) -> String {
    let report = d.verify();
    let because = report.because().map(|c| format!(": {}", c.code)).unwrap_or_default();
    format!("{}{because}", report.verdict().as_str())
}

#[test]
fn both_must_vouch_where_both_are_required() {
    for digest in [false, true] {
        let by_digest = |mut d: Deployer| {
            if digest {
                (d.tag, d.digest) = (None, Some(d.bundle.digest.clone()));
            }
            d
        };
        let mut d = by_digest(both(true));
        assert_eq!(says(&mut d), "trusted");
        assert_eq!(says(&mut by_digest(both(false))), "not-trusted: signature.none");
        let mut d = by_digest(both(true));
        d.sim.entries.clear();
        d.sim.at_version(2, NOW);
        d.serve();
        let no = if digest { "bundle.digest.unlisted" } else { "bundle.tag.unlisted" };
        assert_eq!(says(&mut d), format!("not-trusted: {no}"));
        // What could not be looked at is open, unless something says no.
        let mut d = by_digest(both(true));
        d.state = StateAnswer::Unreadable("503".into());
        assert_eq!(says(&mut d), "undecided: state.unreadable");
        let mut d = by_digest(both(false));
        d.state = StateAnswer::Unreadable("503".into());
        assert_eq!(says(&mut d), "not-trusted: signature.none");
    }
}

#[test]
fn a_revocation_refuses_what_is_signed_also_where_tuf_is_waived() {
    for waived in [false, true] {
        let mut d = both(true);
        let edit = d.rule.take().unwrap();
        d.rule = Some(Box::new(move |rule| {
            edit(rule);
            if waived {
                (rule.required.tuf, rule.required.tuf_waived) = (false, Some(by("not yet")));
            }
        }));
        assert_eq!(says(&mut d), "trusted");
        d.sim.list = super::revocations::revoking(&d.bundle.digest);
        d.sim.at_version(2, NOW);
        d.serve();
        assert_eq!(says(&mut d), "not-trusted: revocation.bundle");
    }
}

/// Whoever withholds a state must not undo what it revokes, also where it need not vouch.
#[test]
fn where_tuf_is_waived_a_state_that_is_withheld_leaves_the_answer_open() {
    let waived = |rescinded: bool| {
        let mut d = both(true);
        let edit = d.rule.take().unwrap();
        d.rule = Some(Box::new(move |rule| {
            edit(rule);
            (rule.required.tuf, rule.required.tuf_waived) = (false, Some(by("not yet")));
            if !rescinded {
                rule.checks.rescinded = Waivable::Waived { by: by("not yet either") };
            }
        }));
        d
    };
    for withheld in
        [StateAnswer::Absent, StateAnswer::Unreadable("503".into()), StateAnswer::Invalid("junk".into())]
    {
        let mut d = waived(true);
        d.state = withheld.clone();
        assert_eq!(says(&mut d), "undecided: revocation.open", "{withheld:?}");
        let mut d = waived(false);
        d.state = withheld;
        assert_eq!(says(&mut d), "trusted");
    }
    // Old news are none.
    let mut d = waived(true);
    d.now = NOW.plus(400 * crate::tuf::sim::DAY);
    assert_eq!(says(&mut d), "undecided: revocation.open");
}

/// Who takes the whole gets its parts too.
#[test]
fn a_denied_part_refuses_the_whole() {
    let mut d = both(true);
    let part = Digest::sha256(b"part");
    d.parts = vec![part.clone()];
    let edit = d.rule.take().unwrap();
    let denied = format!(r#"{{"schemaVersion":2,"deny":[{{"digest":"{part}","reason":"broken"}}]}}"#);
    let deny = crate::trust::TrustFile::parse(denied.as_bytes()).unwrap().deny;
    d.rule = Some(Box::new(move |rule| {
        edit(rule);
        rule.deny = deny.clone();
    }));
    assert_eq!(says(&mut d), "not-trusted: listed.denied");
    d.parts.clear();
    assert_eq!(says(&mut d), "trusted");
}

#[test]
fn a_tag_must_be_current_also_where_tuf_is_waived() {
    let mut d = both(true);
    let edit = d.rule.take().unwrap();
    d.rule = Some(Box::new(move |rule| {
        edit(rule);
        (rule.required.tuf, rule.required.tuf_waived) = (false, Some(by("not yet")));
        rule.statement = Some(Statement { require_current_tag: true, ..Statement::of("*".parse().unwrap()) });
    }));
    d.digest = Some(d.bundle.digest.clone());
    assert_eq!(says(&mut d), "trusted");
    d.sim.entries.retain(|path, _| !path.contains(':'));
    d.sim.at_version(2, NOW);
    d.serve();
    assert_eq!(says(&mut d), "not-trusted: bundle.tag.outdated");
}

/// The tag moved while the state was read: what was read of signatures before the second look is read again.
#[test]
fn signatures_are_read_again_at_the_second_look() {
    let mut d = both(true);
    let before = Descriptor::of(media_type::OCI_MANIFEST, b"before");
    list(&mut d.sim, &before, "v1");
    d.serve();
    let bundle = d.bundle.clone();
    list(&mut d.sim, &bundle, "v1");
    d.sim.at_version(2, NOW);
    d.state_later = Some(StateAnswer::Found(d.sim.files()));
    assert_eq!(says(&mut d), "trusted");
    assert_eq!(d.asked.iter().filter(|want| matches!(want, Want::Signatures { anew: true, .. })).count(), 2);
}

#[test]
fn where_tuf_is_waived_it_need_not_vouch_and_the_report_says_so() {
    let mut d = both(true);
    let edit = d.rule.take().unwrap();
    d.rule = Some(Box::new(move |rule| {
        edit(rule);
        (rule.required.tuf, rule.required.tuf_waived) = (false, Some(by("not yet")));
    }));
    d.sim.entries.clear();
    d.sim.at_version(2, NOW);
    d.serve();
    assert_eq!(says(&mut d), "trusted");
    let report = d.verify();
    assert!(report.checks.iter().any(|c| c.code == Code::TufWaived && c.outcome.as_str() == "waived"));
}

#[test]
fn a_list_of_unsigned_bundles_replaces_no_tuf_anchor() {
    let listed = |d: &mut Deployer| {
        let edit = d.rule.take().unwrap();
        let digest = d.bundle.digest.clone();
        d.rule = Some(Box::new(move |rule| {
            edit(rule);
            rule.allow.push(Listing {
                digest: Some(digest.clone()),
                scope: Scope::Any,
                unsigned: true,
                reason: "old".into(),
                origin: Origin::default(),
            });
        }));
    };
    let mut d = both(false);
    listed(&mut d);
    assert_eq!(says(&mut d), "trusted");
    d.sim.entries.clear();
    d.sim.at_version(2, NOW);
    d.serve();
    assert_eq!(says(&mut d), "not-trusted: bundle.tag.unlisted");
}

/// Signatures that are not checked leave a scope that needs them "not checked", whatever TUF says; where none are needed, TUF decides.
#[test]
fn not_checked_is_never_trusted_where_signatures_are_needed() {
    let mut d = both(true);
    let edit = d.rule.take().unwrap();
    d.rule = Some(Box::new(move |rule| {
        edit(rule);
        rule.checks.signature = Waivable::Waived { by: by("later") };
    }));
    assert_eq!(says(&mut d), "not-checked: signature.off");
    let mut d = Deployer::new();
    d.rule = Some(Box::new(|rule| rule.checks.signature = Waivable::Waived { by: by("later") }));
    assert_eq!(says(&mut d), "trusted");
}

/// A signature by an anchor whose rescissions come from the collection, which says nothing else here.
fn rescindable() -> (Deployer, Pair) {
    let mut d = Deployer::new();
    let pair = Pair::new();
    d.hung = end(vec![pair.sign(&d.bundle.digest)]);
    let trusts = Trusts::Key(pair.key());
    let anchor = SignerAnchor::new(Scope::Any, trusts, Rescissions::Tuf(Sim::name())).unwrap();
    d.rescinds = true;
    d.rule = Some(Box::new(move |rule| {
        rule.required.tuf = false;
        rule.signers.push(anchor.clone());
        rule.required.signatures.push(line(1, std::slice::from_ref(&anchor)));
    }));
    (d, pair)
}

fn entry(kind: &str, subject: &Digest) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({"schemaVersion": 1, "entries": [{
        "id": "a1", "kind": kind, "subject": subject, "at": NOW.to_string(), "by": "security", "reason": "stolen"
    }]}))
    .unwrap()
}

#[test]
fn a_collection_takes_signatures_back() {
    for by_digest in [false, true] {
        let fresh = || {
            let (mut d, pair) = rescindable();
            if by_digest {
                (d.tag, d.digest) = (None, Some(d.bundle.digest.clone()));
            }
            (d, pair)
        };
        assert_eq!(says(&mut fresh().0), "trusted");
        let with = |list: &dyn Fn(&Deployer, &Pair) -> Vec<u8>| {
            let (mut d, pair) = fresh();
            d.sim.list = list(&d, &pair);
            d.serve();
            says(&mut d)
        };
        let no = |code: &str| format!("not-trusted: {code}");
        assert_eq!(with(&|_, pair| entry("key", &pair.key().fingerprint())), no("signature.key.rescinded"));
        let signature = no("signature.rescinded");
        assert_eq!(with(&|d, _| entry("signature", &d.hung.found[0].manifest)), signature);
        assert_eq!(with(&|d, _| entry("signature", &Digest::sha256(&d.hung.found[0].bytes))), signature);
        assert_eq!(with(&|d, _| entry("bundle", &d.bundle.digest)), no("revocation.bundle"));
        // A key has a name in TUF, too.
        let in_tuf = |pair: &Pair| {
            let key = crate::sig::PublicKey::from_spki(pair.key().spki()).unwrap();
            format!("sha256:{}", key.key_id()).parse::<Digest>().unwrap()
        };
        assert_eq!(with(&|_, pair| entry("key", &in_tuf(pair))), no("signature.key.rescinded"));
        assert_eq!(with(&|_, _| entry("key", &Digest::sha256(b"another"))), "trusted");
        assert_eq!(with(&|_, _| entry("advisory", &Digest::sha256(b"another"))), "trusted");
    }
}

/// Whoever may push can hang it up again: in other bytes, with other hints, with n - s for s. It is the same signature.
#[test]
fn a_signature_that_was_taken_back_is_not_disguised() {
    let (mut d, pair) = rescindable();
    let found = d.hung.found[0].clone();
    let named = crate::trust::signatures::name(&found).unwrap();
    d.sim.list = entry("signature", &named);
    d.serve();
    let text = String::from_utf8(found.bytes.to_vec()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut keyid = json.clone();
    keyid["dsseEnvelope"]["signatures"][0]["keyid"] = "another".into();
    let mut hint = json.clone();
    hint["verificationMaterial"]["publicKey"]["hint"] = "bm9uZQ==".into();
    let mut high = json.clone();
    let value = &mut high["dsseEnvelope"]["signatures"][0]["sig"];
    *value = other_s(value.as_str().unwrap()).into();
    let forms =
        [text.clone(), text.replacen('{', " {", 1), keyid.to_string(), hint.to_string(), high.to_string()];
    for text in forms {
        d.hung = end(vec![signatures_of_other_tools::Found {
            manifest: Digest::sha256(text.as_bytes()),
            bytes: text.clone().into(),
            ..found.clone()
        }]);
        assert_eq!(says(&mut d), "not-trusted: signature.rescinded", "{text}");
    }
    // He may sign again.
    d.hung = end(vec![pair.sign(&d.bundle.digest)]);
    assert_eq!(says(&mut d), "trusted");
}

/// The signature (r, n - s) for (r, s) on P-256, in base64.
fn other_s(value: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let der = STANDARD.decode(value).unwrap();
    let r = crate::sig::ecdsa_r(&der).unwrap();
    let at = 4 + usize::from(der[3]);
    let s = &der[at + 2..];
    let s = s.strip_prefix(&[0]).unwrap_or(s);
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let mut wide = vec![0; 32];
    wide[32 - s.len()..].copy_from_slice(s);
    let mut borrow = 0i16;
    for i in (0..32).rev() {
        let difference = i16::from(order[i]) - i16::from(wide[i]) - borrow;
        borrow = i16::from(difference < 0);
        wide[i] = difference.rem_euclid(256) as u8;
    }
    let number = |bytes: &[u8]| {
        let bytes = &bytes[bytes.iter().position(|b| *b != 0).unwrap()..];
        let zero: &[u8] = if bytes[0] >= 0x80 { &[0] } else { &[] };
        [&[2, (bytes.len() + zero.len()) as u8][..], zero, bytes].concat()
    };
    let numbers = [number(r), number(&wide)].concat();
    STANDARD.encode([&[0x30, numbers.len() as u8][..], &numbers].concat())
}

/// Who, when and why are in the report, for people and for machines.
#[test]
fn the_report_says_who_took_it_back_when_and_why() {
    let (mut d, pair) = rescindable();
    d.sim.list = entry("key", &pair.key().fingerprint());
    d.serve();
    let report = d.verify();
    let because = report.because().unwrap();
    for part in ["the key", &Sim::name().to_string(), "by security", &NOW.to_string(), "stolen"] {
        assert!(because.detail.contains(part), "{part}: {}", because.detail);
    }
    let data = |name: &str| because.data[name].as_str().unwrap().to_owned();
    assert_eq!(
        [data("id"), data("by"), data("reason"), data("kind"), data("collection"), data("at")],
        ["a1", "security", "stolen", "key", &Sim::name().to_string(), &NOW.to_string()].map(str::to_owned)
    );
    assert_eq!(data("subject"), pair.key().fingerprint().to_string());
}

/// `since` spares what somebody proves to be older; of these signatures nobody proves anything.
#[test]
fn since_spares_no_signature_whose_time_nobody_proves() {
    let (mut d, pair) = rescindable();
    let mut list: serde_json::Value =
        serde_json::from_slice(&entry("key", &pair.key().fingerprint())).unwrap();
    list["entries"][0]["since"] = NOW.plus(1000 * DAY).to_string().into();
    d.sim.list = serde_json::to_vec(&list).unwrap();
    d.serve();
    assert_eq!(says(&mut d), "not-trusted: signature.key.rescinded");
    assert!(d.verify().because().unwrap().detail.contains("nothing proves that it is older"));
}

/// Whoever has seen the news keeps it: against an older list, a withheld one, and one without the role.
#[test]
fn what_was_taken_back_stays_so_for_who_remembers_it() {
    let (mut d, pair) = rescindable();
    d.sim.list = entry("key", &pair.key().fingerprint());
    d.sim.at_version(5, NOW);
    d.serve();
    let no = "not-trusted: signature.key.rescinded";
    assert_eq!(says(&mut d), no);
    assert!(d.memory.is_some());
    let news = d.memory.clone();
    let older = {
        let mut sim = Sim::new();
        sim.entries.clone_from(&d.sim.entries);
        sim.at_version(2, NOW);
        StateAnswer::Found(sim.files())
    };
    let dropped = {
        d.serve_with(|files| files.retain(|name| *name.role() != RoleName::revocations()));
        d.state.clone()
    };
    let withheld = [StateAnswer::Absent, StateAnswer::Unreadable("503".into())];
    for state in withheld.into_iter().chain([older.clone(), dropped.clone()]) {
        for days in [0, 400] {
            d.now = NOW.plus(days * DAY);
            (d.state, d.memory) = (state.clone(), news.clone());
            assert_eq!(says(&mut d), no, "{days} days: {state:?}");
        }
    }
    // Who sees them first has nothing to compare with: the older one is good until it expires, and a dropped role never is.
    d.now = NOW;
    (d.state, d.memory) = (older, None);
    assert_eq!(says(&mut d), "trusted");
    (d.state, d.memory) = (dropped, None);
    assert_eq!(says(&mut d), "undecided: signature.open");
}

/// "rescinded": true demands that it is known: nobody to say so is no pass.
#[test]
fn where_it_must_be_known_nobody_to_ask_leaves_the_answer_open() {
    let demanding = |rescissions: Rescissions| {
        let (mut d, pair) = rescindable();
        let anchor = SignerAnchor::new(Scope::Any, Trusts::Key(pair.key()), rescissions).unwrap();
        let edit = d.rule.take().unwrap();
        d.rule = Some(Box::new(move |rule| {
            edit(rule);
            (rule.signers, rule.required.signatures) =
                (vec![anchor.clone()], vec![line(1, std::slice::from_ref(&anchor))]);
            rule.checks.rescinded_known = true;
        }));
        says(&mut d)
    };
    assert_eq!(demanding(Rescissions::Nowhere), "undecided: signature.open");
    assert_eq!(demanding(Rescissions::Servers), "undecided: signature.open");
    assert_eq!(demanding(Rescissions::Tuf(Sim::name())), "trusted");
}

/// What the list says is not known: then nothing that goes by it counts, and the answer is open.
#[test]
fn a_list_that_is_not_known_leaves_the_answer_open() {
    let open = "undecided: signature.open";
    for state in
        [StateAnswer::Unreadable("503".into()), StateAnswer::Absent, StateAnswer::Invalid("junk".into())]
    {
        let (mut d, _) = rescindable();
        d.state = state;
        assert_eq!(says(&mut d), open);
    }
    let (mut d, _) = rescindable();
    d.serve_with(|files| files.retain(|name| *name.role() != RoleName::revocations()));
    assert_eq!(says(&mut d), open);
    let (mut d, _) = rescindable();
    d.now = NOW.plus(100 * DAY);
    assert_eq!(says(&mut d), open);
    // No TUF anchor is for the collection.
    let (mut d, _) = rescindable();
    let edit = d.rule.take().unwrap();
    let other: CollectionName = "elsewhere.example/app".parse().unwrap();
    d.rule = Some(Box::new(move |rule| {
        edit(rule);
        rule.signers[0].rescissions = Rescissions::Tuf(other.clone());
    }));
    assert_eq!(says(&mut d), open);
}

#[test]
fn a_waived_rescission_is_told_and_counts_for_nothing() {
    let (mut d, pair) = rescindable();
    d.sim.list = entry("key", &pair.key().fingerprint());
    d.serve();
    let edit = d.rule.take().unwrap();
    d.rule = Some(Box::new(move |rule| {
        edit(rule);
        rule.checks.rescinded = Waivable::Waived { by: by("not yet") };
    }));
    let report = d.verify();
    assert_eq!(report.verdict(), Verdict::Trusted);
    let told = |c: &&Check| c.code == Code::SignatureRescinded && c.outcome.as_str() == "waived";
    assert!(report.checks.iter().any(|c| told(&c)));
}
