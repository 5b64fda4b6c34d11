//! `watch`, `send` and `do` as programs: against the simulated house, and against servers that behave
//! badly.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

const PASSWORD: &str = "correct horse";

fn sipliance(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sipliance"));
    command.args(arguments).stdin(Stdio::null());
    command.env("SIPLIANCE_USER", "anna").env("SIPLIANCE_PASSWORD", PASSWORD);
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    told(sipliance(arguments).output().unwrap())
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A port that was free a moment ago, for UDP and TCP alike.
fn free_port() -> String {
    let both = || {
        let tcp = TcpListener::bind("127.0.0.1:0").ok()?;
        let at = tcp.local_addr().ok()?;
        UdpSocket::bind(at).is_ok().then(|| at.to_string())
    };
    (0..100).find_map(|_| both()).unwrap()
}

/// A running `sipliance demo`; ended with it.
struct Demo {
    child: Child,
    at: String,
}

impl Demo {
    fn start() -> Self {
        let socket = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("client-demo.sock");
        let mut child =
            sipliance(&["demo", "--listen", &free_port(), "--user", "anna", "--password", PASSWORD])
                .arg("--control")
                .arg(socket)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let at = lines
            .by_ref()
            .find_map(|line| Some(line.unwrap().split_once("listens on ")?.1.split(',').next()?.to_owned()))
            .unwrap();
        // The appliances report themselves within moments; the plug is the one that is switched.
        lines
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("plug") && line.contains("W")))
            .unwrap()
            .unwrap();
        // The demo goes on writing.
        thread::spawn(move || lines.for_each(drop));
        Self { child, at }
    }

    fn of(&self, name: &str) -> String {
        format!("sip:{name}@{}", self.at)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_simulated_house_is_watched_asked_and_switched() {
    let demo = Demo::start();
    let plug = demo.of("plug");
    let (code, out, _) = run(&["do", &plug, "off"]);
    assert!(code == 0 && out.starts_with("Desk lamp plug: off"), "{out}");
    for transport in ["udp", "tcp"] {
        let (code, out, errors) = run(&["watch", &plug, "--once", "--json", "--transport", transport]);
        assert_eq!((code, errors.as_str()), (0, ""));
        let line: serde_json::Value = serde_json::from_str(&out).unwrap();
        let power = line["parsed"].as_array().unwrap().iter().find(|record| record["n"] == "power").unwrap();
        assert_eq!((&line["event"], &power["vb"]), (&"appliance".into(), &false.into()), "{out}");
    }

    let mut watch = sipliance(&["watch", &plug]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.contains(" plug  health online, power off, "), "{first}");
    let (code, out, errors) = run(&["send", &plug, "on"]);
    assert!(code == 0 && out.starts_with("Desk lamp plug: on"), "{out} {errors}");
    let change = lines.find(|line| line.contains("power")).unwrap();
    assert!(change.contains(" plug  power off → on"), "{change}");
    assert!(Command::new("kill").args(["-INT", &watch.id().to_string()]).status().unwrap().success());
    assert_eq!(watch.wait().unwrap().code(), Some(0));

    let (code, out, errors) = run(&["watch", &plug, "--once", "--event", "presence"]);
    assert!(code == 0 && out.contains(" plug  open: on"), "{out} {errors}");
    let (code, out, errors) = run(&["do", &plug, "--user", "guest", "off"]);
    assert!(code == 0 && out.starts_with("Desk lamp plug: off"), "{out} {errors}");
    let (code, out, errors) = run(&["send", &demo.of("upstairs"), "off"]);
    assert!(code == 0 && out.contains("Desk lamp plug: off") && out.contains("Mode off"), "{out} {errors}");
    for (arguments, code, says) in [
        (&["watch", &demo.of("nothing"), "--once"][..], 1, "404"),
        (
            &["watch", &plug, "--event", "message-summary"],
            1,
            "the server has: appliance, presence, dialog, message-summary",
        ),
        (&["watch", &plug, "--password", "wrong"], 1, "wrong user or password for anna"),
        (&["do", &demo.of("garage"), "--user", "guest", "open"], 1, "404"),
        (&["do", &demo.of("doorbell"), "--user", "guest", "open"], 1, "403"),
        (&["send", &plug, "--user", "nobody", "on"], 1, "wrong user or password for nobody"),
        (&["do", &plug, "dance"], 1, "dance"),
    ] {
        let (got, out, errors) = run(arguments);
        assert!(
            got == code && errors.contains(says) && out.is_empty(),
            "{arguments:?}: {got} {out} {errors}"
        );
    }
}

/// A home file whose links are nowhere, without its secrets: tried, broken, and mended.
#[test]
fn a_home_file_is_tried_before_anything_is_wired() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("simulate");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let home = "format: 1
secrets: secrets.yaml
audit: audit.jsonl
state: kept
users: {anna: {password: {secret: anna}}}
mqtt: {main: {host: broker.invalid, user: us, password: {secret: mqtt}}}
serial: {bus: {port: /dev/serial/by-id/none}}
upstream: {provider: {server: sip.invalid, accounts: [{user: '49', password: {secret: provider}}]}}
devices:
  plug: {name: Plug, profile: tasmota-plug, params: {topic: plug}}
  relay: {name: Relay, profile: modbus-relay, port: bus}
access: [{who: anna, see: '*', do: '*'}]
";
    std::fs::write(folder.join("home.yaml"), home).unwrap();
    let at = free_port();
    let file = folder.join("home.yaml");
    let mut child = sipliance(&["simulate", "--listen", &at, "--fault", "relay=silent"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut type_in = child.stdin.take().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let (told, heard) = std::sync::mpsc::channel();
    thread::spawn(move || lines.for_each(|line| drop(told.send(line))));
    let until = |what: &str| loop {
        let line = heard.recv_timeout(Duration::from_secs(30));
        let line = line.unwrap_or_else(|why| panic!("{what}: {why}"));
        if line.contains(what) {
            return line;
        }
    };
    let password = until("every user has the password ").rsplit(' ').next().unwrap().to_owned();
    until("provider is not contacted");
    until("plug         off, 0 W");
    let ask =
        |name: &str, what: &str| run(&["do", &format!("sip:{name}@{at}"), what, "--password", &password]);
    let (code, out, errors) = ask("plug", "on");
    assert!(code == 0 && out.starts_with("Plug: on"), "{out} {errors}");
    until("relay        offline");
    let (code, out, errors) = ask("relay", "on");
    assert!(code == 1 && out.is_empty() && errors.contains("offline"), "{out} {errors}");

    writeln!(type_in, "set plug power off").unwrap();
    until("plug         off");
    writeln!(type_in, "set plug power maybe").unwrap();
    until("! \u{201c}maybe\u{201d} is not on or off");
    writeln!(type_in, "fault plug unplugged").unwrap();
    until("plug         offline");
    let (code, _, errors) = ask("plug", "on");
    assert!(code == 1 && errors.contains("offline"), "{errors}");
    writeln!(type_in, "heal").unwrap();
    until("everything is well");
    until("plug         off");
    // Nobody types any more, and the house runs on.
    drop(type_in);
    let (code, out, errors) = ask("plug", "on");
    assert!(code == 0 && out.starts_with("Plug: on"), "{out} {errors}");

    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["home.yaml"], "nothing was written");
    let (code, _, errors) = run(&["simulate", file.to_str().unwrap(), "--fault", "plugg=silent"]);
    assert!(code == 2 && errors.contains("did you mean plug?"), "{code} {errors}");
}

#[test]
fn nobody_is_there() {
    // A port that was just free.
    let closed = UdpSocket::bind("127.0.0.19:0").unwrap().local_addr().unwrap();
    let uri = format!("sip:plug@{closed}");
    for arguments in [&["watch", &uri][..], &["send", &uri, "on"], &["do", &uri, "on", "--transport", "tcp"]]
    {
        let (code, out, errors) = run(arguments);
        assert!(code == 3 && out.is_empty() && errors.contains("nobody listens"), "{code} {errors}");
    }
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("sip:plug@{}", silent.local_addr().unwrap());
    let (code, _, errors) = run(&["watch", &uri, "--timeout", "1"]);
    assert!(code == 3 && errors.contains("no answer from 127.0.0.1:"), "{code} {errors}");
    let (code, _, errors) = run(&["watch", "sips:plug@h;transport=udp"]);
    assert!(code == 2 && errors.contains("needs TLS"), "{code} {errors}");
    let (code, _, errors) = run(&["watch", &format!("sips:plug@{closed}")]);
    assert!(code == 3 && errors.contains("over TLS cannot be reached: nobody listens"), "{code} {errors}");
}

/// A server that knows no DO, and replies to a text in a MESSAGE of its own, before its 202.
/// Proves: DO-8
#[test]
fn a_server_without_do_gets_the_words_as_a_text() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let uri = format!("sip:plug@{}", server.local_addr().unwrap());
    let client = sipliance(&["do", &uri, "open", "minutes=10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while heard.len() < 3 {
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let method = text.split(' ').next().unwrap().to_owned();
        let answer = |status: &str| {
            let copied = ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: "];
            let fields: Vec<&str> =
                text.lines().filter(|line| copied.iter().any(|name| line.starts_with(name))).collect();
            format!("SIP/2.0 {status}\r\n{}\r\nContent-Length: 0\r\n\r\n", fields.join("\r\n"))
        };
        match method.as_str() {
            "DO" => drop(server.send_to(answer("501 Not Implemented").as_bytes(), from).unwrap()),
            "MESSAGE" => {
                let reply = format!(
                    "MESSAGE sip:anna@{from} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKr\r\n\
                     From: <sip:plug@h>;tag=1\r\nTo: <sip:anna@h>\r\nCall-ID: r\r\nCSeq: 1 MESSAGE\r\n\
                     Content-Type: text/plain\r\nContent-Length: 9\r\n\r\nopen\x1b[2J!"
                );
                server.send_to(reply.as_bytes(), from).unwrap();
                server.send_to(answer("202 Accepted").as_bytes(), from).unwrap();
            }
            "SIP/2.0" => assert!(text.starts_with("SIP/2.0 200 OK\r\n") && text.contains("CSeq: 1 MESSAGE")),
            _ => continue,
        }
        if !heard.iter().any(|(known, _)| *known == method) {
            heard.push((method, text));
        }
    }
    assert_eq!(
        heard.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>(),
        ["DO", "MESSAGE", "SIP/2.0"]
    );
    for (_, text) in &heard[..2] {
        assert!(text.ends_with("\r\n\r\nopen minutes=10"), "{text}");
    }
    let (code, out, errors) = told(client.wait_with_output().unwrap());
    assert_eq!((code, out.as_str()), (0, "open\u{fffd}[2J!\n"), "{errors}");
    assert!(errors.contains("does not know DO (501); sending a text instead"), "{errors}");
}

#[test]
fn a_password_comes_from_the_input_where_nothing_else_tells_it() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let uri = format!("sip:plug@{}", server.local_addr().unwrap());
    let mut client = sipliance(&["watch", &uri, "--once"])
        .env_remove("SIPLIANCE_PASSWORD")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut client.stdin.take().unwrap(), b"secret\n").unwrap();
    let mut buffer = [0; 4096];
    let mut asked = 0;
    loop {
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if !text.starts_with("SUBSCRIBE") {
            continue;
        }
        asked += 1;
        assert_eq!(text.contains("Authorization: Digest username=\"anna\""), asked > 1, "{text}");
        let fields: Vec<&str> = text
            .lines()
            .filter(|line| ["Via:", "From", "To: ", "Call", "CSeq"].iter().any(|name| line.starts_with(name)))
            .collect();
        let answer = format!(
            "SIP/2.0 401 Unauthorized\r\n{}\r\nWWW-Authenticate: Digest realm=\"h\", nonce=\"{asked}\"\r\nContent-Length: 0\r\n\r\n",
            fields.join("\r\n")
        );
        server.send_to(answer.as_bytes(), from).unwrap();
        if asked == 2 {
            break;
        }
    }
    let mut errors = String::new();
    client.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(1));
    assert_eq!(errors, "sipliance watch: 401: wrong user or password for anna\n");
}
