//! The ladders of docs/nat.md are what happens in this world, line by line. `UPDATE_DOCS=1` writes them anew.

use std::path::Path;

use sipliance::config::LinkId;
use sipliance::gateway::Input;

use super::home;
use super::outbound::{secs, subscribe};
use super::plug::Plug;
use super::wan::Wan;
use super::wan::provider::{Health, Provider};

const DOCUMENT: &str = "docs/nat.md";

fn wan() -> Wan {
    let carla = "  - who: sip:carla@provider.example\n    see: [plug]\n";
    let config = home::edited_with_upstream(
        "udp",
        &[
            ("    server: provider.example:5060\n", "    edges: [edge1.example, edge2.example]\n"),
            ("      - {user: \"100\", password: {secret: provider}}\n", ""),
            ("  - who: ben\n    see: [plug]\n", carla),
        ],
    );
    Wan::new(17, &[config], Provider::new(2))
}

/// A line without its time, and without what a person does not read.
fn plain(line: &str) -> String {
    let line = line.get(12..).unwrap_or_default();
    let (way, what) = line.split_once("  ").unwrap_or((line, ""));
    if let Some(event) = what.strip_prefix("· ") {
        return format!("· {event}");
    }
    let way = way.replace("home0", "house").replace(".example", "");
    let (first, rest) = what.split_once("  [").map_or((what, ""), |(first, rest)| (first, rest));
    let first = first.strip_prefix("SIP/2.0 ").unwrap_or_else(|| match first.contains(" SIP/2.0") {
        true => first.split(' ').next().unwrap_or(first),
        false => first,
    });
    let method = rest.trim_end_matches(']').split_once(' ').map_or("", |(_, method)| method);
    let (method, reg_id) = method.split_once(", ").unwrap_or((method, ""));
    let more: Vec<&str> = [method, reg_id].into_iter().filter(|it| !it.is_empty() && *it != first).collect();
    match more.is_empty() {
        true => format!("{way}  {first}"),
        false => format!("{way}  {first} ({})", more.join(", ")),
    }
}

/// What happened since, each line once, with how often it came on end.
fn story(wan: &Wan, since: usize) -> String {
    let lines: Vec<String> = wan.trace[since..].iter().map(|line| plain(line)).collect();
    let count = |of: &[String]| match of.len() {
        1 => of[0].clone(),
        often => format!("{} × {often}", of[0]),
    };
    lines.chunk_by(|a, b| a == b).map(count).collect::<Vec<_>>().join("\n")
}

fn ladders() -> Vec<(&'static str, String)> {
    let mut wan = wan();
    wan.run(secs(10));
    let mut ladders = vec![("register", story(&wan, 0))];
    let since = wan.trace.len();
    wan.run(secs(30));
    ladders.push(("keep-alive", story(&wan, since)));
    let since = wan.trace.len();
    wan.readdress(0);
    wan.run(secs(35));
    ladders.push(("address", story(&wan, since)));
    subscribe(&mut wan, 1, "");
    wan.run(secs(5));
    let over = wan.provider.heard.iter().rfind(|(.., text)| text.starts_with("NOTIFY")).expect("a NOTIFY").1;
    let since = wan.trace.len();
    wan.edge(over, Health::Gone);
    wan.run(secs(46));
    wan.tell(0, Input::Driver { link: LinkId(0), event: Plug::read("stat/plug/POWER", "ON", false) });
    wan.run(secs(1));
    ladders.push(("failure", story(&wan, since)));
    ladders
}

#[test]
fn the_ladders_of_the_document_are_those_of_this_world() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let before = std::fs::read_to_string(&path).expect("the document");
    let mut text = before.clone();
    for (name, ladder) in ladders() {
        assert!(ladder.lines().count() >= 3, "{name}: {ladder}");
        let mark = format!("<!-- ladder: {name} -->\n");
        let (head, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("{DOCUMENT} has no {mark}"));
        let (_, tail) = rest.split_once("<!-- end -->").expect("an end");
        text = format!("{head}{mark}```text\n{ladder}\n```\n<!-- end -->{tail}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("the document can be written");
    } else {
        assert!(
            text == before,
            "{DOCUMENT} tells another story: UPDATE_DOCS=1 cargo test --test world ladders"
        );
    }
}
