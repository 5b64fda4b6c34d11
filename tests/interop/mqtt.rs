//! The MQTT driver against a real mosquitto, on a port of its own. Says so and passes where no
//! mosquitto is installed.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod mqtt_broker;
mod mqtt_own;

use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::conformance::{self, Rig};
use sipliance_driver::{Channel, Event, Exit, Failure, Link, pair};
use sipliance_driver_mqtt::{Settings, Tls, Version, run};
use tokio::time::{Instant, timeout_at};

use mqtt_broker::{ANYBODY, Broker, Client, read};

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

    fn publishes(&self) -> bool {
        true
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

/// How long a command waits for a sign of life of the broker; then it was not sent.
const HELD: Duration = Duration::from_secs(3);

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
    assert!(asked.elapsed() < HELD, "it waited for the broker: {:?}", asked.elapsed());
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
    // Where stopping it takes the machine long, a command is not sent any more, which is right, and no use here.
    for _ in 0..5 {
        if left_in_time(&broker, &mut client).await == Err(Failure::Timeout) {
            return;
        }
    }
    panic!("a broker that was heard a moment ago was sent nothing, five times");
}

/// How a command to a broker ended that was stopped: sent when it was heard a moment ago, not sent otherwise.
async fn left_in_time(broker: &Broker, client: &mut Client) -> Result<(), Failure> {
    // Its acknowledgement comes after that of our status: then nothing else is under way.
    client.write(1, "cmnd/plug", "OFF");
    assert_eq!(client.done(1).await, Ok(()));
    broker.signal("-STOP");
    let asked = Instant::now();
    client.write(2, "cmnd/plug", "ON");
    let result = client.done(2).await;
    let took = asked.elapsed();
    let words = client.down().await;
    let left = asked.elapsed();
    broker.signal("-CONT");
    let least = match result {
        Err(Failure::Timeout) => Duration::from_secs(5),
        Err(Failure::NotConnected) => HELD,
        other => panic!("{other:?}"),
    };
    // A person has an answer after eight seconds, whatever happens.
    assert!(took >= least && took < Duration::from_secs(8), "{took:?}");
    assert!(left < Duration::from_secs(8), "{left:?}");
    assert!(words.contains("no answer in 5 s"), "{words}");
    client.up().await;
    result
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
    let until = Instant::now() + Duration::from_secs(60);
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
