//! Quirks by name: the words of the command line, and registries of the field as sets of quirks.

use super::quirks::{Address, Pages, Quirks};

/// One switch that takes no value: its name and its place.
type Flag = (&'static str, fn(&mut Quirks) -> &mut bool);

/// All switches without a value, by their names on the command line.
const FLAGS: &[Flag] = &[
    ("no-referrers-api", |q| &mut q.no_referrers_api),
    ("referrers-html", |q| &mut q.referrers_html),
    ("referrers-name-unknown", |q| &mut q.referrers_name_unknown),
    ("filter-ignored", |q| &mut q.filter_ignored),
    ("filter-claimed", |q| &mut q.filter_claimed),
    ("no-oci-subject", |q| &mut q.no_oci_subject),
    ("subject-claimed", |q| &mut q.subject_claimed),
    ("no-content-length", |q| &mut q.no_content_length),
    ("subject-not-indexed", |q| &mut q.subject_not_indexed),
    ("entries-without-type", |q| &mut q.entries_without_type),
    ("entries-with-config-type", |q| &mut q.entries_with_config_type),
    ("entries-without-annotations", |q| &mut q.entries_without_annotations),
    ("fold-fallback-tag", |q| &mut q.fold_fallback_tag),
    ("writes-fallback-tag", |q| &mut q.writes_fallback_tag),
    ("no-location", |q| &mut q.no_location),
    ("no-content-digest", |q| &mut q.no_content_digest),
    ("accept-required", |q| &mut q.accept_required),
    ("sparse-ok", |q| &mut q.sparse_ok),
    ("wrong-digest-accepted", |q| &mut q.wrong_digest_accepted),
    ("limit-is-invalid", |q| &mut q.limit_is_invalid),
    ("no-sha512", |q| &mut q.no_sha512),
    ("mount-anonymous", |q| &mut q.mount_anonymous),
    ("gitlab-alias", |q| &mut q.gitlab_alias),
    ("missing-is-forbidden", |q| &mut q.missing_is_forbidden),
    ("etags", |q| &mut q.etags),
    ("tags-unsorted", |q| &mut q.tags_unsorted),
    ("tags-null", |q| &mut q.tags_null),
    ("deletion-disabled", |q| &mut q.deletion_disabled),
    ("tag-deletion-unsupported", |q| &mut q.tag_deletion_unsupported),
    ("redirect-blobs", |q| &mut q.redirect_blobs),
    ("range-ignored", |q| &mut q.range_ignored),
    ("blobs-global", |q| &mut q.blobs_global),
    ("no-empty", |q| &mut q.no_empty),
    ("no-chunks", |q| &mut q.no_chunks),
    ("breaks-end-sessions", |q| &mut q.breaks_end_sessions),
    ("no-single-post", |q| &mut q.no_single_post),
    ("length-required", |q| &mut q.length_required),
    ("no-mount", |q| &mut q.no_mount),
    ("read-only", |q| &mut q.read_only),
    ("challenge-without-scope", |q| &mut q.challenge_without_scope),
    ("challenge-pull-only", |q| &mut q.challenge_pull_only),
    ("realm-foreign", |q| &mut q.realm_foreign),
    ("access-token-only", |q| &mut q.access_token_only),
    ("no-expires-in", |q| &mut q.no_expires_in),
    ("scope-is-forbidden", |q| &mut q.scope_is_forbidden),
];

/// The words with a value, as help.
const VALUES: &str = "docker-registry, ghcr, gitlab, ecr, gar, goreg, angos (sets of quirks; first of the list), \
    referrers-page=N, referrers-pages=loop|endless|broken, referrers-lag=N, link=absolute|foreign, \
    manifest-limit=N, immutable-tags[=GLOB], stale-reads=N, tags-page=N, tags-n-limit=N, \
    upload-location=absolute|foreign, chunk-min=N, chunk-max=N, chunk-keeps=N, put-max=N, mount-status=N, \
    in-flight-max=N, latency=MS, rate=BYTES, warning=TEXT";

/// All words that `Quirks::apply` knows.
pub fn words() -> String {
    let flags: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
    format!("{}, {VALUES}", flags.join(", "))
}

impl Quirks {
    /// docker-registry (distribution) 2.8, as it was probed.
    pub fn docker_registry() -> Self {
        Self {
            no_referrers_api: true,
            accept_required: true,
            no_single_post: true,
            breaks_end_sessions: true,
            tags_unsorted: true,
            tag_deletion_unsupported: true,
            manifest_limit: Some(4 << 20),
            limit_is_invalid: true,
            no_sha512: true,
            ..Self::default()
        }
    }

    /// goreg, go-containerregistry's in-memory registry, as it was probed.
    pub fn goreg() -> Self {
        Self {
            no_oci_subject: true,
            filter_ignored: true,
            entries_with_config_type: true,
            entries_without_annotations: true,
            referrers_name_unknown: true,
            wrong_digest_accepted: true,
            blobs_global: true,
            no_mount: true,
            ..Self::default()
        }
    }

    /// Amazon ECR: no `Location`, immutable tags, no mount, a cap on `n`.
    pub fn ecr() -> Self {
        Self {
            no_location: true,
            no_mount: true,
            immutable_tags: Some("*".into()),
            tags_n_limit: Some(1000),
            ..Self::default()
        }
    }

    /// GitLab: no API, and the tag form of a digest is the digest.
    pub fn gitlab() -> Self {
        Self { no_referrers_api: true, gitlab_alias: true, ..Self::default() }
    }

    /// GHCR: no API, a challenge that names `pull` alone, at most 4 MiB a PATCH.
    pub fn ghcr() -> Self {
        Self {
            no_referrers_api: true,
            challenge_pull_only: true,
            chunk_max: Some(4 << 20),
            ..Self::default()
        }
    }

    /// Google Artifact Registry: no chunks, few mounts, and it writes the fallback tag itself.
    pub fn gar() -> Self {
        Self { no_chunks: true, no_mount: true, writes_fallback_tag: true, ..Self::default() }
    }

    /// angos: sparse manifests, anonymous mounts, fallback tags folded into the API's answer.
    pub fn angos() -> Self {
        Self { sparse_ok: true, mount_anonymous: true, fold_fallback_tag: true, ..Self::default() }
    }

    /// Applies a comma-separated list such as `no-referrers-api,referrers-page=2`; names the word it
    /// does not know.
    pub fn apply(&mut self, list: &str) -> Result<(), String> {
        list.split(',').map(str::trim).filter(|w| !w.is_empty()).try_for_each(|word| self.apply_one(word))
    }

    fn apply_one(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if let Some((_, place)) = FLAGS.iter().find(|(n, _)| *n == name) {
            *place(self) = match value {
                "" | "on" => true,
                "off" => false,
                _ => return Err(format!("{word}: on or off")),
            };
            return Ok(());
        }
        let number = || value.parse::<u64>().map_err(|_| format!("{word}: needs a number"));
        let size = || number().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        match name {
            "docker-registry" => *self = Self::docker_registry(),
            "goreg" => *self = Self::goreg(),
            "ecr" => *self = Self::ecr(),
            "ghcr" => *self = Self::ghcr(),
            "gar" => *self = Self::gar(),
            "angos" => *self = Self::angos(),
            "gitlab" => *self = Self::gitlab(),
            "referrers-page" => self.referrers_page = Some(size()?),
            "referrers-pages" => self.referrers_pages = pages(value)?,
            "referrers-lag" => self.referrers_lag = number()?,
            "link" => self.link = address(value)?,
            "manifest-limit" => self.manifest_limit = Some(size()?),
            "immutable-tags" => {
                self.immutable_tags = Some(if value.is_empty() { "*" } else { value }.into());
            }
            "stale-reads" => self.stale_reads = number()?,
            "tags-page" => self.tags_page = Some(size()?),
            "tags-n-limit" => self.tags_n_limit = Some(size()?),
            "upload-location" => self.upload_location = address(value)?,
            "chunk-min" => self.chunk_min = Some(number()?),
            "chunk-max" => self.chunk_max = Some(size()?),
            "chunk-keeps" => self.chunk_keeps = Some(size()?),
            "put-max" => self.put_max = Some(size()?),
            "in-flight-max" => self.in_flight_max = Some(size()?),
            "mount-status" => {
                self.mount_status = Some(value.parse().map_err(|_| format!("{word}: needs a status"))?);
            }
            "latency" => self.latency_ms = number()?,
            "rate" => self.rate = number()?,
            "warning" => self.warning = Some(value.into()),
            _ => return Err(format!("unknown quirk {name}")),
        }
        Ok(())
    }
}

fn address(value: &str) -> Result<Address, String> {
    match value {
        "relative" => Ok(Address::Relative),
        "absolute" => Ok(Address::Absolute),
        "foreign" => Ok(Address::Foreign),
        _ => Err(format!("{value}: relative, absolute or foreign")),
    }
}

fn pages(value: &str) -> Result<Pages, String> {
    match value {
        "honest" => Ok(Pages::Honest),
        "loop" => Ok(Pages::Loop),
        "endless" => Ok(Pages::Endless),
        "broken" => Ok(Pages::Broken),
        _ => Err(format!("{value}: honest, loop, endless or broken")),
    }
}
