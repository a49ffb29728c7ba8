//! Single DER elements (X.690 10): tag, shortest length, content. For places where one byte string must have one reading.

/// The content of the first element, which must have this tag, and what follows it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *der {
        [t, length, ref rest @ ..] if t == tag && length < 0x80 => (usize::from(length), rest),
        [t, 0x81, length, ref rest @ ..] if t == tag && length >= 0x80 => (usize::from(length), rest),
        [t, 0x82, high, low, ref rest @ ..] if t == tag && high > 0 => {
            (usize::from(u16::from_be_bytes([high, low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The content of the only element, which must have this tag.
pub(super) fn only(der: &[u8], tag: u8) -> Option<&[u8]> {
    element(der, tag).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_shortest() {
        assert_eq!(element(&[2, 1, 7, 9], 2), Some((&[7][..], &[9][..])));
        assert_eq!(only(&[2, 1, 7, 9], 2), None);
        for length in [0usize, 127, 128, 255, 256, 65535] {
            let head = match length {
                0..128 => vec![4, length as u8],
                128..256 => vec![4, 0x81, length as u8],
                _ => vec![4, 0x82, (length >> 8) as u8, length as u8],
            };
            let der = [head, vec![0; length]].concat();
            assert_eq!(only(&der, 4).map(<[u8]>::len), Some(length));
            assert_eq!(only(&der[..der.len() - 1], 4), None);
        }
        for bad in [&[4, 0x81, 1, 0][..], &[4, 0x82, 0, 1, 0], &[4, 0x80, 0, 0], &[4], &[], &[3, 0]] {
            assert_eq!(element(bad, 4), None, "{bad:?}");
        }
    }
}
