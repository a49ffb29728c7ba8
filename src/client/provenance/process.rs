//! Carrying a step out: the command runs with what it says shown as it comes, and kept where that is wanted.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::ProvenanceError;

/// Most bytes that are kept of each stream: they are signed, and travel with the bundle.
pub const MAX_STREAM: usize = 256 << 10;
/// Parts of its streams that wait to be shown; then the command waits, as it would at a pipe.
const PARTS: usize = 64;
/// How long nothing may come after the command's end, and how much may: programs that it started may hold its streams for ever.
const LINGER: Duration = Duration::from_secs(2);
const LEFT: usize = 4 << 20;
/// Times that a program which is just being written is tried.
const BUSY: u32 = 20;

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; of one that a signal ended, the signal's number, negative, as the reference writes it.
    pub code: i32,
    /// What it said on standard output, as text.
    pub stdout: Kept,
    /// On standard error.
    pub stderr: Kept,
}

/// What is kept of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    bytes: Vec<u8>,
    /// Whether there was more.
    pub cut: bool,
}

impl Kept {
    /// As text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn add(&mut self, part: &[u8]) {
        let room = MAX_STREAM - self.bytes.len();
        self.cut |= part.len() > room;
        self.bytes.extend_from_slice(&part[..part.len().min(room)]);
    }
}

/// Run `argv` where this process stands, with these variables; what it says goes to `show`. Standard input is this process's.
///
/// # Errors
/// It cannot be started, or waited for.
pub fn run(
    argv: &[String],
    vars: &BTreeMap<String, String>,
    show: &mut dyn Write,
) -> Result<Ran, ProvenanceError> {
    let program = argv.first().cloned().unwrap_or_default();
    let failed = |reason| ProvenanceError::Start { program: program.clone(), reason };
    let mut child = start(argv, vars).map_err(failed)?;
    let (sender, parts) = sync_channel(PARTS);
    if let Some(out) = child.stdout.take() {
        pump(out, false, sender.clone());
    }
    if let Some(err) = child.stderr.take() {
        pump(err, true, sender);
    }
    let mut ran = Ran { code: 0, stdout: Kept::default(), stderr: Kept::default() };
    let status = listen(&mut child, &parts, &mut ran, show).map_err(failed)?;
    ran.code = code_of(status);
    Ok(ran)
}

fn start(argv: &[String], vars: &BTreeMap<String, String>) -> std::io::Result<Child> {
    let [program, args @ ..] = argv else { return Err(ErrorKind::InvalidInput.into()) };
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(vars);
    // The password of a key is nobody else's.
    command.env_remove("BULLA_PASSWORD");
    command.stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tries = 0;
    loop {
        match command.spawn() {
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            ended => return ended,
        }
    }
}

/// Read a stream to its end, in a thread that ends with it.
fn pump(mut stream: impl Read + Send + 'static, is_err: bool, sender: SyncSender<(bool, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) if sender.send((is_err, buffer[..n].to_vec())).is_err() => return,
                Err(e) if e.kind() != ErrorKind::Interrupted => return,
                _ => {}
            }
        }
    });
}

fn listen(
    child: &mut Child,
    parts: &Receiver<(bool, Vec<u8>)>,
    ran: &mut Ran,
    show: &mut dyn Write,
) -> std::io::Result<std::process::ExitStatus> {
    let mut ended = None;
    let mut last = Instant::now();
    let mut left = LEFT;
    loop {
        match parts.recv_timeout(Duration::from_millis(20)) {
            Ok((is_err, part)) => {
                // Nobody who watches is no reason to stop the step.
                let _ = show.write_all(&part).and_then(|()| show.flush());
                if is_err {
                    ran.stderr.add(&part)
                } else {
                    ran.stdout.add(&part)
                }
                last = Instant::now();
                if ended.is_some() {
                    left = left.saturating_sub(part.len());
                }
            }
            Err(RecvTimeoutError::Disconnected) => return ended.map_or_else(|| child.wait(), Ok),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if ended.is_none() {
            ended = child.try_wait()?;
        } else if let Some(status) = ended
            && (last.elapsed() > LINGER || left == 0)
        {
            return Ok(status);
        }
    }
}

fn code_of(status: std::process::ExitStatus) -> i32 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return -signal;
    }
    status.code().unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, shown: &mut Vec<u8>) -> Ran {
        let vars = BTreeMap::from([
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("BULLA_PASSWORD".to_owned(), "secret".to_owned()),
        ]);
        run(&["sh".into(), "-c".into(), script.into()], &vars, shown).unwrap()
    }

    #[test]
    fn streams_and_exit_code() {
        let mut shown = Vec::new();
        let ran = sh("echo out; echo err >&2; echo ${BULLA_PASSWORD:-none}; exit 3", &mut shown);
        assert_eq!(
            (ran.code, ran.stdout.text(), ran.stderr.text()),
            (3, "out\nnone\n".into(), "err\n".into())
        );
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains("out\n") && shown.contains("err\n"), "{shown}");
        assert_eq!(sh("kill -9 $$", &mut Vec::new()).code, -9);
    }

    #[test]
    fn what_is_kept_is_limited_and_what_is_left_behind_is_not_waited_for() {
        let begun = Instant::now();
        let ran = sh("head -c 1000000 /dev/zero | tr '\\0' x; sleep 60 & exit 0", &mut Vec::new());
        assert_eq!((ran.stdout.bytes.len(), ran.stdout.cut, ran.stderr.cut), (MAX_STREAM, true, false));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    /// Who shows it takes a moment for each part.
    struct Slow(usize);

    impl Write for Slow {
        fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_millis(40));
            self.0 += part.len();
            Ok(part.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_lost_to_a_slow_reader() {
        let vars = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        let mut slow = Slow(0);
        let script = "head -c 1500000 /dev/zero; echo end >&2";
        let ran = run(&["sh".into(), "-c".into(), script.into()], &vars, &mut slow).unwrap();
        assert_eq!((slow.0, ran.stderr.text()), (1_500_004, "end\n".into()));
    }

    #[test]
    fn a_program_that_is_not_there() {
        let refused = run(&["/nowhere/program".into()], &BTreeMap::new(), &mut Vec::new());
        assert!(
            matches!(refused, Err(ProvenanceError::Start { program, .. }) if program == "/nowhere/program")
        );
    }
}
