//! Running what a layout asks a verifier to run: in a folder of its own, with nothing of this process's surroundings.
//!
//! An inspection is a program of the layout's owner, with the rights of whoever verifies. What is bounded here is time, output and
//! what it finds around itself; it is no sandbox.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::artifacts::Recording;
use super::{Exclude, ProvenanceError};
use crate::intoto::{Artifacts, Link, StepName};

/// How long one inspection may take.
pub const MAX_TIME: Duration = Duration::from_secs(60);
/// Most that it may write to each of its streams.
pub const MAX_OUTPUT: usize = 1 << 20;
/// How long the end of a program that was killed is waited for.
const REAPED: Duration = Duration::from_secs(5);
/// All that it finds in its environment, beside `HOME`, which is its folder.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Run an inspection in `folder`: what is there before are its materials, what is there after its products. One that fails, takes
/// too long or says too much has no return value in its link, or another than 0.
///
/// # Errors
/// What is in the folder beforehand cannot be recorded.
pub async fn run(
    name: &StepName,
    argv: &[String],
    folder: &Path,
    time: Duration,
) -> Result<Link, ProvenanceError> {
    let mut link = Link::new(name.clone());
    link.command = argv.to_vec();
    link.materials = here(folder)?;
    match ran(argv, folder, time).await {
        Ok(Some(code)) => {
            link.byproducts.insert("return-value".into(), code.into());
        }
        Ok(None) => {}
        Err(e) => {
            link.byproducts.insert("stderr".into(), e.to_string().into());
        }
    }
    match here(folder) {
        Ok(products) => link.products = products,
        // What it left behind cannot be judged, so it has not done its work.
        Err(e) => {
            link.byproducts.remove("return-value");
            link.byproducts.insert("stderr".into(), e.to_string().into());
        }
    }
    Ok(link)
}

/// Everything in the folder; no pattern leaves anything out, since nobody but the inspection has written there.
fn here(folder: &Path) -> Result<Artifacts, ProvenanceError> {
    let recording = Recording {
        base: folder.to_owned(),
        exclude: Exclude::default(),
        strip: Vec::new(),
        normalize_line_endings: false,
    };
    Ok(recording.record(&[".".to_owned()])?.artifacts)
}

/// The exit code; `None` when it did not end by itself.
async fn ran(argv: &[String], folder: &Path, time: Duration) -> std::io::Result<Option<i32>> {
    let [program, args @ ..] = argv else { return Ok(None) };
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn()?;
    let group = child.id();
    let ended = tokio::time::timeout(time, finished(&mut child)).await;
    // Whatever it started ends with it: the folder is about to be looked at, and then goes.
    kill_group(group);
    match ended {
        Ok(Ok(Some(status))) => Ok(status.code()),
        Ok(Err(e)) => Err(e),
        Ok(Ok(None)) | Err(_) => {
            let _ = child.start_kill();
            let _ = tokio::time::timeout(REAPED, child.wait()).await;
            Ok(None)
        }
    }
}

/// How it ended; `None` when it said more than it may.
async fn finished(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut said = std::pin::pin!(async { tokio::try_join!(swallow(out), swallow(err)) });
    tokio::select! {
        // What it started may hold the streams open: its own end is what counts.
        status = child.wait() => status.map(Some),
        within = &mut said => match within {
            Ok((true, true)) => child.wait().await.map(Some),
            Ok(_) => Ok(None),
            Err(e) => Err(e),
        },
    }
}

/// Whether a stream ended within [`MAX_OUTPUT`].
async fn swallow(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<bool> {
    let Some(mut stream) = stream else { return Ok(true) };
    let (mut buffer, mut total) = (vec![0; 16 << 10], 0);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(true),
            n => total += n,
        }
        if total > MAX_OUTPUT {
            return Ok(false);
        }
    }
}

#[cfg(unix)]
fn kill_group(group: Option<u32>) {
    let group = group.and_then(|id| i32::try_from(id).ok());
    if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill_group(_: Option<u32>) {}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::oci::Digest;

    async fn sh(script: &str, folder: &Path) -> Link {
        let argv = ["sh", "-c", script].map(str::to_owned);
        run(&"look".parse().unwrap(), &argv, folder, Duration::from_secs(2)).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_there_before_and_after() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "1").unwrap();
        let link = sh("cp a b; rm a; mkdir .git; echo x > .git/c", dir.path()).await;
        let names = |a: &Artifacts| a.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            (names(&link.materials), names(&link.products)),
            (vec!["a".into()], vec![".git/c".into(), "b".into()])
        );
        assert!(link.products["b"].holds(&Digest::sha256(b"1")));
        assert_eq!(link.return_value(), Some(0));
        assert_eq!(sh("exit 3", dir.path()).await.return_value(), Some(3));
    }

    #[tokio::test]
    async fn nothing_is_inherited() {
        let dir = tempfile::tempdir().unwrap();
        // cargo sets this one for tests.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let link = sh(
            "test -z \"$CARGO_MANIFEST_DIR\" && test \"$HOME\" = \"$(pwd -P)\" && ! read line",
            &dir.path().canonicalize().unwrap(),
        )
        .await;
        assert_eq!(link.return_value(), Some(0));
    }

    #[tokio::test]
    async fn time_and_output_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        assert_eq!(sh("sleep 60", dir.path()).await.return_value(), None);
        assert_eq!(sh("while :; do echo yes; done", dir.path()).await.return_value(), None);
        assert_eq!(sh("kill -9 $$", dir.path()).await.return_value(), None);
        // What it leaves behind ends with it.
        assert_eq!(sh("(sleep 3; echo late > late) & exit 0", dir.path()).await.return_value(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!dir.path().join("late").exists());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_did_not_end() {
        let dir = tempfile::tempdir().unwrap();
        let argv = ["/nowhere/program".to_owned()];
        let link = run(&"look".parse().unwrap(), &argv, dir.path(), Duration::from_secs(2)).await.unwrap();
        assert_eq!(link.return_value(), None);
    }
}
