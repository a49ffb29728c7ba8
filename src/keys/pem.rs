//! PEM blocks (RFC 7468) of key files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Unreadable, cosign};
use crate::sig::PublicKey;

/// The one key in a PEM file.
pub(super) enum KeyBlock {
    /// `PRIVATE KEY`: DER PKCS#8.
    Plain(Zeroizing<Vec<u8>>),
    /// `ENCRYPTED PRIVATE KEY`: DER EncryptedPrivateKeyInfo.
    Encrypted(Vec<u8>),
    /// `ENCRYPTED SIGSTORE PRIVATE KEY` and its older name: cosign's JSON.
    Cosign(Vec<u8>),
    /// `PUBLIC KEY`.
    Public(PublicKey),
}

/// The only key in `text`. Text around blocks, and `EC PARAMETERS`, which openssl writes before a key, are ignored.
pub(super) fn key_block(text: &str) -> Result<KeyBlock, Unreadable> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, from)) = rest.split_once("-----BEGIN ") {
        let Some((label, body)) = from.split_once("-----") else {
            return Err(Unreadable::Pem("BEGIN".into()));
        };
        // Anything else might be a piece of the key: a line that lost a dash.
        let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
        if label.len() > 40 || !label.chars().all(legal) || !label.contains(|c: char| c.is_ascii_uppercase())
        {
            return Err(Unreadable::Pem("BEGIN".into()));
        }
        let label = label.to_owned();
        let Some((body, tail)) = body.split_once(&format!("-----END {label}-----")) else {
            return Err(Unreadable::Pem(label));
        };
        if label != "EC PARAMETERS" {
            found.push((label, body));
        }
        rest = tail;
    }
    match &found[..] {
        [] => Err(Unreadable::NoPem),
        [(label, body)] => decode(label, body),
        more => Err(Unreadable::Several(more.len())),
    }
}

fn decode(label: &str, body: &str) -> Result<KeyBlock, Unreadable> {
    let der = || {
        let packed: Zeroizing<String> =
            Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
        STANDARD.decode(packed.as_bytes()).map_err(|_| Unreadable::Pem(label.to_owned()))
    };
    match label {
        "PRIVATE KEY" => Ok(KeyBlock::Plain(Zeroizing::new(der()?))),
        "ENCRYPTED PRIVATE KEY" => Ok(KeyBlock::Encrypted(der()?)),
        cosign::LABEL | cosign::OLD_LABEL => Ok(KeyBlock::Cosign(der()?)),
        "PUBLIC KEY" => match PublicKey::from_spki(&der()?) {
            Ok(key) => Ok(KeyBlock::Public(key)),
            Err(_) => Err(Unreadable::Algorithm("of this public key".into())),
        },
        "EC PRIVATE KEY" => Err(Unreadable::Sec1),
        "RSA PRIVATE KEY" => Err(Unreadable::Pkcs1),
        other => Err(Unreadable::Block(other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that lost a dash, or its label, must not bring the key into an error.
    #[test]
    fn no_error_holds_a_piece_of_the_key() {
        let body = "MC4CAQAwBQYDK2VwBCIEIJrSTwTJlsYxZDPTqNLgUeIQNWjWh7VGXZc3tq7oZ2uW";
        for text in [
            format!("-----BEGIN PRIVATE KEY----\n{body}\n-----END PRIVATE KEY-----\n"),
            format!("-----BEGIN \n{body}\n-----END PRIVATE KEY-----\n"),
            format!("-----BEGIN {body}-----\n-----END {body}-----\n"),
            format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY----\n"),
        ] {
            let Err(e) = key_block(&text) else { panic!("{text}") };
            let said = format!("{e} {e:?}");
            assert!(
                !body.as_bytes().windows(6).any(|w| said.contains(std::str::from_utf8(w).unwrap())),
                "{said}"
            );
        }
    }
}
