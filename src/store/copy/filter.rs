//! What of a bundle is copied when not all of it is: by platform, and by the type of what hangs on it.

use crate::oci::{Descriptor, Digest, Manifest, Platform, media_type};

/// What begins like this is bulla's own, and stays unless it is named.
const OWN_TYPES: &str = "application/vnd.bulla.";
/// The annotation by which an attestation in an index says whose it is (BuildKit, "Attestation storage").
const ATTESTS: &str = "vnd.docker.reference.digest";

/// What to copy of a bundle. The bundle's own manifest is carried unchanged in any case, so its digest stays the same.
///
/// What is left out is counted in the report. What hangs on it is left out with it, and is not looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Of every index only the children of these platforms; none: all children. A platform without a variant stands for
    /// all its variants. Children that name no platform stay; an attestation (`unknown/unknown`) stays or goes with the
    /// child that its annotation `vnd.docker.reference.digest` names, and stays if it names none.
    pub platforms: Vec<Platform>,
    /// Whether referrers and the tags derived from digests (cosign's) are copied at all.
    pub referrers: bool,
    /// Only referrers and derived tags of these artifact types, exact or up to a `*` at the end; none: all. States and
    /// seals stay beside them.
    pub only: Vec<String>,
    /// No referrers and derived tags of these artifact types. States and seals are meant only by what begins with
    /// `application/vnd.bulla.`.
    pub skip: Vec<String>,
}

impl Default for Filter {
    fn default() -> Self {
        Self::all()
    }
}

impl Filter {
    /// Everything.
    pub fn all() -> Self {
        Self { platforms: Vec::new(), referrers: true, only: Vec::new(), skip: Vec::new() }
    }

    /// Whether everything is copied.
    pub fn is_all(&self) -> bool {
        *self == Self::all()
    }

    /// Whether a referrer of this type, or what lies at a derived tag, is copied.
    pub(super) fn keeps(&self, artifact_type: Option<&str>) -> bool {
        let named = artifact_type.unwrap_or_default();
        if matches!(named, media_type::BULLA_STATE | media_type::BULLA_SEAL) {
            return self.referrers && self.keeps_state(artifact_type);
        }
        let wanted = self.only.is_empty() || self.only.iter().any(|p| matches(p, named));
        self.referrers && wanted && !self.skip.iter().any(|p| matches(p, named))
    }

    /// Whether what lies at a tag that was asked for beside the bundle's own is copied.
    pub fn keeps_state(&self, artifact_type: Option<&str>) -> bool {
        let named = artifact_type.unwrap_or_default();
        let mut own = self.skip.iter().filter(|p| p.starts_with(OWN_TYPES));
        !own.any(|p| matches(p, named))
    }

    /// Whether the type of each referrer decides.
    pub(super) fn asks_types(&self) -> bool {
        !self.only.is_empty() || !self.skip.is_empty()
    }

    /// The children of an index: those to copy and those left out, in document order.
    pub(super) fn children(&self, all: Vec<Descriptor>) -> (Vec<Descriptor>, Vec<Descriptor>) {
        if self.platforms.is_empty() {
            return (all, Vec::new());
        }
        let other = |d: &Descriptor| d.platform.as_ref().is_some_and(|p| !is_unknown(p) && !self.covers(p));
        let others: Vec<Digest> = all.iter().filter(|d| other(d)).map(|d| d.digest.clone()).collect();
        let of_another = |d: &Descriptor| {
            let attests = d.annotation(ATTESTS).filter(|_| d.platform.as_ref().is_some_and(is_unknown));
            other(d) || attests.is_some_and(|a| others.iter().any(|o| o.to_string() == a))
        };
        // One manifest may stand for several platforms.
        let kept: Vec<Digest> = all.iter().filter(|d| !of_another(d)).map(|d| d.digest.clone()).collect();
        all.into_iter().partition(|d| kept.contains(&d.digest))
    }

    /// Whether a child of this platform is asked for by its platform.
    pub(super) fn covers(&self, platform: &Platform) -> bool {
        let fits = |wanted: &Platform| {
            let variant = |p: &Platform| match (&p.variant, p.architecture.as_str()) {
                // "arm64" is "arm64/v8" (containerd "platforms").
                (None, "arm64") => Some("v8".to_owned()),
                (variant, _) => variant.clone(),
            };
            wanted.os == platform.os
                && wanted.architecture == platform.architecture
                && (wanted.variant.is_none() || variant(wanted) == variant(platform))
        };
        self.platforms.iter().any(fits)
    }
}

/// The type by which what lies at a derived tag is filtered: its artifact type, or that of its first layer, since all that
/// cosign writes there calls itself an image.
pub(super) fn type_at_tag(manifest: &Manifest) -> Option<&str> {
    let layer = manifest.layers.first().map(|l| l.media_type.as_str());
    manifest.artifact_type.as_deref().or(layer).or_else(|| manifest.effective_artifact_type())
}

fn is_unknown(platform: &Platform) -> bool {
    platform.os == "unknown" && platform.architecture == "unknown"
}

fn matches(pattern: &str, artifact_type: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => artifact_type.starts_with(prefix),
        None => pattern == artifact_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(only: &[&str], skip: &[&str]) -> Filter {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Filter { only: owned(only), skip: owned(skip), ..Filter::all() }
    }

    #[test]
    fn types_are_exact_or_prefixes_and_our_own_must_be_named() {
        let seal = Some(media_type::BULLA_SEAL);
        assert!(of(&["a/b"], &[]).keeps(Some("a/b")) && !of(&["a/b"], &[]).keeps(Some("a/bc")));
        assert!(of(&["a/*"], &["a/bc"]).keeps(Some("a/b")) && !of(&["a/*"], &["a/bc"]).keeps(Some("a/bc")));
        assert!(!of(&["a/b"], &[]).keeps(None) && of(&[], &["a/b"]).keeps(None));
        for filter in [of(&["a/b"], &[]), of(&[], &["*"]), of(&[], &["application/*"])] {
            assert!(filter.keeps(seal) && filter.keeps_state(Some(media_type::BULLA_STATE)));
        }
        assert!(!of(&[], &["*"]).keeps(Some("a/b")));
        let seals = of(&[], &[media_type::BULLA_SEAL]);
        assert!(!seals.keeps(seal) && seals.keeps_state(Some(media_type::BULLA_STATE)));
        assert!(!of(&[], &["application/vnd.bulla.*"]).keeps_state(Some(media_type::BULLA_STATE)));
        let none = Filter { referrers: false, ..Filter::all() };
        assert!(!none.keeps(seal) && none.keeps_state(Some(media_type::BULLA_STATE)));
    }

    #[test]
    fn children_follow_their_platform() {
        let child = |n: &str, platform: Option<&str>| Descriptor {
            platform: platform.map(|p| p.parse().unwrap()),
            ..Descriptor::of(media_type::OCI_MANIFEST, n.as_bytes())
        };
        let [amd, arm, plain] =
            [child("amd", Some("linux/amd64")), child("arm", Some("linux/arm64/v8")), child("plain", None)];
        let attests =
            |n, of: &Descriptor| child(n, Some("unknown/unknown")).annotated(ATTESTS, of.digest.to_string());
        let (of_amd, of_arm) = (attests("x", &amd), attests("y", &arm));
        let loose = child("z", Some("unknown/unknown"));
        let all =
            vec![amd.clone(), arm.clone(), plain.clone(), of_amd.clone(), of_arm.clone(), loose.clone()];
        let filter = |text: &str| Filter { platforms: vec![text.parse().unwrap()], ..Filter::all() };
        let both = |text: &str| filter(text).children(all.clone());
        let arms = (
            vec![arm.clone(), plain.clone(), of_arm.clone(), loose.clone()],
            vec![amd.clone(), of_amd.clone()],
        );
        assert_eq!((both("linux/arm64"), both("linux/arm64/v8")), (arms.clone(), arms));
        assert_eq!(both("linux/amd64").0, [amd.clone(), plain, of_amd, loose]);
        assert!(!filter("linux/arm64/v9").covers(arm.platform.as_ref().unwrap()));
        // One manifest under two platforms.
        let twice = Descriptor { platform: arm.platform.clone(), ..amd.clone() };
        assert_eq!(filter("linux/arm64").children(vec![amd.clone(), twice.clone()]).0, [amd, twice]);
    }
}
