//! A gateway with a broker on which Home Assistant listens, and appliances on other links.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sipliance::config::home::{Profiles, from_text};
use sipliance::config::{Config, LinkId};
use sipliance::gateway::{Gateway, Input, Notice, Output, Status};
use sipliance::timer::Now;
use sipliance_driver::{Channel, Event, Failure, Op};

/// The broker.
pub const HOUSE: &str = "main";
pub const TREE: &str = "sipliance/home.example";

pub const HOME: &str = r#"
format: 1
house: {user: home, domain: home.example}
secrets: secrets.yaml
users:
  hass: {password: {secret: hass}}
  anna: {password: {secret: anna}}
mqtt:
  main: {host: 192.0.2.10, home_assistant: {devices: "*", as: hass}}
devices:
  relay:
    name: Relay
    room: Cellar
    profile: gpio-relay
    params: {pin: GPIO5}
  garage:
    name: Garage door
    profile: gpio-garage-door
    params: {relay: GPIO6, reed: GPIO13}
  bell:
    name: Doorbell
    profile: gpio-doorbell
    params: {pin: GPIO26}
  probe:
    name: Probe
    profile: w1-ds18b20
    params: {id: 28-01193a44fa5c}
  plug:
    name: Plug
    profile: tasmota-plug
    params: {topic: plug1}
  spare:
    name: Spare relay
    expose: false
    profile: gpio-relay
    params: {pin: GPIO7}
isolate: {who: [anna]}
access:
  - who: hass
    see: "*"
    do: "*"
"#;

/// The house with some changes.
pub fn house(changes: &[(&str, &str)]) -> Arc<Config> {
    let mut text = HOME.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the home file has no {from:?}");
        text = text.replacen(from, to, 1);
    }
    parse(&text)
}

/// What is wrong with a house of this text.
pub fn faults(text: &str) -> String {
    let (config, reports) = from_text(Path::new("home.yaml"), text, SECRETS, &Profiles::shipped());
    assert!(config.is_none(), "it must not be taken");
    reports.iter().flat_map(|report| &report.faults).map(|fault| format!("{fault:?}\n")).collect()
}

const SECRETS: &str = "hass: correct horse\nanna: battery staple\n";

/// A house of this text.
pub fn parse(text: &str) -> Arc<Config> {
    let (config, reports) = from_text(Path::new("home.yaml"), text, SECRETS, &Profiles::shipped());
    Arc::new(config.unwrap_or_else(|| panic!("{reports:#?}")))
}

/// How the broker takes what is published.
#[derive(Clone, Debug, PartialEq)]
pub enum Broker {
    Takes,
    /// It answers nothing until it is told to.
    Silent,
    Fails(Failure),
}

/// Something published.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub ms: u64,
    pub topic: String,
    pub payload: String,
    pub retained: bool,
}

pub struct Bench {
    pub gateway: Gateway,
    config: Arc<Config>,
    began: Instant,
    pub ms: u64,
    pub broker: Broker,
    pub told: Vec<Told>,
    waiting: Vec<Op>,
    /// What is watched on the broker.
    pub watched: Vec<String>,
    /// What reached the appliances, by link.
    pub driven: Vec<(String, Op)>,
    asked: Vec<(LinkId, Op)>,
    pub audit: Vec<Value>,
    pub notices: Vec<String>,
}

const WALL_MS: i64 = 1_790_000_000_000;

impl Bench {
    /// The broker is up, the appliances' links are not.
    pub fn new(seed: u8, config: Arc<Config>) -> Self {
        let began = Instant::now();
        let gateway = Gateway::new(config.clone(), [seed; 32], Now { mono: began, wall_ms: WALL_MS });
        let mut bench = Self {
            gateway,
            config,
            began,
            ms: 0,
            broker: Broker::Takes,
            told: Vec::new(),
            waiting: Vec::new(),
            watched: Vec::new(),
            driven: Vec::new(),
            asked: Vec::new(),
            audit: Vec::new(),
            notices: Vec::new(),
        };
        bench.drain();
        bench.event(HOUSE, Event::Up);
        bench
    }

    fn now(&self) -> Now {
        let wall_ms = WALL_MS + i64::try_from(self.ms).unwrap();
        Now { mono: self.began + Duration::from_millis(self.ms), wall_ms }
    }

    pub fn handle(&mut self, input: Input<'_>) {
        let now = self.now();
        self.gateway.handle(input, now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.gateway.poll() {
            match output {
                Output::Drive { link, op } => self.drive(link, op),
                Output::Audit { line, .. } => self.audit.push(serde_json::from_str(&line).unwrap()),
                Output::Tell(notice) => self.notices.push(match notice {
                    Notice::Trouble { link, why } => format!("{link}: {why}"),
                    other => format!("{other:?}"),
                }),
                _ => {}
            }
        }
    }

    fn drive(&mut self, link: LinkId, op: Op) {
        let name = self.config.links[link.0].name.clone();
        match &op {
            Op::Publish { channel, payload, retained, .. } => {
                assert_eq!(name, HOUSE, "only to the broker");
                let (topic, payload) = (channel.to_string(), String::from_utf8(payload.to_vec()).unwrap());
                self.told.push(Told { ms: self.ms, topic, payload, retained: *retained });
                match self.broker.clone() {
                    Broker::Takes => self.finish(link, &op, Ok(())),
                    Broker::Silent => self.waiting.push(op),
                    Broker::Fails(failure) => self.finish(link, &op, Err(failure)),
                }
            }
            Op::Watch { channel } if name == HOUSE => self.watched.push(channel.to_string()),
            Op::Watch { .. } => {}
            Op::Ask { .. } => self.asked.push((link, op)),
            Op::Write { channel, payload, .. } => {
                let event =
                    Event::Read { channel: channel.clone(), payload: payload.clone(), retained: false };
                self.finish(link, &op, Ok(()));
                self.driven.push((name.clone(), op));
                // A line is read back, as the kernel does.
                if name != HOUSE {
                    let now = self.now();
                    self.gateway.handle(Input::Driver { link, event }, now);
                }
            }
            Op::Pulse { .. } => {
                self.finish(link, &op, Ok(()));
                self.driven.push((name, op));
            }
        }
    }

    /// The end of an op is handled at once; what comes of it is drained by the loop that called.
    fn finish(&mut self, link: LinkId, op: &Op, result: Result<(), Failure>) {
        let (id, now) = (op.id().unwrap(), self.now());
        self.gateway.handle(Input::Driver { link, event: Event::Done { id, result } }, now);
    }

    /// The broker answers what it has not answered.
    pub fn finish_all(&mut self) {
        for op in std::mem::take(&mut self.waiting) {
            self.finish(self.link(HOUSE), &op, Ok(()));
            self.drain();
        }
    }

    /// A probe that was asked says this.
    pub fn answer_probe(&mut self, text: &'static str) {
        for (link, op) in std::mem::take(&mut self.asked) {
            let event = Event::Read { channel: op.channel().clone(), payload: text.into(), retained: false };
            self.handle(Input::Driver { link, event });
            self.finish(link, &op, Ok(()));
            self.drain();
        }
    }

    /// Runs for so many milliseconds.
    pub fn run(&mut self, ms: u64) {
        let until = self.ms + ms;
        while let Some(at) = self.gateway.next_deadline() {
            let at =
                u64::try_from(at.saturating_duration_since(self.began).as_micros().div_ceil(1000)).unwrap();
            if at > until {
                break;
            }
            self.ms = self.ms.max(at);
            self.handle(Input::Deadline);
        }
        self.ms = until;
    }

    fn link(&self, name: &str) -> LinkId {
        // The probe's link is named after its bus.
        let name = if name == "probe" { "w1" } else { name };
        LinkId(self.config.links.iter().position(|link| link.name == name).unwrap())
    }

    pub fn event(&mut self, link: &str, event: Event) {
        let link = self.link(link);
        self.handle(Input::Driver { link, event });
    }

    pub fn up(&mut self, link: &str) {
        self.event(link, Event::Up);
    }

    /// The broker comes back.
    pub fn up_again(&mut self) {
        self.up(HOUSE);
    }

    pub fn down(&mut self, link: &str) {
        self.event(link, Event::Down(sipliance_driver::Why::new("unplugged")));
    }

    /// Something comes from an appliance.
    pub fn read(&mut self, link: &str, channel: &str, payload: &'static str) {
        let channel = Channel::new(channel);
        self.event(link, Event::Read { channel, payload: payload.into(), retained: false });
    }

    /// Something comes over the broker.
    pub fn heard(&mut self, topic: &str, payload: &str, retained: bool) {
        let (channel, payload) = (Channel::new(topic), payload.as_bytes().to_vec().into());
        self.event(HOUSE, Event::Read { channel, payload, retained });
    }

    pub fn isolate(&mut self, device: &str, isolated: bool) {
        let now = self.now();
        self.gateway.isolate(Some(device), isolated, now).unwrap();
        self.handle(Input::Deadline);
    }

    pub fn reload(&mut self, config: Arc<Config>) {
        self.config = config.clone();
        self.handle(Input::Reload(config));
    }

    pub fn status(&self) -> Status {
        self.gateway.status(self.now())
    }

    /// The newest text on a topic.
    pub fn text(&self, topic: &str) -> String {
        let found = self.told.iter().rev().find(|told| told.topic == topic);
        found.unwrap_or_else(|| panic!("nothing on {topic}: {:#?}", self.told)).payload.clone()
    }

    /// The newest document on a topic.
    pub fn last(&self, topic: &str) -> Value {
        serde_json::from_str(&self.text(topic)).unwrap()
    }
}
