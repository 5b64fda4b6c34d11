//! The Modbus driver against slaves that are made here.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod rig;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rig::{Client, SHORT, Terminal, brain, over_tcp, tcp_slave};
use sipliance_driver::{Event, Exit, Failure, pair};
use sipliance_driver_modbus::Settings;
use tokio::time::{Instant, timeout};

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
    assert_eq!(timeout(Duration::from_secs(10), client.task).await.unwrap().unwrap(), Exit::Closed);
}

#[tokio::test]
async fn a_dead_unit_holds_nobody_up_and_a_write_to_it_is_tried_once() {
    let written: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let slave = Terminal::start(brain(Arc::clone(&written)));
    let mut client = Client::start(Settings { timeout: SHORT, ..slave.settings() });
    assert_eq!(client.next().await, Event::Up);
    let heard = |count: usize| {
        let written = Arc::clone(&written);
        async move {
            while written.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let began = Instant::now();
    assert_eq!(client.read_in("2/input/0/1", SHORT).await, Err(Failure::Timeout));
    // It rests for 750 ms at least. A machine that needs longer for this finds it asked once more.
    let rests = began + 2 * SHORT + Duration::from_millis(750);
    let (mut asked, dead) = (2, Instant::now());
    for _ in 0..20 {
        match client.read_in("2/input/0/1", SHORT).await {
            Err(Failure::NotConnected) => {}
            end => {
                assert!(end == Err(Failure::Timeout) && Instant::now() >= rests, "it rests, and {end:?}");
                asked += 1;
            }
        }
        assert!(client.read("1/input/0/1").await.is_ok());
    }
    // Had each reading waited for the dead unit, or for its late answer, that alone were four seconds.
    assert!(dead.elapsed() < 20 * SHORT, "{:?}", dead.elapsed());
    heard(asked).await;
    assert_eq!(written.lock().unwrap().len(), asked, "a reading is tried again, and nothing while it rests");
    written.lock().unwrap().clear();
    assert_eq!(client.write("2/coil/0", &[1]).await, Err(Failure::Timeout));
    assert!(
        client.read("1/input/0/1").await.is_ok(),
        "the line goes on: whatever was sent to the dead unit is there"
    );
    assert_eq!(written.lock().unwrap().len(), 1, "nobody knows whether it acted: never twice");
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobodys() {
    let (given_up, waits) = channel();
    let (said, heard) = tokio::sync::oneshot::channel();
    let late = Mutex::new(Some((waits, said)));
    // The first answer waits until the question was given up, then says something else.
    let slave = Terminal::start(Arc::new(move |pdu: &[u8]| match late.lock().unwrap().take() {
        Some((waits, said)) => {
            waits.recv().unwrap();
            said.send(()).unwrap();
            Some(vec![1, 4, 2, 0xde, 0xad])
        }
        None => Some(vec![1, 4, 2, 0, pdu[3]]),
    }));
    let mut client = Client::start(Settings { retries: 0, ..slave.settings() });
    assert_eq!(client.next().await, Event::Up);
    assert_eq!(client.read_in("1/input/5/1", SHORT).await, Err(Failure::Timeout));
    // While the unit rests, its late answer arrives.
    given_up.send(()).unwrap();
    heard.await.unwrap();
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

#[tokio::test]
async fn the_same_over_tcp_and_a_connection_that_hangs_is_made_anew() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = Client::start(over_tcp(port));
    tokio::spawn(tcp_slave(listener, brain(Arc::default())));
    assert_eq!(client.next().await, Event::Up);
    assert_eq!(client.read("1/holding/16/2").await.as_deref(), Ok(&[0, 16, 0, 17][..]));
    assert_eq!(client.read_in("2/holding/16/2", SHORT).await, Err(Failure::Timeout));
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
