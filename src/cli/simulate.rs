//! `sipliance simulate`: the gateway of a home file, with every appliance simulated.

mod prompt;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use super::demo::{fresh_password, line};
use super::run::{journal, print_faults};
use super::serve::{Service, serve};
use crate::config::home::{self, Profiles};
use crate::config::{Config, DeviceConfig, Listen, Transport, secrets};
use crate::gateway::Notice;
use crate::io::pretend::{Life, Stage};
use prompt::{Break, Prompt};

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = "\
No driver is opened, no broker, registrar or other gateway is contacted, and neither the audit file nor the
documents under `state:` are touched. Where the secrets file cannot be read, every user has one password,
which is printed.

Examples:
  sipliance simulate home.yaml --listen 127.0.0.1:5060
  sipliance simulate home.yaml --fault boiler=silent --fault coffee=late:2s@30s

Then type: help, list, set coffee power on, ring doorbell, fault boiler unplugged, heal boiler")]
pub struct SimulateArgs {
    /// The home file.
    pub file: PathBuf,
    /// Where to listen, UDP and TCP, in place of what the home file says.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<SocketAddr>,
    /// What is broken: a device or a link, and `late:2s`, `garbled`, `silent`, `unplugged` or
    /// `flapping:10s`; with `@30s` only after that time.
    #[arg(long, value_name = "NAME=FAULT[@TIME]")]
    pub fault: Vec<Break>,
    /// The same number gives the same life.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many times faster than real the appliances live.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub speed: u32,
    /// Where `sipliance status` asks; by default nowhere.
    #[arg(long)]
    pub control: Option<PathBuf>,
}

/// The newest line about each appliance, for `list`.
type Known = Arc<Mutex<BTreeMap<String, String>>>;

/// Runs until Ctrl-C.
pub fn run(args: &SimulateArgs) -> ExitCode {
    journal("warn");
    let Some((mut config, password)) = house(args) else { return ExitCode::FAILURE };
    let left_out = left_out(&config);
    let stage = Arc::new(Stage::set(&mut config, Life { seed: args.seed, speed: args.speed }));
    for of in args.fault.iter().filter(|of| of.after.is_zero()) {
        if let Err(why) = stage.fault(&of.name, Some(of.fault)) {
            eprintln!("error: --fault {}: {why}", of.name);
            return ExitCode::from(2);
        }
    }
    let later = args.fault.iter().filter(|of| !of.after.is_zero()).cloned().collect();
    let known = Known::default();
    let prompt =
        Prompt { devices: config.devices.clone(), stage: stage.clone(), known: known.clone(), later };
    let banner = banner(&config, &left_out, password.as_deref());
    let service = Service {
        config: Arc::new(config),
        wires: Box::new(move |link| stage.wire(link)),
        read: None,
        control: args.control.clone(),
        notices: Box::new(move |notice| show(notice, &known)),
        ready: Box::new(move |listening| {
            print_banner(&banner, listening);
            prompt.begin();
        }),
    };
    match serve(service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The house, and the password of everybody where the secrets are not there.
fn house(args: &SimulateArgs) -> Option<(Config, Option<String>)> {
    let profiles = Profiles::shipped();
    let (config, reports) = home::load(&args.file, &profiles);
    let (mut config, password) = match config {
        Some(config) => {
            print_faults(&reports, &mut std::io::stderr());
            (config, None)
        }
        None => {
            // A key of opaque names has to be one.
            let secret = "5a".repeat(32);
            let (config, others) = home::load_without_secrets(&args.file, &secret, &profiles);
            let told = if config.is_some() { &others } else { &reports };
            print_faults(told, &mut std::io::stderr());
            let mut config = config?;
            let password = fresh_password();
            let domain = config.house.domain.clone();
            for user in &mut config.users {
                user.secret = secrets::ha1(&user.name, &domain, &password);
            }
            (config, Some(password))
        }
    };
    if !args.listen.is_empty() {
        let both = |addr: &SocketAddr| {
            [Transport::Udp, Transport::Tcp].map(|transport| Listen { transport, addr: *addr })
        };
        config.listen = args.listen.iter().flat_map(both).collect();
    }
    Some((config, password))
}

/// What a person may miss.
fn left_out(config: &Config) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for upstream in &config.upstreams {
        out.push(format!("{} is not contacted", upstream.name));
    }
    if config.state.is_some() {
        out.push("what people write is forgotten at the end".to_owned());
    }
    if config.audit.is_some() {
        out.push("the audit file is not written".to_owned());
    }
    out
}

fn banner(config: &Config, left_out: &[String], password: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(password) = password {
        lines.push(format!("Without the secrets file every user has the password {password}"));
    }
    let users: Vec<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
    lines.push(format!("Users: {}; domain {}", or_none(&users), config.house.domain));
    lines.extend(left_out.iter().map(|what| format!("Note: {what}")));
    for DeviceConfig { id, name, model, .. } in &config.devices {
        lines.push(format!("  {id:<16} {name:<28} {}", model.profile));
    }
    lines.push("Type help for what can be done at the appliances; Ctrl-C ends it.".to_owned());
    lines
}

fn or_none(words: &[&str]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn print_banner(banner: &[String], listening: &[Listen]) {
    let mut out = std::io::stdout().lock();
    // Nobody reads the other end of a pipe any more: the house runs on.
    match listening {
        [] => _ = writeln!(out, "A simulated house listens nowhere: add `listen:` or --listen."),
        _ => {
            let at = |of: &Listen| format!("{}:{}", of.transport.via().to_lowercase(), of.addr);
            let all: Vec<String> = listening.iter().map(at).collect();
            let _ = writeln!(out, "A simulated house listens on {}", all.join(", "));
        }
    }
    for line in banner {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

fn show(notice: &Notice, known: &Known) {
    if let Notice::State { device, summary } = notice {
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(device.clone(), summary.clone());
    }
    if let Some(line) = line(notice) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
