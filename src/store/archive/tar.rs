//! Tar headers (POSIX.1-2001 pax, ustar, GNU long names): how they are read from foreign files and written into ours.

use std::collections::BTreeMap;

/// Everything in a tar file fills blocks of this many bytes.
pub(super) const BLOCK: u64 = 512;
/// The end of a tar file: two blocks of zeros.
pub(super) const END: [u8; 1024] = [0; 1024];

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// pax records for the next entry.
    Records,
    /// pax records for all further entries.
    GlobalRecords,
    /// GNU: the name of the next entry.
    LongName,
    /// GNU: the link target of the next entry.
    LongLink,
    /// Something that is no file; in words.
    Other(&'static str),
}

/// One header block, read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
    pub(super) kind: Kind,
}

/// What a block is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// The header of an entry.
    Header(Header),
    /// The end of the archive.
    End,
    /// No header; why.
    Bad(&'static str),
}

/// Read a header block.
pub(super) fn read(block: &[u8; BLOCK as usize]) -> Block {
    if block.iter().all(|b| *b == 0) {
        return Block::End;
    }
    // Some old writers summed signed bytes.
    let summed = |sum: fn(u8) -> i64| -> i64 {
        let blank = |(i, b): (usize, &u8)| sum(if (148..156).contains(&i) { b' ' } else { *b });
        block.iter().enumerate().map(blank).sum()
    };
    let sum = number(&block[148..156]).and_then(|n| i64::try_from(n).ok());
    let [unsigned, signed] = [summed(i64::from), summed(|b| i64::from(b.cast_signed()))];
    if sum.is_none_or(|s| s != unsigned && s != signed) {
        return Block::Bad("a header's checksum is wrong");
    }
    let Some(size) = number(&block[124..136]) else { return Block::Bad("a header names no size") };
    let mut name = text(&block[..100]).to_vec();
    if &block[257..263] == b"ustar\0" && block[345] != 0 {
        name = [text(&block[345..500]), b"/", name.as_slice()].concat();
    }
    let kind = match block[156] {
        // Before POSIX a directory was a file whose name ends in a slash.
        b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' => Kind::File,
        b'1' => Kind::Other("a hard link"),
        b'2' => Kind::Other("a symbolic link"),
        b'3' | b'4' => Kind::Other("a device"),
        b'5' => Kind::Directory,
        b'6' => Kind::Other("a pipe"),
        b'x' => Kind::Records,
        b'g' => Kind::GlobalRecords,
        b'L' => Kind::LongName,
        b'K' => Kind::LongLink,
        // Its header may go on in further blocks.
        b'S' => {
            return Block::Bad("it holds a sparse file, which is not read: pack it without (tar without -S)");
        }
        _ => Kind::Other("of an unknown type"),
    };
    // Links and devices have no content, whatever the size says (POSIX.1-2001, ustar "size").
    let size = match kind {
        Kind::Directory => 0,
        Kind::Other(_) if block[156] != b'1' && (b'2'..=b'6').contains(&block[156]) => 0,
        _ => size,
    };
    Block::Header(Header { name, size, kind })
}

/// The records of a pax header; `None` when they are malformed.
pub(super) fn records(mut bytes: &[u8]) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut out = BTreeMap::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        out.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        bytes = &bytes[length..];
    }
    Some(out)
}

/// The header of a file, owned by nobody at no time, so that the same content gives the same bytes.
pub(super) fn header(name: &str, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut long = Vec::new();
    if name.len() > 100 {
        long.extend(record("path", name));
    }
    if size > MAX_OCTAL {
        long.extend(record("size", &size.to_string()));
    }
    if !long.is_empty() {
        out.extend(block("pax", long.len() as u64, b'x'));
        let padding = usize::try_from(padding(long.len() as u64)).unwrap_or_default();
        out.extend(long);
        out.resize(out.len() + padding, 0);
    }
    out.extend(block(name, size, b'0'));
    out
}

/// Zeros that follow content of this size.
pub(super) fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

/// The largest size that eleven octal digits can tell.
const MAX_OCTAL: u64 = 0o777_7777_7777;

fn block(name: &str, size: u64, kind: u8) -> [u8; BLOCK as usize] {
    let mut b = [0; BLOCK as usize];
    let mut put = |at: usize, bytes: &[u8]| b[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size <= MAX_OCTAL {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        // GNU: binary, for readers that know no pax records.
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = b.iter().map(|x| u32::from(*x)).sum();
    b[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    b
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &str, value: &str) -> Vec<u8> {
    let bare = key.len() + value.len() + 3;
    let mut length = bare;
    while bare + length.to_string().len() != length {
        length = bare + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

/// Octal digits between spaces and zeros, or GNU's binary form.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first() {
        let (high, low) = rest.split_at(rest.len().checked_sub(8)?);
        let low: [u8; 8] = low.try_into().ok()?;
        return high.iter().all(|b| *b == 0).then(|| u64::from_be_bytes(low));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if digits.starts_with('+') {
        return None;
    }
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(bytes: &[u8]) -> Block {
        read(bytes.try_into().unwrap())
    }

    #[test]
    fn headers_are_read_as_they_were_written() {
        let bytes = header("blobs/sha256/ab", 5);
        let Block::Header(h) = back(&bytes) else { panic!() };
        assert_eq!((&h.name[..], h.size, h.kind), (&b"blobs/sha256/ab"[..], 5, Kind::File));
        assert_eq!(header("x", 7), header("x", 7));
    }

    #[test]
    fn long_names_and_sizes_go_into_records() {
        let name = format!("blobs/sha512/{}", "ab".repeat(64));
        let bytes = header(&name, 9 << 30);
        assert_eq!(bytes.len(), 3 * 512);
        let Block::Header(h) = back(&bytes[..512]) else { panic!() };
        assert_eq!(h.kind, Kind::Records);
        let read = records(&bytes[512..512 + usize::try_from(h.size).unwrap()]).unwrap();
        assert_eq!(read[&b"path"[..]], name.as_bytes());
        assert_eq!(read[&b"size"[..]], (9u64 << 30).to_string().into_bytes());
        let Block::Header(h) = back(&bytes[1024..]) else { panic!() };
        assert_eq!(h.size, 9 << 30, "GNU's form says the same");
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for n in [1, 90, 91, 92, 93, 94, 990, 9990] {
            let r = record("path", &"x".repeat(n));
            assert_eq!(records(&r).unwrap()[&b"path"[..]].len(), n);
        }
    }

    #[test]
    fn malformed_records_and_blocks_are_refused() {
        for bad in ["x", "5 a=b", "99 a=b\n", "6 ab\nxx", "0 a=b\n", " a=b\n", "2 \n"] {
            assert_eq!(records(bad.as_bytes()), None, "{bad:?}");
        }
        let mut bytes = header("x", 1);
        bytes[0] = b'y';
        assert!(matches!(back(&bytes), Block::Bad(_)));
        assert_eq!(back(&[0; 512]), Block::End);
        assert_eq!(number(&[0xff; 12]), None, "a negative size");
        assert_eq!(number(b"9\0"), None);
        assert_eq!(number(b"+7\0"), None);
    }
}
