//! The home file: what is installed in this house, who may use it, and where phones find it.

mod access;
mod alerts;
mod devices;
mod elsewhere;
mod groups;
mod house;
mod http;
mod links;
mod namespace;
mod numbers;
mod profiles;
mod state;
mod survey;
mod tls;
mod upstream;
mod users;

pub use profiles::Profiles;
pub use survey::{Survey, survey};

use std::path::{Path, PathBuf};

use super::Config;
use super::fault::{Fault, Faults, Severity};
use super::secrets::Secrets;
use super::yaml::{self, FILE_BYTES, MapReader};
use namespace::Namespace;
use profiles::Library;

/// What was found in one file.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its text, for showing the line of a fault; `None` where the text must not be shown (secrets)
    /// or could not be read.
    pub source: Option<String>,
    /// Its faults by place.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Whether the file cannot be used.
    pub fn fatal(&self) -> bool {
        self.faults.iter().any(|fault| fault.severity == Severity::Error)
    }
}

/// Reads a home file with everything that it names: the secrets file and the profiles.
///
/// `shipped` are the profiles that come with the program; those in the home file's own `profiles:`
/// directories come first. The reports name every file that has a fault, and warnings may come with
/// a configuration.
pub fn load(path: &Path, shipped: &Profiles) -> (Option<Config>, Vec<Report>) {
    load_with(path, None, shipped)
}

/// The same without the secrets file: every secret is `secret`.
pub fn load_without_secrets(path: &Path, secret: &str, shipped: &Profiles) -> (Option<Config>, Vec<Report>) {
    load_with(path, Some(secret), shipped)
}

fn load_with(path: &Path, secret: Option<&str>, shipped: &Profiles) -> (Option<Config>, Vec<Report>) {
    match open_text(path) {
        Ok(Opened { text, exposed }) => {
            let base = path.parent().unwrap_or(Path::new("")).to_owned();
            read(path, &text, Around::Disk { base, exposed, secret }, shipped, None)
        }
        Err(why) => {
            let mut faults = Faults::default();
            faults.error(None, "", why, None);
            (None, vec![Report { path: path.to_owned(), source: None, faults: faults.sorted() }])
        }
    }
}

/// The same out of texts: no file is read, `secrets` stands for the secrets file and `name` for the
/// home file in reports.
pub fn from_text(
    name: &Path,
    home: &str,
    secrets: &str,
    shipped: &Profiles,
) -> (Option<Config>, Vec<Report>) {
    read(name, home, Around::Texts { secrets }, shipped, None)
}

/// Where the files around a home file are.
#[derive(Clone)]
pub(crate) enum Around<'a> {
    /// On disk: relative paths begin at `base`.
    Disk {
        /// The directory of the home file.
        base: PathBuf,
        /// The mode of the home file, when others may read it.
        exposed: Option<u32>,
        /// Stands for every secret, and the secrets file is not read.
        secret: Option<&'a str>,
    },
    /// Given as text.
    Texts {
        /// The secrets file.
        secrets: &'a str,
    },
}

/// What the sections of a home file share while they are read.
struct Build<'a> {
    around: Around<'a>,
    faults: Faults,
    secrets: Secrets,
    names: Namespace,
}

fn read(
    name: &Path,
    text: &str,
    around: Around<'_>,
    shipped: &Profiles,
    besides: Option<&mut survey::Besides>,
) -> (Option<Config>, Vec<Report>) {
    let mut reports = Vec::new();
    let mut faults = Faults::default();
    let config = yaml::parse(text, &mut faults).and_then(|root| {
        let mut map = MapReader::new(&root, "", &mut faults)?;
        format(&mut map, &mut faults);
        let secrets = Secrets::open(map.take("secrets"), &around, &mut faults, &mut reports);
        let mut library = Library::open(shipped, map.take("profiles"), &around, &mut faults, &mut reports);
        let mut build =
            Build { around, faults: std::mem::take(&mut faults), secrets, names: Namespace::default() };
        let config = sections(map, &mut library, &mut build, besides);
        faults = build.faults;
        reports.extend(library.reports());
        config
    });
    let fatal = faults.fatal() || reports.iter().any(Report::fatal);
    if !faults.is_empty() {
        let report = Report { path: name.to_owned(), source: Some(text.to_owned()), faults: faults.sorted() };
        reports.insert(0, report);
    }
    (config.filter(|_| !fatal), reports)
}

/// Every section in turn; each reports its own faults and goes on.
fn sections(
    mut map: MapReader<'_>,
    library: &mut Library<'_>,
    build: &mut Build<'_>,
    besides: Option<&mut survey::Besides>,
) -> Option<Config> {
    let house = house::name(map.take("house"), build);
    let listen_node = map.take("listen");
    let listen = house::listen(listen_node, build);
    let tls = tls::server(map.take("tls"), listen_node, &listen, build);
    let origins = tls::origins(map.take("websocket"), &listen, build);
    let digest = house::digest(map.take("digest"), build);
    let compat = house::compat(map.take("compat"), build);
    let users_node = map.take("users");
    let users = users::users(users_node, &house, digest.md5, build);
    let mut links =
        links::Links::read(map.take("mqtt"), map.take("serial"), map.take("modbus"), &house, build);
    let devices_node = map.take("devices");
    let (upstream_node, peers_node) = (map.take("upstream"), map.take("peers"));
    let mut ways = elsewhere::Ways::of(upstream_node, peers_node, &house);
    let devices = devices::devices(devices_node, library, &mut links, &mut ways, build);
    let home_assistant = links.announced(&house, &devices, &users, build);
    let groups = groups::groups(map.take("groups"), &devices, build);
    let opaque = groups::opaque(map.take("opaque_names"), build);
    let kill_switch = groups::kill_switch(map.take("isolate"), &users, build);
    let mut upstreams = upstream::upstreams(upstream_node, &devices, build);
    upstreams.extend(elsewhere::peers(peers_node, upstream_node, &listen, build));
    let known = access::Known { users: &users, devices: &devices, upstreams: &upstreams };
    let access = access::access(map.take("access"), &known, build);
    let alerts = alerts::alerts(map.take("alerts"), &users, build);
    let owners = alerts::named(map.take("owners"), "owners", &users, build);
    let agents = alerts::named(map.take("agents"), "agents", &users, build);
    access::check_ask(&access, &owners, map.place, build);
    let audit = map.text("audit", &mut build.faults).map(|path| build.resolve(&path));
    let state = state::state(&mut map, build);
    let http_node = map.take("http");
    let (http, https) = http::http(http_node, tls.is_some(), build);
    http::check_kept(http_node, &http, state.is_some(), build);
    map.finish(&mut build.faults);
    if let Some(besides) = besides {
        *besides = survey::Besides { brokers: links.brokers(), profiles: library.all() };
    }
    let links = links.finish(devices_node.is_some(), build);
    // Users that are there and faulty have their own faults.
    let nobody =
        users_node.is_none_or(|node| !matches!(&node.data, yaml::Data::Map(users) if !users.is_empty()));
    if !listen.is_empty() && nobody {
        build.faults.warning(
            listen_node.map(|node| node.place),
            "listen",
            "phones can reach the gateway, and no user may log in",
            Some("add `users:`".to_owned()),
        );
    }
    Some(Config {
        house,
        listen,
        tls,
        origins,
        digest,
        compat,
        users,
        access,
        alerts,
        owners,
        agents,
        upstreams,
        links,
        home_assistant,
        devices,
        groups,
        opaque,
        kill_switch,
        audit,
        state,
        http,
        https,
    })
}

impl Build<'_> {
    /// A path of the home file, relative to its directory.
    fn resolve(&self, path: &str) -> PathBuf {
        self.around.resolve(path)
    }
}

impl Around<'_> {
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        match self {
            Around::Disk { base, .. } => base.join(path),
            Around::Texts { .. } => PathBuf::from(path),
        }
    }
}

fn format(map: &mut MapReader<'_>, faults: &mut Faults) {
    let Some(node) = map.take("format") else {
        faults.error(Some(map.place), "", "`format:` is missing", Some("begin with `format: 1`".to_owned()));
        return;
    };
    if let Some(format) = node.int(0..=i64::MAX, "format", faults)
        && format != 1
    {
        let help = Some("this version reads format 1".to_owned());
        faults.error(Some(node.place), "format", format!("format {format} is not known"), help);
    }
}

/// A file that was read.
pub(crate) struct Opened {
    /// Its text.
    pub(crate) text: String,
    /// Its mode, when others may read it.
    pub(crate) exposed: Option<u32>,
}

/// Reads a file; the error says what is wrong with it.
pub(crate) fn open_text(path: &Path) -> Result<Opened, String> {
    use std::io::Read as _;
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not read the file".to_owned(),
        std::io::ErrorKind::IsADirectory => "this is a directory".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    // The mode of what was opened, and not of what bears the name a moment later.
    let exposed = exposed(path, &file.metadata().map_err(cannot)?);
    let mut bytes = Vec::new();
    // One byte over the bound, so that a file which is too long is seen to be.
    file.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8; save the file as UTF-8")
    })?;
    Ok(Opened { text, exposed })
}

/// The mode of a file that others than its owner may read.
#[cfg(unix)]
fn exposed(path: &Path, metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    // systemd opens its credentials to the service by an access list, which shows as a group mode.
    let others = if path.starts_with("/run/credentials") { 0o007 } else { 0o077 };
    let mode = metadata.permissions().mode() & 0o777;
    (mode & others != 0).then_some(mode)
}

/// Where there are no modes, nothing is known against a file.
#[cfg(not(unix))]
fn exposed(_: &Path, _: &std::fs::Metadata) -> Option<u32> {
    None
}
