//! `house:`, `listen:` and `digest:`.

use std::time::Duration;

use super::Build;
use super::namespace::{Owner, check_id};
use crate::config::fault::Faults;
use crate::config::yaml::{MapReader, Node};
use crate::config::{Compat, DigestPolicy, HouseName, Listen, Transport};

/// How old a nonce may be when it moves an appliance.
const CONTROL_NONCE_AGE: Duration = Duration::from_secs(60);
/// How old a nonce may be when it reads or registers.
const QUERY_NONCE_AGE: Duration = Duration::from_secs(300);

/// Most sockets for phones; more is a fault.
const MOST_SOCKETS: usize = 16;

/// What the gateway calls itself.
pub(super) fn name(node: Option<&Node>, build: &mut Build<'_>) -> HouseName {
    let mut house =
        HouseName { user: "home".to_owned(), domain: "home.local".to_owned(), title: "Home".to_owned() };
    let mut place = None;
    if let Some(mut map) = node.and_then(|node| MapReader::new(node, "house", &mut build.faults)) {
        if let Some(node) = map.take("user")
            && let Some(user) = node.text("house.user", &mut build.faults)
        {
            place = Some(node.place);
            if check_id(&user, "the name of the house", node.place, "house.user", &mut build.faults) {
                house.user = user;
            }
        }
        if let Some(node) = map.take("domain")
            && let Some(domain) = domain(node, "house.domain", &mut build.faults)
        {
            house.domain = domain;
        }
        if let Some(title) = map.line("title", &mut build.faults) {
            house.title = title;
        }
        map.finish(&mut build.faults);
    }
    build.names.claim(&house.user, Owner::House, place, "house.user", &mut build.faults);
    house
}

/// A domain or an address, in lower case.
pub(super) fn domain(node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    let text = node.text(path, faults)?.to_ascii_lowercase();
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_v6 = bracketed.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    if is_v6 || text.len() <= 253 && text.split('.').all(label) {
        return Some(text);
    }
    let help = "write a domain such as home.local, without scheme and port".to_owned();
    faults.error(Some(node.place), path, format!("`{text}` is no domain"), Some(help));
    None
}

/// The sockets under a key.
pub(super) fn sockets(node: Option<&Node>, key: &str, build: &mut Build<'_>) -> Vec<Listen> {
    let (mut sockets, mut places): (Vec<Listen>, Vec<_>) = Default::default();
    let texts = node.and_then(|node| node.texts(key, &mut build.faults)).unwrap_or_default();
    for (index, (place, text)) in texts.into_iter().enumerate() {
        let path = format!("{key}[{index}]");
        match socket(&text) {
            Ok(socket) if sockets.contains(&socket) => {
                build.faults.error(Some(place), &path, format!("`{text}` stands here twice"), None);
            }
            Ok(_) if sockets.len() >= MOST_SOCKETS => {
                let message = format!("at most {MOST_SOCKETS} sockets are opened");
                build.faults.error(Some(place), &path, message, None);
                break;
            }
            Ok(socket) => {
                places.push((place, socket));
                sockets.push(socket);
            }
            Err(why) => {
                let help = "write udp:0.0.0.0:5060 or \"tcp:[::]:5060\"".to_owned();
                build.faults.error(Some(place), &path, why, Some(help));
            }
        }
    }
    for (place, one) in &places {
        let other = |socket: &Listen| socket.transport == one.transport && socket.addr.is_ipv4();
        if one.addr.is_ipv6() && one.addr.ip().is_unspecified() && !sockets.iter().any(other) {
            let word = one.transport.word();
            let message = format!("`{word}:{}` is IPv6 alone: nobody comes in by IPv4", one.addr);
            let help = format!("add {word}:0.0.0.0:{}, unless that is meant", one.addr.port());
            build.faults.warning(Some(*place), key, message, Some(help));
        }
    }
    sockets
}

fn socket(text: &str) -> Result<Listen, String> {
    let Some((word, addr)) = text.split_once(':') else {
        return Err(format!("`{text}` is no transport and address"));
    };
    let transport = transport(word)?;
    let addr = addr.parse().map_err(|_| match addr.rsplit_once(':') {
        Some((host, _)) if host.chars().any(|c| c.is_ascii_alphabetic()) && !host.contains(':') => {
            format!("`{host}` is a name; a socket needs an address of this machine")
        }
        _ => format!("`{addr}` is no address with a port"),
    })?;
    Ok(Listen { transport, addr })
}

/// One of the words of [`Transport::ALL`].
pub(super) fn transport(word: &str) -> Result<Transport, String> {
    Transport::of_word(word).ok_or_else(|| {
        let known = Transport::ALL.map(Transport::word).join(", ");
        format!("the transport `{word}` is not known; there are {known}")
    })
}

/// The digest rules.
pub(super) fn digest(node: Option<&Node>, build: &mut Build<'_>) -> DigestPolicy {
    let mut policy =
        DigestPolicy { md5: true, control_nonce_age: CONTROL_NONCE_AGE, query_nonce_age: QUERY_NONCE_AGE };
    let faults = &mut build.faults;
    if let Some(mut map) = node.and_then(|node| MapReader::new(node, "digest", faults)) {
        policy.md5 = map.bool("md5", faults).unwrap_or(policy.md5);
        if let Some(age) = age(&mut map, "control_nonce_age", faults) {
            policy.control_nonce_age = age;
        }
        if let Some(age) = age(&mut map, "query_nonce_age", faults) {
            policy.query_nonce_age = age;
        }
        map.finish(faults);
    }
    policy
}

/// Whether historic forms are served.
pub(super) fn compat(node: Option<&Node>, build: &mut Build<'_>) -> Compat {
    let Some((node, word)) = node.and_then(|node| Some((node, node.text("compat", &mut build.faults)?)))
    else {
        return Compat::default();
    };
    match word.as_str() {
        // Without quotes, YAML 1.1 tools read off as false.
        "off" | "false" => Compat::Off,
        "accept" => Compat::Accept,
        "verbose" => Compat::Verbose,
        other => {
            let help = Some("there are \"off\", accept and verbose".to_owned());
            build.faults.error(Some(node.place), "compat", format!("`{other}` is not known"), help);
            Compat::default()
        }
    }
}

/// The age of a nonce within sensible bounds: a request needs some seconds for its two ways, and an
/// old nonce is a chance to replay.
fn age(map: &mut MapReader<'_>, key: &'static str, faults: &mut Faults) -> Option<Duration> {
    let node = map.take(key)?;
    let path = map.at(key);
    let age = node.duration(&path, faults)?;
    if (Duration::from_secs(5)..=Duration::from_secs(3600)).contains(&age) {
        return Some(age);
    }
    faults.error(Some(node.place), &path, "outside 5s to 1h", None);
    None
}
