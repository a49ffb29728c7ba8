//! The test registry as a program: `cargo run --example registry -- --quirks no-referrers-api`.
//!
//! It prints its address on the first line of standard output and serves until it is killed. Other
//! processes steer it below `/_test/`; see `control.rs`.

#[cfg(test)]
mod check;
#[path = "mod.rs"]
mod registry;

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use registry::{Auth, Config, Fault, LostUpdate, Mode, Quirks, Registry, Scheme, User};

/// An OCI registry for tests, in memory, on loopback.
#[derive(Debug, Parser)]
#[command(after_help = format!("Quirks: {}", registry::words()))]
struct Arguments {
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Deviations, such as `no-referrers-api,referrers-page=2` or `docker-registry`; see below.
    #[arg(long)]
    quirks: Vec<String>,
    /// A scripted fault, such as `GET */blobs/* #2 status=503`.
    #[arg(long)]
    fault: Vec<Fault>,
    /// Lost updates of tags: `REPO TAG NTH READS`, such as `* v1 >=2 1`.
    #[arg(long)]
    lose: Vec<LostUpdate>,
    /// Serve HTTPS, and write ca.pem, client.pem and client.key here.
    #[arg(long)]
    tls_dir: Option<PathBuf>,
    /// Demand the client's certificate.
    #[arg(long, requires = "tls_dir")]
    mutual: bool,
    /// `NAME:PASSWORD`; several times for several users.
    #[arg(long)]
    user: Vec<String>,
    /// The users may pull only.
    #[arg(long)]
    read_only_users: bool,
    /// Basic instead of Bearer for users.
    #[arg(long)]
    basic: bool,
    /// Everybody may pull.
    #[arg(long)]
    anonymous_pull: bool,
    /// How many seconds a token lives.
    #[arg(long, default_value_t = 300)]
    ttl: u64,
    /// Print each request to standard error.
    #[arg(long)]
    log: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let registry = Registry::start(config(&arguments)?).await;
    arguments.fault.iter().for_each(|fault| registry.fault(fault.clone()));
    arguments.lose.iter().for_each(|lost| registry.lose(lost.clone()));
    if let (Some(dir), Some(pems)) = (&arguments.tls_dir, registry.pems()) {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("ca.pem"), &pems.ca)?;
        std::fs::write(dir.join("client.pem"), &pems.client_cert)?;
        std::fs::write(dir.join("client.key"), &pems.client_key)?;
    }
    if arguments.log {
        registry.hook(|request, _| {
            let _ = writeln!(std::io::stderr(), "{request}");
        });
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", registry.url())?;
    out.flush()?;
    tokio::signal::ctrl_c().await?;
    registry.shutdown().await;
    Ok(())
}

fn config(arguments: &Arguments) -> Result<Config, String> {
    let mut quirks = Quirks::default();
    arguments.quirks.iter().try_for_each(|list| quirks.apply(list))?;
    let user = |text: &String| {
        let (name, password) = text.split_once(':').ok_or("a user is NAME:PASSWORD")?;
        let user = User::new(name, password);
        Ok(if arguments.read_only_users { user.reader() } else { user })
    };
    let users = arguments.user.iter().map(user).collect::<Result<Vec<_>, &str>>()?;
    let scheme = match (users.is_empty(), arguments.basic) {
        (true, _) => Scheme::None,
        (false, true) => Scheme::Basic,
        (false, false) => Scheme::Bearer,
    };
    let ttl = Duration::from_secs(arguments.ttl);
    let auth = Auth { scheme, users, anonymous_pull: arguments.anonymous_pull, ttl };
    let tls = match (&arguments.tls_dir, arguments.mutual) {
        (None, _) => Mode::Off,
        (Some(_), false) => Mode::On,
        (Some(_), true) => Mode::Mutual,
    };
    Ok(Config { listen: Some(arguments.listen), tls, auth, quirks })
}
