//! The `bulla` command.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(bulla::cli::run_process())
}
