//! The Modbus driver against pymodbus, where it is installed (`pip install pymodbus pyserial`; PYTHON names
//! the interpreter).

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod rig;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rig::{Client, SHORT, Terminal, over_tcp, rtu};
use sipliance_driver::{Event, Failure};
use tokio::time::timeout;

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
    // It takes its time to start, and hears nothing of what was asked before.
    let first = loop {
        match client.read_in("1/input/0/2", 5 * SHORT).await {
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
    let mut client = Client::start(over_tcp(port));
    client.until(|event| *event == Event::Up).await;
    timeout(Duration::from_secs(60), spoken_with(client)).await.expect("within 60 s");
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
    timeout(Duration::from_secs(60), spoken_with(client)).await.expect("within 60 s");
    let _ = fs::remove_dir_all(&folder);
}
