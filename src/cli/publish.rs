//! `bulla publish`: push, vouch for and tag bundles.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::context::{Context, block_on_and_tidy};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::{Outcome, clean};
use super::sign::{AlsoArgs, AlsoSigned, sign_published};
use super::signing::{
    SigningArgs, gathering_json, gathering_text, losers_json, losers_text, open_line, pending_json, reason,
    state_place,
};
use super::tuf;
use super::verify::hash_of;
use crate::client::places::Places as _;
use crate::client::publish::{
    Proposed, PublishError, Published, Request, Status, Thick, Wanted, publish_with,
};
use crate::oci::{Reference, Selector, Tag};
use crate::store::copy::{CopyRequest, KeepExisting, copy};
use crate::tuf::RoleName;

/// Vouch for bundles: sign them into the collection, hang a seal on each, move their tags
///
/// Several bundles of one repository are released in one commit. Without the online key a release is submitted, and
/// the next renew of who holds it admits it.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla publish registry.example.com/team/app:v1\n  bulla publish registry.example.com/team/app@sha256:… --tag v1 --tag latest\n  bulla publish --from oci:build:v1 registry.example.com/team/app --tag v1\n  bulla publish registry.example.com/team/app:v1 --also sigstore --also-key cosign.key"
)]
pub(super) struct Args {
    /// Bundles that were pushed already; with --from, the repository
    #[arg(value_name = "REF", required = true)]
    references: Vec<Reference>,
    /// Copy this bundle, with all that hangs on it, to the repository and publish it there
    #[arg(long, value_name = "REF")]
    from: Option<Reference>,
    /// A tag that shall name the bundle (can be repeated)
    #[arg(long, value_name = "TAG")]
    tag: Vec<Tag>,
    /// Sign as this role: `dev` means targets/releases/dev. Otherwise as the one whose key is here
    #[arg(long, value_name = "ROLE", value_parser = tuf::role_name)]
    role: Option<RoleName>,
    /// Sign the hash of this thick archive of the CNAB bundle too, and hang the archive on the bundle
    #[arg(long, value_name = "FILE")]
    thick: Option<PathBuf>,
    #[command(flatten)]
    also: AlsoArgs,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let place = one_place(&args)?;
    let also = args.also.take(cx, &args.registry)?;
    let pens = also.pens(cx)?;
    let thick = args.thick.map(|file| hash_of(&file).map(|hash| Thick { file, hash })).transpose()?;
    let desk = args.signing.desk(cx, &args.registry, &place, &[])?;
    let named: Vec<&Reference> = args.references.iter().chain(&args.from).collect();
    let places = args.registry.places(cx, &named)?;
    let clock = cx.clock();
    let published = block_on_and_tidy(places.hosts(), async {
        let store = match &args.from {
            Some(_) => places.create(&place).await?,
            None => places.open(&place).await?,
        };
        let state = state_place(&places, &store, &desk.anchor).await?;
        let bundles = match &args.from {
            None => args.references.iter().map(|r| wanted(r, &args.tag)).collect::<Result<_, _>>()?,
            Some(from) => {
                let selector = from.selector().ok_or_else(|| CliError::no_selector(from))?.clone();
                let source = places.open(from).await?;
                let request =
                    CopyRequest { concurrency: args.registry.concurrency(), ..CopyRequest::new(selector) };
                // It leaves the terminal before a password is asked for there.
                let progress = cx.progress();
                let copied = copy(&*source, &*store, &request, &KeepExisting, &progress).await?;
                drop(progress);
                let selector = Selector::Digest(copied.bundle.digest);
                vec![Wanted { selector, tags: args.tag.iter().cloned().collect() }]
            }
        };
        let request = Request {
            collection: desk.anchor.collection.clone(),
            anchor: desk.anchor.root.bytes().clone(),
            state: &*state,
            store: &*store,
            bundles,
            role: args.role.clone(),
            memories: &desk.memories,
            without_memory: desk.without_memory,
            keys: &desk.ring,
            clock: &*clock,
        };
        match publish_with(request, thick.as_ref()).await {
            Err(PublishError::Proposed(proposed)) => Ok::<_, CliError>(Err(*proposed)),
            other => {
                let published = other.map_err(CliError::from)?;
                let signed = sign_published(&*store, &pens, also.recursive(), &published).await;
                Ok(Ok((published, signed)))
            }
        }
    });
    desk.ring.note_warnings(cx);
    let published: Result<(Published, Vec<AlsoSigned>), Proposed> = published??;
    let (published, signed) = match published {
        Ok(published) => published,
        Err(proposed) => return Ok(Box::new(proposed)),
    };
    if published.repaired {
        cx.note("state.behind", "the live state was older than the memory, or gone, and was put right");
    }
    Ok(Box::new(Done::new(published, signed)))
}

/// The one repository or OCI layout of all references.
fn one_place(args: &Args) -> Result<Reference, CliError> {
    let mut places: Vec<Reference> = args.references.iter().map(|r| r.at(None)).collect();
    places.dedup();
    let [place] = &places[..] else {
        return Err(
            CliError::usage("the bundles lie in several places").next("publish one repository at a time")
        );
    };
    match (&args.from, &args.references[..]) {
        (None, [_]) => {}
        (None, _) if !args.tag.is_empty() => {
            return Err(CliError::usage("--tag goes with one bundle")
                .next("publish the bundles one by one, or write host/repository:tag for each"));
        }
        (None, _) => {}
        (Some(_), [only]) if only.selector().is_none() => {}
        (Some(_), _) => {
            return Err(CliError::usage("--from goes with one repository, without tag and digest")
                .next("bulla publish --from oci:DIR:TAG host/repository --tag TAG"));
        }
    }
    Ok(place.clone())
}

fn wanted(reference: &Reference, tags: &[Tag]) -> Result<Wanted, CliError> {
    let selector = reference.selector().ok_or_else(|| CliError::no_selector(reference))?.clone();
    Ok(Wanted { selector, tags: tags.iter().cloned().collect::<BTreeSet<_>>() })
}

struct Done {
    published: Published,
    /// In the forms of other tools.
    signed: Vec<AlsoSigned>,
    error: Option<CliError>,
}

impl Done {
    fn new(published: Published, signed: Vec<AlsoSigned>) -> Self {
        let lost = published
            .bundles
            .iter()
            .flat_map(|b| &b.lost)
            .map(|(tag, digest)| format!("{tag} names {digest}"));
        let lost: Vec<String> = lost.collect();
        let open: Vec<String> = published.open.iter().map(open_line).collect();
        let error = match published.status {
            Status::Released | Status::Submitted => None,
            Status::Incomplete => Some(
                CliError::failed("publish.incomplete", "the commit is in, but not everything was finished")
                    .reason(open.join("; "))
                    .next("the same command, or the next bulla renew, finishes it"),
            ),
            Status::Refused if lost.is_empty() => Some(
                CliError::new(Exit::No, "publish.withdrawn", "the release was withdrawn meanwhile")
                    .next("publish another build"),
            ),
            Status::Refused => Some(
                CliError::new(
                    Exit::No,
                    "publish.tag-conflict",
                    "somebody released another digest under this tag meanwhile",
                )
                .reason(format!("{}; all else was released", lost.join("; ")))
                .next("look at both and publish again"),
            ),
        };
        let error = error.or_else(|| AlsoSigned::error(&signed));
        Self { published, signed, error }
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Released => "released",
        Status::Submitted => "submitted",
        Status::Incomplete => "incomplete",
        Status::Refused => "refused",
    }
}

impl Outcome for Done {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let p = &self.published;
        for b in &p.bundles {
            writeln!(out, "{:<9} {}", word(b.status), b.reference)?;
            let tags: Vec<&str> = b.tags.iter().map(Tag::as_str).collect();
            let tags = if tags.is_empty() { String::new() } else { format!("tags {}   ", tags.join(" ")) };
            let versions = p
                .versions
                .iter()
                .map(|(role, version)| format!("{} {version}", role.as_str().trim_start_matches("targets/")));
            let versions: Vec<String> = versions.collect();
            writeln!(out, "          {tags}parts {}   {}", b.parts.len(), versions.join("   "))?;
        }
        if p.status == Status::Submitted {
            for tag in &p.submitted {
                writeln!(out, "          waits at {tag} for bulla renew by who holds the online key")?;
            }
            gathering_text(p.gathering.as_ref(), out)?;
        } else {
            writeln!(out, "          valid until {}, then a renew is due", p.expires)?;
        }
        for waiting in &p.pending {
            writeln!(out, "pending   {}  {}", clean(waiting.tag.as_str()), reason(waiting))?;
        }
        losers_text(&p.losers, out)?;
        self.signed.iter().try_for_each(|signed| signed.text(out))
    }

    fn json(&self) -> Value {
        let p = &self.published;
        let bundles: Vec<Value> = p
            .bundles
            .iter()
            .map(|b| {
                json!({
                    "reference": b.reference.to_string(), "digest": b.bundle.digest, "mediaType": b.bundle.media_type,
                    "size": b.bundle.size, "tags": b.tags, "parts": b.parts, "seal": b.seal, "status": word(b.status),
                    "lost": b.lost,
                })
            })
            .collect();
        json!({
            "status": word(p.status),
            "collection": p.collection,
            "role": p.role,
            "state": {"reference": p.state.to_string(), "digest": p.digest},
            "versions": p.versions,
            "expires": p.expires,
            "bundles": bundles,
            "conflicts": {"commits": p.commits, "merged": p.merged},
            "submitted": p.submitted,
            "gathering": gathering_json(p.gathering.as_ref()),
            "pending": pending_json(&p.pending),
            "displaced": losers_json(&p.losers),
            "open": p.open.iter().map(open_line).collect::<Vec<_>>(),
            "signatures": self.signed.iter().map(AlsoSigned::json).collect::<Vec<_>>(),
        })
    }
}

impl Outcome for Proposed {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (more, keys) = &self.lacking;
        let ids: Vec<&str> = keys.iter().map(|k| k.short()).collect();
        writeln!(out, "proposed  {}  {}", self.collection, self.at)?;
        writeln!(out, "          {} needs {more} more of {}", clean(self.role.as_str()), ids.join(", "))?;
        writeln!(out, "\nNothing is published. Next:")?;
        writeln!(out, "  1. Who holds a missing key: bulla tuf approve {}", self.at)?;
        writeln!(out, "  2. Then, with all copies: bulla tuf commit {}", self.at.at(None))
    }

    fn json(&self) -> Value {
        json!({
            "status": "proposed", "collection": self.collection, "role": self.role, "at": self.at.to_string(), "id": self.id,
            "lacking": {"more": self.lacking.0, "keys": self.lacking.1},
        })
    }
}

impl From<PublishError> for CliError {
    fn from(e: PublishError) -> Self {
        match e {
            PublishError::Absent(reference) => super::error::absent(&reference),
            PublishError::Algorithm(ref reference) => {
                Self::new(Exit::Usage, "publish.unsupported", format!("{reference} cannot be published"))
                    .reason(&e)
                    .next("name it by its sha256 digest")
            }
            PublishError::Unsupported { reference, error } => {
                Self::new(Exit::Usage, "publish.unsupported", format!("{reference} cannot be published"))
                    .reason(error)
                    .next("publish an OCI or docker manifest or index")
            }
            PublishError::NoCnab => Self::usage("--thick goes with one CNAB bundle")
                .next("name the bundle that the archive is one of, or leave --thick out"),
            PublishError::Thick { .. } => Self::new(
                Exit::No,
                "publish.thick",
                "another thick archive of this bundle was published before; the rest was released",
            )
            .reason(&e)
            .next("give out the archive that is listed, or publish another build of the bundle"),
            PublishError::Cnab { ref reference, .. } => {
                Self::failed("manifest.invalid", format!("the CNAB bundle {reference} is not whole"))
                    .reason(&e)
                    .next("push the whole bundle, and publish it then")
            }
            PublishError::TwoBundles(_) => Self::usage("one tag is given to two bundles").reason(e),
            PublishError::Proposed(ref proposed) => {
                Self::failed("key.missing", e.to_string()).next(format!("bulla tuf approve {}", proposed.at))
            }
            PublishError::Ceremony(e) => e.into(),
            PublishError::Work(e) => e.into(),
            PublishError::Store(e) => e.into(),
        }
    }
}
