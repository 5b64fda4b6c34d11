//! Against a tree that obeys and refuses as the kernel does, and remembers how bright the output was.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::Direction;

/// Two chips; the second has one channel that the kernel itself uses.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    exported: BTreeMap<String, Pwm>,
    locked: HashSet<PathBuf>,
    forbidden: bool,
    straight: bool,
    /// Every share of the time at which the output was on, in percent, and what was written.
    shares: Vec<u64>,
    written: Vec<String>,
}

#[derive(Clone, Default)]
struct Pwm {
    period: u64,
    duty: u64,
    enabled: bool,
    inversed: bool,
}

struct Lock(Fake, PathBuf);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().locked.remove(&self.1);
    }
}

const ROOT: &str = "/sys/class/pwm";

impl Fake {
    fn left_as(period: u64, duty: u64, inversed: bool) -> Self {
        let fake = Self::default();
        let pwm = Pwm { period, duty, enabled: true, inversed };
        fake.0.lock().unwrap().exported.insert("pwmchip3/pwm1".to_owned(), pwm);
        fake
    }

    fn open(&self, line: &Line) -> Result<Channel<Self>, String> {
        let Direction::Pwm(settings) = line.direction else { panic!("no PWM") };
        Channel::open(self.clone(), Path::new(ROOT), line, &settings)
    }

    fn shares(&self) -> Vec<u64> {
        self.0.lock().unwrap().shares.clone()
    }

    fn written(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().written)
    }
}

fn below(path: &Path) -> String {
    path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned()
}

fn error(kind: io::ErrorKind) -> io::Result<()> {
    Err(kind.into())
}

impl Files for Fake {
    type Lock = Lock;

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        assert_eq!(folder, Path::new(ROOT));
        Ok(vec!["pwmchip0".into(), "pwmchip3".into()])
    }

    fn target(&self, link: &Path) -> io::Result<String> {
        Ok(if below(link).starts_with("pwmchip0") { "1f00098000.pwm" } else { "fe20c000.pwm" }.into())
    }

    fn read(&self, file: &Path) -> io::Result<String> {
        let path = below(file);
        let (folder, name) = path.rsplit_once('/').unwrap();
        if name == "npwm" {
            return Ok(if folder == "pwmchip0" { "1" } else { "2" }.into());
        }
        let state = self.0.lock().unwrap();
        let pwm = state.exported.get(folder).ok_or(io::ErrorKind::NotFound)?;
        Ok(match name {
            "period" => pwm.period.to_string(),
            "duty_cycle" => pwm.duty.to_string(),
            "enable" => u8::from(pwm.enabled).to_string(),
            _ => if pwm.inversed { "inversed" } else { "normal" }.to_owned(),
        })
    }

    fn write(&mut self, file: &Path, text: &str) -> io::Result<()> {
        let path = below(file);
        let (folder, name) = path.rsplit_once('/').unwrap();
        let mut state = self.0.lock().unwrap();
        if state.forbidden {
            return error(io::ErrorKind::PermissionDenied);
        }
        state.written.push(format!("{name}={text}"));
        if name == "export" {
            let key = format!("{folder}/pwm{text}");
            if folder == "pwmchip0" || state.exported.contains_key(&key) {
                return error(io::ErrorKind::ResourceBusy);
            }
            state.exported.insert(key, Pwm::default());
            return Ok(());
        }
        let straight = state.straight;
        let pwm = state.exported.get_mut(folder).ok_or(io::ErrorKind::NotFound)?;
        let number = || text.parse::<u64>().unwrap();
        match name {
            "period" if number() == 0 || number() < pwm.duty => return error(io::ErrorKind::InvalidInput),
            "period" => pwm.period = number(),
            "duty_cycle" if pwm.period == 0 || number() > pwm.period => {
                return error(io::ErrorKind::InvalidInput);
            }
            "duty_cycle" => pwm.duty = number(),
            "enable" if text == "1" && pwm.period == 0 => return error(io::ErrorKind::InvalidInput),
            "enable" => pwm.enabled = text == "1",
            "polarity" if pwm.enabled => return error(io::ErrorKind::ResourceBusy),
            "polarity" if straight && text == "inversed" => return error(io::ErrorKind::InvalidInput),
            "polarity" => pwm.inversed = text == "inversed",
            other => panic!("{other} is not the kernel's"),
        }
        let share = if pwm.enabled { 100 * pwm.duty / pwm.period } else { 0 };
        state.shares.push(share);
        Ok(())
    }

    fn lock(&self, file: &Path) -> io::Result<Lock> {
        let mut state = self.0.lock().unwrap();
        if !state.locked.insert(file.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        drop(state);
        Ok(Lock(self.clone(), file.to_owned()))
    }
}

fn lamp(pin: &str, initial: &str, active_low: bool) -> Line {
    let initial = Duty::parse(initial).unwrap();
    let settings = PwmSettings { period: Duration::from_millis(1), initial, at_exit: None };
    Line { name: "lamp".into(), pin: pin.into(), active_low, direction: Direction::Pwm(settings) }
}

fn refused(fake: &Fake, line: &Line) -> String {
    fake.open(line).err().unwrap()
}

#[test]
fn the_duty_is_set_before_the_output_is_enabled() {
    let fake = Fake::default();
    let mut lamp = fake.open(&lamp("fe20c000.pwm/1", "20", true)).unwrap();
    assert_eq!(
        fake.written(),
        ["export=1", "polarity=inversed", "period=1000000", "duty_cycle=200000", "enable=1"]
    );
    lamp.dim(Duty::parse("37.5").unwrap()).unwrap();
    assert_eq!(lamp.duty().unwrap().to_string(), "37.5");
    assert_eq!(fake.shares(), [0, 0, 0, 20, 37]);
}

#[test]
fn what_goes_on_already_is_taken_over_and_never_brighter_meanwhile() {
    for (period, duty) in [(500_000, 400_000), (4_000_000, 3_900_000), (1_000_000, 10_000), (1_000_001, 0)] {
        for initial in ["0", "20", "100"] {
            for inversed in [false, true] {
                let fake = Fake::left_as(period, duty, inversed);
                fake.open(&lamp("fe20c000.pwm/1", initial, false)).unwrap();
                let (before, due) = (100 * duty / period, initial.parse().unwrap());
                let brightest = fake.shares().into_iter().max().unwrap();
                assert!(brightest <= before.max(due), "{period} {duty} to {initial}: {:?}", fake.shares());
                assert_eq!(fake.shares().last(), Some(&due));
                let written = fake.written();
                assert!(!written.contains(&"export=1".to_owned()), "{written:?}");
                assert_eq!(
                    written.contains(&"enable=0".to_owned()),
                    inversed,
                    "dark for a moment to turn it"
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_had_is_said_in_words() {
    let fake = Fake::default();
    let words = |pin| refused(&fake, &lamp(pin, "0", false));
    assert_eq!(
        words("fe20c000.pwm"),
        "PWM fe20c000.pwm (lamp): write chip and channel, as in fe20c000.pwm/0"
    );
    let there = "no chip is called 3f20c000.pwm; there are: 1f00098000.pwm, fe20c000.pwm";
    assert!(words("3f20c000.pwm/0").contains(there));
    assert!(words("fe20c000.pwm/2").contains("has 2 channels, counted from 0"));
    assert!(words("1f00098000.pwm/0").contains("busy, the kernel itself uses it"));
    let held = fake.open(&lamp("fe20c000.pwm/0", "0", false)).unwrap();
    assert!(words("fe20c000.pwm/0").contains("busy, another program holds it"));
    drop(held);
    assert!(fake.open(&lamp("fe20c000.pwm/0", "0", false)).is_ok(), "let go with its lock");
    fake.0.lock().unwrap().forbidden = true;
    assert!(words("fe20c000.pwm/1").contains("60-sipliance.rules"));
    let fake = Fake::default();
    fake.0.lock().unwrap().straight = true;
    let told = refused(&fake, &lamp("fe20c000.pwm/0", "0", true));
    assert!(told.contains("a chip that cannot invert needs `active_low: false`"), "{told}");
}

/// The real files, where no chip is.
#[test]
fn an_empty_tree_says_how_to_get_a_chip() {
    let root = std::env::temp_dir().join(format!("sipliance-pwm-{}", std::process::id()));
    let line = lamp("fe20c000.pwm/0", "0", false);
    let Direction::Pwm(settings) = line.direction else { panic!("no PWM") };
    let open = || Channel::open(Sysfs, &root, &line, &settings).err().unwrap();
    assert!(open().contains("is `dtoverlay=pwm` in /boot/firmware/config.txt?"));

    // A tree of plain files: found by the name of the device, locked, and set.
    let (device, chip) = (root.join("devices/fe20c000.pwm"), root.join("pwmchip7"));
    std::fs::create_dir_all(&device).unwrap();
    std::fs::create_dir_all(chip.join("pwm0")).unwrap();
    std::os::unix::fs::symlink(&device, chip.join("device")).unwrap();
    for (file, text) in [
        ("npwm", "2\n"),
        ("pwm0/period", "0\n"),
        ("pwm0/duty_cycle", "0\n"),
        ("pwm0/enable", "0\n"),
        ("pwm0/polarity", "normal\n"),
    ] {
        std::fs::write(chip.join(file), text).unwrap();
    }
    let held = Channel::open(Sysfs, &root, &line, &settings).unwrap();
    assert!(open().contains("busy, another program holds it"));
    assert!(Sysfs.read(&chip.join("pwm0/period")).unwrap().starts_with("1000000"));
    drop(held);
    std::fs::remove_dir_all(&root).unwrap();
}
