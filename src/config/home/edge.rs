//! The file of an edge proxy, read as the home file is.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{Around, Build, Namespace, Opened, Report, Secrets, format, house, open_text, tls, upstream};
use crate::config::fault::Faults;
use crate::config::yaml::{self, MapReader, Node};
use crate::config::{Dial, Listen, ServerTls, Wanted};
use crate::sip::Transport;

/// Messages of one source in a second, where the file says nothing.
const PER_SECOND: i64 = 100;
/// What Kamailio takes in one message over a connection, where `tcp_rd_buf_size` says nothing else, in bytes.
const LARGEST: usize = 16 * 1024;
/// Most entries of `siblings:` and `trusted:`.
const MOST: usize = 64;

/// What an edge is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    /// Its name, as clients reach it.
    pub name: String,
    /// Where clients come in.
    pub listen: Vec<Listen>,
    /// Where the registrar reaches it.
    pub inner: Vec<Listen>,
    /// The registrar: one way by datagrams, one by a connection.
    pub registrar: Vec<Wanted>,
    /// Who else may come in at the inner address.
    pub trusted: Vec<IpAddr>,
    /// How the registrar's certificate is checked.
    pub dial: Dial,
    /// Our own certificate.
    pub tls: Option<ServerTls>,
    /// Web pages that may come in.
    pub origins: Vec<String>,
    /// The file with the key of the tokens.
    pub key: PathBuf,
    /// Hosts of edges with the same key.
    pub siblings: Vec<String>,
    /// Messages that one source may send in a second.
    pub per_second: u32,
    /// The largest message that the registrar takes over a connection, in bytes.
    pub largest: usize,
    /// The control socket.
    pub control: Option<PathBuf>,
}

/// Whether these keys make a file that of an edge.
pub const KEYS: &[&str] = &["registrar", "inner"];

/// Reads the file of an edge.
pub fn load(path: &Path) -> (Option<EdgeConfig>, Vec<Report>) {
    let mut faults = Faults::default();
    let (text, exposed) = match open_text(path) {
        Ok(Opened { text, exposed }) => (text, exposed),
        Err(why) => {
            faults.error(None, "", why, None);
            return (None, vec![Report { path: path.to_owned(), source: None, faults: faults.sorted() }]);
        }
    };
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let around = Around::Disk { base, exposed, secret: None };
    let config = yaml::parse(&text, &mut faults).and_then(|root| {
        let mut map = MapReader::new(&root, "", &mut faults)?;
        format(&mut map, &mut faults);
        let secrets = Secrets::open(None, &around, &mut faults, &mut Vec::new());
        let mut build =
            Build { around, faults: std::mem::take(&mut faults), secrets, names: Namespace::default() };
        let config = sections(map, &mut build);
        faults = build.faults;
        config
    });
    let fatal = faults.fatal();
    let report = Report { path: path.to_owned(), source: Some(text), faults: faults.sorted() };
    let reports = if report.faults.is_empty() { Vec::new() } else { vec![report] };
    (config.filter(|_| !fatal), reports)
}

fn sections(mut map: MapReader<'_>, build: &mut Build<'_>) -> Option<EdgeConfig> {
    let name = map.require("name", &mut build.faults).and_then(|node| host(node, "name", build));
    let listen_node = map.require("listen", &mut build.faults);
    let listen = house::sockets(listen_node, "listen", build);
    let inner_node = map.require("inner", &mut build.faults);
    let inner = house::sockets(inner_node, "inner", build);
    let registrar_node = map.require("registrar", &mut build.faults);
    let registrar = registrars(registrar_node, build);
    let tls = tls::server(map.take("tls"), listen_node, &listen, build);
    let origins = tls::origins(map.take("websocket"), &listen, build);
    let over_tls = registrar.iter().any(|way| way.transport == Some(Transport::Tls));
    let dial = dial(map.take("registrar_tls"), over_tls, &registrar, build);
    let key = map.require("key", &mut build.faults);
    let key = key.and_then(|node| node.line("key", &mut build.faults)).map(|path| build.resolve(&path));
    let siblings = siblings(map.take("siblings"), build);
    let trusted = trusted(map.take("trusted"), build);
    let control = map.line("control", &mut build.faults).map(|path| build.resolve(&path));
    let per_second = map.int("per_second", 1..=100_000, &mut build.faults).unwrap_or(PER_SECOND);
    let largest = map.int("largest", 4096..=262_144, &mut build.faults);
    map.finish(&mut build.faults);
    both_sides(&listen, &registrar, registrar_node, build);
    reachable(&inner, &registrar, inner_node, build);
    Some(EdgeConfig {
        name: name?,
        listen,
        inner,
        registrar,
        trusted,
        dial,
        tls,
        origins,
        key: key?,
        siblings,
        per_second: u32::try_from(per_second).unwrap_or(u32::MAX),
        largest: largest.and_then(|largest| usize::try_from(largest).ok()).unwrap_or(LARGEST),
        control,
    })
}

/// A host name or an address, without scheme and port.
fn host(node: &Node, path: &str, build: &mut Build<'_>) -> Option<String> {
    let text = node.line(path, &mut build.faults)?.to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.chars().all(fits) || text.parse::<IpAddr>().is_ok() {
        return Some(text);
    }
    let help = "write a name or an address, without scheme and port".to_owned();
    build.faults.error(Some(node.place), path, format!("`{text}` is no host"), Some(help));
    None
}

fn registrars(node: Option<&Node>, build: &mut Build<'_>) -> Vec<Wanted> {
    let mut found: Vec<Wanted> = Vec::new();
    let texts = node.and_then(|node| node.texts("registrar", &mut build.faults)).unwrap_or_default();
    for (place, text) in texts {
        let way = upstream::edge(&text, None)
            .filter(|way| matches!(way.transport, Some(Transport::Udp | Transport::Tcp | Transport::Tls)));
        let reliable = |way: &Wanted| way.transport.is_some_and(Transport::is_reliable);
        match way {
            None => {
                let help = "write udp:10.0.0.1:5060, tcp:10.0.0.1:5060 or tls:sip.example.com".to_owned();
                let message = format!("`{text}` is no transport and server");
                build.faults.error(Some(place), "registrar", message, Some(help));
            }
            Some(way) if found.iter().any(|other| reliable(other) == reliable(&way)) => {
                let message = "one way by udp and one by tcp or tls are taken, and no more".to_owned();
                let help = "several registrars stand behind one name: RFC 3263".to_owned();
                build.faults.error(Some(place), "registrar", message, Some(help));
            }
            Some(way) => found.push(way),
        }
    }
    found
}

/// Whoever relies on his connection is led to the registrar by one, and whoever repeats by datagrams: the edge repeats
/// nothing itself.
fn both_sides(listen: &[Listen], registrar: &[Wanted], node: Option<&Node>, build: &mut Build<'_>) {
    for (reliable, wanted) in [(true, "tcp"), (false, "udp")] {
        let missing =
            !registrar.iter().any(|way| way.transport.is_some_and(|way| way.is_reliable() == reliable));
        let needs = listen.iter().find(|listen| listen.transport.is_reliable() == reliable);
        if let (true, Some(listen), Some(node)) = (missing && !registrar.is_empty(), needs, node) {
            let word = listen.transport.word();
            let message = format!("clients come in by {word}, and no way to the registrar is like it");
            let help = format!(
                "add {wanted}:HOST:PORT: what is lost is repeated by the two ends, and they must agree who does"
            );
            build.faults.error(Some(node.place), "registrar", message, Some(help));
        }
    }
}

/// The registrar must reach us in each way in which we go to it, and all at one address.
fn reachable(inner: &[Listen], registrar: &[Wanted], node: Option<&Node>, build: &mut Build<'_>) {
    let Some(node) = node else { return };
    let mut fault = |message: String, help: &str| {
        build.faults.error(Some(node.place), "inner", message, Some(help.to_owned()));
    };
    for listen in inner {
        if !matches!(listen.transport, Transport::Udp | Transport::Tcp) {
            fault(format!("`{}:` is not listened for there", listen.transport.word()), "use udp: and tcp:");
        }
        if listen.addr.ip().is_unspecified() || listen.addr.port() == 0 {
            let help = "write the address and port that the registrar reaches: it stands in Path";
            fault(format!("`{}` is an address that nobody can reach", listen.addr), help);
        }
    }
    for way in registrar.iter().filter_map(|way| way.transport) {
        if !inner.is_empty() && !inner.iter().any(|inner| inner.transport.is_reliable() == way.is_reliable())
        {
            let word = if way.is_reliable() { "tcp" } else { "udp" };
            let message = format!("the registrar is spoken to by {}, and cannot come back", way.word());
            fault(message, &format!("add {word}:ADDRESS:PORT"));
        }
    }
}

fn dial(node: Option<&Node>, over_tls: bool, registrar: &[Wanted], build: &mut Build<'_>) -> Dial {
    let mut dial = Dial::default();
    if let Some(mut map) = node.and_then(|node| MapReader::new(node, "registrar_tls", &mut build.faults)) {
        let transport = if over_tls { Transport::Tls } else { Transport::Tcp };
        dial = tls::dial(&mut map, transport, build);
        map.finish(&mut build.faults);
    }
    let secure = registrar.iter().find(|way| way.transport == Some(Transport::Tls));
    match secure {
        Some(way) => dial.of(&way.host, &way.host),
        None => dial,
    }
}

fn siblings(node: Option<&Node>, build: &mut Build<'_>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let items = match &node.data {
        yaml::Data::List(_) => node.items("siblings", &mut build.faults).unwrap_or_default(),
        _ => vec![("siblings".to_owned(), node)],
    };
    if items.len() > MOST {
        build.faults.error(Some(node.place), "siblings", format!("at most {MOST} siblings"), None);
        return Vec::new();
    }
    items.into_iter().filter_map(|(path, item)| host(item, &path, build)).collect()
}

fn trusted(node: Option<&Node>, build: &mut Build<'_>) -> Vec<IpAddr> {
    let texts = node.and_then(|node| node.texts("trusted", &mut build.faults)).unwrap_or_default();
    let mut found = Vec::new();
    for (index, (place, text)) in texts.into_iter().enumerate().take(MOST) {
        match text.parse::<IpAddr>() {
            Ok(ip) => found.push(ip.to_canonical()),
            Err(_) => {
                let message = format!("`{text}` is no address");
                let help = "write the addresses of the registrar's machines".to_owned();
                build.faults.error(Some(place), &format!("trusted[{index}]"), message, Some(help));
            }
        }
    }
    found
}

impl EdgeConfig {
    /// What cannot change while an edge runs, and did.
    pub fn needs_restart(&self, new: &Self) -> Option<&'static str> {
        [
            ("name", self.name != new.name),
            ("listen", self.listen != new.listen),
            ("inner", self.inner != new.inner),
            ("registrar", self.registrar != new.registrar),
            ("registrar_tls", self.dial != new.dial),
            ("trusted", self.trusted != new.trusted),
            ("key", self.key != new.key),
            ("siblings", self.siblings != new.siblings),
            ("largest", self.largest != new.largest),
            ("control", self.control != new.control),
        ]
        .into_iter()
        .find_map(|(key, changed)| changed.then_some(key))
    }

    /// The core's part of it.
    pub fn settings(&self, key: [u8; 32], run: u32) -> crate::edge::Settings {
        let trusted = self.registrar.iter().filter_map(|way| way.host.parse::<IpAddr>().ok());
        let inner = self.inner.iter().map(|listen| (listen.transport, listen.addr));
        crate::edge::Settings {
            name: self.name.clone(),
            ports: self.listen.iter().map(|listen| listen.addr.port()).collect(),
            inner: inner.collect::<Vec<(Transport, SocketAddr)>>(),
            siblings: self.siblings.clone(),
            trusted: trusted.chain(self.trusted.iter().copied()).collect(),
            per_second: self.per_second,
            largest: self.largest,
            key,
            run,
        }
    }
}
