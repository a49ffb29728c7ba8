//! `bulla copy`: bundles with everything that hangs on them, counted at the far end.

mod list;
mod plan;
mod render;
mod row;

use std::collections::HashMap;
use std::path::PathBuf;

use super::context::{Context, block_on_and_tidy};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::Outcome;
use super::verify::next_step;
use crate::client::copy::{Copier, Job, Onto, Outcome as Ended, Reached, Settings, Trouble, is_one_place};
use crate::client::installed::Installed;
use crate::oci::{Platform, Reference};
use crate::store::copy::Filter;
use crate::trust::Subject;
use plan::{Plan, Work};
use row::{End, Row, Rows};

/// Copy bundles with everything that hangs on them, and count at the far end
///
/// Copied are the children of an index, the referrers of every manifest and of every referrer, cosign's digest tags, and
/// the states in the repository. Bytes are carried unchanged, tags come last. Nothing is judged unless --verify asks for
/// it: verify at the far end.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "bulla copy [OPTIONS] <SOURCE>... <DESTINATION>\n       bulla copy --state-only [OPTIONS] <SOURCE>... <DESTINATION>\n       bulla copy [OPTIONS] --from-file <LIST> [DESTINATION]",
    after_long_help = "Examples:\n  bulla copy registry.example.com/team/app:v1 oci:/media/stick:v1\n  bulla copy oci:/media/stick:v1 mirror.example.net/team/app\n  bulla copy --all-tags --verify registry.example.com/team/app mirror.example.net/team/app\n  bulla copy --from-file list.txt --dry-run mirror.example.net/\n  bulla copy --state-only registry.example.com/team/app oci:/media/stick"
)]
pub(super) struct Args {
    /// Bundles (host/repository:tag, host/repository@sha256:…, oci:DIR:tag, oci-archive:FILE:tag), and last where they go:
    /// host/repository[:tag], oci:DIR[:tag], oci-archive:FILE[:tag], or host/path/ with a slash at its end, to which each source's repository is appended
    #[arg(value_name = "SOURCE... DESTINATION", required_unless_present = "from_file")]
    places: Vec<Onto>,
    /// Copy what LIST names, a line each: SOURCE [DESTINATION]; - is standard input
    #[arg(long, value_name = "LIST")]
    from_file: Option<PathBuf>,
    /// Copy every tag of each source, which is a repository then
    #[arg(long)]
    all_tags: bool,
    /// Copy no bundle, but the collections' states in each source, which is a repository then: news of revocation and
    /// freshness, in kilobytes
    #[arg(long, conflicts_with_all = ["all_tags", "from_file", "verify", "platforms", "only", "skip", "no_referrers"])]
    state_only: bool,
    /// Say what would move and which tags would be set; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Copy only what the policy trusts, by the digest that was verified
    #[arg(long)]
    verify: bool,
    /// Look at everything that is at the destination, and mend what is missing, damaged or wrongly listed; with --dry-run
    /// say what would be mended
    #[arg(long)]
    repair: bool,
    /// With several sources, stop at the first that is not copied
    #[arg(long)]
    fail_fast: bool,
    /// The collection whose state is judged newer or older, instead of all that are anchored; with --verify also the name
    /// under which an oci: source is judged
    #[arg(long = "as", value_name = "NAME[:TAG]")]
    named: Option<Subject>,
    #[command(flatten)]
    parts: Parts,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What of a bundle is copied.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Parts of a bundle")]
struct Parts {
    /// Of an index only the children of this platform (repeatable)
    #[arg(long = "platform", value_name = "OS/ARCH[/VARIANT]")]
    platforms: Vec<Platform>,
    /// Only referrers of this artifact type; a * at its end stands for anything (repeatable)
    #[arg(long, value_name = "TYPE")]
    only: Vec<String>,
    /// No referrers of this artifact type; a * at its end stands for anything (repeatable)
    #[arg(long, value_name = "TYPE")]
    skip: Vec<String>,
    /// No referrers and no cosign tags at all
    #[arg(long, conflicts_with_all = ["only", "skip"])]
    no_referrers: bool,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let plan = plan::of(&args, cx)?;
    let places = args.registry.places(cx, &plan.places())?;
    let trust = cx.trust().load()?;
    let (memory, now, clock_override) = (cx.memory().to_owned(), cx.now(), cx.clock_is_moved());
    let filter = Filter {
        platforms: args.parts.platforms,
        referrers: !args.parts.no_referrers && !args.state_only,
        only: args.parts.only,
        skip: args.parts.skip,
    };
    let rows = {
        let progress = cx.progress();
        let mut copier = Copier::new(Settings {
            places: &places,
            trust: &trust,
            memory: &memory,
            now,
            clock_override,
            named: args.named.as_ref(),
            verify: args.verify,
            dry_run: args.dry_run,
            repair: args.repair,
            filter,
            concurrency: args.registry.concurrency(),
            observer: &progress,
        });
        let count = |done, of| progress.count(done, of);
        block_on_and_tidy(places.hosts(), work(&mut copier, &plan, args.fail_fast, &count))?
    };
    let rows: Vec<Row> = rows
        .into_iter()
        .map(|(job, ended)| {
            let end = match ended {
                None => End::NotBegun,
                Some(Err(e)) => End::Failed(e),
                Some(Ok(Ended::Copied(copied))) => End::Copied(copied),
                Some(Ok(Ended::Refused(report))) => {
                    let next = next_step(&report, &trust);
                    End::Refused(report, next)
                }
            };
            let Done { source, destination, reached } = job;
            Row { source, destination, repair: args.repair, reached, end }
        })
        .collect();
    for row in &rows {
        row.notes(cx, rows.len() > 1);
    }
    if !args.dry_run {
        let arrived: Vec<Installed> = rows.iter().filter_map(|row| row.installed(now)).collect();
        cx.log_installed(&arrived);
    }
    Rows::outcome(rows, plan.several)
}

/// One line of the result, before it is worded.
struct Done {
    source: Reference,
    destination: Reference,
    /// The bundle, if it is at the destination.
    reached: Option<Reached>,
}

/// Copy all of the plan, one after the other. What follows the first failure is not begun when that was asked for.
async fn work(
    copier: &mut Copier<'_>,
    plan: &Plan,
    fail_fast: bool,
    count: &(dyn Fn(usize, usize) + Sync),
) -> Vec<(Done, Option<Result<Ended, CliError>>)> {
    let mut rows = Vec::new();
    let mut stopped = false;
    let mut left = plan.works.len();
    let mut settled = Vec::new();
    copier.expect(plan.works.iter().filter_map(|work| match work {
        Work::Bundle(job) => Some(job),
        Work::AllTags(_) | Work::States(_) => None,
    }));
    for work in &plan.works {
        left -= 1;
        let states = matches!(work, Work::States(_));
        let jobs: Vec<Job> = match work {
            Work::Bundle(job) => vec![job.clone()],
            Work::AllTags(sweep) | Work::States(sweep) => {
                let (source, destination) = (sweep.source.clone(), sweep.destination.clone());
                let end = Done { source, destination, reached: None };
                if stopped {
                    rows.push((end, None));
                    continue;
                }
                let found = match states {
                    true => copier.each_state(sweep).await.map(|job| vec![job]),
                    false => copier.each_tag(sweep).await,
                };
                match found {
                    Ok(jobs) => {
                        copier.expect(&jobs);
                        jobs
                    }
                    Err(e) => {
                        rows.push((end, Some(Err(e.into()))));
                        stopped = fail_fast;
                        continue;
                    }
                }
            }
        };
        let all = rows.len() + jobs.len() + left;
        for job in jobs {
            if copier.went_along(&job) {
                continue;
            }
            let mut end = Done { source: job.from(), destination: job.to(), reached: None };
            if stopped {
                rows.push((end, None));
                continue;
            }
            count(rows.len() + 1, all);
            let ended = copier.copy(&job).await.map_err(CliError::from);
            // A state is no bundle that was installed.
            end.reached = copier.reached(&job).filter(|_| !states).cloned();
            stopped = fail_fast && !matches!(ended, Ok(Ended::Copied(_)));
            rows.push((end, Some(ended)));
            settled.extend(copier.settle(false).await);
        }
        settled.extend(copier.settle(false).await);
    }
    settled.extend(copier.settle(true).await);
    let at: HashMap<(Reference, Reference), usize> = rows
        .iter()
        .enumerate()
        .filter(|(_, (_, ended))| matches!(ended, Some(Ok(Ended::Copied(_)))))
        .map(|(at, (end, _))| ((end.source.clone(), end.destination.clone()), at))
        .collect();
    for settled in settled {
        let row = at.get(&(settled.from.clone(), settled.to.clone())).and_then(|at| rows.get_mut(*at));
        let Some((_, ended)) = row else { continue };
        if let Some(Ok(Ended::Copied(copied))) = ended
            && let Err(e) = settled.add_to(copied)
        {
            *ended = Some(Err(e.into()));
        }
    }
    for (from, to, confirmation) in copier.confirm().await {
        let row = at.get(&(from, to)).and_then(|at| rows.get_mut(*at));
        if let Some((_, Some(Ok(Ended::Copied(copied))))) = row {
            copied.confirmation = confirmation;
        }
    }
    for (archive, error) in copier.finish().await {
        // What was copied into it is not there.
        let into = rows.iter_mut().filter(|(end, _)| is_one_place(&end.destination, &archive));
        for (end, ended) in into {
            end.reached = None;
            if matches!(ended, Some(Ok(Ended::Copied(_)))) {
                *ended = Some(Err(error.clone().into()));
            }
        }
    }
    rows
}

impl From<Trouble> for CliError {
    fn from(e: Trouble) -> Self {
        match e {
            Trouble::Copy(e) => e.into(),
            Trouble::Verify(e) => e.into(),
        }
    }
}

/// The exit code of all rows: the worst.
fn worst(exits: impl Iterator<Item = Exit>) -> Exit {
    exits.max().unwrap_or(Exit::Done)
}
