//! `sipliance edge`: a proxy between gateways behind NAT and a registrar.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::sync::mpsc;

use super::run::{journal, print_faults};
use super::serve::{block_on, listen_to_signals, serve_control};
use crate::config::Listen;
use crate::config::home::edge::{EdgeConfig, load};
use crate::io::control;
use crate::io::door::Doors;
use crate::io::edge::{CONNECTIONS, EdgeShell, INNER_CONNECTIONS, Parts, open_key};
use crate::io::ports::Ports;

/// Arguments of `edge`.
#[derive(Debug, Args)]
#[command(after_help = "\
docs/edge.md says how to set one up in front of Kamailio. It keeps no accounts and no passwords.
SIGHUP reads the file again: certificate, origins and limit are taken over. SIGTERM and Ctrl-C end it.
SIPLIANCE_LOG sets how much is logged: error, warn, info (as it comes), debug.

Exit codes: 0 ended in order, 1 the file has mistakes or a port cannot be opened, 2 wrong arguments.")]
pub struct EdgeArgs {
    /// The file of the edge.
    #[arg(long, default_value = "/etc/sipliance/edge.yaml")]
    pub config: PathBuf,
}

/// Runs until it is told to stop.
pub fn run(args: &EdgeArgs) -> ExitCode {
    journal("info");
    let Some(config) = read(&args.config) else { return ExitCode::FAILURE };
    match block_on(serve(Arc::new(config), args.config.clone())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &Path) -> Option<EdgeConfig> {
    let (config, reports) = load(path);
    print_faults(&reports, &mut std::io::stderr());
    config
}

fn reload(path: &Path, old: &EdgeConfig) -> Option<EdgeConfig> {
    let Some(new) = read(path) else {
        tracing::error!("the file has mistakes; what was read before stays in force");
        return None;
    };
    if let Some(key) = old.needs_restart(&new) {
        tracing::error!("`{key}:` changed, which needs a restart; what was read before stays in force");
        return None;
    }
    Some(new)
}

async fn serve(config: Arc<EdgeConfig>, path: PathBuf) -> Result<(), String> {
    let all: Vec<Listen> = config.listen.iter().chain(&config.inner).copied().collect();
    let ports = Ports::open(&all, &[]).await?;
    let key = open_key(&config.key)?;
    let doors = Doors::new(config.tls.as_ref(), &config.origins, CONNECTIONS)?;
    let inner_doors = Doors::new(None, &[], INNER_CONNECTIONS)?;
    let (signals_to, signals) = mpsc::channel(4);
    let (questions_to, questions) = mpsc::channel(control::QUESTIONS);
    let control = serve_control(config.control.clone().or_else(control::default_path), questions_to);
    for listen in ports.listening() {
        let side = if config.inner.contains(listen) { "for the registrar" } else { "for clients" };
        tracing::info!("listening on {} {} {side}", listen.transport.via(), listen.addr);
    }
    let read = Box::new(move |old: &EdgeConfig| reload(&path, old));
    tokio::task::spawn_local(listen_to_signals(signals_to));
    let shell = EdgeShell::new(Parts { config, key, ports, doors, inner_doors, read, signals, questions });
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    shell.run().await;
    if let Some(path) = control {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}
