//! Ready-made descriptions of layouts (docs/presets/): what each promises stands on its page.

use std::collections::BTreeMap;

/// A ready-made description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Who builds and who packages.
    BuildPackage,
    /// The same after a review of the source.
    ReviewBuildPackage,
    /// The same, and what is packaged is a CNAB bundle.
    Cnab,
}

/// Who does a step: its keys as they are typed, and how many of them must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Functionary {
    /// Keys: names, files or PEM.
    pub keys: Vec<String>,
    /// How many of them must sign.
    pub threshold: u32,
}

/// What a preset is told beside who does what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How long the layout counts.
    pub expires: String,
    /// The name of the bundle that is packaged; without one, files.
    pub bundle: Option<String>,
    /// Files that a step must give, by its name; the next step must take them.
    pub required: Vec<(String, String)>,
}

/// Why a preset makes no description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresetError {
    /// Nobody does it.
    #[error("nobody is named for {0}")]
    Missing(&'static str),
    /// It has no such part or step.
    #[error("it has no {0}")]
    Unknown(String),
    /// The bundle has no name.
    #[error("the bundle that is packaged has no name")]
    NoBundle,
    /// A name that no rule can hold.
    #[error("{0:?} holds a blank or a sign of a pattern, and is no name of one file")]
    Pattern(String),
}

impl Preset {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::BuildPackage, Self::ReviewBuildPackage, Self::Cnab];

    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BuildPackage => "build-package",
            Self::ReviewBuildPackage => "review-build-package",
            Self::Cnab => "cnab",
        }
    }

    /// The parts that somebody must be named for.
    pub fn parts(self) -> &'static [&'static str] {
        match self {
            Self::BuildPackage => &["builder", "packager"],
            Self::ReviewBuildPackage | Self::Cnab => &["reviewer", "builder", "packager"],
        }
    }

    /// Its steps, in their order.
    pub fn steps(self) -> &'static [&'static str] {
        match self {
            Self::BuildPackage => &["build", "package"],
            Self::ReviewBuildPackage | Self::Cnab => &["review", "build", "package"],
        }
    }

    fn template(self) -> &'static str {
        match self {
            Self::BuildPackage => include_str!("presets/build-package.toml"),
            Self::ReviewBuildPackage => include_str!("presets/review-build-package.toml"),
            Self::Cnab => include_str!("presets/cnab.toml"),
        }
    }

    /// The description, with these people in it.
    ///
    /// # Errors
    /// Somebody is missing, or named for a part that it does not have.
    pub fn describe(
        self,
        terms: &Terms,
        people: &BTreeMap<String, Functionary>,
    ) -> Result<String, PresetError> {
        let parts = self.parts();
        if let Some(unknown) = people.keys().find(|name| !parts.contains(&name.as_str())) {
            return Err(PresetError::Unknown(unknown.clone()));
        }
        let mut text = self.template().replace("@expires@", &quoted(&terms.expires));
        text = text.replace("@bundle@", &self.packaged(terms.bundle.as_deref())?);
        if let Some((unknown, _)) = terms.required.iter().find(|(s, _)| !self.steps().contains(&s.as_str())) {
            return Err(PresetError::Unknown(format!("step {unknown}")));
        }
        for step in self.steps() {
            let names = terms.required.iter().filter(|(of, _)| of == step).map(|(_, name)| name);
            let rules = names.map(|name| Ok(format!("{}, ", quoted(&format!("REQUIRE {}", plain(name)?)))));
            text = text.replace(&format!("@{step}.requires@"), &rules.collect::<Result<String, _>>()?);
        }
        let mut keys = String::new();
        for part in parts {
            let who = people.get(*part).filter(|f| !f.keys.is_empty()).ok_or(PresetError::Missing(part))?;
            let name = |i: usize| match who.keys.len() {
                1 => (*part).to_owned(),
                _ => format!("{part}-{}", i + 1),
            };
            let names: Vec<String> = (0..who.keys.len()).map(|i| quoted(&name(i))).collect();
            for (i, key) in who.keys.iter().enumerate() {
                keys.push_str(&format!("{} = {}\n", name(i), quoted(key)));
            }
            text = text.replace(&format!("@{part}@"), &format!("[{}]", names.join(", ")));
            text = text.replace(&format!("@{part}.threshold@"), &who.threshold.to_string());
        }
        Ok(text.replace("@keys@\n", &keys))
    }
}

impl Preset {
    /// The rules about what is packaged.
    fn packaged(self, bundle: Option<&str>) -> Result<String, PresetError> {
        match (self, bundle) {
            (Self::Cnab, None) => Err(PresetError::NoBundle),
            (_, None) => Ok("\"CREATE package/*\", ".into()),
            (_, Some(name)) => {
                let name = format!("oci:{}", plain(name)?);
                let rules = [format!("REQUIRE {name}"), format!("CREATE {name}")];
                Ok(rules.iter().map(|rule| format!("{}, ", quoted(rule))).collect())
            }
        }
    }
}

/// A name that stands for itself in a rule.
fn plain(name: &str) -> Result<&str, PresetError> {
    match name.is_empty() || name.contains(['*', '?', '[', '@']) || name.contains(char::is_whitespace) {
        true => Err(PresetError::Pattern(name.chars().take(80).collect())),
        false => Ok(name),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::provenance::description::Description;
    use crate::keys::{MemorySigner, Signer as _};

    fn people(parts: &[&str]) -> BTreeMap<String, Functionary> {
        let one = |(i, part): (usize, &&str)| {
            let keys = vec![format!("{}", 2 * i), format!("{}", 2 * i + 1)];
            ((*part).to_owned(), Functionary { keys, threshold: 2 })
        };
        parts.iter().enumerate().map(one).collect()
    }

    fn terms() -> Terms {
        let required = [("review", "src/main.c"), ("build", "out/app")];
        let required = required.map(|(step, name)| (step.to_owned(), name.to_owned()));
        Terms {
            expires: "365d".into(),
            bundle: Some("example.com/team/app".into()),
            required: required.into(),
        }
    }

    fn made(text: &str) -> (crate::intoto::Layout, Vec<String>) {
        let mut key = |seed: &str| {
            let seed: u8 = seed.parse().unwrap();
            Ok(MemorySigner::from_seed(&[seed; 32]).unwrap().public_key().clone().into())
        };
        let now = "2026-05-01T12:00:00Z".parse().unwrap();
        let (layout, concerns) = Description::parse(text).unwrap().layout(now, &mut key).unwrap();
        (layout, concerns.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_makes_a_closed_layout() {
        for preset in Preset::ALL {
            let mut terms = terms();
            terms.required.retain(|(step, _)| preset.steps().contains(&step.as_str()));
            let text = preset.describe(&terms, &people(preset.parts())).unwrap();
            assert!(!text.contains('@'), "{text}");
            let (layout, concerns) = made(&text);
            let open: &[&str] = match preset {
                // Of the source it says nothing, so it cannot say which file must be there.
                Preset::BuildPackage => {
                    &["step build may list no materials at all, and pass: no rule REQUIREs one"]
                }
                _ => &[],
            };
            assert_eq!(concerns, open, "{}", preset.as_str());
            assert_eq!(layout.steps.len(), preset.steps().len());
            assert!(layout.steps.iter().all(|step| step.threshold == 2 && step.pubkeys.len() == 2));
            assert!(layout.inspections.is_empty());
            let bare = Terms { required: Vec::new(), ..terms };
            let (_, concerns) = made(&preset.describe(&bare, &people(preset.parts())).unwrap());
            assert!(concerns.iter().any(|c| c.contains("step build may list no products")), "{concerns:?}");
        }
    }

    #[test]
    fn everybody_is_named() {
        let terms = Terms { required: Vec::new(), ..terms() };
        let describe = |preset: Preset, terms: &Terms, who: &[&str]| preset.describe(terms, &people(who));
        let both = ["builder", "packager"];
        let preset = Preset::BuildPackage;
        assert_eq!(describe(preset, &terms, &["builder"]), Err(PresetError::Missing("packager")));
        let other = describe(preset, &terms, &["builder", "packager", "cook"]);
        assert_eq!(other, Err(PresetError::Unknown("cook".into())));
        let wrong = Terms { required: vec![("review".into(), "x".into())], ..terms.clone() };
        assert_eq!(describe(preset, &wrong, &both), Err(PresetError::Unknown("step review".into())));
        let wide = Terms { required: vec![("build".into(), "out/*".into())], ..terms.clone() };
        assert_eq!(describe(preset, &wide, &both), Err(PresetError::Pattern("out/*".into())));
        let files = Terms { bundle: None, ..terms };
        assert!(describe(preset, &files, &both).unwrap().contains("CREATE package/*"));
        let all = ["reviewer", "builder", "packager"];
        assert_eq!(describe(Preset::Cnab, &files, &all), Err(PresetError::NoBundle));
        assert_eq!(quoted("a\"\\\n\u{1}"), "\"a\\\"\\\\\\n\\u0001\"");
    }
}
