//! An HTTP server of a few lines: files by path, one scripted answer a path, and the list of requests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What stands at a path.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This file.
    File(Vec<u8>),
    /// This status, with an empty body.
    Status(u16),
    /// Bytes without end and without a length.
    Endless,
    /// The connection breaks off after half of the file.
    Half(Vec<u8>),
}

#[derive(Debug, Default)]
struct Shared {
    answers: BTreeMap<String, Answer>,
    requests: Vec<String>,
}

/// The server; it lives as long as the process.
#[derive(Debug, Clone)]
pub struct Site {
    shared: Arc<Mutex<Shared>>,
    pub address: String,
}

impl Site {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Mutex::new(Shared::default()));
        let site = Self { shared: shared.clone(), address };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        site
    }

    /// Put an answer at a path, as it is written in the request.
    pub fn put(&self, path: &str, answer: Answer) {
        self.shared.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// Paths asked for since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().requests)
    }
}

fn serve(mut stream: &TcpStream, shared: &Mutex<Shared>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    while lines.next().is_some_and(|l| !l.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut shared = shared.lock().unwrap();
        shared.requests.push(path.clone());
        shared.answers.get(&path).cloned().unwrap_or(Answer::Status(404))
    };
    let head = |status: u16, length: usize| {
        format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")
    };
    let _ = match answer {
        Answer::File(bytes) => {
            stream.write_all(head(200, bytes.len()).as_bytes()).and_then(|()| stream.write_all(&bytes))
        }
        Answer::Half(bytes) => stream
            .write_all(head(200, bytes.len()).as_bytes())
            .and_then(|()| stream.write_all(&bytes[..bytes.len() / 2])),
        Answer::Status(status) => stream.write_all(head(status, 0).as_bytes()),
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\nconnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 8192]).is_ok() {}
            Ok(())
        }
    };
}
