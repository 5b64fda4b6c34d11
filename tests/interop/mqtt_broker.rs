//! A mosquitto of its own, and clients of it that are the driver.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Event, Exit, Failure, Link, Op, OpId, pair};
use sipliance_driver_mqtt::{Settings, Tls, Version, run};
use tokio::time::timeout;

/// A broker in a folder of its own that can be killed, stopped and started again on the same port.
pub struct Broker {
    pub folder: PathBuf,
    pub port: u16,
    process: Option<Child>,
    pub version: Version,
}

impl Broker {
    /// `None`, with the reason on the terminal, where mosquitto is missing.
    pub fn start(options: &str) -> Option<Self> {
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

    pub fn run(&mut self) {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.folder.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(std::time::Instant::now() < until, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    pub fn publish(&self, arguments: &[&str], input: &[u8]) {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port]).args(arguments).stdin(Stdio::piped());
        let mut process = command.spawn().expect("mosquitto_pub (apt install mosquitto-clients)");
        process.stdin.take().unwrap().write_all(input).unwrap();
        assert!(process.wait().unwrap().success());
    }

    pub fn settings(&self, client_id: &str) -> Settings {
        Settings {
            host: "127.0.0.1".into(),
            port: self.port,
            user: None,
            password: None,
            client_id: client_id.into(),
            tls: None,
            version: self.version,
            status_topic: Some(format!("sipliance/{client_id}/status")),
            listen_only: false,
        }
    }

    /// The same over TLS, with the user of the password file and a certificate of our own.
    pub fn secure(&self, client_id: &str) -> Settings {
        let file = |name: &str| Some(self.folder.join(name));
        let tls = Tls { ca: file("ca.pem"), cert: file("gw.pem"), key: file("gw.key") };
        let (user, password) = (Some("gw".to_owned()), Some("right".to_owned().into()));
        Settings { user, password, tls: Some(tls), ..self.settings(client_id) }
    }
}

/// An authority, and certificates of the broker and of the gateway that it signed; a broker's that has
/// expired; a second authority, and a gateway's certificate of that one. Whether there is an openssl to
/// make them.
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
    let signed = |name: &str, ca: &str, days: i32| {
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"))
            && openssl(&format!(
                "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -out {name}.pem -days {days} -extfile names"
            ))
    };
    authority("ca")
        && authority("other")
        && signed("broker", "ca", 2)
        && signed("gw", "ca", 2)
        && signed("expired", "ca", -1)
        && signed("stranger", "other", 2)
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub const ANYBODY: &str = "allow_anonymous true";

pub struct Client {
    pub link: Link,
    pub task: tokio::task::JoinHandle<Exit>,
}

impl Client {
    pub fn start(settings: Settings, watches: &[&str]) -> Self {
        let (link, port) = pair();
        for watch in watches {
            link.ops.try_send(Op::Watch { channel: Channel::new(watch) }).unwrap();
        }
        Self { link, task: tokio::spawn(run(settings, port)) }
    }

    pub fn write(&self, id: u64, topic: &str, payload: &'static str) {
        let payload = Bytes::from_static(payload.as_bytes());
        self.link.ops.try_send(Op::Write { id: OpId(id), channel: Channel::new(topic), payload }).unwrap();
    }

    pub async fn next(&mut self) -> Event {
        timeout(Duration::from_secs(60), self.link.events.recv()).await.expect("no event in 60 s").unwrap()
    }

    /// The next event that `wanted` picks.
    pub async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    pub async fn up(&mut self) {
        self.until(|e| *e == Event::Up).await;
    }

    pub async fn down(&mut self) -> String {
        match self.until(|e| matches!(e, Event::Down(_))).await {
            Event::Down(why) => why.0,
            other => panic!("{other:?}"),
        }
    }

    pub async fn done(&mut self, id: u64) -> Result<(), Failure> {
        match self.until(|e| matches!(e, Event::Done { id: of, .. } if of.0 == id)).await {
            Event::Done { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    pub async fn close(self) -> Exit {
        drop(self.link);
        timeout(Duration::from_secs(10), self.task).await.expect("close within 10 s").unwrap()
    }
}

pub fn read(topic: &str, payload: &str, retained: bool) -> Event {
    Event::Read {
        channel: Channel::new(topic),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        retained,
    }
}
