//! A pseudo terminal that is plugged and pulled like a USB adapter.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sipliance_driver::{Event, Link};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A port with a stable path, as udev makes it, and the appliance's end of the cable.
pub struct Cable {
    pub path: PathBuf,
    folder: PathBuf,
    pub appliance: Option<File>,
    /// What the gateway sent.
    heard: Option<mpsc::UnboundedReceiver<u8>>,
}

/// Opening a terminal pair is several calls; tests run side by side.
static MAKING: Mutex<()> = Mutex::new(());

impl Cable {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sipliance-serial-{}-{n}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut cable = Self { path: folder.join("port"), folder, appliance: None, heard: None };
        cable.plug();
        cable
    }

    pub fn plug(&mut self) {
        let _making = MAKING.lock();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        symlink(name.to_str().unwrap(), &self.path).unwrap();
        let appliance = File::from(master);
        let (tx, rx) = mpsc::unbounded_channel();
        let mut ears = appliance.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut byte = [0];
            while !tx.is_closed() {
                // A hang-up means that nobody has opened the port yet, or that it was closed.
                let mut ready = [PollFd::new(&ears, PollFlags::IN)];
                let within = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                let _ = poll(&mut ready, Some(&within));
                if ready[0].revents().contains(PollFlags::IN) && ears.read(&mut byte).is_ok_and(|n| n == 1) {
                    let _ = tx.send(byte[0]);
                }
            }
        });
        (self.appliance, self.heard) = (Some(appliance), Some(rx));
    }

    /// Takes the adapter out: the path goes, and the terminal hangs up.
    pub fn pull(&mut self) {
        let _ = fs::remove_file(&self.path);
        (self.appliance, self.heard) = (None, None);
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.appliance.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub async fn hear(&mut self, wanted: &str) {
        let mut heard = Vec::new();
        while !heard.ends_with(wanted.as_bytes()) {
            let byte = timeout(Duration::from_secs(30), self.heard.as_mut().unwrap().recv()).await;
            heard.push(
                byte.unwrap_or_else(|_| panic!("heard only {:?}", String::from_utf8_lossy(&heard))).unwrap(),
            );
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub async fn next(link: &mut Link) -> Event {
    timeout(Duration::from_secs(30), link.events.recv()).await.expect("no event in 30 s").unwrap()
}

pub async fn down(link: &mut Link) -> String {
    loop {
        if let Event::Down(why) = next(link).await {
            return why.0;
        }
    }
}
