//! Tar files of others, and hostile ones.

use std::io::Write;

use proptest::prelude::*;

use super::super::tar::{END, header};
use super::*;

const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// A tar file, entry by entry.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn file(mut self, name: &str, content: &[u8]) -> Self {
        self.0.extend(header(name, content.len() as u64));
        self.content(content)
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// An entry with a header that is changed before its checksum is made.
    fn raw(mut self, name: &str, size: u64, change: impl FnOnce(&mut [u8])) -> Self {
        let mut block = header(name, size);
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(block);
        self
    }

    fn kind(self, name: &str, kind: u8) -> Self {
        self.raw(name, 0, |b| b[156] = kind)
    }

    fn extension(self, kind: u8, content: &[u8]) -> Self {
        self.raw("extension", content.len() as u64, |b| b[156] = kind).content(content)
    }

    fn layout(self) -> Self {
        self.file("oci-layout", b"{}").file("index.json", b"{}")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend(END);
        self.0
    }
}

fn contents(bytes: &[u8]) -> Result<Contents, Failure> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Contents::read(&file, Path::new("x.tar"))
}

fn blob() -> Digest {
    format!("sha256:{HEX}").parse().unwrap()
}

#[track_caller]
fn refused(bytes: &[u8], because: &str) {
    let e = contents(bytes).unwrap_err().to_string();
    assert!(e.contains(because), "{e}");
}

#[test]
fn names_are_found_however_they_are_written() {
    let name = format!("blobs/sha256/{HEX}");
    let longer = format!("././/{name}");
    let pax = format!("{} path={name}\n", name.len() + 9);
    let split = |b: &mut [u8]| {
        b[..100].fill(0);
        b[..64].copy_from_slice(HEX.as_bytes());
        b[345..357].copy_from_slice(b"blobs/sha256");
    };
    let long = [name.as_bytes(), b"\0"].concat();
    for tar in [
        Tar::default().file(&name, b"{}"),
        Tar::default().file(&format!("./{name}"), b"{}"),
        Tar::default().file(&longer, b"{}"),
        Tar::default().raw("", 2, split).content(b"{}"),
        Tar::default().extension(b'L', &long).raw("blobs/sha256/44", 2, |_| {}).content(b"{}"),
        Tar::default().extension(b'x', pax.as_bytes()).raw("other", 2, |_| {}).content(b"{}"),
        Tar::default().raw(&name, 2, |b| b[156] = 0).content(b"{}"),
        // Before POSIX: no magic at all.
        Tar::default().raw(&name, 2, |b| b[257..265].fill(0)).content(b"{}"),
    ] {
        let read = contents(&tar.layout().end()).unwrap();
        assert!(matches!(read.blobs[&blob()], Spot::File { size: 2, .. }));
        assert!(read.index.is_some() && read.marker.is_some() && read.odd.is_none());
    }
}

#[test]
fn what_is_no_file_of_a_layout_is_never_taken_for_one() {
    let link = |kind| Tar::default().kind(&format!("blobs/sha256/{HEX}"), kind).layout().end();
    for (kind, what) in
        [(b'1', "a hard link"), (b'2', "a symbolic link"), (b'3', "a device"), (b'6', "a pipe")]
    {
        let read = contents(&link(kind)).unwrap();
        assert_eq!(read.blobs[&blob()], Spot::Odd(what));
        assert!(read.odd.unwrap().contains(what));
    }
    let index = Tar::default().layout().kind("index.json", b'2').end();
    assert_eq!(contents(&index).unwrap().index, Some(Spot::Odd("a symbolic link")));
    for name in ["/index.json", "../index.json", "a/../index.json", "/etc/passwd"] {
        let read = contents(&Tar::default().file(name, b"{}").end()).unwrap();
        assert!(read.index.is_none() && read.others.is_empty(), "{name}");
        assert!(read.odd.unwrap().contains("leads out"), "{name}");
    }
    let record = b"22 GNU.sparse.major=1\n";
    let sparse = Tar::default().extension(b'x', record).file("index.json", b"{}").end();
    assert_eq!(contents(&sparse).unwrap().index, Some(Spot::Odd("a sparse file")));
    refused(&Tar::default().layout().kind("s", b'S').end(), "sparse");
    // Names that are nearly digests are files like others.
    for name in [
        format!("blobs/sha256/{}", HEX.to_uppercase()),
        format!("blobs/sha384/{HEX}"),
        format!("x/blobs/sha256/{HEX}"),
    ] {
        let read = contents(&Tar::default().file(&name, b"").end()).unwrap();
        assert_eq!((read.blobs.len(), read.others.len()), (0, 1), "{name}");
    }
}

#[test]
fn the_last_of_a_name_counts_as_when_it_is_unpacked() {
    let read = contents(&Tar::default().layout().file("index.json", b"[1,2]").end()).unwrap();
    assert!(matches!(read.index, Some(Spot::File { size: 5, .. })));
    let name = format!("blobs/sha256/{HEX}");
    let read = contents(&Tar::default().file(&name, b"").file(&name, b"{}").layout().end()).unwrap();
    assert!(matches!(read.blobs[&blob()], Spot::File { size: 2, .. }));
}

#[test]
fn what_follows_the_end_is_not_read() {
    let mut bytes = Tar::default().layout().end();
    bytes.extend(Tar::default().file("late", b"x").end());
    assert_eq!(contents(&bytes).unwrap().others, []);
}

#[test]
fn what_was_cut_off_is_told_from_what_is_whole() {
    let whole = Tar::default().file(&format!("blobs/sha256/{HEX}"), &[7; 3000]).layout().end();
    for length in 513..whole.len() - 1023 {
        let e = contents(&whole[..length]).map(|_| ()).unwrap_err();
        assert!(e.to_string().contains("not received whole"), "{length}: {e}");
    }
    // One block of zeros is an end, too.
    assert!(contents(&whole[..whole.len() - 512]).is_ok());
}

#[test]
fn what_is_no_tar_file_is_named() {
    refused(b"\x1f\x8b\x08\0rest", "gzip");
    refused(b"\x28\xb5\x2f\xfdrest", "zstd");
    refused(b"\xfd7zXZ\0", "xz");
    refused(b"short", "no tar file");
    refused(&[b'x'; 4096], "no tar file");
    let mut damaged = Tar::default().layout().end();
    damaged[1024] ^= 1;
    refused(&damaged, "checksum");
}

#[test]
fn everything_is_capped() {
    let huge = vec![b'x'; 70_000];
    refused(&Tar::default().extension(b'L', &huge).file("x", b"").end(), "65536 bytes");
    refused(&Tar::default().extension(b'x', &huge).file("x", b"").end(), "65536 bytes");
    refused(&Tar::default().extension(b'L', &huge[..5000]).file("x", b"").end(), "4096 bytes");
    let mut many = Tar::default();
    let one = header("x", 0);
    (0..=MAX_HEADERS).for_each(|_| many.0.extend(&one));
    refused(&many.end(), "200000 headers");
    // A size that leads past the end, or past all numbers.
    refused(
        &Tar::default().raw("x", 0, |b| b[124..136].copy_from_slice(b"77777777777\0")).end(),
        "not received whole",
    );
    let beyond =
        |b: &mut [u8]| b[124..136].copy_from_slice(&[0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    refused(&Tar::default().raw("x", 0, beyond).end(), "not received whole");
    refused(
        &Tar::default().extension(b'x', b"29 size=18446744073709551615\n").file("x", b"").end(),
        "not received whole",
    );
    refused(&Tar::default().extension(b'x', b"12 size=-12\n").file("x", b"").end(), "malformed");
    refused(&Tar::default().extension(b'g', b"10 path=x\n").file("x", b"").end(), "to all entries");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        junk in proptest::collection::vec(any::<u8>(), 0..2000),
        changes in proptest::collection::vec((0..4096usize, any::<u8>()), 0..5),
    ) {
        let _ = contents(&junk);
        let mut bytes = Tar::default()
            .extension(b'x', format!("{} path=blobs/sha256/{HEX}\n", HEX.len() + 22).as_bytes())
            .file("x", b"{}").layout().end();
        for (at, with) in changes {
            let n = bytes.len();
            bytes[at % n] = with;
        }
        if let Ok(read) = contents(&bytes) {
            for spot in read.blobs.values() {
                if let Spot::File { from, size } = spot {
                    prop_assert!(from + size <= bytes.len() as u64);
                }
            }
        }
    }
}
