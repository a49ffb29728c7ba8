//! Which bundle goes where under which tag: what several sources and one destination on a command line mean. Pure.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::str::FromStr;

use crate::oci::{Reference, ReferenceError, RegistryRef, Repository, Selector, Tag};

/// A destination as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onto {
    /// A repository or an OCI layout, with or without a tag.
    Place(Reference),
    /// `host/path/`: each source's repository name is appended.
    Under(Prefix),
}

/// What repository names are appended to: `host/` or `host/path/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

/// One bundle to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Where it is, without selector.
    pub source: Reference,
    /// Tag, digest or both.
    pub selector: Selector,
    /// Where it goes, without selector.
    pub destination: Reference,
    /// The tag that it gets there.
    pub tags: Vec<Tag>,
    /// A tag that goes along under its own name and may be worth less than what the destination has there.
    pub guarded: Option<Tag>,
}

/// A repository or OCI layout of which every tag is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// Where the bundles are.
    pub source: Reference,
    /// Where they go.
    pub destination: Reference,
}

/// Two sources and where both would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// A source.
    pub one: Reference,
    /// The later one.
    pub other: Reference,
    /// The destination.
    pub destination: Reference,
}

/// Sources and destinations that say nothing sensible together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A source without tag and digest.
    #[error("{0} names no bundle: a tag or a digest is missing")]
    NoSelector(Reference),
    /// A source of which all tags are meant, with one of them.
    #[error("{0} names one bundle, and all tags are asked for")]
    OneOfAll(Reference),
    /// A destination by digest.
    #[error("{0} names a digest: what arrives has the digest that it had")]
    Digest(Reference),
    /// One tag for several bundles.
    #[error("{0} names one tag, and several bundles would get it")]
    OneTag(Reference),
    /// An OCI layout has no repository name that could be appended.
    #[error("{source_place} has no repository name to append to {prefix}")]
    Nameless {
        /// The source.
        source_place: Reference,
        /// The prefix.
        prefix: Prefix,
    },
    /// Prefix and name make no repository.
    #[error("{prefix} and {name}: {reason}")]
    Name {
        /// The prefix.
        prefix: Prefix,
        /// The source's repository name.
        name: String,
        /// Why.
        reason: ReferenceError,
    },
    /// Several repositories into one.
    #[error("{} and {} are two places, and {} is one", .0.one, .0.other, .0.destination)]
    TwoPlaces(Box<Pair>),
    /// Two bundles under one tag.
    #[error("{} and {} would both be {}", .0.one, .0.other, .0.destination)]
    Clash(Box<Pair>),
    /// Source and destination are one.
    #[error("{0} is source and destination")]
    Itself(Reference),
}

impl PlanError {
    /// The source that is to blame, of two the later one; `None` when the destination is.
    pub fn culprit(&self) -> Option<&Reference> {
        match self {
            Self::NoSelector(source) | Self::OneOfAll(source) | Self::Itself(source) => Some(source),
            Self::Nameless { source_place: source, .. } => Some(source),
            Self::TwoPlaces(pair) | Self::Clash(pair) => Some(&pair.other),
            Self::Digest(_) | Self::OneTag(_) | Self::Name { .. } => None,
        }
    }
}

impl FromStr for Onto {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        let local = s.starts_with("oci:") || s.starts_with("oci-archive:");
        match s.strip_suffix('/').filter(|_| !local) {
            None => s.parse().map(Self::Place),
            Some(start) => {
                // A name that any registry takes stands for those that will follow.
                format!("{start}/a").parse::<Repository>()?;
                Ok(Self::Under(Prefix(s.to_owned())))
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Onto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Under(prefix) => prefix.fmt(f),
        }
    }
}

impl Job {
    /// The bundle as a reference.
    pub fn from(&self) -> Reference {
        self.source.at(Some(self.selector.clone()))
    }

    /// Where it goes as a reference, with its tag if it gets one.
    pub fn to(&self) -> Reference {
        self.destination.at(self.tags.first().cloned().map(Selector::Tag))
    }

    /// One bundle by itself: the destination's tag, or else the source's.
    ///
    /// # Errors
    /// No bundle, or no place for it.
    pub fn one(source: &Reference, onto: &Onto) -> Result<Self, PlanError> {
        let selector = source.selector().ok_or_else(|| PlanError::NoSelector(source.clone()))?.clone();
        let own = || selector.tag().cloned().into_iter().collect();
        let (destination, tags) = match onto {
            Onto::Under(prefix) => (prefix.with(source)?, own()),
            Onto::Place(place) => match place.selector() {
                None => (place.clone(), own()),
                Some(Selector::Tag(tag)) => (place.at(None), vec![tag.clone()]),
                Some(_) => return Err(PlanError::Digest(place.clone())),
            },
        };
        let job = Self { source: source.at(None), selector, destination, tags, guarded: None };
        match job.source == job.destination && job.tags.first() == job.selector.tag() {
            true => Err(PlanError::Itself(source.clone())),
            false => Ok(job),
        }
    }

    /// Several bundles: they keep their tags, and come from one place if they go to one.
    ///
    /// # Errors
    /// One of them is no bundle or has no place; or two go to the same.
    pub fn several(sources: &[Reference], onto: &Onto) -> Result<Vec<Self>, PlanError> {
        if let Onto::Place(place) = onto {
            bare(place)?;
            one_place(sources, place)?;
        }
        sources.iter().map(|source| Self::one(source, onto)).collect()
    }
}

impl Sweep {
    /// All tags of each source.
    ///
    /// # Errors
    /// A source with a tag or digest; no place for it; or several sources into one place.
    pub fn of(sources: &[Reference], onto: &Onto) -> Result<Vec<Self>, PlanError> {
        if let Some(one) = sources.iter().find(|s| s.selector().is_some()) {
            return Err(PlanError::OneOfAll(one.clone()));
        }
        if let Onto::Place(place) = onto {
            bare(place)?;
            one_place(sources, place)?;
        }
        let whole = |source: &Reference| {
            let destination = match onto {
                Onto::Under(prefix) => prefix.with(source)?,
                Onto::Place(place) => place.clone(),
            };
            match *source == destination {
                true => Err(PlanError::Itself(destination)),
                false => Ok(Self { source: source.clone(), destination }),
            }
        };
        sources.iter().map(whole).collect()
    }
}

impl Prefix {
    /// The repository below this prefix that has the source's name.
    fn with(&self, source: &Reference) -> Result<Reference, PlanError> {
        let Reference::Registry(from) = source else {
            return Err(PlanError::Nameless { source_place: source.at(None), prefix: self.clone() });
        };
        let name = from.repository.name();
        let repository = format!("{self}{name}").parse().map_err(|reason| PlanError::Name {
            prefix: self.clone(),
            name: name.to_owned(),
            reason,
        })?;
        Ok(Reference::Registry(RegistryRef { repository, selector: None }))
    }
}

/// That no two jobs write different bundles to one tag; of two that are the same one remains.
///
/// # Errors
/// The first two that clash.
pub fn without_clashes(jobs: Vec<Job>) -> Result<Vec<Job>, PlanError> {
    let mut ends: BTreeMap<String, Job> = BTreeMap::new();
    let mut known = HashSet::new();
    let mut out: Vec<Job> = Vec::new();
    for job in jobs {
        if !known.insert((job.from(), job.to())) {
            continue;
        }
        for tag in &job.tags {
            let end = job.destination.at(Some(Selector::Tag(tag.clone())));
            if let Some(other) = ends.insert(end.to_string(), job.clone()) {
                return Err(PlanError::Clash(Box::new(Pair {
                    one: other.from(),
                    other: job.from(),
                    destination: end,
                })));
            }
        }
        out.push(job);
    }
    Ok(out)
}

/// That no two repositories go into one; of two that are the same one remains.
///
/// # Errors
/// The first two that do.
pub fn apart(sweeps: Vec<Sweep>) -> Result<Vec<Sweep>, PlanError> {
    let mut ends: BTreeMap<String, Reference> = BTreeMap::new();
    let mut out: Vec<Sweep> = Vec::new();
    for sweep in sweeps {
        match ends.insert(sweep.destination.to_string(), sweep.source.clone()) {
            None => out.push(sweep),
            Some(same) if same == sweep.source => {}
            Some(one) => {
                let (other, destination) = (sweep.source, sweep.destination);
                return Err(PlanError::TwoPlaces(Box::new(Pair { one, other, destination })));
            }
        }
    }
    Ok(out)
}

fn bare(place: &Reference) -> Result<(), PlanError> {
    match place.selector() {
        None => Ok(()),
        Some(Selector::Tag(_)) => Err(PlanError::OneTag(place.clone())),
        Some(_) => Err(PlanError::Digest(place.clone())),
    }
}

fn one_place(sources: &[Reference], destination: &Reference) -> Result<(), PlanError> {
    let mut places = sources.iter().map(|s| s.at(None));
    let Some(one) = places.next() else { return Ok(()) };
    match places.find(|p| *p != one) {
        None => Ok(()),
        Some(other) => {
            Err(PlanError::TwoPlaces(Box::new(Pair { one, other, destination: destination.clone() })))
        }
    }
}

/// Whether `tag` is a list of referrers (`sha256-<hex>`, distribution-spec "Referrers Tag Schema").
pub(super) fn is_list(tag: &Tag) -> bool {
    let hex = tag.as_str().strip_prefix("sha256-").or_else(|| tag.as_str().strip_prefix("sha512-"));
    hex.is_some_and(|h| h.len() == 64 && h.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// Whether `tag` is derived from a digest, as cosign's are (`sha256-<hex>.sig`).
pub(super) fn is_derived(tag: &Tag) -> bool {
    let stem = tag.as_str().split_once('.').and_then(|(stem, _)| stem.parse::<Tag>().ok());
    stem.is_some_and(|stem| is_list(&stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn r(s: &str) -> Reference {
        s.parse().unwrap()
    }

    fn onto(s: &str) -> Onto {
        s.parse().unwrap()
    }

    fn ends(jobs: &[Job]) -> Vec<(String, String)> {
        jobs.iter().map(|j| (j.from().to_string(), j.to().to_string())).collect()
    }

    #[test]
    fn one_bundle_keeps_its_tag_unless_another_is_typed() {
        for (source, destination, to) in [
            ("a.ex/x:v1", "b.ex/y", "b.ex/y:v1"),
            ("a.ex/x:v1", "b.ex/y:v2", "b.ex/y:v2"),
            ("a.ex/x:v1", "oci:d", "oci:d:v1"),
            ("a.ex/t/x:v1", "b.ex/", "b.ex/t/x:v1"),
            ("a.ex/t/x:v1", "b.ex/m/", "b.ex/m/t/x:v1"),
            ("oci:d:v1", "b.ex/y", "b.ex/y:v1"),
            ("a.ex/x:v1", "a.ex/x:v2", "a.ex/x:v2"),
            (&format!("a.ex/x@{D}"), "b.ex/y", "b.ex/y"),
            (&format!("a.ex/x:v1@{D}"), "b.ex/y", "b.ex/y:v1"),
        ] {
            assert_eq!(Job::one(&r(source), &onto(destination)).unwrap().to().to_string(), to, "{source}");
        }
        let no = |source: &str, destination: &str| Job::one(&r(source), &onto(destination)).unwrap_err();
        assert_eq!(no("a.ex/x", "b.ex/y"), PlanError::NoSelector(r("a.ex/x")));
        assert!(matches!(no("a.ex/x:v1", &format!("b.ex/y@{D}")), PlanError::Digest(_)));
        assert!(matches!(no("oci:d:v1", "b.ex/m/"), PlanError::Nameless { .. }));
        assert!(matches!(
            no("a.ex/team/app:v1", &format!("b.ex/{}/", "m".repeat(245))),
            PlanError::Name { .. }
        ));
        assert_eq!(no("a.ex/x:v1", "a.ex/x"), PlanError::Itself(r("a.ex/x:v1")));
    }

    #[test]
    fn several_of_one_place_keep_their_tags_and_several_places_need_a_prefix() {
        let two = [r("a.ex/x:v1"), r("a.ex/x:v2")];
        let to = |s: &str| Job::several(&two, &onto(s)).map(|jobs| ends(&jobs));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(to("oci:d").unwrap(), [pair("a.ex/x:v1", "oci:d:v1"), pair("a.ex/x:v2", "oci:d:v2")]);
        assert_eq!(to("b.ex/").unwrap()[1], pair("a.ex/x:v2", "b.ex/x:v2"));
        assert_eq!(to("b.ex/y:v1").unwrap_err(), PlanError::OneTag(r("b.ex/y:v1")));
        let places = [r("a.ex/x:v1"), r("a.ex/z:v1")];
        let error = Job::several(&places, &onto("b.ex/y")).unwrap_err();
        assert!(matches!(error, PlanError::TwoPlaces(_)));
        let jobs = Job::several(&places, &onto("b.ex/m/")).unwrap();
        assert_eq!(ends(&jobs)[1], pair("a.ex/z:v1", "b.ex/m/z:v1"));
        let sweeps = Sweep::of(&[r("a.ex/x"), r("a.ex/z"), r("c.ex/x")], &onto("b.ex/m/")).unwrap();
        assert!(matches!(apart(sweeps.clone()), Err(PlanError::TwoPlaces(_))));
        assert_eq!(sweeps[1].destination, r("b.ex/m/z"));
        assert_eq!(Sweep::of(&two, &onto("b.ex/")).unwrap_err(), PlanError::OneOfAll(r("a.ex/x:v1")));
        assert!(matches!(Sweep::of(&[r("a.ex/x")], &onto("a.ex/x")), Err(PlanError::Itself(_))));
    }

    #[test]
    fn two_bundles_never_get_one_tag() {
        let jobs = |pairs: &[(&str, &str)]| {
            let jobs = pairs.iter().map(|(s, d)| Job::one(&r(s), &onto(d)).unwrap());
            without_clashes(jobs.collect()).map(|jobs| jobs.len())
        };
        assert_eq!(jobs(&[("a.ex/x:v1", "b.ex/y"), ("a.ex/x:v1", "b.ex/y")]), Ok(1));
        assert_eq!(jobs(&[("a.ex/x:v1", "b.ex/y"), ("a.ex/z:v1", "b.ex/y:v2")]), Ok(2));
        assert!(matches!(
            jobs(&[("a.ex/x:v1", "b.ex/y"), ("c.ex/x:v1", "b.ex/y")]),
            Err(PlanError::Clash(_))
        ));
        let by_digest = format!("a.ex/x@{D}");
        assert_eq!(jobs(&[(&by_digest, "b.ex/y"), ("a.ex/x:v1", "b.ex/y")]), Ok(2));
    }

    #[test]
    fn prefixes_are_registries_only() {
        for (s, under) in [
            ("b.ex/", true),
            ("b.ex/m/", true),
            ("localhost:5000/", true),
            ("oci:dir/", false),
            ("oci:dir/:v1", false),
            ("b.ex/m", false),
        ] {
            assert_eq!(matches!(onto(s), Onto::Under(_)), under, "{s}");
        }
        for s in ["/", "b/", "b.ex//", "b.ex/M/", "b.ex/m:v1/", "http://b.ex/"] {
            assert!(s.parse::<Onto>().is_err(), "{s}");
        }
    }

    #[test]
    fn lists_and_derived_tags() {
        let t = |s: &str| s.parse::<Tag>().unwrap();
        let hex = "a".repeat(64);
        assert!(is_list(&t(&format!("sha256-{hex}"))) && is_list(&t(&format!("sha512-{hex}"))));
        assert!(!is_list(&t(&format!("sha256-{hex}.sig"))) && is_derived(&t(&format!("sha256-{hex}.sig"))));
        assert!(!is_list(&t("sha256-abc")) && !is_derived(&t("v1.sig")) && !is_derived(&t("sha256-a.sig")));
    }
}
