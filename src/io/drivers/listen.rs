//! Listening to a broker for a while, for discovery: nothing is published there.

use std::time::Duration;

use sipliance_driver::{Channel, Event, Op, Port};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::config::MqttSettings;

/// Messages that may wait between the driver and us. What is stored comes all at once; beyond, the driver
/// keeps the newest message of a topic and counts the rest.
const WAITING: usize = 16 * 1024;

/// How long the broker may take to let us in and to take our filters.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens to `filters` for `time` and hands each message on: topic, payload. The time begins when the
/// broker has taken the filters.
///
/// # Errors
/// In words: the broker cannot be reached, or the connection broke. Filters that the broker refuses come
/// back as words, too.
pub async fn listen(
    settings: &MqttSettings,
    filters: &[String],
    time: Duration,
    mut heard: impl FnMut(&str, &[u8]),
) -> Result<Vec<String>, String> {
    let (ops_tx, ops) = mpsc::channel(filters.len().max(1));
    let (events, mut events_rx) = mpsc::channel(WAITING);
    for filter in filters {
        // There is room for all of them.
        let _ = ops_tx.try_send(Op::Watch { channel: Channel::new(filter) });
    }
    let mut driver = tokio::spawn(run(settings, Port { ops, events }));
    let mut refused = Vec::new();
    let mut until = Instant::now() + PATIENCE;
    let mut up = false;
    let result = loop {
        match timeout_at(until, events_rx.recv()).await {
            Ok(Some(Event::Up)) => (up, until) = (true, Instant::now() + time),
            Ok(Some(Event::Read { channel, payload, .. })) => heard(channel.as_str(), &payload),
            Ok(Some(Event::Unwatched { why, .. })) => refused.push(why.0),
            Ok(Some(Event::Down(why))) => break Err(why.0),
            Ok(Some(Event::Done { .. })) => {}
            Ok(None) => break Err("the connection ended".to_owned()),
            Err(_) if up => break Ok(()),
            Err(_) => break Err(format!("no answer in {} s", PATIENCE.as_secs())),
        }
    };
    // The driver says goodbye when its port closes.
    drop((ops_tx, events_rx));
    if tokio::time::timeout(Duration::from_secs(2), &mut driver).await.is_err() {
        driver.abort();
    }
    result.map(|()| refused)
}

#[cfg(feature = "mqtt")]
fn run(settings: &MqttSettings, port: Port) -> impl Future<Output = sipliance_driver::Exit> + use<> {
    let settings = sipliance_driver_mqtt::Settings { listen_only: true, ..super::start::mqtt(settings) };
    sipliance_driver_mqtt::run(settings, port)
}

#[cfg(not(feature = "mqtt"))]
fn run(_: &MqttSettings, port: Port) -> impl Future<Output = sipliance_driver::Exit> + use<> {
    super::start::absent(
        sipliance_driver::Why::new("this program was built without its mqtt driver (feature \"mqtt\")"),
        port,
    )
}
