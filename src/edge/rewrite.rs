//! A message as it goes on: what a proxy changes, and everything else as it came (RFC 3261 §16.6, §16.7).

use std::net::SocketAddr;

use crate::sip::wire::text::split_outside;
use crate::sip::wire::write::push_via;
use crate::sip::wire::{Message, Method, Name, Params, Writer};

/// What becomes of the header of a request.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    /// Our Via, without its name.
    pub via: String,
    /// Written as `received` and `rport` into the Via of whoever sent it.
    pub source: Option<SocketAddr>,
    /// How many Route values at the front were for us.
    pub routes_done: usize,
    /// Record-Route or Path values of ours, each in a field of its own: not every phone finds two in one.
    pub added: Vec<(&'static str, String)>,
    /// What is left of Max-Forwards.
    pub hops: u8,
    /// Fields that may not go on.
    pub without: &'a [Name],
}

/// The request that goes on.
pub(super) fn request(
    message: &Message<'_>,
    method: Method<'_>,
    uri: &str,
    changes: &Changes<'_>,
) -> Vec<u8> {
    let mut writer = Writer::request(method, uri);
    writer.field("Via", &[&changes.via]);
    for (nth, via) in message.list(Name::Via).enumerate() {
        match changes.source.filter(|_| nth == 0) {
            Some(source) => push_via(&mut writer, via, source),
            None => {
                writer.echo("Via", via);
            }
        }
    }
    for route in message.list(Name::Route).skip(changes.routes_done) {
        writer.echo("Route", route);
    }
    for (name, value) in &changes.added {
        writer.field(name, &[value]);
    }
    writer.field_fmt("Max-Forwards", format_args!("{}", changes.hops));
    let done = [Name::Via, Name::Route, Name::MaxForwards, Name::ContentLength];
    rest(writer, message, |name| done.contains(&name) || changes.without.contains(&name))
}

/// The response that goes back, without our Via, which is the topmost. `keep`: what is granted to whoever asked for it in
/// his (RFC 6223).
pub(super) fn response(message: &Message<'_>, status: u16, reason: &[u8], keep: Option<u32>) -> Vec<u8> {
    let mut writer = Writer::status(status, &String::from_utf8_lossy(reason));
    for (nth, via) in message.list(Name::Via).skip(1).enumerate() {
        let granted = keep.filter(|_| nth == 0).and_then(|seconds| grant_keep(via, seconds));
        writer.echo("Via", granted.as_deref().unwrap_or(via));
    }
    rest(writer, message, |name| [Name::Via, Name::ContentLength].contains(&name))
}

/// The same Via with a value for its `keep`, where it has one without.
fn grant_keep(via: &[u8], seconds: u32) -> Option<Vec<u8>> {
    let (protocol, params) = split_outside(via, b';');
    let params = Params::new(params?);
    params.get("keep").filter(Option::is_none)?;
    let mut granted = protocol.to_vec();
    for (name, value) in params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"keep")) {
        granted.extend([b";", name].concat());
        granted.extend(value.map(|value| [b"=", value].concat()).unwrap_or_default());
    }
    granted.extend(format!(";keep={seconds}").into_bytes());
    Some(granted)
}

fn rest(mut writer: Writer, message: &Message<'_>, is_done: impl Fn(Name) -> bool) -> Vec<u8> {
    for (name, value) in message.fields() {
        if !is_done(Name::new(name)) {
            writer.echo(&String::from_utf8_lossy(name), value);
        }
    }
    writer.end(message.body)
}
