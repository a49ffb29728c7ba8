//! Writes signature envelopes for testdata/signatures/subject.json into a folder, for other tools to judge
//! (scripts/signature-peers.py): with cosign's key file `p256`, and with notation's keys and chains.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::envelope::notary::{Artifact, Request, algorithm, thumbprints};
use bulla::envelope::{notary_cose, notary_jws, sigstore_bundle, simple_signing};
use bulla::keys::{KeyFolder, KeyRef, NoPrompt, Password, Passwords, Signer, open, sign_checked_as};
use bulla::oci::{Descriptor, media_type};
use bulla::sig::SubjectKey;
use bulla::sig::dsse::sigstore_algorithms;
use bulla::sig::x509::{Certificate, Chain};
use bulla::time::{Clock as _, SystemClock};
use zeroize::Zeroizing;

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let out = std::env::args().nth(1).ok_or("usage: write-signatures FOLDER")?;
    let out = Path::new(&out);
    std::fs::create_dir_all(out)?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/signatures");
    let subject = Descriptor::of(media_type::OCI_MANIFEST, &std::fs::read(data.join("subject.json"))?);
    let annotations: BTreeMap<String, String> = [("build".to_owned(), "17".to_owned())].into();

    for kind in ["p256", "p384", "rsa2048", "generated"] {
        let signer = signer(&data.join(format!("sigstore/{kind}.key")))?;
        let draft = sigstore_bundle::Draft::sign(&subject.digest, &annotations);
        let key = SubjectKey::from(signer.public_key());
        let signature =
            sign_checked_as(&*signer, sigstore_algorithms(key.kind())[0], &draft.message()).await?;
        let bundle = draft.finish(&key, &signature)?;
        std::fs::write(out.join(format!("{kind}.sigstore.json")), bundle)?;
    }
    // cosign 2 takes SHA-256 only, whatever the curve, and P-384 keys sign with SHA-384.
    for kind in ["p256", "rsa2048", "ed25519"] {
        let signer = signer(&data.join(format!("sigstore/{kind}.key")))?;
        let payload = simple_signing::payload("example.com/team/app", &subject.digest, &annotations);
        let algorithms = sigstore_algorithms(SubjectKey::from(signer.public_key()).kind());
        let signature = sign_checked_as(&*signer, algorithms[algorithms.len() - 1], &payload).await?;
        std::fs::write(out.join(format!("{kind}.sig")), STANDARD.encode(&signature))?;
        std::fs::write(out.join(format!("{kind}.simple.json")), payload)?;
    }
    for kind in ["p256", "p384", "rsa2048", "rsa3072", "rsa4096"] {
        let signer = signer(&data.join(format!("notation/{kind}.key.pem")))?;
        let chain = std::fs::read_to_string(data.join(format!("notation/{kind}.chain.pem")))?;
        let chain = Chain::notary(Certificate::from_pem(&chain)?)?;
        let now = SystemClock.now();
        let request = Request {
            artifact: Artifact { annotations: annotations.clone(), ..Artifact::of(&subject) },
            signed_at: now,
            expires: Some(now.plus(3600)),
            chain,
            agent: "bulla".into(),
        };
        let (algorithm, _) = algorithm(request.chain.leaf().key())?;
        let draft = notary_jws::Draft::new(request.clone())?;
        let signature = sign_checked_as(&*signer, algorithm, &draft.message()).await?;
        std::fs::write(out.join(format!("{kind}.jws")), draft.finish(&signature)?)?;
        let thumbprints = thumbprints(&request.chain);
        let draft = notary_cose::Draft::new(request)?;
        let signature = sign_checked_as(&*signer, algorithm, &draft.message()).await?;
        std::fs::write(out.join(format!("{kind}.cose")), draft.finish(&signature)?)?;
        std::fs::write(out.join(format!("{kind}.thumbprints")), thumbprints)?;
    }
    Ok(())
}

fn signer(file: &Path) -> Result<Box<dyn Signer>, Failure> {
    let password = Password::new(Zeroizing::new("password".to_owned()))?;
    let passwords = Passwords::new(Some(password), Arc::new(NoPrompt));
    Ok(open(&KeyRef::File(file.to_owned()), &KeyFolder::new("."), &passwords)?.signer)
}
