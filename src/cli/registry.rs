//! Flags of commands that talk to a registry, and the places they open.

use std::ffi::OsString;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::args::PasswordArgs;
use super::context::Context;
use super::error::CliError;
use crate::client::stores::Stores;
use crate::keys::{Password, Passwords};
use crate::oci::Reference;
use crate::store::registry::{ClientCert, CredentialSources, Login, RegistryConfig};

/// Transfers at a time, unless told otherwise.
const CONCURRENCY: u8 = 6;

/// How a connection to a registry is made.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(super) struct ReachArgs {
    /// Trust these CA certificates (PEM) besides the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// TLS client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    cert: Option<PathBuf>,
    /// Private key of the TLS client certificate (PEM)
    #[arg(long = "key", id = "tls_key", value_name = "FILE", requires = "cert")]
    tls_key: Option<PathBuf>,
    /// Talk http, not https
    #[arg(long)]
    plain_http: bool,
}

/// How registries are reached.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(super) struct RegistryArgs {
    #[command(flatten)]
    reach: ReachArgs,
    /// Log in to the registry named on the command line as NAME
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    username: Option<String>,
    /// Read a password from standard input: the registry's with --username, otherwise the keys'
    #[arg(long)]
    password_stdin: bool,
    /// At most N transfers at a time
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY, value_parser = clap::value_parser!(u8).range(1..=64))]
    concurrency: u8,
}

/// The same for commands where `--key` is a signing key.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(super) struct KeyedRegistryArgs {
    /// Trust these CA certificates (PEM) besides the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// TLS client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the TLS client certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Talk http, not https
    #[arg(long)]
    plain_http: bool,
    /// Log in to the registry named on the command line as NAME
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    username: Option<String>,
    /// Read a password from standard input: the registry's with --username, otherwise the keys'
    #[arg(long)]
    password_stdin: bool,
}

impl KeyedRegistryArgs {
    /// As every other command takes them.
    pub(super) fn registry(self) -> RegistryArgs {
        let reach = ReachArgs {
            ca_file: self.ca_file,
            cert: self.tls_cert,
            tls_key: self.tls_key,
            plain_http: self.plain_http,
        };
        RegistryArgs {
            reach,
            username: self.username,
            password_stdin: self.password_stdin,
            concurrency: CONCURRENCY,
        }
    }
}

impl ReachArgs {
    /// Without credentials.
    pub(super) fn config(&self) -> RegistryConfig {
        let both = self.cert.clone().zip(self.tls_key.clone());
        RegistryConfig {
            ca_files: self.ca_file.iter().cloned().collect(),
            client_cert: both.map(|(cert, key)| ClientCert { cert, key }),
            plain_http: self.plain_http,
            ..RegistryConfig::default()
        }
    }
}

/// Where docker and podman keep credentials.
pub(super) fn credential_sources(cx: &Context<'_, '_>) -> CredentialSources {
    CredentialSources::from_vars(|name| cx.var(name).map(OsString::from))
}

impl RegistryArgs {
    /// The places, with a login for the one registry among `named`.
    pub(super) fn places(&self, cx: &mut Context<'_, '_>, named: &[&Reference]) -> Result<Stores, CliError> {
        let config = self.config(cx, named)?;
        Ok(Self::opened(cx, config))
    }

    /// The places under a configuration that is needed for something else too.
    pub(super) fn opened(cx: &mut Context<'_, '_>, config: RegistryConfig) -> Stores {
        let stores = Stores::new(config);
        cx.listen_to(stores.hosts());
        stores
    }

    /// How registries are reached, with a login for the one among `named`.
    pub(super) fn config(
        &self,
        cx: &mut Context<'_, '_>,
        named: &[&Reference],
    ) -> Result<RegistryConfig, CliError> {
        let login = match &self.username {
            None => None,
            Some(user) => {
                let host = Some(one_host(named)?);
                let password = Password::read_line(cx.stdin()).map_err(|e| {
                    CliError::failed("registry.password", "cannot read a password from standard input")
                        .reason(e)
                })?;
                let secret = Zeroizing::new(password.expose().to_owned());
                Some(Login { host, user: user.clone(), secret })
            }
        };
        Ok(RegistryConfig {
            login,
            credentials: credential_sources(cx),
            concurrency: self.concurrency(),
            ..self.reach.config()
        })
    }

    /// Where the passwords of keys come from.
    pub(super) fn passwords(&self, cx: &mut Context<'_, '_>) -> Result<Passwords, CliError> {
        let password_stdin = self.password_stdin && self.username.is_none();
        cx.passwords(PasswordArgs { password_stdin })
    }

    /// Whether a password is read from standard input.
    pub(super) fn reads_stdin(&self) -> bool {
        self.password_stdin
    }

    /// Transfers at a time.
    pub(super) fn concurrency(&self) -> usize {
        usize::from(self.concurrency)
    }
}

/// The registry that a login is for: there must be exactly one.
fn one_host(named: &[&Reference]) -> Result<String, CliError> {
    let mut hosts: Vec<&str> = named
        .iter()
        .filter_map(|r| match r {
            Reference::Registry(r) => Some(r.repository.host()),
            Reference::Layout(_) | Reference::Archive(_) => None,
        })
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    match hosts[..] {
        [host] => Ok(host.to_owned()),
        [] => Err(CliError::usage("--username needs a registry to log in to").reason("none is named")),
        _ => Err(CliError::usage("--username is for one registry")
            .reason(format!("named are {}", hosts.join(", ")))),
    }
}
