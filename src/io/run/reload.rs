//! The configuration is read again: first everything is checked and opened that is new, then everything
//! changes at once. What cannot be taken over changes nothing, and says why.

use std::net::SocketAddr;
use std::sync::Arc;

use sipliance_driver as driver;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Shell, now};
use crate::config::change::{Change, needs_restart};
use crate::config::{Config, Listen};
use crate::gateway::Input;
use crate::io::control::{self, Question};
use crate::io::door::Certificate;
use crate::io::http::{self, Asked};
use crate::io::ports::Ports;
use crate::sip::FlowId;

/// Reads and checks the files of a configuration; what is wrong with them, in words.
pub type Read = Box<dyn Fn() -> Result<Config, String>>;

/// Where phones come in, by what the home file says of each.
pub(super) struct Ways {
    udp: Vec<(Listen, FlowId)>,
    /// Those that are connected to, over TCP and QUIC.
    doors: Vec<(Listen, AbortHandle)>,
    http: Vec<(SocketAddr, AbortHandle)>,
    connected: http::Open,
    asked: mpsc::Sender<Asked>,
}

impl Ways {
    pub fn new(asked: mpsc::Sender<Asked>) -> Self {
        let (udp, doors, http, connected) = Default::default();
        Self { udp, doors, http, connected, asked }
    }
}

impl Shell {
    /// Answers a question of the control socket.
    pub(super) async fn on_question(&mut self, question: Question) {
        if !question.is_reload() {
            let disk = self.disk();
            return control::answer(question, &mut self.gateway, disk, now());
        }
        let outcome = self.reload().await;
        question.reloaded(outcome);
    }

    /// Reads the configuration again, and takes it over when nothing speaks against that. The service
    /// manager hears when it begins and when it is over.
    pub(super) async fn reload(&mut self) -> Result<String, String> {
        let began = sd_notify::NotifyState::monotonic_usec_now().ok();
        let states: Vec<_> = [sd_notify::NotifyState::Reloading].into_iter().chain(began).collect();
        let _ = sd_notify::notify(&states);
        let outcome = self.take_over().await;
        match &outcome {
            Ok(words) => tracing::info!("the configuration was read again: {words}"),
            Err(why) => tracing::error!("the configuration stays as it was: {why}"),
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        outcome
    }

    async fn take_over(&mut self) -> Result<String, String> {
        let Some(read) = &self.read else { return Err("there is no file to read".to_owned()) };
        let config = Arc::new(read()?);
        if let Some(what) = needs_restart(&self.config, &config) {
            return Err(format!("{what}. That needs a restart"));
        }
        self.drivers.can_change().map_err(ToOwned::to_owned)?;
        let certificate = Certificate::read(config.tls.as_ref())?;
        let ports = self.prepare(&config).await?;
        // From here on nothing can fail.
        let change = Change::between(&self.config, &config);
        let words = change.words(&self.config, &config);
        let before = self.gateway.users();
        self.doors.renew(&config.origins, certificate);
        let gone = self.close_doors(&config);
        self.open(ports);
        for act in self.pending.give_up() {
            // Its link may have another number from here on.
            let why = driver::Failure::Refused("the configuration was read again".to_owned());
            self.carry_out(act, Some(why));
        }
        self.gateway.handle(Input::Reload(config.clone()), now());
        self.drivers.change(&config.links, &change);
        self.config = config;
        for flow in gone {
            let why = "it is not listened there any more".to_owned();
            self.gateway.handle(Input::Closed { flow, why }, now());
        }
        if let Some(store) = &self.store {
            // Users who are new may have documents from before.
            let new = self.config.users.iter().map(|user| user.name.as_str());
            store.load(new.filter(|user| !before.iter().any(|known| known == user)), &mut self.gateway);
        }
        Ok(words)
    }

    /// Opens what is new.
    async fn prepare(&self, config: &Config) -> Result<Ports, String> {
        let listen = config.listen.iter().filter(|listen| !self.config.listen.contains(listen));
        let http = config.http.iter().filter(|addr| !self.config.http.contains(addr));
        let (listen, http): (Vec<_>, Vec<_>) = (listen.copied().collect(), http.copied().collect());
        Ports::open(&listen, &http).await.map_err(|why| {
            let old = |listen: &&Listen| !config.listen.contains(listen);
            let own = self.config.listen.iter().filter(old).find(|old| {
                listen.iter().any(|new| new.transport == old.transport && new.addr.port() == old.addr.port())
            });
            match own {
                // One cannot be opened beside the other.
                Some(own) => format!(
                    "{why}. The gateway itself has that port, at {}:{}, and gives it up with a restart alone",
                    own.transport.word(),
                    own.addr
                ),
                None => why,
            }
        })
    }

    /// Takes sockets into use.
    pub(super) fn open(&mut self, ports: Ports) {
        for (listen, mut socket) in ports.sockets {
            socket.flow = self.new_flow();
            self.ways.udp.push((listen, socket.flow));
            self.sockets.all.push(socket);
        }
        for (listen, listener) in ports.listeners {
            let task = self.doors.open(listener, listen.transport, self.report_to.clone());
            self.ways.doors.push((listen, task));
        }
        #[cfg(feature = "quic")]
        for (listen, socket) in ports.quic {
            let task = self.doors.open_quic(socket, None, self.report_to.clone());
            self.ways.doors.push((listen, task));
        }
        for (addr, listener) in ports.http {
            let doors = self.config.https.then_some(&self.doors);
            let task = http::serve(listener, doors, &self.ways.connected, &self.ways.asked);
            self.ways.http.push((addr, task));
        }
    }

    /// Closes what is listened at no more. Connections that were made there stay until they end; the
    /// flows of the sockets for datagrams are gone.
    fn close_doors(&mut self, config: &Config) -> Vec<FlowId> {
        let stays = |listen: &Listen| config.listen.contains(listen);
        let mut gone = Vec::new();
        self.ways.udp.retain(|(listen, flow)| {
            if !stays(listen) {
                gone.push(*flow);
            }
            stays(listen)
        });
        self.sockets.all.retain(|socket| !gone.contains(&socket.flow));
        let close = |stays: bool, task: &AbortHandle| {
            if !stays {
                task.abort();
            }
            stays
        };
        self.ways.doors.retain(|(listen, task)| close(stays(listen), task));
        self.ways.http.retain(|(addr, task)| close(config.http.contains(addr), task));
        gone
    }
}
