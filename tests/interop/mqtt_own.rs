//! What the gateway says of itself, who it is, and whom it believes.

use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Event, Exit, Failure, Op, OpId};
use sipliance_driver_mqtt::{Settings, Tls, Version};
use tokio::time::{Instant, timeout};

use super::mqtt_broker::{ANYBODY, Broker, Client, read};

const TOPIC: &str = "sipliance/gw/status";

/// Live words on the status topic, whoever sends them.
async fn status(observer: &mut Client) -> Bytes {
    loop {
        if let Event::Read { payload, retained: false, .. } = observer.next().await {
            return payload;
        }
    }
}

#[tokio::test]
async fn the_house_hears_whether_the_gateway_lives() {
    let Some(mut broker) = Broker::start(ANYBODY) else { return };
    for version in [Version::Three, Version::Five] {
        broker.version = version;
        let mut observer = Client::start(broker.settings("observer"), &[TOPIC]);
        observer.up().await;
        let mut first = Client::start(broker.settings("gw"), &["stat/#"]);
        first.up().await;
        assert_eq!(status(&mut observer).await, "online");
        assert_eq!(first.close().await, Exit::Closed);
        assert_eq!(status(&mut observer).await, "offline");
        let mut second = Client::start(broker.settings("gw"), &[]);
        second.up().await;
        assert_eq!(status(&mut observer).await, "online");
        second.task.abort(); // no goodbye: the last will speaks
        assert_eq!(status(&mut observer).await, "offline");
        let mut late = Client::start(broker.settings("late"), &[TOPIC]);
        late.up().await;
        assert_eq!(late.next().await, read(TOPIC, "offline", true));
    }
}

#[tokio::test]
async fn after_a_restart_of_the_broker_it_is_born_again_and_hears_again() {
    // The broker keeps sessions and retained messages on its disk.
    let options = "allow_anonymous true\npersistence true\npersistence_location FOLDER/\nautosave_interval 1";
    let Some(mut broker) = Broker::start(options) else { return };
    for version in [Version::Three, Version::Five] {
        broker.version = version;
        let mut gateway = Client::start(broker.settings("gw"), &["stat/#"]);
        gateway.up().await;
        for _ in 0..2 {
            broker.kill();
            gateway.down().await;
            broker.run();
            gateway.up().await;
            let mut late = Client::start(broker.settings("late"), &[TOPIC]);
            let online = read(TOPIC, "online", true);
            timeout(Duration::from_secs(30), late.until(|event| *event == online)).await.unwrap();
            broker.publish(&["-t", "stat/plug/POWER", "-m", "ON"], b"");
            gateway.until(|event| *event == read("stat/plug/POWER", "ON", false)).await;
            late.close().await;
        }
        gateway.close().await;
    }
}

#[tokio::test]
async fn without_a_status_topic_nothing_is_said() {
    let Some(broker) = Broker::start(ANYBODY) else { return };
    let mut observer = Client::start(Settings { status_topic: None, ..broker.settings("observer") }, &["#"]);
    observer.up().await;
    let mut silent = Client::start(Settings { status_topic: None, ..broker.settings("gw") }, &[]);
    silent.up().await;
    silent.write(1, "stat/mark", "here");
    assert_eq!(observer.next().await, read("stat/mark", "here", false));
    silent.close().await;
    let mut other = Client::start(broker.settings("other"), &[]);
    other.up().await;
    assert_eq!(observer.next().await, read("sipliance/other/status", "online", false));
}

#[tokio::test]
async fn two_clients_with_one_id_are_told_so_and_slow_down() {
    let Some(mut broker) = Broker::start(ANYBODY) else { return };
    for version in [Version::Three, Version::Five] {
        broker.version = version;
        let mut one = Client::start(broker.settings("gw"), &[]);
        let mut other = Client::start(broker.settings("gw"), &[]);
        let rival = |event: &Event| matches!(event, Event::Down(why) if why.0.contains("another client uses the id \"gw\""));
        let heard = async {
            tokio::select! {
                event = one.until(rival) => event,
                event = other.until(rival) => event,
            }
        };
        let Event::Down(why) = heard.await else { unreachable!() };
        assert!(why.0.contains("client_id:"), "{why}");
        // From now on it is quiet: whoever knows of the rival waits.
        let quiet = async {
            tokio::join!(one.until(|event| *event == Event::Up), other.until(|event| *event == Event::Up))
        };
        assert!(timeout(Duration::from_secs(5), quiet).await.is_err(), "{version:?}");
    }
}

#[tokio::test]
async fn what_is_told_is_kept_for_those_who_come_later_and_a_command_never_is() {
    let Some(mut broker) = Broker::start(ANYBODY) else { return };
    for (version, topic) in [(Version::Three, "three/state"), (Version::Five, "five/state")] {
        broker.version = version;
        let mut gateway = Client::start(broker.settings("gw"), &[]);
        gateway.up().await;
        let tell = |id, payload: &'static str| Op::Publish {
            id: OpId(id),
            channel: Channel::new(topic),
            payload: Bytes::from_static(payload.as_bytes()),
            retained: true,
        };
        gateway.link.ops.try_send(tell(1, "state")).unwrap();
        assert_eq!(gateway.done(1).await, Ok(()));
        gateway.write(2, &topic.replace("state", "set"), "ON");
        assert_eq!(gateway.done(2).await, Ok(()));
        let mut late = Client::start(broker.settings("late"), &[&topic.replace("state", "+")]);
        late.up().await;
        assert_eq!(late.next().await, read(topic, "state", true));
        gateway.link.ops.try_send(tell(3, "")).unwrap();
        assert_eq!(gateway.done(3).await, Ok(()));
        assert_eq!(late.next().await, read(topic, "", false), "and it can be taken back");
        late.close().await;
        gateway.close().await;
    }
}

#[tokio::test]
async fn a_broker_that_acknowledges_nothing_holds_thirty_two_writes_and_no_more() {
    let Some(broker) = Broker::start(ANYBODY) else { return };
    let mut client = Client::start(broker.settings("gw"), &[]);
    client.up().await;
    // Where stopping it takes the machine long, nothing is sent any more, which is right, and no use here.
    for _ in 0..5 {
        if sixty(&broker, &mut client).await {
            return;
        }
    }
    panic!("a broker that was heard a moment ago was sent nothing, five times");
}

/// Whether all of sixty commands were sent, or refused, to a broker that was stopped a moment ago.
async fn sixty(broker: &Broker, client: &mut Client) -> bool {
    // What was said before this one, the birth, is acknowledged with it.
    client.write(100, "cmnd/plug", "OFF");
    assert_eq!(client.done(100).await, Ok(()));
    broker.signal("-STOP");
    let began = Instant::now();
    (0..60).for_each(|id| client.write(id, "cmnd/plug", "ON"));
    let (mut busy, mut unknown, mut unsent) = (0, 0, 0);
    while busy + unknown + unsent < 60 {
        match client.next().await {
            Event::Done { result: Err(Failure::Busy), .. } => {
                busy += 1;
                assert!(began.elapsed() < super::HELD, "they are refused at once");
            }
            Event::Done { result: Err(Failure::Timeout | Failure::Broken), .. } => unknown += 1,
            Event::Done { result: Err(Failure::NotConnected), .. } => unsent += 1,
            Event::Down(_) => {}
            other => panic!("{other:?}"),
        }
    }
    broker.signal("-CONT");
    client.up().await;
    assert!(unknown <= 32 && unsent <= 32, "{unknown} {unsent}");
    assert!(unsent > 0 || (busy, unknown) == (28, 32), "{busy} {unknown}");
    unsent == 0
}

#[tokio::test]
async fn a_broker_that_is_down_does_not_disturb_another() {
    let (Some(mut one), Some(two)) = (Broker::start(ANYBODY), Broker::start(ANYBODY)) else { return };
    let mut first = Client::start(one.settings("gw"), &["stat/#"]);
    let mut second = Client::start(two.settings("gw"), &["stat/#"]);
    first.up().await;
    second.up().await;
    one.kill();
    first.down().await;
    let mut times = Vec::new();
    for id in 0..20 {
        second.write(id, "stat/plug", "ON");
        let began = Instant::now();
        assert_eq!(second.done(id).await, Ok(()));
        times.push(began.elapsed());
    }
    // The machine may be busy for a moment with something else; the other broker is down all the time.
    times.sort();
    assert!(times[10] < Duration::from_millis(500), "{times:?}");
    one.run();
    first.up().await;
}

/// `require` asks clients for a certificate; `cert` is the broker's own.
fn secured(cert: &str, require: bool) -> String {
    format!(
        "cafile FOLDER/ca.pem\ncertfile FOLDER/{cert}.pem\nkeyfile FOLDER/{cert}.key\n\
         require_certificate {require}\nallow_anonymous true"
    )
}

#[tokio::test]
async fn certificates_that_are_not_good_are_named_with_what_to_do() {
    let Some(broker) = Broker::start(&secured("broker", true)) else { return };
    let with = |cert: Option<&str>, version| {
        let file = |name: String| Some(broker.folder.join(name));
        let (cert, key) = match cert {
            Some(name) => (file(format!("{name}.pem")), file(format!("{name}.key"))),
            None => (None, None),
        };
        let tls = Some(Tls { ca: file("ca.pem".to_owned()), cert, key });
        Client::start(Settings { tls, version, ..broker.settings("gw") }, &[])
    };
    for version in [Version::Three, Version::Five] {
        let words = with(None, version).down().await;
        assert!(words.contains("client certificate") && words.contains("tls: {cert: …, key: …}"), "{words}");
        let words = with(Some("stranger"), version).down().await;
        assert!(words.contains("our client certificate") || words.contains("our certificate"), "{words}");
        assert!(words.contains("does it know"), "{words}");
        with(Some("gw"), version).up().await;
    }
    let Some(old) = Broker::start(&secured("expired", false)) else { return };
    let tls = Some(Tls { ca: Some(old.folder.join("ca.pem")), ..Tls::default() });
    let words = Client::start(Settings { tls, ..old.settings("gw") }, &[]).down().await;
    assert!(words.contains("has expired") && words.contains("renew it"), "{words}");
}

/// Discovery listens with the gateway's login, beside the gateway.
#[tokio::test]
async fn who_only_listens_leaves_no_trace() {
    let Some(mut broker) = Broker::start(ANYBODY) else { return };
    for version in [Version::Three, Version::Five] {
        broker.version = version;
        let mut watcher = Client::start(broker.settings("watcher"), &["#"]);
        watcher.up().await;
        let settings = Settings {
            listen_only: true,
            status_topic: Some("listener/status".into()),
            ..broker.settings("listener")
        };
        let mut listener = Client::start(settings.clone(), &["plug"]);
        listener.up().await;
        listener.write(1, "plug", "ON");
        let refused = listener.done(1).await;
        assert!(
            matches!(&refused, Err(Failure::Refused(why)) if why.contains("only listens")),
            "{refused:?}"
        );
        assert_eq!(listener.close().await, Exit::Closed);
        // One that is cut off has left no will either.
        let mut listener = Client::start(settings, &["plug"]);
        listener.up().await;
        listener.task.abort();
        let _ = listener.task.await;
        broker.publish(&["-t", "marker", "-m", "end"], b"");
        loop {
            match watcher.until(|event| matches!(event, Event::Read { .. })).await {
                Event::Read { channel, .. } if channel.as_str() == "marker" => break,
                Event::Read { channel, retained: false, .. } => {
                    assert!(
                        !channel.as_str().contains("listener") && channel.as_str() != "plug",
                        "{channel}"
                    );
                }
                _ => {}
            }
        }
        assert_eq!(watcher.close().await, Exit::Closed);
    }
}
