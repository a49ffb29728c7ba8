//! `tuf export` and `tuf import`: folders, a web server, and what is refused.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};

use crate::bundles;
use crate::run::{Bulla, Ran};

const NAME: &str = "example.com/team/app";

struct Desk(tempfile::TempDir);

impl Desk {
    /// A collection with one bundle.
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.bulla("home")
            .run(&format!("init {NAME} --at {} --root-file {}", desk.at("layout"), desk.path("1.root.json")))
            .ok();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = OciDir::create(PathBuf::from(desk.path("build"))).await.unwrap();
            let image = bundles::image(&store, "trees").await;
            store.push_manifest(&image, Some(&bundles::tag("v1"))).await.unwrap();
            store.flush().await.unwrap();
        });
        let line = format!("publish --from oci:{}:v1 {} --tag v1", desk.path("build"), desk.at("layout"));
        desk.bulla("home").run(&line).ok();
        desk
    }

    fn bulla(&self, home: &str) -> Bulla {
        Bulla::at(&self.0.path().join(home)).var("BULLA_PASSWORD", "p")
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn at(&self, name: &str) -> String {
        format!("oci:{}", self.path(name))
    }

    fn export(&self) -> Ran {
        self.bulla("home").run(&format!(
            "tuf export {} {} --format json",
            self.at("layout"),
            self.path("tree")
        ))
    }

    fn trusts(&self, home: &str) {
        self.bulla(home).run(&format!("trust add {NAME} --root {}", self.path("1.root.json"))).ok();
    }

    fn import(&self, home: &str, source: &str, to: &str) -> Ran {
        self.bulla(home).run(&format!("tuf import {source} {} --as {NAME} --format json", self.at(to)))
    }
}

fn code(ran: &Ran) -> String {
    ran.json()["error"]["code"].as_str().unwrap_or("none").to_owned()
}

/// Serves a folder as web servers do: `%2F` is decoded before the file is looked for.
fn serve(dir: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/app", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            while lines.next().is_some_and(|l| !l.is_empty()) {}
            let path = first
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .replace("%2F", "/")
                .replace("%40", "@")
                .replace("%3A", ":");
            let file = path.strip_prefix("/app/").map(|rest| dir.join(rest)).filter(|f| f.is_file());
            let (status, body) = match file {
                Some(file) => (200, fs::read(file).unwrap()),
                None => (404, Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

#[test]
fn a_collection_goes_through_a_tree_and_stays_what_it_is() {
    let desk = Desk::new();
    let exported = desk.export().json();
    let result = &exported["result"];
    assert_eq!(
        (&result["status"], &result["metadata"], &result["targets"]),
        (&"exported".into(), &6.into(), &3.into()),
        "{exported:#}"
    );
    assert_eq!(desk.export().json()["result"]["status"], "current");
    desk.trusts("mirror");
    let source = desk.path("tree");
    for (home, from, to) in
        [("mirror", source.clone(), "copy"), ("web", serve(source.clone().into()), "copy2")]
    {
        desk.trusts(home);
        let imported = desk.import(home, &from, to).json();
        assert_eq!(imported["result"]["status"], "imported", "{imported:#}");
        assert_eq!(imported["result"]["metadata"], 6);
        assert_eq!(desk.import(home, &from, to).json()["result"]["status"], "current");
        let status =
            desk.bulla(home).run(&format!("status {} --as {NAME} --format json", desk.at(to))).json();
        assert_eq!(status["result"]["standing"], "newest", "it is remembered");
        desk.bulla(home).run(&format!("copy {}:v1 {}:v1", desk.at("build"), desk.at(to))).ok();
        desk.bulla(home).run(&format!("verify {}:v1 --as {NAME}", desk.at(to))).ok();
    }
}

#[test]
fn what_a_tree_may_not_do() {
    let desk = Desk::new();
    desk.export();
    // A hostile tree: each file in turn taken away, and then damaged.
    desk.trusts("mirror");
    let nobody = desk.import("nobody", &desk.path("tree"), "x");
    assert_eq!((nobody.exit, code(&nobody).as_str()), (2, "anchor.none"));
    let empty = desk.import("mirror", &desk.path("nothing"), "x");
    assert_eq!((empty.exit, code(&empty).as_str()), (1, "import.invalid"));
    let timestamp = Path::new(&desk.path("tree")).join("metadata/timestamp.json");
    let good = fs::read_to_string(&timestamp).unwrap();
    fs::write(&timestamp, good.replace("\"version\":", "\"version\": 1")).unwrap();
    let forged = desk.import("mirror", &desk.path("tree"), "x");
    assert_eq!((forged.exit, code(&forged).as_str()), (1, "import.invalid"));
    let newer = desk.export();
    assert_eq!((newer.exit, code(&newer).as_str()), (1, "export.newer"), "it claims to be newer");
    fs::write(&timestamp, good).unwrap();
    fs::write(&timestamp, vec![b' '; 20_000]).unwrap();
    let large = desk.import("mirror", &desk.path("tree"), "x");
    assert_eq!(large.exit, 3, "{large:?}");
    let dead = desk.import("mirror", "http://127.0.0.1:1/x", "x");
    assert_eq!((dead.exit, code(&dead).as_str()), (3, "registry.unreachable"));
    let url = desk.import("mirror", "ftp://ex.com/x", "x");
    assert_eq!((url.exit, code(&url).as_str()), (3, "registry.setup"));
    // Another collection's tree.
    let other = desk.path("other.json");
    desk.bulla("other")
        .run(&format!("init example.com/team/other --at {} --root-file {other}", desk.at("second")))
        .ok();
    let line = format!("tuf export {} {} --format json", desk.at("second"), desk.path("tree"));
    let mixed = desk.bulla("other").run(&line);
    assert_eq!((mixed.exit, code(&mixed).as_str()), (1, "export.foreign"));
    // A folder in which nothing can be made.
    let file = desk.path("1.root.json");
    let ran = desk.bulla("home").run(&format!("tuf export {} {file} --format json", desk.at("layout")));
    assert_eq!(ran.exit, 3, "{ran:?}");
}
