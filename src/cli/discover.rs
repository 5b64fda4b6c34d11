//! `sipliance discover`: listens to brokers, prints what could be added to the home file.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::run::{journal, print_faults};
use crate::config::home::{self, Profiles, Survey};
use crate::config::{HostPort, MqttSettings, MqttTls, yaml};
use crate::discover::{About, Broker, HASS_PREFIX, Heard, House, Proposals, filters, propose};
use crate::io::drivers::listen;

/// Arguments of `discover`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipliance discover
  sipliance discover --for 5m --profiles /etc/sipliance/profiles --out found.yaml
  sipliance discover --broker-url 192.168.1.10 --user gateway < password.txt

It only listens: nothing is published, and the home file is not touched. What devices keep at the broker comes at
once; what they say now and then needs a longer --for.

Exit codes: 0 listened, also where nothing was found, 1 the home file has mistakes or a file cannot be written,
2 wrong arguments, 3 a broker cannot be reached.")]
pub struct DiscoverArgs {
    /// The home file: its brokers are listened to, and what it has is not proposed again.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only this broker of the home file.
    #[arg(long, value_name = "NAME", conflicts_with = "broker_url")]
    pub broker: Option<String>,
    /// A broker by its address: `host`, `host:port`, `mqtt://host`, `mqtts://host`.
    #[arg(long, value_name = "ADDRESS")]
    pub broker_url: Option<String>,
    /// Login at that address; the password is read from standard input.
    #[arg(long, requires = "broker_url")]
    pub user: Option<String>,
    /// Certificate of the authority to believe at that address (PEM).
    #[arg(long, value_name = "FILE", requires = "broker_url")]
    pub ca: Option<PathBuf>,
    /// How long to listen: 10s, 5m.
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = time)]
    pub time: Duration,
    /// Write the proposal into this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write profiles that were made into this folder; those that are there stay as they are.
    #[arg(long, value_name = "DIR")]
    pub profiles: Option<PathBuf>,
    /// First level of Home Assistant's discovery topics.
    #[arg(long, value_name = "WORD", default_value = HASS_PREFIX, value_parser = level)]
    pub hass_prefix: String,
}

/// The longest time to listen.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

fn time(text: &str) -> Result<Duration, String> {
    match yaml::duration(text) {
        Some(time) if !time.is_zero() && time <= LONGEST => Ok(time),
        _ => Err("write a time with its unit, a day at most: 10s, 5m".to_owned()),
    }
}

fn level(text: &str) -> Result<String, String> {
    let odd = text.is_empty() || text.len() > 128 || text.chars().any(|c| c.is_control() || "+#".contains(c));
    if odd { Err("a topic without wildcards is needed".to_owned()) } else { Ok(text.to_owned()) }
}

/// Where the home file is when nobody says.
const HOME: &str = "/etc/sipliance/home.yaml";

/// Why it ended early, with the exit code.
type Failed = (u8, String);

/// Listens, and prints or writes what was found.
pub fn run(args: &DiscoverArgs) -> ExitCode {
    journal("warn");
    match discover(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            if !why.is_empty() {
                eprintln!("sipliance discover: {why}");
            }
            ExitCode::from(code)
        }
    }
}

fn discover(args: &DiscoverArgs) -> Result<(), Failed> {
    let survey = survey(args)?;
    let profiles = match &survey {
        Some(survey) => survey.profiles.clone(),
        None => Profiles::shipped().decoded(),
    };
    let targets = targets(args, survey.as_ref())?;
    let filters = filters(&profiles, &args.hass_prefix);
    let mut brokers = Vec::new();
    for (name, settings) in &targets {
        let mut heard = Heard::new(&profiles);
        listened(settings, &filters, args.time, &mut heard)?;
        brokers.push(Broker { name: name.clone(), heard });
    }
    let house = survey.as_ref().map(|survey| House::of(&survey.config, survey.brokers.len()));
    let proposals = propose(&profiles, &house.unwrap_or_default(), &brokers, &args.hass_prefix);
    if let Some(folder) = &args.profiles {
        write_profiles(folder, &proposals)?;
    }
    let about = About {
        listened: places(&targets, args.time),
        home: survey.is_some().then(|| home_file(args).display().to_string()),
        folder: args.profiles.as_ref().map(|folder| folder.display().to_string()),
    };
    write_out(args.out.as_deref(), &proposals.text(&about))
}

fn home_file(args: &DiscoverArgs) -> &Path {
    args.config.as_deref().unwrap_or(Path::new(HOME))
}

/// The home file, where one is meant: not with an address alone.
fn survey(args: &DiscoverArgs) -> Result<Option<Survey>, Failed> {
    if args.config.is_none() && args.broker_url.is_some() {
        return Ok(None);
    }
    let (survey, reports) = home::survey(home_file(args), &Profiles::shipped());
    let broken = survey.is_none();
    // Warnings are for `check`; mistakes say why there is no broker to listen to.
    if broken {
        print_faults(&reports, &mut std::io::stderr());
    }
    survey.map(Some).ok_or((1, String::new()))
}

/// Every broker that is listened to, with its name in the home file.
fn targets(
    args: &DiscoverArgs,
    survey: Option<&Survey>,
) -> Result<Vec<(Option<String>, MqttSettings)>, Failed> {
    let client_id = format!("sipliance-find-{}", std::process::id());
    if let Some(address) = &args.broker_url {
        return Ok(vec![(None, by_address(args, address, client_id)?)]);
    }
    let all = survey.map(|survey| survey.brokers.as_slice()).unwrap_or_default();
    let wanted = |name: &String| args.broker.as_ref().is_none_or(|only| only == name);
    let mine = all.iter().filter(|(name, _)| wanted(name));
    let found: Vec<(Option<String>, MqttSettings)> = mine
        .map(|(name, settings)| {
            (Some(name.clone()), MqttSettings { client_id: client_id.clone(), ..settings.clone() })
        })
        .collect();
    match (found.is_empty(), &args.broker) {
        (false, _) => Ok(found),
        (true, Some(name)) => Err((2, format!("the home file has no broker `{name}`"))),
        (true, None) => Err((2, "the home file has no `mqtt:`; add one, or give --broker-url".to_owned())),
    }
}

fn by_address(args: &DiscoverArgs, address: &str, client_id: String) -> Result<MqttSettings, Failed> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("mqtt", address));
    let secure = match scheme {
        "mqtt" => args.ca.is_some(),
        "mqtts" => true,
        other => return Err((2, format!("`{other}:` is unknown; write mqtt://host or mqtts://host"))),
    };
    let usual = if secure { 8883 } else { 1883 };
    let server: Option<HostPort> = yaml::host_port(rest.trim_end_matches('/'), usual);
    let server = server.ok_or_else(|| (2, format!("`{rest}` is no host with a port; a login is --user")))?;
    let password = if args.user.is_some() { Some(password()?.into()) } else { None };
    let tls = secure.then(|| MqttTls { ca: args.ca.clone(), ..MqttTls::default() });
    Ok(MqttSettings { server, user: args.user.clone(), password, client_id, tls, five: false, status: None })
}

/// The password, from a terminal without showing it, or the first line of the standard input.
fn password() -> Result<String, Failed> {
    let cannot = |why: std::io::Error| (2, format!("the password cannot be read: {why}"));
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password("Password: ").map_err(cannot);
    }
    let mut line = String::new();
    std::io::Read::take(std::io::stdin().lock(), 1024).read_line(&mut line).map_err(cannot)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn listened(
    settings: &MqttSettings,
    filters: &[String],
    time: Duration,
    heard: &mut Heard,
) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| (3, why.to_string()))?;
    let listening = listen(settings, filters, time, |topic, payload| heard.hear(topic, payload));
    let refused = runtime.block_on(listening).map_err(|why| (3, why))?;
    // A name look-up may still be under way; nobody waits for it.
    runtime.shutdown_background();
    match refused.as_slice() {
        [] => Ok(()),
        all if all.len() == filters.len() => Err((3, all.first().cloned().unwrap_or_default())),
        some => {
            eprintln!(
                "sipliance discover: {} of {} filters are refused: the broker's access list hides the rest",
                some.len(),
                filters.len()
            );
            Ok(())
        }
    }
}

fn places(targets: &[(Option<String>, MqttSettings)], time: Duration) -> String {
    let place = |(name, settings): &(Option<String>, MqttSettings)| {
        let at = format!("{}:{}", settings.server.host, settings.server.port);
        name.as_ref().map_or_else(|| at.clone(), |name| format!("broker {name} ({at})"))
    };
    let all: Vec<String> = targets.iter().map(place).collect();
    format!("{} in {}", all.join(", "), crate::device::profile::spell(time))
}

/// Writes each profile that is not there; one that is there is somebody's work.
fn write_profiles(folder: &Path, proposals: &Proposals) -> Result<(), Failed> {
    if proposals.generated.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|why| (1, format!("{}: {why}", folder.display())))?;
    for profile in &proposals.generated {
        let path = folder.join(format!("{}.yaml", profile.id));
        match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(profile.text.as_bytes())
                    .map_err(|why| (1, format!("{}: {why}", path.display())))?;
            }
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {
                let same = std::fs::read_to_string(&path).is_ok_and(|old| old == profile.text);
                if !same {
                    eprintln!("sipliance discover: {} is there already and stays as it is", path.display());
                }
            }
            Err(why) => return Err((1, format!("{}: {why}", path.display()))),
        }
    }
    Ok(())
}

fn write_out(file: Option<&Path>, text: &str) -> Result<(), Failed> {
    let Some(path) = file else {
        // A reader that goes away early is no fault.
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Ok(());
    };
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|why| (1, format!("{}: {why}", path.display())))?;
    file.write_all(text.as_bytes()).map_err(|why| (1, format!("{}: {why}", path.display())))
}
