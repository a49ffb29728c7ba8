//! A KMS plugin for tests (`sigstore-kms-fake`): keys from seeds, and all that a plugin can do wrong.
//!
//! `fake://seed/7` is the ed25519 key of that seed, and behaves. `fake://wrong-key/7` signs with another key than it shows,
//! `fake://other/FILE` is the key whose seed stands in FILE, `fake://leaks/7` does not sign and writes the value of `FAKE_TOKEN`
//! to standard error.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit
)]

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::keys::{MemorySigner, Signer};
use serde_json::{Value, json};

fn main() {
    let mut args = std::env::args().skip(1);
    assert_eq!(args.next().as_deref(), Some("v1"));
    let request: Value = serde_json::from_str(&args.next().unwrap()).unwrap();
    assert!(std::env::vars().all(|(name, _)| !name.starts_with("BULLA_")), "not for this program");
    let resource = request["initOptions"]["keyResourceID"].as_str().unwrap();
    let (kind, of) = resource.split_once('/').unwrap();
    let seed = |text: &str| -> u8 { text.trim().parse().unwrap() };
    let key = |seed: u8| MemorySigner::from_seed(&[seed; 32]).unwrap();
    let (shown, signs) = match kind {
        "seed" => (key(seed(of)), key(seed(of))),
        "wrong-key" => (key(seed(of)), key(seed(of) + 1)),
        "other" => {
            let seed = seed(&std::fs::read_to_string(format!("/{of}")).unwrap());
            (key(seed), key(seed))
        }
        "leaks" if request["methodName"] == "signMessage" => {
            eprintln!("denied for {}", std::env::var("FAKE_TOKEN").unwrap());
            std::process::exit(1);
        }
        "leaks" => (key(seed(of)), key(seed(of))),
        _ => {
            println!("{}", json!({"errorMessage": format!("no key {resource}")}));
            std::process::exit(1);
        }
    };
    let answer = match request["methodName"].as_str().unwrap() {
        "publicKey" => {
            json!({"publicKey": {"publicKeyPEM": STANDARD.encode(shown.public_key().to_pem())}})
        }
        "signMessage" => {
            let mut message = Vec::new();
            std::io::stdin().read_to_end(&mut message).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let signature = runtime.block_on(signs.sign(&message)).unwrap();
            json!({"signMessage": {"signature": STANDARD.encode(signature)}})
        }
        other => json!({"errorMessage": format!("no method {other}")}),
    };
    println!("{answer}");
}
