//! The Modbus driver against slaves: one made here on a pseudo terminal and on TCP, and pymodbus where
//! it is installed (`pip install pymodbus pyserial`; PYTHON names the interpreter).

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sipliance_driver::{Channel, Checksum, Event, Exit, Failure, Link, Op, OpId, pair};
use sipliance_driver_modbus::{Line, Settings, run};
use tokio::time::{Instant, timeout};

/// A slave's answer to a request without its checksum; `None`: silence.
type Brain = Arc<dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// Unit 1 has words equal to their address; a write is kept in `written`; unit 2 is dead; unit 3 refuses.
fn brain(written: Arc<Mutex<Vec<Vec<u8>>>>) -> Brain {
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

/// A slave on a pseudo terminal with a stable path.
struct Terminal {
    path: PathBuf,
    folder: PathBuf,
    gone: Arc<AtomicBool>,
}

static MAKING: Mutex<()> = Mutex::new(());

impl Terminal {
    fn folder() -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sipliance-modbus-{}-{n}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn start(brain: Brain) -> Self {
        let folder = Self::folder();
        let terminal = Self { path: folder.join("port"), folder, gone: Arc::default() };
        terminal.plug(brain);
        terminal
    }

    fn plug(&self, brain: Brain) {
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
                    Err(_) => std::thread::yield_now(),
                }
                let need = match held.get(1) {
                    Some(16) => held.get(6).map(|bytes| 9 + usize::from(*bytes)),
                    _ => Some(8),
                };
                if let Some(need) = need.filter(|need| held.len() >= *need) {
                    let request: Vec<u8> = held.drain(..need).collect();
                    let pdu = Checksum::Crc16Modbus.checked(&request).expect("a right checksum");
                    if let Some(mut answer) = brain(pdu) {
                        let body = answer.clone();
                        Checksum::Crc16Modbus.append(&mut answer, &body);
                        wire.write_all(&answer).unwrap();
                    }
                }
            }
        });
    }

    fn pull(&self) {
        self.gone.store(true, Ordering::Relaxed);
        let _ = fs::remove_file(&self.path);
    }

    fn settings(&self) -> Settings {
        rtu(&self.path)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.pull();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn rtu(path: &Path) -> Settings {
    let line = Line::Rtu { path: path.to_owned(), baud: 9600, format: "8N1".into() };
    Settings { line, gap: Duration::from_millis(5), timeout: Duration::from_millis(200), retries: 1 }
}

struct Client {
    link: Link,
    task: tokio::task::JoinHandle<Exit>,
    last: u64,
}

impl Client {
    fn start(settings: Settings) -> Self {
        let (link, port) = pair();
        Self { link, task: tokio::spawn(run(settings, port)), last: 0 }
    }

    async fn next(&mut self) -> Event {
        timeout(Duration::from_secs(10), self.link.events.recv()).await.expect("no event in 10 s").unwrap()
    }

    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    async fn read(&mut self, channel: &str) -> Result<Bytes, Failure> {
        self.last += 1;
        let id = OpId(self.last);
        let (name, timeout) = (Channel::new(channel), Duration::from_millis(200));
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

    async fn write(&mut self, channel: &str, payload: &'static [u8]) -> Result<(), Failure> {
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

#[tokio::test]
async fn readings_and_writes_of_a_serial_unit() {
    let written = Arc::default();
    let slave = Terminal::start(brain(Arc::clone(&written)));
    let mut client = Client::start(slave.settings());
    assert_eq!(client.next().await, Event::Up);
    assert_eq!(client.read("1/input/6/2").await.as_deref(), Ok(&[0, 6, 0, 7][..]));
    assert_eq!(client.read("1/holding/256/1").await.as_deref(), Ok(&[1, 0][..]));
    assert_eq!(client.read("1/coil/0/3").await.as_deref(), Ok(&[1, 0, 1][..]));
    assert_eq!(client.write("1/coil/7", &[1]).await, Ok(()));
    assert_eq!(client.write("1/holding/16", &[0, 215]).await, Ok(()));
    assert_eq!(client.write("1/holding/16", &[0, 1, 0, 2]).await, Ok(()));
    let bytes = written.lock().unwrap().clone();
    assert_eq!(
        bytes,
        [&[1, 5, 0, 7, 255, 0][..], &[1, 6, 0, 16, 0, 215], &[1, 16, 0, 16, 0, 2, 4, 0, 1, 0, 2]]
    );
    let Err(Failure::Refused(words)) = client.read("3/input/0/1").await else { panic!() };
    assert!(words.contains("unit 3") && words.contains("exception 2"), "{words}");
    assert!(matches!(client.read("1/input/0/200").await, Err(Failure::Refused(_))));
    drop(std::mem::replace(&mut client.link, pair().0));
    assert_eq!(timeout(Duration::from_secs(2), client.task).await.unwrap().unwrap(), Exit::Closed);
}

#[tokio::test]
async fn a_dead_unit_holds_nobody_up_and_a_write_to_it_is_tried_once() {
    let written: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let slave = Terminal::start(brain(Arc::clone(&written)));
    let mut client = Client::start(slave.settings());
    assert_eq!(client.next().await, Event::Up);
    assert_eq!(client.read("2/input/0/1").await, Err(Failure::Timeout));
    assert_eq!(written.lock().unwrap().len(), 2, "a reading is tried again");
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(client.read("2/input/0/1").await, Err(Failure::NotConnected), "it rests");
        assert!(client.read("1/input/0/1").await.is_ok());
    }
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    written.lock().unwrap().clear();
    assert_eq!(client.write("2/coil/0", &[1]).await, Err(Failure::Timeout));
    assert_eq!(written.lock().unwrap().len(), 1, "nobody knows whether it acted: never twice");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let late = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&late);
    // The first answer waits until the question was given up, then says something else.
    let slave = Terminal::start(Arc::new(move |pdu: &[u8]| {
        if slow.swap(false, Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(250));
            return Some(vec![1, 4, 2, 0xde, 0xad]);
        }
        Some(vec![1, 4, 2, 0, pdu[3]])
    }));
    let mut client = Client::start(Settings { retries: 0, ..slave.settings() });
    assert_eq!(client.next().await, Event::Up);
    assert_eq!(client.read("1/input/5/1").await, Err(Failure::Timeout));
    // While the unit rests, its late answer arrives.
    let answer = loop {
        match client.read("1/input/9/1").await {
            Err(Failure::NotConnected) => tokio::time::sleep(Duration::from_millis(50)).await,
            answer => break answer,
        }
    };
    assert_eq!(answer.as_deref(), Ok(&[0, 9][..]));
}

#[tokio::test]
async fn a_cable_that_is_pulled_is_told_and_found_again() {
    let slave = Terminal::start(brain(Arc::default()));
    let mut client = Client::start(slave.settings());
    assert_eq!(client.next().await, Event::Up);
    let pulled = Instant::now();
    slave.pull();
    let Event::Down(why) = client.until(|event| matches!(event, Event::Down(_))).await else { panic!() };
    assert!(why.0.contains("was the cable pulled?"), "{why}");
    assert!(pulled.elapsed() < Duration::from_secs(5));
    assert_eq!(client.write("1/coil/0", &[1]).await, Err(Failure::NotConnected));
    slave.plug(brain(Arc::default()));
    client.until(|event| *event == Event::Up).await;
    assert!(client.read("1/input/0/1").await.is_ok());
}

/// A Modbus TCP slave; `hang` makes it swallow one request.
async fn tcp_slave(listener: tokio::net::TcpListener, brain: Brain) {
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

fn over_tcp(port: u16) -> Settings {
    let line = Line::Tcp { host: "127.0.0.1".into(), port };
    Settings { line, gap: Duration::ZERO, timeout: Duration::from_millis(200), retries: 0 }
}

#[tokio::test]
async fn the_same_over_tcp_and_a_connection_that_hangs_is_made_anew() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = Client::start(over_tcp(port));
    tokio::spawn(tcp_slave(listener, brain(Arc::default())));
    assert_eq!(client.next().await, Event::Up);
    assert_eq!(client.read("1/holding/16/2").await.as_deref(), Ok(&[0, 16, 0, 17][..]));
    assert_eq!(client.read("2/holding/16/2").await, Err(Failure::Timeout));
    assert_eq!(client.read("1/holding/1/1").await.as_deref(), Ok(&[0, 1][..]), "on a new connection");
    assert_eq!(client.write("1/coil/3", &[0]).await, Ok(()));
}

#[tokio::test]
async fn an_address_where_nothing_listens_is_told_in_words() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut client = Client::start(over_tcp(port));
    let Event::Down(why) = client.next().await else { panic!() };
    assert_eq!(
        why.0,
        format!(
            "modbus 127.0.0.1:{port}: connection refused – is Modbus TCP switched on there, is the port right?"
        )
    );
    assert_eq!(client.read("1/input/0/1").await, Err(Failure::NotConnected));
}

const SERVER: &str = r"
import asyncio, sys
from pymodbus import ModbusDeviceIdentification
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer
from pymodbus.simulator import SimData, SimDevice, DataType
device = SimDevice(id=1, simdata=(
    [SimData(0, count=16, values=False, datatype=DataType.BITS)],
    [SimData(0, count=16, values=True, datatype=DataType.BITS)],
    [SimData(0, count=64, values=7, datatype=DataType.REGISTERS)],
    [SimData(0, values=230.25, datatype=DataType.FLOAT32), SimData(2, count=62, values=0, datatype=DataType.REGISTERS)],
))
kind, where = sys.argv[1:]
if kind == 'tcp':
    asyncio.run(StartAsyncTcpServer(context=[device], address=('127.0.0.1', int(where))))
else:
    asyncio.run(StartAsyncSerialServer(context=[device], port=where, baudrate=9600))
";

/// `None`, with the reason on the terminal, where pymodbus is missing.
fn pymodbus(kind: &str, place: &str) -> Option<Killed> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let known = Command::new(&python)
        .args(["-c", "import serial; from pymodbus.simulator import SimData"])
        .stderr(Stdio::null())
        .status();
    if !known.is_ok_and(|status| status.success()) {
        eprintln!(
            "skipped: no pymodbus 3.12 or later (pip install pymodbus pyserial; PYTHON=/path/to/python)"
        );
        return None;
    }
    Some(Killed(Command::new(python).args(["-c", SERVER, kind, place]).spawn().unwrap()))
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn spoken_with(mut client: Client) {
    let first = loop {
        match client.read("1/input/0/2").await {
            Err(Failure::Timeout | Failure::NotConnected) => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            answer => break answer,
        }
    };
    assert_eq!(first.as_deref(), Ok(&230.25_f32.to_be_bytes()[..]));
    assert_eq!(client.read("1/holding/3/2").await.as_deref(), Ok(&[0, 7, 0, 7][..]));
    assert_eq!(client.read("1/discrete/0/3").await.as_deref(), Ok(&[1, 1, 1][..]));
    assert_eq!(client.write("1/coil/2", &[1]).await, Ok(()));
    assert_eq!(client.read("1/coil/0/4").await.as_deref(), Ok(&[0, 0, 1, 0][..]));
    assert_eq!(client.write("1/holding/4", &[0x12, 0x34, 0, 9]).await, Ok(()));
    assert_eq!(client.write("1/holding/6", &[0, 215]).await, Ok(()));
    let words = client.read("1/holding/3/4").await;
    assert_eq!(words.as_deref(), Ok(&[0, 7, 0x12, 0x34, 0, 9, 0, 215][..]));
    assert!(matches!(client.read("1/holding/900/1").await, Err(Failure::Refused(_))));
}

#[tokio::test]
async fn pymodbus_over_tcp() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(_server) = pymodbus("tcp", &port.to_string()) else { return };
    let mut client = Client::start(Settings { timeout: Duration::from_secs(1), ..over_tcp(port) });
    client.until(|event| *event == Event::Up).await;
    timeout(Duration::from_secs(20), spoken_with(client)).await.expect("within 20 s");
}

#[tokio::test]
async fn pymodbus_over_a_serial_line() {
    if Command::new("socat").arg("-V").output().is_err() {
        return eprintln!("skipped: no socat, which joins two terminals");
    }
    let folder = Terminal::folder();
    let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
    let pty = |path: &Path| format!("pty,raw,echo=0,link={}", path.display());
    let _cable = Killed(Command::new("socat").args([pty(&ours), pty(&theirs)]).spawn().unwrap());
    while !theirs.exists() || !ours.exists() {
        tokio::task::yield_now().await;
    }
    let Some(_server) = pymodbus("rtu", theirs.to_str().unwrap()) else { return };
    let mut client = Client::start(rtu(&ours));
    client.until(|event| *event == Event::Up).await;
    timeout(Duration::from_secs(20), spoken_with(client)).await.expect("within 20 s");
    let _ = fs::remove_dir_all(&folder);
}
