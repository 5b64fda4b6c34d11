//! What `run` and `demo` share: a runtime, signals, and the loop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{Config, LinkId, Listen};
use crate::gateway::{Gateway, Notice};
use crate::io::audit;
use crate::io::control::{self, Question};
use crate::io::door::{self, Doors};
use crate::io::drivers::Supervisor;
use crate::io::ports::Ports;
use crate::io::run::{Parts, Read, Shell, Signal, now};
use crate::io::store::Store;

/// See [`Service::ready`].
pub type Ready = Box<dyn FnOnce(&[Listen])>;

/// What differs between them.
pub struct Service {
    /// The house.
    pub config: Arc<Config>,
    /// Makes the wire of a simulated link.
    pub wires: Box<dyn Fn(LinkId) -> sipliance_driver_sim::Settings + Send + Sync>,
    /// Reads the configuration again.
    pub read: Option<Read>,
    /// Where `sipliance status` asks.
    pub control: Option<PathBuf>,
    /// Hears every notice.
    pub notices: Box<dyn FnMut(&Notice)>,
    /// Called with the addresses that are listened on, when everything is up.
    pub ready: Ready,
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// When a port cannot be opened or the system gives no thread; the text names it.
pub fn serve(service: Service) -> Result<(), String> {
    block_on(serve_local(service))
}

/// Runs on this thread alone.
pub(super) fn block_on(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

async fn serve_local(service: Service) -> Result<(), String> {
    let config = service.config;
    // First the ports: a second gateway by mistake ends here, before it takes the first one's devices.
    let ports = Ports::open(&config.listen, &config.http).await?;
    for addr in ports.http_at() {
        tracing::info!("listening for HTTP on {addr}");
    }
    let listening = ports.listening().to_vec();
    let doors = Doors::new(config.tls.as_ref(), &config.origins, door::CONNECTIONS)?;
    let drivers = Supervisor::start(&config.links, service.wires)
        .map_err(|why| format!("cannot start the drivers: {why}"))?;
    let (signals_to, signals) = mpsc::channel(4);
    let (questions_to, questions) = mpsc::channel(control::QUESTIONS);
    let mut gateway = Gateway::new(config.clone(), rand::random(), now());
    if let Some(path) = &config.audit {
        gateway.recall(audit::tail(path).iter().map(String::as_str), now());
    }
    let store = config.state.as_deref().map(Store::open);
    if let Some(store) = &store {
        let kept = gateway.users();
        store.load(kept.iter().map(String::as_str), &mut gateway);
    }
    let (notices, read) = (service.notices, service.read);
    let parts = Parts { gateway, config, read, drivers, ports, doors, signals, questions, notices, store };
    let shell = Shell::new(parts).map_err(|why| format!("cannot start the audit thread: {why}"))?;
    let control = serve_control(service.control, questions_to);
    tokio::task::spawn_local(listen_to_signals(signals_to));
    (service.ready)(&listening);
    shell.run().await;
    if let Some(path) = control {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// The control socket, where it can be opened.
pub(super) fn serve_control(path: Option<PathBuf>, questions: mpsc::Sender<Question>) -> Option<PathBuf> {
    let path = path?;
    match control::serve(&path, questions) {
        Ok(()) => Some(path),
        Err(why) => {
            tracing::warn!(
                "no control socket, `sipliance status` will not work: {}",
                cannot("open", Some(&path), &why)
            );
            None
        }
    }
}

/// SIGTERM and SIGINT stop, SIGHUP reads again.
pub(super) async fn listen_to_signals(to: mpsc::Sender<Signal>) {
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        return;
    };
    loop {
        let signal = tokio::select! {
            _ = term.recv() => Signal::Stop,
            _ = int.recv() => Signal::Stop,
            _ = hup.recv() => Signal::Reload,
        };
        if to.send(signal).await.is_err() {
            return;
        }
    }
}

fn cannot(what: &str, path: Option<&Path>, why: &io::Error) -> String {
    format!("cannot {what} {}: {why}", path.map(|path| path.display().to_string()).unwrap_or_default())
}
