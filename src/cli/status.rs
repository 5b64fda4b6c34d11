//! `sipliance status`: how everything stands in the running gateway.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::io::control;

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "\
The gateway's own user and root may ask a service: sudo sipliance status.

Exit codes: 0 answered, 2 wrong arguments, 3 no gateway answers there.")]
pub struct StatusArgs {
    /// The control socket of the gateway; by default where the service has it.
    #[arg(long)]
    pub control: Option<PathBuf>,
    /// The answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Asks and prints. Exit code 3: no gateway answers there.
pub fn run(args: &StatusArgs) -> ExitCode {
    let Some(path) = args.control.clone().or_else(control::default_path) else {
        eprintln!("error: no gateway runs here as a service; name its socket with --control");
        return ExitCode::from(3);
    };
    match ask(&path, "status") {
        Ok(text) if args.json => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Ok(text) => {
            print!("{}", render(&serde_json::from_str(&text).unwrap_or_default()));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!(
                "error: nobody answers at {}: {why}\nhelp: is the gateway running, and may you open its socket?",
                path.display()
            );
            ExitCode::from(3)
        }
    }
}

/// What the gateway says to a request of one line.
pub(super) fn ask(path: &std::path::Path, request: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// What an edge says.
fn render_edge(name: &str, status: &Value) -> String {
    let mut out = String::new();
    for way in status.get("registrars").and_then(Value::as_array).into_iter().flatten() {
        let server = format!("registrar by {}", text(way, "transport"));
        // An address, or why there is none.
        let further = [text(way, "address"), text(way, "words")].concat();
        out.push_str(&format!("{server:<28} {:<11} {further}\n", text(way, "state")));
    }
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or_default();
    out.push_str(&format!(
        "{name}: {} connections, {} devices\n",
        number(status, "connections"),
        number(status, "devices")
    ));
    for (key, count) in status.get("counts").and_then(Value::as_object).into_iter().flatten() {
        out.push_str(&format!("    {key:<16} {count}\n"));
    }
    out
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What Home Assistant is told over one broker.
fn home_assistant(one: &Value) -> String {
    let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64).unwrap_or_default();
    let name = one.get("broker").and_then(Value::as_str).unwrap_or_default();
    let mut words = format!("{} appliances", number(one, "devices"));
    if number(one, "waiting") > 0 {
        words.push_str(&format!(", {} documents wait", number(one, "waiting")));
    }
    let counts = one.get("counts").cloned().unwrap_or_default();
    for (key, what) in [
        ("retained", "retained commands dropped"),
        ("unreadable", "commands not understood"),
        ("too_many", "commands too fast"),
        ("late", "commands that came too late"),
        ("lost_events", "events lost"),
        ("refused", "documents refused by the broker"),
    ] {
        if number(&counts, key) > 0 {
            words.push_str(&format!(", {} {what}", number(&counts, key)));
        }
    }
    format!("{:<28} {:<11} {words}\n", format!("Home Assistant at {name}"), "announced")
}

/// How many messages fit nothing, and the last.
fn unread(device: &Value) -> Option<(u64, &str)> {
    let unread = device.get("unread")?;
    Some((unread.get(0)?.as_u64()?, unread.get(1)?.as_str()?))
}

fn render(status: &Value) -> String {
    if let Some(name) = status.get("edge").and_then(Value::as_str) {
        return render_edge(name, status);
    }
    let mut out = String::new();
    for flow in status.get("flows").and_then(Value::as_array).into_iter().flatten() {
        let way = format!("{} by {}", text(flow, "upstream"), text(flow, "server"));
        out.push_str(&format!("{way:<28} {:<11} {}\n", text(flow, "state"), text(flow, "words")));
    }
    for registration in status.get("registrations").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!(
            "{:<28} {:<11} {}\n",
            text(registration, "address"),
            text(registration, "state"),
            text(registration, "words")
        ));
    }
    for key in ["remotes", "publications"] {
        for one in status.get(key).and_then(Value::as_array).into_iter().flatten() {
            let (device, address) = (text(one, "device"), text(one, "address"));
            let (state, words) = (text(one, "state"), text(one, "words"));
            out.push_str(&format!("{:<28} {state:<11} {words}\n", format!("{device} {address}")));
        }
    }
    for one in status.get("down").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!("{:<28} {:<11} {}\n", text(one, "link"), "down", text(one, "words")));
    }
    for words in status.get("disk").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&format!("{:<28} {:<11} {}\n", "disk", "trouble", words.as_str().unwrap_or_default()));
    }
    for one in status.get("home_assistant").and_then(Value::as_array).into_iter().flatten() {
        out.push_str(&home_assistant(one));
    }
    for device in status.get("devices").and_then(Value::as_array).into_iter().flatten() {
        let up = device.get("link_up").and_then(Value::as_bool) == Some(true);
        let isolated = device.get("isolated").and_then(Value::as_bool) == Some(true);
        out.push_str(&format!(
            "{:<16} {:<8} {}{}\n",
            text(device, "id"),
            if up { text(device, "health") } else { "no link".to_owned() },
            if isolated { "(isolated) " } else { "" },
            text(device, "summary")
        ));
        if let Some((count, last)) = unread(device) {
            out.push_str(&format!("    {count} messages fit nothing in its profile, the last {last}\n"));
        }
        for detail in device.get("details").and_then(Value::as_array).into_iter().flatten() {
            let part = |nth: usize| detail.get(nth).and_then(Value::as_str).unwrap_or_default();
            out.push_str(&format!("    {:<16} {}\n", part(0), part(1)));
        }
    }
    let number = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or_default();
    out.push_str(&format!(
        "{} subscriptions, {} phones registered here, {} commands\n",
        number("subscriptions"),
        number("contacts"),
        number("commands")
    ));
    out
}
