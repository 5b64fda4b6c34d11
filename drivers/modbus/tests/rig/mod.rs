//! Slaves that are made here, on a pseudo terminal and on TCP, and a client of the driver.

#![allow(dead_code, reason = "each test uses its part")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sipliance_driver::{Channel, Checksum, Event, Exit, Failure, Link, Op, OpId, pair};
use sipliance_driver_modbus::{Line, Settings, run};
use tokio::time::timeout;

/// A slave's answer to a request without its checksum; `None`: silence.
pub type Brain = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// What goes over the line after a request, each piece after a pause.
pub type Mouth = Arc<dyn Fn(&[u8]) -> Vec<(Duration, Vec<u8>)> + Send + Sync>;

/// An answer with its checksum.
pub fn whole(mut answer: Vec<u8>) -> Vec<u8> {
    let body = answer.clone();
    Checksum::Crc16Modbus.append(&mut answer, &body);
    answer
}

/// Unit 1 has words equal to their address; a write is kept in `written`; unit 2 is dead; unit 3 refuses.
pub fn brain(written: Arc<Mutex<Vec<Vec<u8>>>>) -> Brain {
    Arc::new(move |pdu: &[u8]| {
        let address = u16::from_be_bytes([pdu[2], pdu[3]]);
        let count = u16::from_be_bytes([pdu[4], pdu[5]]);
        match (pdu[0], pdu[1]) {
            (1, function @ (3 | 4)) => {
                let mut answer = vec![1, function, (count * 2) as u8];
                (address..address + count).for_each(|word| answer.extend(word.to_be_bytes()));
                Some(answer)
            }
            (1, 1 | 2) => Some(vec![1, pdu[1], 1, 0b0000_0101]),
            (1, 5 | 6) => {
                written.lock().unwrap().push(pdu.to_vec());
                Some(pdu.to_vec())
            }
            (1, 16) => {
                written.lock().unwrap().push(pdu.to_vec());
                Some(pdu[..6].to_vec())
            }
            (2, _) => {
                written.lock().unwrap().push(pdu.to_vec());
                None
            }
            (unit, function) => Some(vec![unit, function | 0x80, 2]),
        }
    })
}

/// How long an answer that comes is waited for. A busy machine may need long.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long one is waited for that does not come.
pub const SHORT: Duration = Duration::from_millis(200);

fn aloud(brain: Brain) -> Mouth {
    Arc::new(move |pdu| brain(pdu).into_iter().map(|answer| (Duration::ZERO, whole(answer))).collect())
}

/// A slave on a pseudo terminal with a stable path.
pub struct Terminal {
    pub path: PathBuf,
    folder: PathBuf,
    gone: Arc<AtomicBool>,
}

static MAKING: Mutex<()> = Mutex::new(());

impl Terminal {
    pub fn folder() -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sipliance-modbus-{}-{n}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub fn start(brain: Brain) -> Self {
        Self::speaking(aloud(brain))
    }

    pub fn speaking(mouth: Mouth) -> Self {
        let folder = Self::folder();
        let terminal = Self { path: folder.join("port"), folder, gone: Arc::default() };
        terminal.wire(mouth);
        terminal
    }

    pub fn plug(&self, brain: Brain) {
        self.wire(aloud(brain));
    }

    fn wire(&self, mouth: Mouth) {
        let _making = MAKING.lock();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        symlink(ptsname(&master, Vec::new()).unwrap().to_str().unwrap(), &self.path).unwrap();
        self.gone.store(false, Ordering::Relaxed);
        let (gone, mut wire) = (Arc::clone(&self.gone), File::from(master));
        rustix::io::ioctl_fionbio(&wire, true).unwrap();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            let mut bytes = [0; 256];
            while !gone.load(Ordering::Relaxed) {
                match wire.read(&mut bytes) {
                    Ok(n) => held.extend_from_slice(&bytes[..n]),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
                let need = match held.get(1) {
                    Some(16) => held.get(6).map(|bytes| 9 + usize::from(*bytes)),
                    _ => Some(8),
                };
                if let Some(need) = need.filter(|need| held.len() >= *need) {
                    let request: Vec<u8> = held.drain(..need).collect();
                    let pdu = Checksum::Crc16Modbus.checked(&request).expect("a right checksum");
                    for (pause, piece) in mouth(pdu) {
                        std::thread::sleep(pause);
                        wire.write_all(&piece).unwrap();
                    }
                }
            }
        });
    }

    pub fn pull(&self) {
        self.gone.store(true, Ordering::Relaxed);
        let _ = fs::remove_file(&self.path);
    }

    pub fn settings(&self) -> Settings {
        rtu(&self.path)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.pull();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub fn rtu(path: &Path) -> Settings {
    let line = Line::Rtu { path: path.to_owned(), baud: 9600, format: "8N1".into() };
    Settings { line, gap: Duration::from_millis(5), timeout: PATIENCE, retries: 1 }
}

pub struct Client {
    pub link: Link,
    pub task: tokio::task::JoinHandle<Exit>,
    last: u64,
}

impl Client {
    pub fn start(settings: Settings) -> Self {
        let (link, port) = pair();
        Self { link, task: tokio::spawn(run(settings, port)), last: 0 }
    }

    pub async fn next(&mut self) -> Event {
        timeout(Duration::from_secs(30), self.link.events.recv()).await.expect("no event in 30 s").unwrap()
    }

    pub async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    /// A reading that is answered.
    pub async fn read(&mut self, channel: &str) -> Result<Bytes, Failure> {
        self.read_in(channel, PATIENCE).await
    }

    /// A reading; each try has so long.
    pub async fn read_in(&mut self, channel: &str, timeout: Duration) -> Result<Bytes, Failure> {
        self.last += 1;
        let id = OpId(self.last);
        let name = Channel::new(channel);
        self.link.ops.send(Op::Ask { id, channel: name, payload: Bytes::new(), timeout }).await.unwrap();
        let mut came = Bytes::new();
        loop {
            match self.next().await {
                Event::Read { channel: on, payload, retained: false } if on.as_str() == channel => {
                    came = payload
                }
                Event::Done { id: of, result } if of == id => return result.map(|()| came),
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn write(&mut self, channel: &str, payload: &'static [u8]) -> Result<(), Failure> {
        self.last += 1;
        let id = OpId(self.last);
        let write = Op::Write { id, channel: Channel::new(channel), payload: Bytes::from_static(payload) };
        self.link.ops.send(write).await.unwrap();
        match self.next().await {
            Event::Done { id: of, result } if of == id => result,
            other => panic!("{other:?}"),
        }
    }
}

/// A Modbus TCP slave; `hang` makes it swallow one request.
pub async fn tcp_slave(listener: tokio::net::TcpListener, brain: Brain) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    loop {
        let (mut peer, _) = listener.accept().await.unwrap();
        let brain = Arc::clone(&brain);
        tokio::spawn(async move {
            let mut head = [0; 6];
            while peer.read_exact(&mut head).await.is_ok() {
                let mut pdu = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
                peer.read_exact(&mut pdu).await.unwrap();
                if let Some(answer) = brain(&pdu) {
                    let mut out = head[..4].to_vec();
                    out.extend((answer.len() as u16).to_be_bytes());
                    out.extend(answer);
                    peer.write_all(&out).await.unwrap();
                }
            }
        });
    }
}

pub fn over_tcp(port: u16) -> Settings {
    let line = Line::Tcp { host: "127.0.0.1".into(), port };
    Settings { line, gap: Duration::ZERO, timeout: PATIENCE, retries: 0 }
}
