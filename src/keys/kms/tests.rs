use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::keys::{MemorySigner, sign_checked};

/// A folder with the program `sigstore-kms-fake`, a shell script that acts as `script` says. Its answers are fixed.
struct Fake {
    dir: tempfile::TempDir,
    vars: BTreeMap<String, String>,
}

impl Fake {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sigstore-kms-fake");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        mode(&file, 0o755);
        let vars = [
            ("PATH", format!("relative:{}:/usr/bin:/bin", dir.path().display())),
            ("FAKE_TOKEN", "s.hunter2-hunter2".to_owned()),
            ("BULLA_PASSWORD", "of my keys".to_owned()),
            ("OTHER_SECRET", "somebody else's".to_owned()),
        ];
        Self { dir, vars: vars.into_iter().map(|(k, v)| (k.to_owned(), v)).collect() }
    }

    fn plugins(&self) -> Plugins {
        Plugins::from_vars(&self.vars).within(Duration::from_secs(5))
    }

    fn public_key(&self) -> Result<PublicKey, KmsFault> {
        match key().public_key(&self.plugins()) {
            Ok(public) => Ok(public),
            Err(KeyError::Kms { key: named, fault }) => {
                assert_eq!(named, "fake://a/key");
                Err(fault)
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[cfg(unix)]
fn mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn key() -> KmsRef {
    "fake://a/key".parse().unwrap()
}

fn signer() -> MemorySigner {
    MemorySigner::from_seed(&[7; 32]).unwrap()
}

fn answer(public: &PublicKey) -> String {
    format!("{{\"publicKey\":{{\"publicKeyPEM\":\"{}\"}}}}", STANDARD.encode(public.to_pem()))
}

#[test]
fn references() {
    for good in ["fake://x", "my-hsm://slot/1?pin-less=yes", "awskms:///alias/x", "gcpkms://projects/p/x@1"] {
        assert_eq!(good.parse::<KmsRef>().unwrap().to_string(), good);
    }
    for bad in [
        "fake:x",
        "fake://",
        "Fake://x",
        "a://x",
        "fa_ke://x",
        "../x://y",
        "fake://a b",
        "fake://\u{1b}",
        "://x",
        "-x://y",
    ] {
        assert!(matches!(bad.parse::<KmsRef>(), Err(KeyError::KmsName(_))), "{bad}");
    }
    assert!(matches!("pkcs11://x".parse::<KmsRef>(), Err(KeyError::Scheme { .. })));
    let long = format!("fake://{}", "x".repeat(1025));
    assert!(long.parse::<KmsRef>().is_err());
}

proptest::proptest! {
    #[test]
    fn what_is_read_is_what_was_written(text in "[a-z0-9-]{0,6}(://)?[ -~]{0,12}|.{0,16}") {
        if let Ok(read) = text.parse::<KmsRef>() {
            proptest::prop_assert_eq!(read.to_string(), text);
            proptest::prop_assert!(!read.program().contains(['/', '.']));
        }
    }
}

#[test]
fn the_call_is_the_protocols_and_the_environment_small() {
    let public = signer().public_key().clone();
    let fake = Fake::new(&format!(
        "here=$(dirname \"$0\"); env | cut -d= -f1 | sort >\"$here/env\"; printf '%s\\n' \"$@\" >\"$here/args\"; cat >\"$here/stdin\"\necho '{}'",
        answer(&public)
    ));
    assert_eq!(fake.public_key(), Ok(public));
    let read = |name: &str| std::fs::read_to_string(fake.dir.path().join(name)).unwrap();
    let names = read("env");
    let given: Vec<&str> =
        names.lines().filter(|n| !matches!(*n, "PWD" | "SHLVL" | "_" | "OLDPWD")).collect();
    assert_eq!(given, ["FAKE_TOKEN", "PATH"]);
    let args = read("args");
    let (version, request) = args.trim_end().split_once('\n').unwrap();
    let request: Value = serde_json::from_str(request).unwrap();
    assert_eq!(version, "v1");
    assert_eq!(request["initOptions"]["keyResourceID"], "a/key");
    assert_eq!(request["initOptions"]["protocolVersion"], "v1");
    assert_eq!(request["methodName"], "publicKey");
    assert_eq!(read("stdin"), "");
    let plugins = Plugins::from_vars(&BTreeMap::from([
        ("BULLA_KMS_ENV".to_owned(), "MORE, BULLA_PASSWORD".to_owned()),
        ("BULLA_PASSWORD".to_owned(), "x".to_owned()),
        ("MORE".to_owned(), "1".to_owned()),
        ("VAULT_TOKEN".to_owned(), "2".to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), "3".to_owned()),
    ]));
    assert_eq!(plugins.environment("hashivault"), [("MORE", "1"), ("VAULT_TOKEN", "2")]);
    assert_eq!(plugins.environment("bulla"), [("MORE", "1")]);
    assert!(!format!("{plugins:?}").contains('2'));
}

#[tokio::test]
async fn a_signature_that_the_public_key_does_not_verify_is_not_used() {
    let (right, wrong) = (signer(), MemorySigner::from_seed(&[8; 32]).unwrap());
    let message = b"the message";
    for (by, good) in [(&right, true), (&wrong, false)] {
        let signature = STANDARD.encode(by.sign(message).await.unwrap());
        let fake = Fake::new(&format!(
            "cat >\"$(dirname \"$0\")/stdin\"\ncase \"$2\" in *signMessage*) echo '{{\"signMessage\":{{\"signature\":\"{signature}\"}}}}';; *) echo '{}';; esac",
            answer(right.public_key())
        ));
        let signer = key().open(&fake.plugins()).unwrap();
        let signed = sign_checked(&signer, message).await;
        match good {
            true => assert_eq!(signed, right.sign(message).await),
            false => assert_eq!(signed, Err(KeyError::BadSignature { key_id: right.public_key().key_id() })),
        }
        assert_eq!(std::fs::read(fake.dir.path().join("stdin")).unwrap(), message);
    }
}

#[test]
fn one_that_hangs_is_ended() {
    let fake = Fake::new("exec sleep 1000");
    let begun = Instant::now();
    let plugins = fake.plugins().within(Duration::from_millis(300));
    let failed = key().public_key(&plugins).unwrap_err();
    assert_eq!(failed, key().fault(KmsFault::Timeout(0)));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// An answer is complete when the plugin has ended, and what it started ends with it.
#[test]
fn what_a_plugin_leaves_behind_neither_delays_the_answer_nor_survives() {
    let public = signer().public_key().clone();
    let fake =
        Fake::new(&format!("sleep 1000 & echo $! >\"$(dirname \"$0\")/child\"; echo '{}'", answer(&public)));
    let begun = Instant::now();
    assert_eq!(fake.public_key(), Ok(public));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(is_gone(&fake, "child"));
}

/// One that takes too long goes with all that it started, and nothing of it stays in the table of processes.
#[test]
fn one_that_is_ended_takes_its_children_along() {
    let fake = Fake::new(
        "here=$(dirname \"$0\"); echo $$ >\"$here/self\"; sleep 1000 & echo $! >\"$here/child\"; wait",
    );
    let plugins = fake.plugins().within(Duration::from_secs(1));
    assert_eq!(key().public_key(&plugins), Err(key().fault(KmsFault::Timeout(1))));
    assert!(is_gone(&fake, "child"));
    let id = std::fs::read_to_string(fake.dir.path().join("self")).unwrap();
    assert!(!Path::new("/proc").join(id.trim()).exists(), "not even a zombie");
}

/// The process whose number stands in that file ends within a second; a zombie has ended.
fn is_gone(fake: &Fake, file: &str) -> bool {
    let id = std::fs::read_to_string(fake.dir.path().join(file)).unwrap();
    let about = Path::new("/proc").join(id.trim()).join("stat");
    (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        std::fs::read_to_string(&about).map_or(true, |text| text.contains(") Z "))
    })
}

/// A signal from the terminal goes to a process group, and the plugin is in its own.
#[test]
fn it_runs_in_a_process_group_of_its_own() {
    let fake = Fake::new("echo $$ $(cut -d' ' -f5 /proc/$$/stat) >&2; exit 1");
    let Err(KmsFault::Broken { said, .. }) = fake.public_key() else { panic!("no failure") };
    let (own, group) = said.split_once(' ').unwrap();
    assert_eq!(own, group);
}

/// Without a group of its own it gets the terminal's signals and may ask there; it is ended by itself.
#[test]
fn at_the_terminal_it_runs_in_the_group_of_this_program() {
    let fake = Fake::new("echo $(cut -d' ' -f5 /proc/$$/stat) >&2; exit 1");
    let plugins = fake.plugins().at_the_terminal();
    let Err(KeyError::Kms { fault: KmsFault::Broken { said, .. }, .. }) = key().public_key(&plugins) else {
        panic!("no failure")
    };
    let own = rustix::process::getpgid(None).unwrap().as_raw_nonzero().to_string();
    assert_eq!(said, own);
    let hangs = Fake::new("echo $$ >\"$(dirname \"$0\")/self\"; exec sleep 1000");
    let plugins = hangs.plugins().at_the_terminal().within(Duration::from_millis(500));
    assert!(matches!(key().public_key(&plugins), Err(KeyError::Kms { fault: KmsFault::Timeout(_), .. })));
    assert!(is_gone(&hangs, "self"));
}

/// What a plugin starts in a session of its own cannot be ended with it, and does not hold anything up: the limit that key.md names.
#[test]
fn one_that_leaves_its_session_is_not_waited_for() {
    let public = signer().public_key().clone();
    let fake = Fake::new(&format!(
        "setsid sleep 20 & echo $! >\"$(dirname \"$0\")/child\"; echo '{}'",
        answer(&public)
    ));
    let begun = Instant::now();
    assert_eq!(fake.public_key(), Ok(public));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn one_that_floods_is_ended() {
    let fake =
        Fake::new("while :; do echo 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'; done");
    assert!(matches!(fake.public_key(), Err(KmsFault::TooMuch { to: "standard output", limit: 65_536 })));
    let fake = Fake::new("exec cat /dev/zero >&2");
    assert!(matches!(fake.public_key(), Err(KmsFault::TooMuch { to: "standard error", .. })));
}

#[test]
fn garbage_is_no_answer() {
    for text in [
        "no json",
        "{}",
        "[]",
        "null",
        "{\"publicKey\":null}",
        "{\"publicKey\":{\"publicKeyPEM\":7}}",
        "{\"publicKey\":{\"publicKeyPEM\":\"%%%\"}}",
        "{\"publicKey\":{\"publicKeyPEM\":\"AAAA\"}}",
        "{\"publicKey\":{},\"publicKey\":{}}",
        "{\"publicKey\":{}} more",
    ] {
        let fake = Fake::new(&format!("echo '{text}'"));
        let failed = fake.public_key().unwrap_err();
        assert!(matches!(failed, KmsFault::Garbage { .. }), "{text}: {failed:?}");
    }
    assert!(matches!(Fake::new("true").public_key(), Err(KmsFault::Broken { .. })));
}

#[test]
fn what_it_says_on_failure_is_capped_clean_and_without_its_secrets() {
    let fake = Fake::new("printf 'token %s\\033[2J refused\\n' \"$FAKE_TOKEN\" >&2; exit 3");
    let Err(KmsFault::Broken { how, said }) = fake.public_key() else { panic!("no failure") };
    assert!(how.contains("no answer") && how.contains('3'), "{how}");
    assert_eq!(said, "token [FAKE_TOKEN] [2J refused");
    let fake = Fake::new("echo \"{\\\"errorMessage\\\":\\\"no key for $FAKE_TOKEN\\\"}\"; exit 1");
    assert_eq!(fake.public_key(), Err(KmsFault::Refused("no key for [FAKE_TOKEN]".into())));
    let fake = Fake::new("i=0; while [ $i -lt 500 ]; do echo word >&2; i=$((i+1)); done; exit 1");
    let Err(KmsFault::Broken { said, .. }) = fake.public_key() else { panic!("no failure") };
    assert_eq!(said.chars().count(), 401);
    let fake = Fake::new("printf 'a\\342\\200\\256b' >&2; exit 1");
    assert!(matches!(fake.public_key(), Err(KmsFault::Broken { said, .. }) if said == "a b"));
    let fake = Fake::new("kill -9 $$");
    assert!(matches!(fake.public_key(), Err(KmsFault::Broken { how, .. }) if how.contains("signal")));
}

#[test]
fn user_and_password_of_a_proxy_are_not_shown() {
    let mut fake = Fake::new("echo \"via $HTTPS_PROXY as $SHOWN at $VAULT\" >&2; exit 1");
    let more = [
        ("BULLA_KMS_ENV", "SHOWN"),
        ("HTTPS_PROXY", "http://user:p%40ss-word@proxy.example:3128/"),
        ("SHOWN", "p@ss-word via socks5://other:second-word@x"),
    ];
    fake.vars.extend(more.map(|(k, v)| (k.to_owned(), v.to_owned())));
    let Err(KmsFault::Broken { said, .. }) = fake.public_key() else { panic!("no failure") };
    assert!(said.contains("http://[HTTPS_PROXY]@proxy.example:3128/"), "{said}");
    assert!(!said.contains("ss-word"), "{said}");
    let basic = STANDARD.encode("user:p@ss-word");
    let mut fake = Fake::new(&format!("echo \"Proxy-Authorization: Basic {basic}; p@ss-word\" >&2; exit 1"));
    fake.vars.extend(more[1..2].iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let Err(KmsFault::Broken { said, .. }) = fake.public_key() else { panic!("no failure") };
    assert_eq!(said, "Proxy-Authorization: Basic [HTTPS_PROXY]; [HTTPS_PROXY]");
}

#[test]
fn which_program_is_run() {
    let fake = Fake::new("exit 0");
    let program = fake.dir.path().join("sigstore-kms-fake");
    assert_eq!(fake.plugins().find(&key()), Ok(program.clone()));
    mode(&program, 0o757);
    assert_eq!(fake.plugins().find(&key()), Err(KmsFault::Writable(program.clone())));
    mode(&program, 0o755);
    mode(fake.dir.path(), 0o777);
    assert_eq!(fake.plugins().find(&key()), Err(KmsFault::Writable(fake.dir.path().to_owned())));
    mode(fake.dir.path(), 0o1777);
    assert_eq!(fake.plugins().find(&key()), Ok(program.clone()));
    mode(fake.dir.path(), 0o755);
    // A folder further up is as good for who may rename what is in it; a group that is root's is not somebody else.
    let below = fake.dir.path().join("open/bin");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::copy(&program, below.join("sigstore-kms-fake")).unwrap();
    let path = BTreeMap::from([("PATH".to_owned(), below.display().to_string())]);
    assert_eq!(Plugins::from_vars(&path).find(&key()), Ok(below.join("sigstore-kms-fake")));
    let open = fake.dir.path().join("open");
    mode(&open, 0o777);
    assert_eq!(Plugins::from_vars(&path).find(&key()), Err(KmsFault::Writable(open.clone())));
    mode(&open, 0o775);
    if std::os::unix::fs::chown(&open, None, Some(12_345)).is_ok() {
        assert_eq!(Plugins::from_vars(&path).find(&key()), Err(KmsFault::Writable(open.clone())));
        std::os::unix::fs::chown(&open, None, Some(0)).unwrap();
        assert_eq!(Plugins::from_vars(&path).find(&key()), Ok(below.join("sigstore-kms-fake")));
    }
    // Whoever owns it may replace it. Only root can give a file away.
    if std::os::unix::fs::chown(&program, Some(12_345), None).is_ok() {
        assert_eq!(fake.plugins().find(&key()), Err(KmsFault::Writable(program.clone())));
        std::os::unix::fs::chown(&program, Some(0), None).unwrap();
    }
    mode(&program, 0o644);
    let absent = KmsFault::NotFound { program: "sigstore-kms-fake".into() };
    assert_eq!(fake.plugins().find(&key()), Err(absent.clone()));
    assert_eq!(Plugins::default().find(&key()), Err(absent.clone()));
    // A relative folder of PATH is not looked in, though the program is there.
    mode(&program, 0o755);
    let relative = BTreeMap::from([("PATH".to_owned(), ".:".to_owned())]);
    assert_eq!(Plugins::from_vars(&relative).find(&key()), Err(absent));
}

/// A script that answers while nobody writes to it, and a message larger than a pipe.
#[tokio::test]
async fn a_message_that_is_not_read_does_not_block() {
    let fake = Fake::new(&format!(
        "case \"$2\" in *signMessage*) echo '{{\"signMessage\":{{\"signature\":\"AAAA\"}}}}';; *) echo '{}';; esac",
        answer(signer().public_key())
    ));
    let opened = key().open(&fake.plugins()).unwrap();
    assert_eq!(opened.sign(&vec![0; 4 << 20]).await, Ok(vec![0, 0, 0]));
}
