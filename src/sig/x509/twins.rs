//! The second forms of a certificate whose issuer signed with ECDSA: of (r, s) anybody can make (r, n - s), which verifies too.

use crate::sig::der::{element, only};

/// The orders of the curves (SEC 2), 66 bytes each.
const ORDERS: [[u8; 66]; 3] = [
    order("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    order("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973"),
    order(
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    ),
];

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;

/// The other forms, one a curve on which the signature could be; which it is only the issuer's key says. A wrong one is nobody's.
pub(super) fn of(der: &[u8], tbs: &[u8], signature: &[u8]) -> Vec<Vec<u8>> {
    ORDERS.iter().filter_map(|order| twin(der, tbs, signature, order)).collect()
}

fn twin(der: &[u8], tbs: &[u8], signature: &[u8], order: &[u8; 66]) -> Option<Vec<u8>> {
    let (r, rest) = element(only(signature, SEQUENCE)?, INTEGER)?;
    let (r_full, s) = (widened(r)?, widened(only(rest, INTEGER)?)?);
    if r_full >= *order || s >= *order || s == [0; 66] {
        return None;
    }
    let mut other = [0; 66];
    let mut borrow = false;
    for i in (0..66).rev() {
        let (difference, under) = order[i].overflowing_sub(s[i]);
        let (difference, under_too) = difference.overflowing_sub(u8::from(borrow));
        (other[i], borrow) = (difference, under || under_too);
    }
    let start = other.iter().position(|byte| *byte != 0)?;
    let mut s = other[start..].to_vec();
    if s[0] >= 0x80 {
        s.insert(0, 0);
    }
    let numbers = [encoded(INTEGER, r)?, encoded(INTEGER, &s)?].concat();
    let bits = [vec![0], encoded(SEQUENCE, &numbers)?].concat();
    let inside = only(der, SEQUENCE)?;
    let (_, after) = element(inside, SEQUENCE)?;
    let (_, old) = element(after, SEQUENCE)?;
    let algorithm = after.strip_suffix(old)?;
    encoded(SEQUENCE, &[tbs, algorithm, &encoded(BITS, &bits)?].concat())
}

/// A DER integer as a number of 66 bytes.
fn widened(integer: &[u8]) -> Option<[u8; 66]> {
    let integer = integer.strip_prefix(&[0]).unwrap_or(integer);
    let mut out = [0; 66];
    out[66_usize.checked_sub(integer.len())?..].copy_from_slice(integer);
    Some(out)
}

fn encoded(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let length = content.len();
    let head = match length {
        0..128 => vec![tag, length as u8],
        128..256 => vec![tag, 0x81, length as u8],
        256..65536 => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        _ => return None,
    };
    Some([&head, content].concat())
}

const fn order(hex: &str) -> [u8; 66] {
    let (hex, mut out) = (hex.as_bytes(), [0; 66]);
    let size = hex.len() / 2;
    let mut i = 0;
    while i < size {
        out[66 - size + i] = digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]);
        i += 1;
    }
    out
}

const fn digit(byte: u8) -> u8 {
    if byte <= b'9' { byte - b'0' } else { byte - b'a' + 10 }
}

#[cfg(test)]
mod tests {
    use crate::sig::x509::{Certificate, Chain};

    /// A chain whose leaf was given its second form verifies, and all forms have the same names.
    #[test]
    fn the_second_form_verifies_and_has_the_same_names() {
        let mut seen = 0;
        for name in ["notation/p256.chain", "notation/p384.chain", "notation/p521.chain", "x509/good-three"] {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/");
            let Ok(pem) = std::fs::read_to_string(format!("{path}{name}.pem")) else { continue };
            let chain = Certificate::from_pem(&pem).unwrap();
            for (i, certificate) in chain.iter().enumerate() {
                let forms = super::of(&certificate.der, &certificate.tbs, &certificate.signature);
                let verifying = forms.iter().filter(|der| {
                    let mut chain = chain.clone();
                    chain[i] = Certificate::from_der(der).unwrap();
                    assert_ne!(chain[i].thumbprint(), certificate.thumbprint());
                    assert!(chain[i].thumbprints().contains(&certificate.thumbprint()), "{name}");
                    assert!(certificate.thumbprints().contains(&chain[i].thumbprint()), "{name}");
                    Chain::notary(chain).is_ok()
                });
                seen += verifying.count();
            }
        }
        assert!(seen > 0, "no chain with ECDSA issuers was looked at");
    }
}
