//! What units and lines do wrong: nothing of it becomes a value, and it costs nobody else more than its time.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod rig;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rig::{Client, Mouth, SHORT, Terminal, over_tcp, whole};
use sipliance_driver::{Event, Failure};
use sipliance_driver_modbus::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const NOW: Duration = Duration::ZERO;

/// The answers in their turn; the last one again and again.
fn turns(answers: Vec<Vec<(Duration, Vec<u8>)>>) -> Mouth {
    let turn = AtomicUsize::new(0);
    Arc::new(move |_| {
        let index = turn.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        answers[index].clone()
    })
}

fn right() -> Vec<u8> {
    whole(vec![1, 4, 4, 0x43, 0x66, 0x4c, 0xcd])
}

const VALUE: &[u8] = &[0x43, 0x66, 0x4c, 0xcd];

async fn client(slave: &Terminal, retries: u32) -> Client {
    let mut client = Client::start(Settings { retries, ..slave.settings() });
    assert_eq!(client.next().await, Event::Up);
    client
}

#[tokio::test]
async fn an_answer_may_come_in_pieces_cut_anywhere() {
    let frame = right();
    let pieces =
        |cut: usize| vec![(NOW, frame[..cut].to_vec()), (Duration::from_millis(3), frame[cut..].to_vec())];
    let slave = Terminal::speaking(turns((1..frame.len()).map(pieces).collect()));
    let mut client = client(&slave, 0).await;
    for cut in 1..frame.len() {
        assert_eq!(client.read("1/input/0/2").await.as_deref(), Ok(VALUE), "cut at {cut}");
    }
}

/// A wrong checksum, unit, function or length, noise, and nothing at all: each is repeated once, and the right
/// answer then counts.
#[tokio::test]
async fn what_is_no_answer_is_asked_again() {
    let mut damaged = right();
    damaged[4] ^= 1;
    let wrong = [
        damaged,
        whole(vec![9, 4, 4, 1, 2, 3, 4]),
        whole(vec![1, 3, 4, 1, 2, 3, 4]),
        whole(vec![1, 4, 2, 1, 2]),
        whole(vec![1, 4, 6, 1, 2, 3, 4, 5, 6]),
        vec![0xa5; 5000],
        right()[..5].to_vec(),
        Vec::new(),
    ];
    let mut all = JoinSet::new();
    for answer in wrong {
        all.spawn(async move {
            let slave = Terminal::speaking(turns(vec![vec![(NOW, answer.clone())], vec![(NOW, right())]]));
            let mut client = client(&slave, 1).await;
            let got = client.read_in("1/input/0/2", 10 * SHORT).await;
            assert_eq!(got.as_deref(), Ok(VALUE), "after {:?}", &answer[..answer.len().min(9)]);
        });
    }
    all.join_all().await;
}

/// Unit 5 answers after it was given up: that is not the answer of unit 1, and does not spoil it.
#[tokio::test]
async fn a_late_answer_of_one_unit_is_not_that_of_the_next() {
    let (given_up, waits) = channel();
    let waits = Mutex::new(waits);
    let slave = Terminal::speaking(Arc::new(move |pdu: &[u8]| match pdu[0] {
        5 => {
            waits.lock().unwrap().recv().unwrap();
            vec![(NOW, whole(vec![5, 4, 4, 9, 9, 9, 9]))]
        }
        _ => vec![(NOW, right())],
    }));
    let mut client = client(&slave, 0).await;
    let (patience, began) = (5 * SHORT, Instant::now());
    assert_eq!(client.read_in("5/input/0/2", patience).await, Err(Failure::Timeout));
    given_up.send(()).unwrap();
    let rest = client.read_in("5/input/0/2", patience).await;
    let rests = began + patience + Duration::from_millis(750);
    assert!(rest == Err(Failure::NotConnected) || Instant::now() >= rests, "it rests, and {rest:?}");
    assert_eq!(client.read("1/input/0/2").await.as_deref(), Ok(VALUE));
    let began = Instant::now();
    assert_eq!(client.read("1/input/0/2").await.as_deref(), Ok(VALUE));
    assert!(began.elapsed() < patience, "it is waited for once: {:?}", began.elapsed());
}

/// Two appliances may hang on one unit: the second must learn of its silence, too.
#[tokio::test]
async fn a_unit_that_was_silent_three_times_is_silent_for_all_who_ask() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let slave = Terminal::speaking(Arc::new(move |_: &[u8]| {
        count.fetch_add(1, Ordering::Relaxed);
        Vec::new()
    }));
    let mut client = client(&slave, 0).await;
    let mut ends = Vec::new();
    while asked.load(Ordering::Relaxed) < 3 {
        ends.push(client.read_in("5/input/0/2", SHORT).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ends.contains(&Err(Failure::NotConnected)), "it rests");
    for _ in 0..3 {
        assert_eq!(client.read_in("5/coil/0/1", SHORT).await, Err(Failure::Timeout));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3, "nothing was sent");
}

#[tokio::test]
async fn exceptions_are_told_in_words() {
    let slave = Terminal::start(Arc::new(|pdu: &[u8]| Some(vec![pdu[0], pdu[1] | 0x80, pdu[3]])));
    let mut client = client(&slave, 0).await;
    for (code, words) in [
        (1, "does not know this function"),
        (2, "has no such register or coil"),
        (3, "does not take this value or count"),
        (4, "failed to do it"),
        (5, "needs longer"),
        (6, "is busy"),
        (7, "will not do it"),
        (8, "has a fault in its memory"),
        (9, "refuses"),
    ] {
        let Err(Failure::Refused(got)) = client.read(&format!("1/input/{code}/1")).await else {
            panic!("{code}")
        };
        assert!(got.contains(words), "{got}");
        assert!(got.contains("unit 1 ") && got.contains(&format!("(exception {code})")), "{got}");
    }
    // Words of a gateway about a unit that is not there.
    for code in [10, 11] {
        assert_eq!(client.read_in(&format!("{code}/input/{code}/1"), SHORT).await, Err(Failure::Timeout));
    }
}

/// One request and what identifies it.
async fn asked(peer: &mut TcpStream) -> Option<[u8; 2]> {
    let mut request = [0; 12];
    peer.read_exact(&mut request).await.ok()?;
    Some([request[0], request[1]])
}

fn answer(transaction: [u8; 2], last: u8) -> Vec<u8> {
    [&transaction[..], &[0, 0, 0, 7, 1, 4, 4, 0x43, 0x66, 0x4c, last]].concat()
}

/// A slave that takes connections; what it does with each is the test's.
async fn listen() -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = over_tcp(listener.local_addr().unwrap().port());
    let client = Client::start(Settings { timeout: SHORT, ..settings });
    (listener, client)
}

#[tokio::test]
async fn a_slave_that_takes_the_connection_and_says_nothing_costs_one_timeout_each() {
    let (listener, mut client) = listen().await;
    let mut silent = Vec::new();
    silent.push(listener.accept().await.unwrap().0);
    assert_eq!(client.next().await, Event::Up);
    let began = Instant::now();
    assert_eq!(client.read_in("1/input/0/2", 5 * SHORT).await, Err(Failure::Timeout));
    assert!(began.elapsed() < 10 * SHORT, "one, not two: {:?}", began.elapsed());
    // A write is tried on a new connection, once, and its fate told.
    let write = client.write("1/coil/0", &[1]);
    let (write, second) = tokio::join!(write, listener.accept());
    assert_eq!(write, Err(Failure::Timeout));
    silent.push(second.unwrap().0);
    // The third connection works.
    let serve = async {
        let (mut peer, _) = listener.accept().await.unwrap();
        let transaction = asked(&mut peer).await.unwrap();
        let bytes = answer(transaction, 0xcd);
        for byte in bytes {
            peer.write_all(&[byte]).await.unwrap(); // in pieces of one
        }
        peer
    };
    let read = async {
        loop {
            match client.read("1/input/0/2").await {
                Err(Failure::NotConnected) => tokio::time::sleep(Duration::from_millis(50)).await,
                other => return other,
            }
        }
    };
    let (read, _peer) = timeout(Duration::from_secs(30), async { tokio::join!(read, serve) }).await.unwrap();
    assert_eq!(read.as_deref(), Ok(VALUE));
}

#[tokio::test]
async fn the_answer_of_an_earlier_transaction_is_none() {
    let (listener, mut client) = listen().await;
    tokio::spawn(async move {
        let (mut peer, _) = listener.accept().await.unwrap();
        let first = asked(&mut peer).await.unwrap();
        peer.write_all(&answer(first, 0xcd)).await.unwrap();
        let second = asked(&mut peer).await.unwrap();
        assert_ne!(first, second);
        peer.write_all(&answer(first, 0x00)).await.unwrap();
        let _ = asked(&mut peer).await;
    });
    assert_eq!(client.next().await, Event::Up);
    assert_eq!(client.read("1/input/0/2").await.as_deref(), Ok(VALUE));
    let second = client.read_in("1/input/0/2", 5 * SHORT).await;
    assert_eq!(second, Err(Failure::Timeout), "that was the first one's, again");
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_and_made_again() {
    let (listener, mut client) = listen().await;
    let (mut peer, _) = listener.accept().await.unwrap();
    assert_eq!(client.next().await, Event::Up);
    let (read, _) = tokio::join!(client.read("1/input/0/2"), async {
        asked(&mut peer).await.unwrap();
        drop(peer);
    });
    assert_eq!(read, Err(Failure::Broken));
    let Event::Down(why) = client.next().await else { panic!() };
    assert!(why.0.contains("the connection is lost"), "{why}");
    assert_eq!(client.write("1/coil/0", &[1]).await, Err(Failure::NotConnected), "nothing is kept for later");
    let (mut peer, _) = listener.accept().await.unwrap();
    client.until(|event| *event == Event::Up).await;
    let (read, _) = tokio::join!(client.read("1/input/0/2"), async {
        let transaction = asked(&mut peer).await.unwrap();
        peer.write_all(&answer(transaction, 0xcd)).await.unwrap();
    });
    assert_eq!(read.as_deref(), Ok(VALUE));
}
