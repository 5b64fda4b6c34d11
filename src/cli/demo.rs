//! `sipliance demo`: a simulated house. Shipped profiles run through the real codecs; only the wires
//! are played.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::run::{journal, print_faults};
use super::serve::{Service, serve};
use crate::config::home::{self, Profiles};
use crate::config::{Config, Listen, Number, Press, Transport, secrets};
use crate::gateway::Notice;
use crate::io::control;
use crate::io::pretend::{Life, Stage};

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipliance demo
  sipliance demo --listen 127.0.0.1:5062 --user anna --password tulip
  sipliance demo --http 127.0.0.1:8080

It prints what a phone needs, and then a line per change. Ctrl-C ends it.")]
pub struct DemoArgs {
    /// Where to listen, UDP and TCP. With port 0 the system chooses one.
    #[arg(long, default_value = "0.0.0.0:5060", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// The user that may do everything in the simulated house.
    #[arg(long, default_value = "demo")]
    pub user: String,
    /// Its password; by default a fresh one is made and printed.
    #[arg(long)]
    pub password: Option<String>,
    /// Where to serve lists over HTTP (XCAP); by default that port is closed.
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// Where `sipliance status` asks.
    #[arg(long)]
    pub control: Option<std::path::PathBuf>,
}

/// The house: what a person would write, but for its user.
const HOUSE: &str = include_str!("demo/home.yaml");

/// Runs until Ctrl-C.
pub fn run(args: &DemoArgs) -> ExitCode {
    journal("warn");
    let password = args.password.clone().unwrap_or_else(fresh_password);
    if password.is_empty() {
        eprintln!("error: the password is empty; leave --password out and a fresh one is made");
        return ExitCode::FAILURE;
    }
    let Some(mut config) = house(args, &password) else { return ExitCode::FAILURE };
    let stage = Stage::set(&mut config, Life { seed: 1, speed: 1 });
    let banner = Banner::of(&config, args, &password);
    let service = Service {
        config: Arc::new(config),
        wires: Box::new(move |link| stage.wire(link)),
        read: None,
        control: args.control.clone().or_else(control::default_path),
        notices: Box::new(show),
        ready: Box::new(move |listening| banner.print(listening)),
    };
    match serve(service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn house(args: &DemoArgs, password: &str) -> Option<Config> {
    if args.user.is_empty()
        || !args.user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        eprintln!(
            "error: `{}` is no user name: those are made of letters, digits, `-`, `_` and `.`",
            args.user
        );
        return None;
    }
    let guest = guest(&args.user);
    let home = HOUSE.replace("guest", guest).replace("resident", &args.user);
    // The file wants secrets; the one that counts is set below, however weak it was chosen.
    let secret = [args.user.as_str(), guest]
        .map(|user| format!("{user}: {{password: {}}}\n", fresh_password()))
        .concat();
    let (config, reports) = home::from_text(Path::new("demo"), &home, &secret, &Profiles::shipped());
    print_faults(&reports, &mut std::io::stderr());
    let mut config = config?;
    let domain = config.house.domain.clone();
    for user in &mut config.users {
        user.secret = secrets::ha1(&user.name, &domain, password);
    }
    config.http = args.http.into_iter().collect();
    config.listen =
        [Transport::Udp, Transport::Tcp].map(|transport| Listen { transport, addr: args.listen }).to_vec();
    Some(config)
}

/// Who works the lamp, hears the doorbell, and has to ask to watch anything else.
fn guest(user: &str) -> &'static str {
    if user == "guest" { "visitor" } else { "guest" }
}

/// Four groups that can be read aloud; about 76 bits.
pub(super) fn fresh_password() -> String {
    use rand::Rng as _;
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    let mut rng = rand::rng();
    let mut group = || {
        (0..4)
            .filter_map(|_| LETTERS.get(rng.random_range(0..LETTERS.len())))
            .map(|byte| char::from(*byte))
            .collect::<String>()
    };
    [group(), group(), group(), group()].join("-")
}

/// What a person needs to reach the house.
struct Banner {
    user: String,
    password: String,
    appliances: Vec<(String, String, Vec<String>)>,
}

impl Banner {
    fn of(config: &Config, args: &DemoArgs, password: &str) -> Self {
        let appliance = |device: &crate::config::DeviceConfig| {
            let number = |number: &Number| match &number.press {
                Press::Profile => number.digits.clone(),
                Press::Tell => format!("{} (tells)", number.digits),
                Press::Words(words) => format!("{} ({words})", number.digits),
            };
            let numbers = device.numbers.iter().map(number).collect();
            (device.id.clone(), device.name.clone(), numbers)
        };
        Self {
            user: args.user.clone(),
            password: password.to_owned(),
            appliances: config.devices.iter().map(appliance).collect(),
        }
    }

    fn print(self, listening: &[Listen]) {
        let Some(listen) = listening.first() else { return };
        let ip =
            if listen.addr.ip().is_unspecified() { own_address(listen.addr.ip()) } else { listen.addr.ip() };
        let at = SocketAddr::new(ip, listen.addr.port());
        let (user, guest, password) = (&self.user, guest(&self.user), &self.password);
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "A simulated house listens on {at}, UDP and TCP.\n");
        let _ = writeln!(out, "  softphone account   sip:{user}@{at}   password {password}");
        let _ = writeln!(out, "  who has to ask      sip:{guest}@{at}   the same password\n");
        let _ = writeln!(out, "  {:<12} {:<26} dial", "appliance", "");
        for (id, name, numbers) in &self.appliances {
            let _ = writeln!(out, "  {id:<12} {name:<26} {}", numbers.join(", "));
        }
        let _ = writeln!(out, "\nWithout a phone, in another terminal:");
        let _ = writeln!(out, "  sipliance watch sip:washer@{at} --user {user} --password {password}");
        let _ = writeln!(out, "  sipliance send sip:plug@{at} on --user {user} --password {password}\n");
        let _ = out.flush();
    }
}

/// The address that other machines would reach us at; no packet is sent to find it.
fn own_address(any: IpAddr) -> IpAddr {
    let (bind, far) =
        if any.is_ipv4() { ("0.0.0.0:0", "192.0.2.1:9") } else { ("[::]:0", "[2001:db8::1]:9") };
    let found =
        UdpSocket::bind(bind).and_then(|socket| socket.connect(far).and_then(|()| socket.local_addr()));
    match found.map(|addr| addr.ip()) {
        Ok(ip) if !ip.is_unspecified() => ip,
        _ if any.is_ipv4() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        _ => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    }
}

fn show(notice: &Notice) {
    if let Some(line) = line(notice) {
        // Nobody reads the other end of a pipe any more: the house runs on.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// News of a simulated house, as a line with its time.
pub(super) fn line(notice: &Notice) -> Option<String> {
    let now = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
    Some(match notice {
        Notice::State { device, summary } => format!("{now}  {device:<12} {summary}"),
        Notice::Happened { device, what } => format!("{now}  {device:<12} * {what}"),
        Notice::Registration { address, standing, .. } => format!("{now}  {address} {standing}"),
        Notice::Trouble { link, why } => format!("{now}  {link}: {why}"),
        Notice::Link { link, down: Some(why) } => format!("{now}  link {link} is down: {why}"),
        Notice::Unwatched { link, channel, .. } => {
            format!("{now}  link {link}: nothing is heard of {channel}")
        }
        Notice::Unread { device, last } => {
            format!("{now}  {device:<12} {last} fits nothing in its profile")
        }
        Notice::Document { user, kind, what } => format!("{now}  {kind} of {user}: {what}"),
        Notice::Link { down: None, .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::access::Identity;

    #[test]
    fn the_house_has_an_owner_and_somebody_who_must_ask_whatever_they_are_called() {
        for (user, other) in [("demo", "guest"), ("anna", "guest"), ("guest", "visitor")] {
            let args = DemoArgs {
                listen: ([127, 0, 0, 1], 0).into(),
                user: user.to_owned(),
                password: None,
                http: None,
                control: None,
            };
            let config = house(&args, "tulip").unwrap();
            let names: Vec<_> = config.users.iter().map(|user| user.name.as_str()).collect();
            assert_eq!((names, config.owners), (vec![user, other], vec![user.to_owned()]));
            assert!(config.access.may_see(&Identity::User(user.to_owned()), "garage", None));
            assert!(!config.access.may_see(&Identity::User(other.to_owned()), "garage", None));
            assert!(config.http.is_empty(), "no port is open that nobody asked for");
        }
    }
}
