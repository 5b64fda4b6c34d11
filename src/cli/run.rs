//! `sipliance run`: the gateway of a house.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::serve::{Service, serve};
use crate::config::Config;
use crate::config::fault::Style;
use crate::config::home::{self, Profiles};
use crate::gateway::Notice;
use crate::io::control;

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = "\
SIGHUP reads the files again, as `sipliance reload` does; SIGTERM and Ctrl-C say goodbye to watchers and registrars and end it.
SIPLIANCE_LOG sets how much is logged: error, warn, info (as it comes), debug.

Exit codes: 0 ended in order, 1 the files have mistakes or a port cannot be opened, 2 wrong arguments.")]
pub struct RunArgs {
    /// The home file.
    #[arg(long, default_value = "/etc/sipliance/home.yaml")]
    pub config: PathBuf,
    /// Where `sipliance status` asks; by default in the service's runtime folder.
    #[arg(long)]
    pub control: Option<PathBuf>,
}

/// Runs until it is told to stop. Exit code 1: the configuration has mistakes, all of them listed.
pub fn run(args: &RunArgs) -> ExitCode {
    journal("info");
    let Some(config) = load(&args.config) else { return ExitCode::FAILURE };
    let path = args.config.clone();
    let service = Service {
        config: Arc::new(config),
        wires: Box::new(|_| {
            sipliance_driver_sim::Settings::new(sipliance_driver_sim::Wire::broker(Vec::new()))
        }),
        read: Some(Box::new(move || reload(&path))),
        control: args.control.clone().or_else(control::default_path),
        notices: Box::new(tell),
        ready: Box::new(|listening| {
            for listen in listening {
                tracing::info!("listening on {} {}", listen.transport.via(), listen.addr);
            }
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        }),
    };
    match serve(service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

pub(super) fn load(path: &Path) -> Option<Config> {
    let (config, reports) = home::load(path, &Profiles::shipped());
    print_faults(&reports, &mut std::io::stderr());
    config
}

/// Every fault of every file, as `sipliance check` shows it.
pub fn print_faults(reports: &[home::Report], out: &mut dyn std::io::Write) {
    write_faults(reports, Style { colour: std::io::stderr().is_terminal() }, out);
}

fn write_faults(reports: &[home::Report], style: Style, out: &mut dyn std::io::Write) {
    for report in reports {
        let file = report.path.display().to_string();
        for fault in &report.faults {
            let _ = writeln!(out, "{}", fault.render(&file, report.source.as_deref(), style));
        }
    }
}

/// Reads the files again. What is wrong with them goes to the journal, and to whoever asked.
fn reload(path: &Path) -> Result<Config, String> {
    let (config, reports) = home::load(path, &Profiles::shipped());
    print_faults(&reports, &mut std::io::stderr());
    let mut text = b"the files have mistakes\n".to_vec();
    write_faults(&reports, Style { colour: false }, &mut text);
    config.ok_or_else(|| String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Logs to standard error: plain under a service manager, which adds the time itself. `level` counts
/// unless `SIPLIANCE_LOG` says otherwise.
pub fn journal(level: &str) {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("SIPLIANCE_LOG").unwrap_or_else(|_| level.into());
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(terminal);
    let done = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
    // A second call keeps the first journal.
    let _ = done;
}

fn tell(notice: &Notice) {
    match notice {
        Notice::State { device, summary } => tracing::debug!("{device}: {summary}"),
        Notice::Happened { device, what } => tracing::info!("{device}: {what}"),
        Notice::Registration { address, standing, good: true } => tracing::info!("{address}: {standing}"),
        Notice::Registration { address, standing, good: false } => tracing::warn!("{address}: {standing}"),
        Notice::Unwatched { link, channel, why } => {
            tracing::warn!("{link}: nothing is heard of {channel}: {why}")
        }
        Notice::Unread { device, last } => {
            tracing::warn!(
                "{device}: {last} came, which nothing in its profile fits; `sipliance status` counts on"
            );
        }
        Notice::Document { user, kind, what } => tracing::info!("{kind} of {user}: {what}"),
        Notice::Trouble { link, why } => tracing::warn!("{link}: {why}"),
        Notice::Link { link, down: None } => tracing::info!("{link} is up"),
        Notice::Link { link, down: Some(why) } => tracing::warn!("{link} is down: {why}"),
    }
}
