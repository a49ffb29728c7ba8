//! How long the long tests run: a spread in `make test`, everything under `BULLA_SOAK=1` (docs/soak.md).

/// Whether everything is run.
pub(crate) fn long() -> bool {
    std::env::var_os("BULLA_SOAK").is_some_and(|v| v == "1")
}

/// One figure for `make test`, another one for `make soak`.
pub(crate) fn of<T>(short: T, soak: T) -> T {
    if long() { soak } else { short }
}

/// Which of `1..=last` are tried: all of them in `make soak`, else so many, spread evenly, first and last among them.
pub(crate) fn spread(last: u64, short: u64) -> Vec<u64> {
    if long() || last <= short {
        return (1..=last).collect();
    }
    let mut picked: Vec<u64> = (0..short).map(|i| 1 + i * (last - 1) / (short - 1).max(1)).collect();
    picked.dedup();
    picked
}

/// Counts that a reader of `cargo test -- --nocapture` and of `make soak` sees.
#[allow(clippy::print_stdout, reason = "the figures of docs/soak.md")]
pub(crate) fn report(text: &str) {
    println!("{text}");
}

/// How values between 0 and 1 are spread, in ten columns.
pub(crate) fn histogram(title: &str, values: &[f64]) -> String {
    let mut columns = [0_usize; 10];
    for value in values {
        columns[((value * 10.0).max(0.0) as usize).min(9)] += 1;
    }
    let lines =
        columns.iter().enumerate().map(|(i, n)| format!("  {:>3}% {n:>4} {}\n", i * 10, "#".repeat(*n)));
    format!("{title}\n{}", lines.collect::<String>())
}
