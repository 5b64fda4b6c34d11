//! Whom to talk to, and as whom.

use std::net::{IpAddr, SocketAddr};

use secrecy::SecretString;

use super::{Failure, PeerArgs};
use crate::config::Dial;
use crate::sip::Transport;
use crate::sip::challenge::Login;
use crate::sip::wire::Uri;
use crate::sip::wire::text::is_token;

/// The arguments, understood.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Request-URI.
    pub uri: String,
    /// What the person calls it: the user part, or the host.
    pub label: String,
    /// Our own address.
    pub from: String,
    /// Our user name.
    pub user: String,
    /// Host and port to send to.
    pub host: String,
    /// Port to send to.
    pub port: u16,
    /// How.
    pub transport: Transport,
    /// What TLS and WebSockets need to know.
    pub dial: Dial,
}

impl Peer {
    /// Understands an address and the options. `sip:` may be left out.
    ///
    /// # Errors
    /// Says which of them is wrong, and an example that is right.
    pub fn new(uri: &str, args: &PeerArgs) -> Result<Self, Failure> {
        let usage = |text: String| Failure::Usage(text);
        let full =
            if uri.contains(':') && Uri::parse(uri).is_ok_and(|uri| uri.scheme.len() < 5 && uri.is_sip()) {
                uri.to_owned()
            } else {
                format!("sip:{uri}")
            };
        let parsed = Uri::parse(&full).map_err(|why| {
            usage(format!("`{uri}` is no SIP address ({why}); one looks like sip:washer@192.168.1.5"))
        })?;
        let user = args
            .user
            .as_deref()
            .map(|user| user.trim().trim_start_matches("sip:"))
            .filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| {
            usage(
                "who are you? Give --user NAME, the name that the server knows you by, or set SIPLIANCE_USER"
                    .to_owned(),
            )
        })?;
        let (name, domain) = user.rsplit_once('@').unwrap_or((user, parsed.host));
        let from = format!("sip:{name}@{domain}");
        if !is_token(name.as_bytes()) || Uri::parse(&from).is_err() {
            return Err(usage(format!("`{user}` cannot be the user part of an address")));
        }
        let asked = match parsed.params.text("transport") {
            None => None,
            Some(word) => Some(Transport::of_word(word).ok_or_else(|| {
                let known = Transport::ALL.map(Transport::word).join(", ");
                usage(format!("transport `{word}` is not spoken here; there are {known}"))
            })?),
        };
        let secure = parsed.is_secure();
        let transport = match args.transport.map(Into::into).or(asked) {
            // `sips:` says TLS, and the parameter what is under it (RFC 3261 §26.2.2, RFC 7118 §5.3).
            None | Some(Transport::Tcp) if secure => Transport::Tls,
            Some(Transport::Ws) if secure => Transport::Wss,
            None => Transport::Udp,
            Some(transport) => transport,
        };
        if secure && !transport.is_secure() {
            return Err(usage(format!("`{uri}` needs TLS, which {} is not", transport.word())));
        }
        let (host, port) = match args.server.as_deref() {
            None => (parsed.host.to_owned(), parsed.port),
            Some(server) => host_port(server)?,
        };
        Ok(Self {
            label: parsed.user_text().unwrap_or(parsed.host.into()).into_owned(),
            from,
            user: name.to_owned(),
            port: port.unwrap_or(transport.port()),
            dial: Dial {
                names: vec![parsed.host.to_ascii_lowercase(), host.to_ascii_lowercase()],
                ca: args.ca.clone(),
                path: args.path.clone(),
                ..Dial::default()
            },
            host,
            transport,
            uri: full.split('?').next().unwrap_or(&full).to_owned(),
        })
    }

    /// How to log in: the password of the options, of SIPLIANCE_PASSWORD, typed at a terminal, or a
    /// line of the standard input; none where that is empty.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn login(&self, args: &PeerArgs) -> Result<Login, Failure> {
        use std::io::{BufRead as _, IsTerminal as _, Read as _};
        let given = args.password.clone().or_else(|| std::env::var("SIPLIANCE_PASSWORD").ok());
        let password = match given {
            Some(password) => password,
            None if std::io::stdin().is_terminal() => {
                let prompt = format!("Password of {} at {}: ", self.user, self.host);
                rpassword::prompt_password(prompt).map_err(|why| {
                    Failure::Usage(format!("the password cannot be read ({why}); set SIPLIANCE_PASSWORD"))
                })?
            }
            None => {
                let mut line = String::new();
                // A closed input is no password, and maybe none is needed.
                let _ = std::io::stdin().lock().take(1024).read_line(&mut line);
                line.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        let password = Some(password).filter(|password| !password.is_empty()).map(SecretString::from);
        Ok(Login { user: self.user.clone(), password, realm: None })
    }

    /// Nobody answered.
    pub(in crate::cli) fn silent(&self) -> Failure {
        Failure::Unreachable(format!(
            "no answer from {}; is the address right, and the server on?",
            self.place()
        ))
    }

    pub(super) fn place(&self) -> String {
        format!("{}:{} over {}", self.host, self.port, self.transport.via())
    }

    pub(super) async fn resolve(&self) -> Result<SocketAddr, Failure> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok((ip, self.port).into());
        }
        let found = tokio::net::lookup_host((host, self.port)).await;
        let found: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
        // Appliances live on IPv4 more often than not.
        found.iter().find(|address| address.is_ipv4()).or(found.first()).copied().ok_or_else(|| {
            Failure::Unreachable(format!(
                "no machine is known under the name {host}; an appliance's address looks like \
                 sip:washer@192.168.1.5, or give the server's IP address with --server"
            ))
        })
    }
}

fn host_port(text: &str) -> Result<(String, Option<u16>), Failure> {
    let text = text.strip_prefix("sip:").unwrap_or(text);
    let uri = format!("sip:{text}");
    match Uri::parse(&uri) {
        Ok(uri) if uri.user.is_none() => Ok((uri.host.to_owned(), uri.port)),
        _ => Err(Failure::Usage(format!("--server {text}: give HOST or HOST:PORT, as in 192.168.1.5:5060"))),
    }
}
