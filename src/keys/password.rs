//! Where passwords come from: standard input, the environment, a terminal. Never from arguments.

use std::fmt;
use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write as _};
use std::sync::Arc;

use zeroize::Zeroizing;

/// Longest password in bytes.
const MAX_PASSWORD: usize = 4096;

/// A password; wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// Why there is no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// Nothing given, and no terminal.
    #[error("none was given, and there is no terminal to ask at")]
    NoSource,
    /// The empty password.
    #[error("the empty password is not accepted")]
    Empty,
    /// The two entries are not the same.
    #[error("the two passwords differ")]
    Differ,
    /// Longer than 4096 bytes.
    #[error("longer than {MAX_PASSWORD} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("not UTF-8 text")]
    NotText,
    /// The terminal or standard input failed.
    #[error("{0}")]
    Io(String),
}

/// Asks a person.
pub trait Prompt: Send + Sync {
    /// Ask `question` without echo. `None` when nobody can be asked.
    ///
    /// # Errors
    /// The terminal failed.
    fn ask(&self, question: &str) -> Result<Option<Password>, PasswordError>;

    /// Ask `question` with echo; the line without its end. `None` when nobody can be asked.
    ///
    /// # Errors
    /// The terminal failed.
    fn ask_openly(&self, _question: &str) -> Result<Option<String>, PasswordError> {
        Ok(None)
    }
}

/// Asks at the controlling terminal (`/dev/tty`), wherever standard input and output go.
#[derive(Debug, Clone, Copy)]
pub struct TerminalPrompt;

/// Nobody to ask: services and tests.
#[derive(Debug, Clone, Copy)]
pub struct NoPrompt;

/// The password sources of one command: a given password (standard input or environment), else the prompt.
pub struct Passwords {
    given: Option<Password>,
    prompt: Arc<dyn Prompt>,
}

impl Password {
    /// A password from text.
    ///
    /// # Errors
    /// Empty, or longer than 4096 bytes.
    pub fn new(text: Zeroizing<String>) -> Result<Self, PasswordError> {
        match text.len() {
            0 => Err(PasswordError::Empty),
            n if n > MAX_PASSWORD => Err(PasswordError::TooLong),
            _ => Ok(Self(text)),
        }
    }

    /// The first line of `input`, without its line end; nothing past it is consumed.
    ///
    /// # Errors
    /// Empty, too long, not UTF-8, or reading failed.
    pub fn read_line(input: &mut dyn Read) -> Result<Self, PasswordError> {
        // Reserved whole: a growing vector would leave copies behind.
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 2));
        let mut byte = Zeroizing::new([0u8; 1]);
        loop {
            match input.read(&mut byte[..]) {
                Ok(0) => break,
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) if line.len() > MAX_PASSWORD => return Err(PasswordError::TooLong),
                Ok(_) => line.push(byte[0]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(PasswordError::Io(e.to_string())),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = std::str::from_utf8(&line).map_err(|_| PasswordError::NotText)?;
        Self::new(Zeroizing::new(text.to_owned()))
    }

    /// The bytes, for a key derivation.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text, for a login.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Prompt for TerminalPrompt {
    fn ask(&self, question: &str) -> Result<Option<Password>, PasswordError> {
        match rpassword::prompt_password(question) {
            Ok(text) => Password::new(Zeroizing::new(text)).map(Some),
            // ENXIO (no controlling terminal) has no kind of its own.
            Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(6) => Ok(None),
            Err(e) => Err(PasswordError::Io(e.to_string())),
        }
    }

    fn ask_openly(&self, question: &str) -> Result<Option<String>, PasswordError> {
        let failed = |e: std::io::Error| PasswordError::Io(e.to_string());
        let Ok(mut terminal) = std::fs::File::options().read(true).write(true).open("/dev/tty") else {
            return Ok(None);
        };
        terminal.write_all(question.as_bytes()).map_err(failed)?;
        let mut line = String::new();
        BufReader::new(terminal.take(MAX_PASSWORD as u64)).read_line(&mut line).map_err(failed)?;
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl Prompt for NoPrompt {
    fn ask(&self, _question: &str) -> Result<Option<Password>, PasswordError> {
        Ok(None)
    }
}

impl Passwords {
    /// `given` (from standard input or the environment) answers for every key; without it `prompt` is asked.
    pub fn new(given: Option<Password>, prompt: Arc<dyn Prompt>) -> Self {
        Self { given, prompt }
    }

    /// The password that opens `key`.
    ///
    /// # Errors
    /// None to be had.
    pub fn opening(&self, key: &str) -> Result<Password, PasswordError> {
        match &self.given {
            Some(p) => Ok(p.clone()),
            None => self.ask(&format!("password for {key}: ")),
        }
    }

    /// A new password for `key`, which a prompt asks for twice.
    ///
    /// # Errors
    /// None to be had, or the two differ.
    pub fn choosing(&self, key: &str) -> Result<Password, PasswordError> {
        if let Some(p) = &self.given {
            return Ok(p.clone());
        }
        let first = self.ask(&format!("password for {key}: "))?;
        let second = self.ask("again: ")?;
        if first == second { Ok(first) } else { Err(PasswordError::Differ) }
    }

    fn ask(&self, question: &str) -> Result<Password, PasswordError> {
        self.prompt.ask(question)?.ok_or(PasswordError::NoSource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Script(Mutex<Vec<&'static str>>);

    impl Prompt for Script {
        fn ask(&self, _question: &str) -> Result<Option<Password>, PasswordError> {
            self.0.lock().unwrap().pop().map(|s| Password::new(Zeroizing::new(s.to_owned()))).transpose()
        }
    }

    fn password(s: &str) -> Password {
        Password::new(Zeroizing::new(s.to_owned())).unwrap()
    }

    #[test]
    fn one_line_of_standard_input() {
        for (input, is) in [
            (&b"secret\nrest"[..], Ok(password("secret"))),
            (b"secret\r\n", Ok(password("secret"))),
            (b"no end", Ok(password("no end"))),
            (b"", Err(PasswordError::Empty)),
            (b"\n", Err(PasswordError::Empty)),
            (b"\xff\n", Err(PasswordError::NotText)),
            (&[b'x'; 5000], Err(PasswordError::TooLong)),
        ] {
            assert_eq!(Password::read_line(&mut &*input), is);
        }
        let mut input = &b"one\ntwo\n"[..];
        Password::read_line(&mut input).unwrap();
        assert_eq!(input, b"two\n");
    }

    #[test]
    fn given_wins_and_a_new_password_is_asked_for_twice() {
        let ask = |answers: &[&'static str]| {
            Passwords::new(None, Arc::new(Script(Mutex::new(answers.iter().rev().copied().collect()))))
        };
        assert_eq!(ask(&["a", "a"]).choosing("k"), Ok(password("a")));
        assert_eq!(ask(&["a", "b"]).choosing("k"), Err(PasswordError::Differ));
        assert_eq!(ask(&["a"]).opening("k"), Ok(password("a")));
        assert_eq!(ask(&[]).opening("k"), Err(PasswordError::NoSource));
        let given = Passwords::new(Some(password("g")), Arc::new(Script(Mutex::new(vec!["never"]))));
        assert_eq!(given.choosing("k"), Ok(password("g")));
        assert_eq!(format!("{:?}", password("hidden")), "Password(…)");
    }
}
