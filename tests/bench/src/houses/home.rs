//! The home file of one house of many.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use sipliance::config::Config;
use sipliance::config::home::{Profiles, from_text};

use super::Args;

/// User part of the nth house; its appliances follow as `h00007-1`, `h00007-2`.
pub fn name(nth: usize) -> String {
    format!("h{nth:05}")
}

/// The source address of the nth house: each has its own, as edges count what comes from one address.
pub fn source(args: &Args, nth: usize) -> Ipv4Addr {
    let base = u32::from(args.from) & 0x00ff_ffff;
    Ipv4Addr::from((base + 1 + nth as u32) & 0x00ff_ffff | 0x7f00_0000)
}

/// A house with so many plugs on a broker, each with an address of its own at the provider.
///
/// # Errors
/// What the check says of it.
pub fn config(args: &Args, nth: usize, profiles: &Profiles) -> Result<Arc<Config>, String> {
    let (user, domain, listen) = (name(nth), &args.domain, SocketAddr::from((source(args, nth), 5060)));
    let mut text = format!(
        "format: 1\nhouse: {{user: {user}, domain: {user}.home.test}}\nlisten: [udp:{listen}]\nsecrets: secrets.yaml\n\
         users:\n  owner: {{password: {{secret: owner}}}}\nmqtt:\n  main: {{host: 127.0.0.1}}\nupstream:\n  provider:\n"
    );
    let servers = args.edges.iter().map(|edge| format!("{}:{}", edge.0.word(), edge.1));
    match args.direct {
        true => {
            let (transport, addr) = &args.edges[0];
            write!(text, "    server: {addr}\n    transport: {}\n", transport.word())
        }
        false => writeln!(text, "    edges: [{}]", servers.collect::<Vec<_>>().join(", ")),
    }
    .map_err(|error| error.to_string())?;
    if let Some(ca) = &args.ca {
        text += &format!("    ca: {}\n    name: {}\n", ca.display(), args.name);
    }
    text += &format!("    domain: {domain}\n    expires: {}s\n", args.expires);
    if args.publish {
        text += "    publish: [presence]\n";
    }
    text += &format!("    accounts:\n      - {{user: {user}, password: {{secret: provider}}}}\n");
    for plug in 1..=args.appliances {
        text +=
            &format!("      - {{user: {user}-{plug}, password: {{secret: provider}}, device: plug{plug}}}\n");
    }
    text += if args.appliances == 0 { "devices: {}\n" } else { "devices:\n" };
    for plug in 1..=args.appliances {
        text += &format!(
            "  plug{plug}: {{name: Plug {plug}, profile: tasmota-plug, params: {{topic: plug{plug}}}}}\n"
        );
    }
    text += "access:\n  - {who: owner, see: \"*\", do: \"*\"}\n";
    let secrets = format!("owner: over the garden fence\nprovider: {}\n", args.password);
    let (config, reports) = from_text(Path::new("home.yaml"), &text, &secrets, profiles);
    config.map(Arc::new).ok_or_else(|| format!("{text}\n{reports:?}"))
}
