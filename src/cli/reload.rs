//! `sipliance reload`: the configuration is read again, and whoever asked hears what became of it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::isolate::order;

/// Arguments of `reload`.
#[derive(Debug, Args)]
#[command(after_help = "\
Only what changed starts anew; subscriptions and calls go on. Files with mistakes change nothing.

Exit codes: 0 taken over, 1 refused, with the reason, 2 wrong arguments, 3 no gateway answers there.")]
pub struct ReloadArgs {
    /// The control socket of the gateway; by default where the service has it.
    #[arg(long)]
    pub control: Option<PathBuf>,
}

/// Asks, and prints the answer.
pub fn run(args: &ReloadArgs) -> ExitCode {
    order(args.control.as_ref(), &["reload".to_owned()])
}
