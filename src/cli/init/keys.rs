//! The keys of a new collection: opened, generated under one password, or only their public halves.

use std::sync::Arc;

use super::Args;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::client::signing::OpenKeys;
use crate::keys::{self, KeyName, KeyRef, MemorySigner, Passwords, Signer};
use crate::sig::{KeyId, PublicKey, Scheme};

/// The keys of a new collection.
pub(super) struct Keys {
    /// What they are called here.
    pub(super) names: Vec<(KeyId, String)>,
    /// Those that were made.
    pub(super) generated: Vec<KeyName>,
    /// Those that can sign here.
    pub(super) here: OpenKeys,
}

/// The public keys of root, targets, releases and snapshot.
pub(super) struct Roles {
    pub(super) root: Vec<PublicKey>,
    pub(super) targets: PublicKey,
    pub(super) releases: PublicKey,
    pub(super) online: PublicKey,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self { names: Vec::new(), generated: Vec::new(), here: OpenKeys::default() }
    }

    /// Of each role. A key of which only the public half is here signs elsewhere.
    pub(super) fn all(&mut self, args: &Args, cx: &mut Context<'_, '_>) -> Result<Roles, CliError> {
        let passwords = args.registry.passwords(cx)?;
        let given = [
            args.root_key.iter().collect::<Vec<_>>(),
            args.targets_key.iter().collect(),
            args.releases_key.iter().collect(),
            args.online_key.iter().collect(),
        ];
        let stem = args.name.as_repository().name().rsplit('/').next().unwrap_or_default();
        let missing: Vec<KeyName> = ["root", "targets", "releases", "online"]
            .iter()
            .zip(&given)
            .filter(|(_, given)| given.is_empty())
            .map(|(role, _)| format!("{stem}-{role}").parse())
            .collect::<Result<_, keys::KeyError>>()?;
        let mut public: [Vec<PublicKey>; 4] = Default::default();
        for (keys, given) in public.iter_mut().zip(&given) {
            for key in given {
                keys.push(self.given(key, &passwords, cx)?);
            }
        }
        let mut fresh = self.generate(missing, &passwords, cx)?.into_iter();
        for keys in public.iter_mut().filter(|k| k.is_empty()) {
            keys.extend(fresh.next());
        }
        let single = |mut keys: Vec<PublicKey>| {
            keys.pop().ok_or_else(|| CliError::new(Exit::Fault, "internal", "a role has no key"))
        };
        let [root, targets, releases, online] = public;
        Ok(Roles { root, targets: single(targets)?, releases: single(releases)?, online: single(online)? })
    }

    fn given(
        &mut self,
        key: &KeyRef,
        passwords: &Passwords,
        cx: &mut Context<'_, '_>,
    ) -> Result<PublicKey, CliError> {
        let elsewhere = cx.keys().look(key).ok().filter(|entry| !entry.private);
        let public = match elsewhere.and_then(|entry| entry.public) {
            Some(public) => public,
            None => {
                let opened = keys::open(key, &cx.keys(), passwords)?;
                opened.warnings.iter().for_each(|w| cx.note(w.code(), w));
                let public = opened.signer.public_key().clone();
                self.here.0.push(opened.signer.into());
                public
            }
        };
        self.names.push((public.key_id(), key.to_string()));
        Ok(public)
    }

    /// All under one password, which is asked for once.
    fn generate(
        &mut self,
        names: Vec<KeyName>,
        passwords: &Passwords,
        cx: &Context<'_, '_>,
    ) -> Result<Vec<PublicKey>, CliError> {
        let folder = cx.keys();
        for name in &names {
            folder.free(name)?;
        }
        let Some(first) = names.first() else { return Ok(Vec::new()) };
        let whose = if names.len() == 1 { first.to_string() } else { "the new keys".to_owned() };
        let password = passwords.choosing(&whose).map_err(|e| CliError::password(&whose, &e))?;
        let mut made = Vec::new();
        for name in names {
            let key = MemorySigner::generate(Scheme::Ed25519)?;
            folder.keep(&name, &key, Some(&password))?;
            self.names.push((key.public_key().key_id(), name.to_string()));
            self.generated.push(name);
            made.push(key.public_key().clone());
            self.here.0.push(Arc::new(key));
        }
        Ok(made)
    }

    /// What failed, with the way on where keys were made.
    pub(super) fn kept(&self, error: CliError) -> CliError {
        if self.generated.is_empty() {
            return error;
        }
        let names: Vec<&str> = self.generated.iter().map(KeyName::as_str).collect();
        let before = error.next.clone().map(|n| format!("{n}; ")).unwrap_or_default();
        error.next(format!(
            "{before}the keys {} were made: name them with --root-key, --targets-key, --releases-key and --online-key to go on",
            names.join(", ")
        ))
    }
}
