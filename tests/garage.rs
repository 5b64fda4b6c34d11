//! The whole program on a real kernel's GPIO lines: `sipliance run` with a garage and a lamp, commanded
//! over SIP, killed, told to read its files again; and what the wires did, seen from outside. Says so and
//! passes where the kernel has no `gpio-sim`; `tests/gpio/run` runs it in a machine that has it.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../drivers/gpio/tests/kernel/sim.rs"]
#[allow(dead_code)]
mod sim;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sim::{SimChip, Step};

const HOME: &str = "format: 1
listen: [\"udp:127.0.0.1:5060\"]
secrets: secrets.yaml
users:
  anna: {password: {secret: anna}}
devices:
  garage: {profile: gpio-garage-door, params: {relay: GPIO17, reed: GPIO27}}
  lamp: {profile: gpio-relay, params: {pin: GPIO5}}
access:
  - who: anna
    see: \"*\"
    do: [lamp, garage.open, garage.close]
";

fn program() -> OsString {
    std::env::var_os("SIPLIANCE").unwrap_or_else(|| env!("CARGO_BIN_EXE_sipliance").into())
}

/// The board and the program at work on it. The pulls keep both relays off, as they should.
struct House {
    chip: SimChip,
    folder: PathBuf,
    running: Option<Child>,
}

impl House {
    fn new(name: &str) -> Option<Self> {
        let chip = SimChip::new(&["GPIO17", "GPIO27", "GPIO5"])?;
        chip.pull("GPIO17", true);
        chip.pull("GPIO5", true);
        let folder = std::env::temp_dir().join(format!("sipliance-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("home.yaml"), HOME).unwrap();
        let mut secrets = File::options();
        let mut secrets =
            secrets.write(true).create(true).mode(0o600).open(folder.join("secrets.yaml")).unwrap();
        secrets.write_all(b"anna: correct horse\n").unwrap();
        Some(Self { chip, folder, running: None })
    }

    /// Starts the program; it is ready when it knows its lines.
    fn start(&mut self) {
        let log = File::create(self.log()).unwrap();
        let mut run = Command::new(program());
        run.arg("run").arg("--config").arg(self.folder.join("home.yaml"));
        run.arg("--control").arg(self.folder.join("control.sock"));
        let child = run.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.running = Some(child);
        self.until("the lines are held", |house| house.says("GPIO of garage is up"));
        // The input's own pull is the profile's wish; now the contact closes against it: the door is shut.
        self.chip.pull("GPIO27", false);
        self.until("the door is known", |house| house.command("send", "garage", "status").contains("closed"));
        self.until("the lamp is known", |house| house.command("send", "lamp", "status").contains("off"));
    }

    fn says(&self, words: &str) -> bool {
        fs::read_to_string(self.log()).unwrap().contains(words)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is(self) {
            let log = || fs::read_to_string(self.log()).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(30), "waited for: {what}\n{}", log());
            sleep(Duration::from_millis(20));
        }
    }

    /// `sipliance do` or `send`, as a person would; what it prints.
    fn command(&self, verb: &str, device: &str, words: &str) -> String {
        let mut run = Command::new(program());
        run.args([
            verb,
            "--timeout",
            "8",
            "--server",
            "127.0.0.1:5060",
            &format!("sip:{device}@home.local"),
            words,
        ]);
        let out =
            run.env("SIPLIANCE_USER", "anna").env("SIPLIANCE_PASSWORD", "correct horse").output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }

    fn signal(&self, name: &str) {
        let pid = self.running.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Ends the program so, and waits for its end.
    fn end(&mut self, signal: &str) {
        self.signal(signal);
        self.running.take().unwrap().wait().unwrap();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_garage_moves_when_it_is_told_and_at_no_other_time() {
    let Some(mut house) = House::new("garage") else { return };
    let scope = house.chip.watch("GPIO17");
    house.start();
    assert!(house.command("do", "garage", "close").contains("not open"), "it is closed");
    assert!(house.chip.high("GPIO17"));

    // Somebody opens it; the door leaves its contact when the relay has let go.
    let told = std::thread::scope(|threads| {
        let told = threads.spawn(|| house.command("do", "garage", "open"));
        house.until("the relay pulls and lets go", |_| scope.changes() == 2);
        house.chip.pull("GPIO27", true);
        told.join().unwrap()
    });
    assert!(told.contains("open") && !told.contains("not"), "{told}");
    let told = house.command("do", "garage", "open");
    assert!(told.contains("not closed"), "said twice, it does nothing the second time: {told}");

    // The files are read again, and it ends in good order.
    house.signal("-HUP");
    house.until("the files are read again", |house| house.says("read again"));
    house.end("-TERM");
    let seen = scope.end();
    let [Step { high: true, .. }, on @ Step { high: false, .. }, off @ Step { high: true, .. }] = &seen[..]
    else {
        panic!("one pulse and nothing else: {seen:?}")
    };
    let (least, most) = (off.after.saturating_duration_since(on.by), off.by - on.after);
    println!("note: the garage's pulse of 500 ms lasted {} to {} ms", least.as_millis(), most.as_millis());
    assert!(most >= Duration::from_millis(500) && least < Duration::from_millis(1000) + on.still, "{seen:?}");
}

#[test]
fn a_lamp_stays_on_over_a_reload_and_off_after_a_death() {
    let Some(mut house) = House::new("lamp") else { return };
    let scope = house.chip.watch("GPIO5");
    house.start();
    assert!(house.command("do", "lamp", "on").contains("on"));
    assert!(!house.chip.high("GPIO5"), "low is on");
    house.signal("-HUP");
    house.until("the files are read again", |house| house.says("read again"));
    assert!(!house.chip.high("GPIO5"));
    house.end("-KILL");
    house.until("the kernel lets the line go", |house| house.chip.high("GPIO5"));
    println!(
        "note: after kill -9 the kernel let the line go and its pull decides: {}",
        level(house.chip.high("GPIO5"))
    );
    house.start();
    assert!(house.command("send", "lamp", "status").contains("off"));
    house.end("-TERM");
    assert_eq!(scope.levels(), [true, false, true], "on once, off once");
}

#[test]
fn a_death_in_a_pulse_lets_the_relay_go() {
    let Some(mut house) = House::new("death") else { return };
    house.start();
    let scope = house.chip.watch("GPIO17");
    std::thread::scope(|threads| {
        threads.spawn(|| house.command("do", "garage", "open"));
        house.until("the relay pulls", |_| scope.changes() == 1);
        house.signal("-KILL");
    });
    house.running.take().unwrap().wait().unwrap();
    house.until("the kernel lets the line go", |house| house.chip.high("GPIO17"));
    println!("note: kill -9 in a pulse: the relay is {}", level(house.chip.high("GPIO17")));
    assert!(house.chip.high("GPIO17"));
    house.start();
    sleep(Duration::from_secs(1));
    house.end("-TERM");
    assert_eq!(scope.levels(), [true, false, true], "the pulse is not made up for");
}

fn level(high: bool) -> &'static str {
    if high { "high, which is off" } else { "low, which is on" }
}
