//! The MQTT driver against a real mosquitto, on a port of its own. Says so and passes where no
//! mosquitto is installed.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::conformance::{self, Rig};
use sipliance_driver::{Channel, Event, Exit, Failure, Link, Op, OpId, pair};
use sipliance_driver_mqtt::{Settings, Tls, Version, run};
use tokio::time::{Instant, timeout, timeout_at};

/// A broker in a folder of its own that can be killed, stopped and started again on the same port.
struct Broker {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
    version: Version,
}

impl Broker {
    /// `None`, with the reason on the terminal, where mosquitto is missing.
    fn start(options: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if Command::new("mosquitto").arg("-h").output().is_err() {
            eprintln!("skipped: no mosquitto in PATH (apt install mosquitto mosquitto-clients)");
            return None;
        }
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sipliance-mqtt-{}-{n}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options.replace("FOLDER", folder.to_str().unwrap());
        fs::write(folder.join("conf"), format!("listener {port} 127.0.0.1\nuser root\n{options}\n")).unwrap();
        if options.contains("password_file") {
            let passwd = folder.join("passwd");
            fs::write(&passwd, "").unwrap();
            let mut made = Command::new("mosquitto_passwd");
            assert!(made.arg("-b").arg(&passwd).args(["gw", "right"]).status().unwrap().success());
        }
        fs::write(folder.join("acl"), "user gw\ntopic readwrite open/#\ntopic write sipliance/#\n").unwrap();
        if options.contains("cafile") && !certificates(&folder) {
            eprintln!("skipped: no openssl in PATH, which makes the certificates");
            return None;
        }
        let mut broker = Self { folder, port, process: None, version: Version::Three };
        broker.run();
        Some(broker)
    }

    fn run(&mut self) {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.folder.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(std::time::Instant::now() < until, "mosquitto does not listen");
            std::thread::yield_now();
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn publish(&self, arguments: &[&str], input: &[u8]) {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments).stdin(Stdio::piped());
        let mut process = command.spawn().expect("mosquitto_pub (apt install mosquitto-clients)");
        process.stdin.take().unwrap().write_all(input).unwrap();
        assert!(process.wait().unwrap().success());
    }

    fn settings(&self, client_id: &str) -> Settings {
        Settings {
            host: "127.0.0.1".into(),
            port: self.port,
            user: None,
            password: None,
            client_id: client_id.into(),
            tls: None,
            version: self.version,
        }
    }

    /// The same over TLS, with the user of the password file and a certificate of our own.
    fn secure(&self, client_id: &str) -> Settings {
        let file = |name: &str| Some(self.folder.join(name));
        let tls = Tls { ca: file("ca.pem"), cert: file("gw.pem"), key: file("gw.key") };
        let (user, password) = (Some("gw".to_owned()), Some("right".to_owned().into()));
        Settings { user, password, tls: Some(tls), ..self.settings(client_id) }
    }
}

/// An authority, and certificates of the broker and of the gateway that it signed; and a second
/// authority that signed nothing. Whether there is an openssl to make them.
fn certificates(folder: &Path) -> bool {
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let authority = |name: &str| {
        openssl(&format!("req -x509 {key} -keyout {name}.key -out {name}.pem -subj /CN={name} -days 2"))
    };
    let signed = |name: &str| {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"))
            && openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile names"
            ))
    };
    authority("ca") && authority("other") && signed("broker") && signed("gw")
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const ANYBODY: &str = "allow_anonymous true";

struct Client {
    link: Link,
    task: tokio::task::JoinHandle<Exit>,
}

impl Client {
    fn start(settings: Settings, watches: &[&str]) -> Self {
        let (link, port) = pair();
        for watch in watches {
            link.ops.try_send(Op::Watch { channel: Channel::new(watch) }).unwrap();
        }
        Self { link, task: tokio::spawn(run(settings, port)) }
    }

    fn write(&self, id: u64, topic: &str, payload: &'static str) {
        let payload = Bytes::from_static(payload.as_bytes());
        self.link.ops.try_send(Op::Write { id: OpId(id), channel: Channel::new(topic), payload }).unwrap();
    }

    async fn next(&mut self) -> Event {
        timeout(Duration::from_secs(15), self.link.events.recv()).await.expect("no event in 15 s").unwrap()
    }

    /// The next event that `wanted` picks.
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    async fn up(&mut self) {
        self.until(|e| *e == Event::Up).await;
    }

    async fn down(&mut self) -> String {
        match self.until(|e| matches!(e, Event::Down(_))).await {
            Event::Down(why) => why.0,
            other => panic!("{other:?}"),
        }
    }

    async fn done(&mut self, id: u64) -> Result<(), Failure> {
        match self.until(|e| matches!(e, Event::Done { id: of, .. } if of.0 == id)).await {
            Event::Done { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    async fn close(self) -> Exit {
        drop(self.link);
        timeout(Duration::from_secs(2), self.task).await.expect("close within 2 s").unwrap()
    }
}

fn read(topic: &str, payload: &str, retained: bool) -> Event {
    Event::Read {
        channel: Channel::new(topic),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        retained,
    }
}

impl Rig for Broker {
    fn start(&mut self) -> (Link, tokio::task::JoinHandle<Exit>) {
        let (link, port) = pair();
        (link, tokio::spawn(run(self.settings("rig"), port)))
    }

    fn channel(&self) -> Channel {
        Channel::new("rig/state")
    }

    fn payload(&self) -> Bytes {
        Bytes::from_static(b"ON")
    }

    async fn speak(&mut self) {
        self.publish(&["-t", "rig/state", "-m", "spoken"], b"");
    }

    async fn cut(&mut self) {
        self.kill();
    }

    async fn mend(&mut self) {
        self.run();
    }
}

#[tokio::test]
async fn keeps_every_promise_of_a_driver() {
    let Some(mut broker) = Broker::start(ANYBODY) else { return };
    conformance::check(&mut broker).await.unwrap();
}

const TLS: &str = "cafile FOLDER/ca.pem\ncertfile FOLDER/broker.pem\nkeyfile FOLDER/broker.key\n\
                   require_certificate true\nallow_anonymous false\npassword_file FOLDER/passwd";

#[tokio::test]
async fn tls_with_an_authority_of_our_own_a_login_and_a_certificate() {
    let Some(mut broker) = Broker::start(TLS) else { return };
    for version in [Version::Three, Version::Five] {
        broker.version = version;
        let mut client = Client::start(broker.secure("gw"), &["plug/state"]);
        client.up().await;
        client.write(1, "plug/state", "ON");
        assert_eq!(client.until(|e| matches!(e, Event::Read { .. })).await, read("plug/state", "ON", false));
        assert_eq!(client.close().await, Exit::Closed);
    }
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_named_and_nothing_is_sent_in_the_clear() {
    let Some(broker) = Broker::start(TLS) else { return };
    let with = |change: &dyn Fn(&mut Tls)| {
        let mut settings = broker.secure("gw");
        change(settings.tls.as_mut().unwrap());
        Client::start(settings, &[])
    };
    let other = broker.folder.join("other.pem");
    let words = with(&|tls| tls.ca = Some(other.clone())).down().await;
    assert!(words.contains("signed by somebody unknown – give `ca:`"), "{words}");
    let words = with(&|tls| (tls.cert, tls.key) = (None, None)).down().await;
    assert!(words.to_lowercase().contains("certificate"), "{words}");
    let words = with(&|tls| tls.ca = Some("/nowhere/ca.pem".into())).down().await;
    assert!(words.contains("/nowhere/ca.pem"), "{words}");
    let words = with(&|tls| tls.key = tls.ca.clone()).down().await;
    assert!(words.contains("no key in PEM"), "{words}");
    let wrong = Settings { password: Some("guess".to_owned().into()), ..broker.secure("gw") };
    assert!(Client::start(wrong, &[]).down().await.contains("login refused"));
    let named = Settings { host: "localhost".into(), ..broker.secure("gw") };
    let words = Client::start(named, &[]).down().await;
    assert!(words.contains("the certificate is for 127.0.0.1, not for localhost"), "{words}");
    let clear = Settings { tls: None, ..broker.secure("gw") };
    let words = Client::start(clear, &[]).down().await;
    assert!(words.contains("does this port want TLS?") || words.contains("not in MQTT"), "{words}");
    let Some(plain) = Broker::start(ANYBODY) else { return };
    let tls = Some(Tls { ca: Some(broker.folder.join("ca.pem")), ..Tls::default() });
    let words = Client::start(Settings { tls, ..plain.settings("gw") }, &[]).down().await;
    assert!(words.contains("TLS"), "{words}");
}

#[tokio::test]
async fn keeps_every_promise_in_mqtt_5() {
    let Some(mut broker) = Broker::start(ANYBODY) else { return };
    broker.version = Version::Five;
    conformance::check(&mut broker).await.unwrap();
}

#[tokio::test]
async fn mqtt_5_tells_what_an_access_list_drops() {
    const LIST: &str = "allow_anonymous false\npassword_file FOLDER/passwd\nacl_file FOLDER/acl";
    let Some(mut broker) = Broker::start(LIST) else { return };
    broker.version = Version::Five;
    let login = |broker: &Broker, id: &str| {
        let password = Some("right".to_owned().into());
        Settings { user: Some("gw".into()), password, ..broker.settings(id) }
    };
    let mut client = Client::start(login(&broker, "five"), &["open/#"]);
    client.up().await;
    client.write(1, "closed/garage", "OPEN");
    let Err(Failure::Refused(words)) = client.done(1).await else { panic!("it must be refused") };
    assert!(words.contains("access list"), "{words}");
    client.write(2, "open/lamp", "ON");
    client.until(|event| matches!(event, Event::Read { .. })).await;
    let words = Client::start(Settings { user: None, ..login(&broker, "nobody") }, &[]).down().await;
    assert!(words.contains("wants a user and a password"), "{words}");
}

#[tokio::test]
async fn a_wrong_password_is_named_and_a_right_one_works() {
    let Some(broker) = Broker::start("allow_anonymous false\npassword_file FOLDER/passwd") else { return };
    let with = |user: Option<&str>, password: &str| Settings {
        user: user.map(str::to_owned),
        password: Some(password.to_owned().into()),
        ..broker.settings("login")
    };
    let mut wrong = Client::start(with(Some("gw"), "guess"), &[]);
    let words = wrong.down().await;
    assert!(words.contains("login refused for user \"gw\"") && !words.contains("guess"), "{words}");
    assert_eq!(wrong.close().await, Exit::Closed);
    let mut nobody = Client::start(with(None, ""), &[]);
    assert!(nobody.down().await.contains("wants a user and a password"));
    let mut right = Client::start(with(Some("gw"), "right"), &[]);
    right.up().await;
}

#[tokio::test]
async fn retained_and_live_are_told_apart() {
    let Some(broker) = Broker::start(ANYBODY) else { return };
    broker.publish(&["-r", "-t", "tele/plug/LWT", "-m", "Online"], b"");
    let mut client = Client::start(broker.settings("retained"), &["tele/#"]);
    assert_eq!(client.next().await, Event::Up);
    assert_eq!(client.next().await, read("tele/plug/LWT", "Online", true));
    broker.publish(&["-r", "-t", "tele/plug/LWT", "-m", "Offline"], b"");
    assert_eq!(client.next().await, read("tele/plug/LWT", "Offline", false));
}

#[tokio::test]
async fn an_outage_fails_writes_at_once_and_delivers_none_of_them_late() {
    let Some(mut broker) = Broker::start(ANYBODY) else { return };
    let mut client = Client::start(broker.settings("gateway"), &["stat/#"]);
    let mut garage = Client::start(broker.settings("garage"), &["cmnd/#"]);
    client.up().await;
    garage.up().await;
    broker.kill();
    let words = client.down().await;
    assert!(words.contains("closed the connection") || words.contains("lost"), "{words}");
    let asked = Instant::now();
    client.write(1, "cmnd/garage", "OPEN");
    assert_eq!(client.done(1).await, Err(Failure::NotConnected));
    assert!(asked.elapsed() < Duration::from_secs(1));
    assert!(client.down().await.contains("is mosquitto running?"));
    garage.down().await;
    broker.run();
    client.up().await;
    garage.up().await;
    broker.publish(&["-t", "stat/plug/POWER", "-m", "ON"], b"");
    client.until(|e| *e == read("stat/plug/POWER", "ON", false)).await;
    client.write(2, "cmnd/garage", "CLOSE");
    assert_eq!(client.done(2).await, Ok(()));
    let first = garage.until(|e| matches!(e, Event::Read { .. })).await;
    assert_eq!(first, read("cmnd/garage", "CLOSE", false), "OPEN must never arrive");
}

#[tokio::test]
async fn a_broker_that_stops_answering_is_left_within_its_time() {
    let Some(broker) = Broker::start(ANYBODY) else { return };
    let mut client = Client::start(broker.settings("stopped"), &[]);
    client.up().await;
    broker.signal("-STOP");
    let asked = Instant::now();
    client.write(1, "cmnd/plug", "ON");
    let result = client.done(1).await;
    let took = asked.elapsed();
    broker.signal("-CONT");
    assert_eq!(result, Err(Failure::Timeout));
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(6), "{took:?}");
    assert!(client.down().await.contains("no answer in 5 s"));
    client.up().await;
}

#[tokio::test]
async fn a_flood_never_blocks_and_the_newest_value_wins() {
    let Some(broker) = Broker::start("allow_anonymous true\nmax_queued_messages 0") else { return };
    let mut client = Client::start(broker.settings("flood"), &["tele/#"]);
    client.up().await;
    let mut lines = String::new();
    for n in 0..50_000 {
        lines.push_str(&format!("{n}\n"));
    }
    // Nobody reads the events meanwhile: the channel fills, the driver goes on.
    let input = lines.into_bytes();
    let began = Instant::now();
    let _broker = tokio::task::spawn_blocking(move || {
        broker.publish(&["-t", "tele/power", "-l"], &input);
        broker
    })
    .await
    .unwrap();
    client.write(1, "cmnd/plug", "ON");
    eprintln!("50,000 messages in {:?}", began.elapsed());
    let until = Instant::now() + Duration::from_secs(20);
    let (mut count, mut written) = (0, false);
    loop {
        match timeout_at(until, client.link.events.recv()).await.expect("the newest must arrive").unwrap() {
            Event::Read { payload, .. } if &payload[..] == b"49999" => break,
            Event::Read { .. } => count += 1,
            Event::Done { result, .. } => written = result.is_ok(),
            other => panic!("{other:?}"),
        }
    }
    assert!(count < 50_000, "a flood is folded");
    assert!(written || client.done(1).await.is_ok());
}

#[tokio::test]
async fn a_huge_retained_message_is_passed_by() {
    let Some(broker) = Broker::start(ANYBODY) else { return };
    let huge = vec![b'x'; 10_000_000];
    broker.publish(&["-q", "1", "-r", "-t", "cam/picture", "-s"], &huge);
    let mut client = Client::start(broker.settings("huge"), &["#"]);
    assert_eq!(client.next().await, Event::Up);
    broker.publish(&["-q", "1", "-t", "cam/picture", "-s"], &huge);
    broker.publish(&["-t", "plug", "-m", "ON"], b"");
    loop {
        match client.next().await {
            Event::Read { channel, .. } if channel.as_str() == "plug" => break,
            Event::Read { channel, .. } => assert_ne!(channel.as_str(), "cam/picture"),
            other => panic!("{other:?}"),
        }
    }
    client.write(1, "plug", "OFF");
    assert_eq!(client.done(1).await, Ok(()));
}

#[tokio::test]
async fn the_house_hears_whether_the_gateway_lives() {
    let Some(broker) = Broker::start(ANYBODY) else { return };
    let topic = "sipliance/gw/status";
    let mut observer = Client::start(broker.settings("observer"), &[topic]);
    observer.up().await;
    let mut first = Client::start(broker.settings("gw"), &[]);
    first.up().await;
    assert_eq!(observer.next().await, read(topic, "online", false));
    assert_eq!(first.close().await, Exit::Closed);
    assert_eq!(observer.next().await, read(topic, "offline", false));
    let mut second = Client::start(broker.settings("gw"), &[]);
    second.up().await;
    assert_eq!(observer.next().await, read(topic, "online", false));
    second.task.abort(); // no goodbye: the last will speaks
    assert_eq!(observer.next().await, read(topic, "offline", false));
    let mut late = Client::start(broker.settings("late"), &[topic]);
    late.up().await;
    assert_eq!(late.next().await, read(topic, "offline", true));
}
