//! The switches that turn a conforming registry into the ones met in the field.

/// How `Link` headers and upload locations name their target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// Path and query only.
    #[default]
    Relative,
    /// With scheme, host and port of the registry.
    Absolute,
    /// With scheme, host and port of the second listener.
    Foreign,
}

/// A malformed chain of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Each page names the next one, the last names none.
    #[default]
    Honest,
    /// The first page names itself.
    Loop,
    /// Every page names another one, for ever.
    Endless,
    /// The second page answers 500.
    Broken,
}

/// Deviations from the distribution specification; all off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    // referrers
    /// 404 `text/plain`, as docker-registry, GHCR and GitLab answer; no `OCI-Subject`.
    pub no_referrers_api: bool,
    /// 200 with an HTML page instead of an index.
    pub referrers_html: bool,
    /// 404 `NAME_UNKNOWN` for a repository that does not exist, instead of an empty index.
    pub referrers_name_unknown: bool,
    /// Entries per page.
    pub referrers_page: Option<usize>,
    /// What the pages lead to.
    pub referrers_pages: Pages,
    /// The form of `Link` headers, for referrers and tags.
    pub link: Address,
    /// `artifactType` is ignored, and `OCI-Filters-Applied` is not sent.
    pub filter_ignored: bool,
    /// `OCI-Filters-Applied` is sent although nothing was filtered.
    pub filter_claimed: bool,
    /// No `OCI-Subject` on the answer to a manifest PUT.
    pub no_oci_subject: bool,
    /// `OCI-Subject` is sent although there is no API, as ECR did in 2024.
    pub subject_claimed: bool,
    /// `OCI-Subject` is sent, but the manifest is never listed.
    pub subject_not_indexed: bool,
    /// Entries carry no `artifactType`.
    pub entries_without_type: bool,
    /// Entries carry the config's media type as `artifactType`, whatever the manifest says.
    pub entries_with_config_type: bool,
    /// Entries carry no annotations.
    pub entries_without_annotations: bool,
    /// An index under the tag `sha256-<hex>` is merged into the answer.
    pub fold_fallback_tag: bool,
    /// The registry itself writes the tag `sha256-<hex>`.
    pub writes_fallback_tag: bool,
    /// A new referrer is missing from so many listings of its subject.
    pub referrers_lag: u64,

    // manifests and tags
    /// No `Location` on the answer to a manifest PUT.
    pub no_location: bool,
    /// No `Docker-Content-Digest` on any answer.
    pub no_content_digest: bool,
    /// 404 for a manifest whose type is not in `Accept`.
    pub accept_required: bool,
    /// Manifests may name blobs and children that do not exist.
    pub sparse_ok: bool,
    /// A PUT of content under another digest is accepted, and served under it.
    pub wrong_digest_accepted: bool,
    /// Larger manifests are refused with 413 `SIZE_INVALID`.
    pub manifest_limit: Option<usize>,
    /// The same refusal is 400 `MANIFEST_INVALID`, as docker-registry words it.
    pub limit_is_invalid: bool,
    /// Manifests by a SHA-512 digest are refused.
    pub no_sha512: bool,
    /// Tags that match this glob cannot be changed once they exist (400 `TAG_INVALID`).
    pub immutable_tags: Option<String>,
    /// `sha256-<hex>` without such a tag is the manifest `sha256:<hex>` itself.
    pub gitlab_alias: bool,
    /// A missing manifest is 403 `DENIED`, as a virtual repository of Artifactory answers.
    pub missing_is_forbidden: bool,
    /// `ETag` is sent, and `If-Match` and `If-None-Match` are enforced on PUT (412).
    pub etags: bool,
    /// So many reads of a tag after each PUT of it still see the old value.
    pub stale_reads: u64,
    /// Tags come in no order, all of them, whatever `n` and `last` say.
    pub tags_unsorted: bool,
    /// `"tags": null` in every list.
    pub tags_null: bool,
    /// Never more tags than this on one page.
    pub tags_page: Option<usize>,
    /// A larger `n` is refused with 400.
    pub tags_n_limit: Option<usize>,

    // deletion
    /// 405 `UNSUPPORTED` for every deletion.
    pub deletion_disabled: bool,
    /// 400 `DIGEST_INVALID` for the deletion of a tag.
    pub tag_deletion_unsupported: bool,

    // blobs and uploads
    /// Blob GETs answer 307 to the second listener.
    pub redirect_blobs: bool,
    /// `Range` is ignored: 200 with the whole blob.
    pub range_ignored: bool,
    /// A blob of any repository is found in each.
    pub blobs_global: bool,
    /// Zero-byte blobs and manifests without layers are refused.
    pub no_empty: bool,
    /// Where uploads continue.
    pub upload_location: Address,
    /// PATCH is refused with 405.
    pub no_chunks: bool,
    /// `POST ?digest=` opens a session and drops the body.
    pub no_single_post: bool,
    /// `OCI-Chunk-Min-Length` of new sessions.
    pub chunk_min: Option<u64>,
    /// A longer PATCH is refused with 413.
    pub chunk_max: Option<usize>,
    /// Of each PATCH only so many bytes are kept; `Range` says so.
    pub chunk_keeps: Option<usize>,
    /// A request that breaks ends its session, as docker-registry does it.
    pub breaks_end_sessions: bool,
    /// A longer body of a PUT that ends an upload is refused with 413.
    pub put_max: Option<usize>,
    /// POST and PUT without `Content-Length` are refused with 411.
    pub length_required: bool,
    /// Mounts open an upload session instead.
    pub no_mount: bool,
    /// A mount without `from` takes the blob from any repository.
    pub mount_anonymous: bool,
    /// Mounts are refused with this status.
    pub mount_status: Option<u16>,
    /// 405 for everything that writes, as a pull-through mirror answers.
    pub read_only: bool,

    // authentication
    /// The challenge names no scope.
    pub challenge_without_scope: bool,
    /// The challenge names `pull` only, also for a push.
    pub challenge_pull_only: bool,
    /// The token endpoint lies on the second listener.
    pub realm_foreign: bool,
    /// The answer holds `access_token` instead of `token`.
    pub access_token_only: bool,
    /// The answer holds no `expires_in`.
    pub no_expires_in: bool,
    /// A token without the scope is 403 instead of 401.
    pub scope_is_forbidden: bool,

    // everything
    /// Milliseconds that every answer takes; needed for `round_trips` to tell waiting from luck.
    pub latency_ms: u64,
    /// Bytes per second of each connection, in each direction; 0: no limit.
    pub rate: u64,
    /// More requests at a time are answered with 429 and `Retry-After: 0`.
    pub in_flight_max: Option<usize>,
    /// No `Content-Length` on any answer: bodies come in chunks, HEAD tells no size.
    pub no_content_length: bool,
    /// The text of a `Warning: 299` header on every answer.
    pub warning: Option<String>,
}
