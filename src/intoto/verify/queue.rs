//! Rules over one list of artifacts: a queue of names, out of which each rule takes what it speaks of (specification 4.3.3).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::code::Code;
use super::report::{Applied, Finding};
use crate::intoto::{ArtifactName, Artifacts, Glob, Link, Match, Rule, Side};

/// Most names that a report shows of one rule.
const SHOWN: usize = 10;

/// Links by step and inspection.
pub(super) type Links<'a> = BTreeMap<&'a str, &'a Link>;

/// What is left of [`super::MAX_WORK`].
pub(super) struct Work(u64);

impl Work {
    pub(super) fn new(steps: u64) -> Self {
        Self(steps)
    }

    pub(super) fn is_done(&self) -> bool {
        self.0 == 0
    }

    fn matches(&mut self, glob: &Glob, name: &str) -> bool {
        let mut steps = 0;
        let matches = !self.is_done() && glob.matches_counted(name, &mut steps);
        self.0 = self.0.saturating_sub(steps);
        matches
    }
}

/// What came of a list of rules.
pub(super) struct Ran {
    pub(super) applied: Vec<Applied>,
    pub(super) findings: Vec<Finding>,
}

/// Apply `rules` to one side of `link`; the first that fails ends the list.
pub(super) fn run(
    item: &str,
    side: Side,
    rules: &[Rule],
    link: &Link,
    links: &Links<'_>,
    work: &mut Work,
) -> Ran {
    let own = artifacts(link, side);
    let mut queue: BTreeSet<&str> = own.keys().map(ArtifactName::as_str).collect();
    let mut ran = Ran { applied: Vec::new(), findings: Vec::new() };
    for rule in rules {
        let taken: Vec<&str> = match rule {
            Rule::Create(glob) => take(&queue, glob, work, |n| products(link, n) && !materials(link, n)),
            Rule::Delete(glob) => take(&queue, glob, work, |n| materials(link, n) && !products(link, n)),
            Rule::Modify(glob) => {
                take(&queue, glob, work, |n| match (link.materials.get(n), link.products.get(n)) {
                    (Some(before), Some(after)) => before != after,
                    _ => false,
                })
            }
            Rule::Allow(glob) | Rule::Disallow(glob) => take(&queue, glob, work, |_| true),
            Rule::Require(name) => queue.get(name.as_str()).copied().into_iter().collect(),
            Rule::Match(m) => {
                if !links.contains_key(m.from.as_str()) {
                    let reason = format!(
                        "there is no step or inspection {:?} at this point, so it takes nothing",
                        m.from
                    );
                    ran.findings.push(Finding::new(Code::RuleNoStep, said(item, side, rule), reason, ""));
                }
                matched(&queue, m, own, links, work)
            }
        };
        if work.is_done() {
            ran.findings.push(Finding::new(
                Code::Work,
                said(item, side, rule),
                "rules and names are more than is looked at",
                "",
            ));
            return ran;
        }
        let names = taken.iter().take(SHOWN).map(|n| (*n).to_owned()).collect();
        ran.applied.push(Applied { rule: rule.to_string(), count: taken.len(), names });
        match rule {
            Rule::Disallow(_) if !taken.is_empty() => {
                ran.findings.push(disallowed(item, side, rule, &taken));
                return ran;
            }
            Rule::Require(name) if taken.is_empty() => {
                let reason = if own.contains_key(name.as_str()) {
                    "an earlier rule has taken it"
                } else {
                    "it is not among them"
                };
                let next = "whoever did the step has not recorded it, or the layout's rules stand in the wrong order";
                ran.findings.push(Finding::new(Code::RuleRequire, said(item, side, rule), reason, next));
                return ran;
            }
            Rule::Disallow(_) | Rule::Require(_) => {}
            _ => taken.iter().for_each(|name| {
                queue.remove(name);
            }),
        }
    }
    ran
}

fn disallowed(item: &str, side: Side, rule: &Rule, names: &[&str]) -> Finding {
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Finding::new(
        Code::RuleDisallow,
        said(item, side, rule),
        format!("no rule before it allows {shown}{more}"),
        "what is named was added or changed outside of the steps that the layout knows, or a step did not record it",
    )
}

fn said(item: &str, side: Side, rule: &Rule) -> String {
    format!("{item}, {side}: {rule}")
}

fn artifacts(link: &Link, side: Side) -> &Artifacts {
    match side {
        Side::Materials => &link.materials,
        Side::Products => &link.products,
    }
}

fn materials(link: &Link, name: &str) -> bool {
    link.materials.contains_key(name)
}

fn products(link: &Link, name: &str) -> bool {
    link.products.contains_key(name)
}

/// The names of the queue that a pattern matches and a condition holds for.
fn take<'a>(
    queue: &BTreeSet<&'a str>,
    glob: &Glob,
    work: &mut Work,
    holds: impl Fn(&str) -> bool,
) -> Vec<&'a str> {
    if let Some(name) = glob.literal() {
        return queue.get(name).copied().filter(|n| holds(n)).into_iter().collect();
    }
    queue.iter().copied().filter(|n| work.matches(glob, n) && holds(n)).collect()
}

/// Only names below the prefix, which is cut off before the pattern is asked and put back before, or replaced by the other step's.
/// All hashes must be equal. A step, folder or artifact that is not there takes nothing.
fn matched<'a>(
    queue: &BTreeSet<&'a str>,
    rule: &Match,
    own: &Artifacts,
    links: &Links<'_>,
    work: &mut Work,
) -> Vec<&'a str> {
    let Some(link) = links.get(rule.from.as_str()) else { return Vec::new() };
    let theirs = artifacts(link, rule.with);
    let source = folder(rule.source.as_deref());
    let destination = folder(rule.destination.as_deref());
    let below = queue
        .range::<str, _>((Bound::Included(source.as_str()), Bound::Unbounded))
        .copied()
        .take_while(|name| name.starts_with(&source));
    let mut same = |name: &&str| {
        let rest = &name[source.len()..];
        work.matches(&rule.pattern, rest)
            && match (own.get(*name), theirs.get(format!("{destination}{rest}").as_str())) {
                (Some(own), Some(their)) => own == their,
                _ => false,
            }
    };
    below.filter(|name| same(name)).collect()
}

/// A prefix with one slash at its end; none is none.
fn folder(prefix: Option<&str>) -> String {
    match prefix {
        None => String::new(),
        Some(prefix) if prefix.ends_with('/') => prefix.to_owned(),
        Some(prefix) => format!("{prefix}/"),
    }
}
