//! Read-outs of a played meter, in virtual time.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use tokio::io::{DuplexStream, ReadBuf, duplex};
use tokio::time::Instant;

use super::*;

/// One end of a cable, and the speeds that were set.
struct Cable {
    near: DuplexStream,
    speeds: Arc<Mutex<Vec<u32>>>,
}

impl AsyncRead for Cable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.near).poll_read(task, into)
    }
}

impl AsyncWrite for Cable {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.near).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        panic!("a flush blocks the thread")
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Wire for Cable {
    fn speed(&mut self, baud: u32) -> Result<(), Trouble> {
        self.speeds.lock().unwrap().push(baud);
        Ok(())
    }

    fn unsent(&self) -> usize {
        0
    }

    fn forget(&mut self) {
        let mut bytes = [0; 256];
        loop {
            let mut into = ReadBuf::new(&mut bytes);
            let poll = Pin::new(&mut self.near).poll_read(&mut Context::from_waker(Waker::noop()), &mut into);
            if poll.is_pending() || into.filled().is_empty() {
                return;
            }
        }
    }
}

/// How the meter behaves.
#[derive(Clone)]
struct Meter {
    identification: &'static str,
    /// Blocks, one after the other: the next for each NAK.
    blocks: Vec<Vec<u8>>,
    /// Everything it says is cut here, with a pause.
    cut: usize,
    echo: bool,
}

const DATA: &str = "F.F(00)\r\n0.0.0(12345678)\r\n1.8.0(001234.567*kWh)\r\n!\r\n";

fn framed(data: &str) -> Vec<u8> {
    let mut block = vec![STX];
    block.extend_from_slice(data.as_bytes());
    block.push(ETX);
    let sum = block[1..].iter().fold(0, |sum, byte| sum ^ byte);
    block.push(sum);
    block
}

fn damaged() -> Vec<u8> {
    let mut block = framed(DATA);
    block[30] ^= 0x04;
    block
}

impl Meter {
    fn new(identification: &'static str) -> Self {
        Self { identification, blocks: vec![framed(DATA)], cut: usize::MAX, echo: false }
    }

    async fn say(&self, far: &mut DuplexStream, bytes: &[u8]) {
        let (head, tail) = bytes.split_at(self.cut.min(bytes.len()));
        // Whoever has heard enough hangs up.
        let _ = far.write_all(head).await;
        if !tail.is_empty() {
            sleep(Duration::from_millis(900)).await;
            let _ = far.write_all(tail).await;
        }
    }

    async fn hear(&self, far: &mut DuplexStream, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        far.read_exact(&mut bytes).await.ok()?;
        if self.echo {
            far.write_all(&bytes).await.unwrap();
        }
        Some(bytes)
    }

    /// What it was told, with the time of each.
    async fn live(self, mut far: DuplexStream) -> Vec<(Instant, Vec<u8>)> {
        let mut told = Vec::new();
        let Some(sign_on) = self.hear(&mut far, 5).await else { return told };
        told.push((Instant::now(), sign_on));
        self.say(&mut far, self.identification.as_bytes()).await;
        let identified = Instant::now();
        if self.identification.as_bytes().get(4).is_some_and(u8::is_ascii_digit) {
            let Some(answer) = self.hear(&mut far, 6).await else { return told };
            assert!(identified.elapsed() >= PAUSE, "the meter was not ready");
            told.push((Instant::now(), answer));
        }
        for block in self.blocks.clone() {
            self.say(&mut far, &block).await;
            let Some(more) = self.hear(&mut far, 1).await else { break };
            told.push((Instant::now(), more));
        }
        let _ = far.read_u8().await;
        told
    }
}

fn settings(fixed: bool) -> Settings {
    Settings { path: "/dev/null".into(), baud: 300, format: "7E1".into(), fixed }
}

/// What came of it, what the meter was told, and the speeds.
async fn play(meter: Meter, fixed: bool) -> (Result<Bytes, Trouble>, Vec<Vec<u8>>, Vec<u32>) {
    let (near, far) = duplex(64 * 1024);
    let speeds = Arc::default();
    let mut cable = Cable { near, speeds: Arc::clone(&speeds) };
    let task = tokio::spawn(meter.live(far));
    let got = read_out(&mut cable, b"/?!\r\n", &settings(fixed)).await;
    drop(cable);
    let told = task.await.unwrap().into_iter().map(|(_, bytes)| bytes).collect();
    let speeds = speeds.lock().unwrap().clone();
    (got, told, speeds)
}

fn said(got: Result<Bytes, Trouble>) -> String {
    match got {
        Err(Trouble::Words(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_meter_is_read_at_the_speed_that_it_offers() {
    let (got, told, speeds) = play(Meter::new("/ABC5\\2METER\r\n"), false).await;
    assert_eq!(got.unwrap(), DATA);
    assert_eq!(told, [b"/?!\r\n".to_vec(), b"\x06050\r\n".to_vec()]);
    assert_eq!(speeds, [300, 9600]);
    let (got, told, speeds) = play(Meter::new("/ABC5METER\r\n"), true).await;
    assert_eq!(got.unwrap(), DATA);
    assert_eq!((told[1].as_slice(), speeds.as_slice()), (&b"\x06000\r\n"[..], &[300, 300][..]));
}

#[tokio::test(start_paused = true)]
async fn meters_that_wait_for_no_answer_are_given_none() {
    for (identification, fixed, want) in [
        ("/ABCzOLD\r\n", false, &[300][..]),
        ("/ABCDMETER\r\n", false, &[300, 4800]),
        ("/ABCDM\r\n", true, &[300]),
    ] {
        let (got, told, speeds) = play(Meter::new(identification), fixed).await;
        assert_eq!(got.unwrap(), DATA, "{identification}");
        assert_eq!((told.len(), speeds.as_slice()), (1, want), "{identification}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_split_and_a_head_that_echoes() {
    for cut in 0..=framed(DATA).len() {
        for echo in [false, true] {
            let meter = Meter { cut, echo, ..Meter::new("/ABC4METER\r\n") };
            assert_eq!(play(meter, false).await.0.unwrap(), DATA, "cut at {cut}, echo {echo}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn noise_before_the_identification_is_passed_over() {
    for identification in ["\0\x7f\x7f/ABC5METER\r\n", "/!/\r\n\n/ABC5METER\r\n", "/x/ABC5METER\r\n"] {
        let mut held = BytesMut::from(identification.as_bytes());
        let who = identification_of(&mut held);
        assert_eq!(who, Some(("/ABC5METER".to_owned(), b'5')), "{identification:?}");
    }
}

fn identification_of(held: &mut BytesMut) -> Option<(String, u8)> {
    identification(held).map(|who| (who.line, who.letter))
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_is_asked_for_again_and_not_for_ever() {
    let cut_off = framed(DATA)[..20].to_vec();
    let meter = Meter { blocks: vec![damaged(), cut_off, framed(DATA)], ..Meter::new("/ABC5METER\r\n") };
    let (got, told, _) = play(meter, false).await;
    assert_eq!(got.unwrap(), DATA);
    assert_eq!(told[2..], [vec![NAK], vec![NAK]]);
    let meter = Meter { blocks: vec![damaged(); 9], ..Meter::new("/ABC5METER\r\n") };
    let (got, told, _) = play(meter, false).await;
    assert!(said(got).contains("/ABC5METER sends damaged values"));
    assert_eq!(told.len(), 2 + NAKS as usize);
    // A meter of the older modes knows no NAK.
    let meter = Meter { blocks: vec![damaged(); 9], ..Meter::new("/ABCzOLD\r\n") };
    let (got, told, _) = play(meter, false).await;
    assert!(said(got).contains("damaged"));
    assert_eq!(told.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_and_noise_end_in_words_and_in_time() {
    let began = Instant::now();
    let (near, far) = duplex(64);
    let mut cable = Cable { near, speeds: Arc::default() };
    let got = read_out(&mut cable, b"/?!\r\n", &settings(false)).await;
    assert!(said(got).contains("no answer to the sign-on at 300 baud"));
    assert!(began.elapsed() < Duration::from_secs(3));
    drop(far);
    let gone = read_out(&mut cable, b"/?!\r\n", &settings(false)).await;
    assert!(matches!(gone, Err(Trouble::Lost(_))), "{gone:?}");
    for (identification, want) in [
        ("hello\r\n", "7 bytes came and no identification"),
        ("/ABC5METER", "10 bytes came and no identification"),
        ("/A5\r\n", "no identification"),
    ] {
        let meter = Meter { blocks: Vec::new(), ..Meter::new(identification) };
        let words = said(play(meter, false).await.0);
        assert!(words.contains(want), "{identification}: {words}");
    }
    let meter = Meter { blocks: vec![Vec::new()], ..Meter::new("/ABC5METER\r\n") };
    assert!(said(play(meter, false).await.0).contains("try `speed: fixed`"));
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_bounded() {
    let flood = "/".repeat(4000);
    let meter = Meter::new(Box::leak(flood.into_boxed_str()));
    assert!(said(play(meter, false).await.0).contains("nothing but noise"));
    let meter = Meter { blocks: vec![vec![STX; 2 * BLOCK]], ..Meter::new("/ABC5METER\r\n") };
    assert!(said(play(meter, false).await.0).contains("without an end"));
}

/// All that is found in a stream that comes in pieces.
fn found(bytes: &[u8], cuts: &[usize]) -> Vec<Found> {
    let (mut held, mut searched, mut all, mut from) = (BytesMut::new(), 0, Vec::new(), 0);
    for to in cuts.iter().map(|cut| (*cut).min(bytes.len())).chain([bytes.len()]) {
        if to < from {
            continue;
        }
        held.extend_from_slice(&bytes[from..to]);
        from = to;
        loop {
            match whole(&mut held, &mut searched) {
                Found::Starved => break,
                found => all.push(found),
            }
        }
    }
    all
}

proptest! {
    /// Whatever comes in whatever pieces: no panic, and the pieces make no difference.
    #[test]
    fn blocks_do_not_depend_on_how_they_arrive(
        bytes in proptest::collection::vec(prop_oneof![Just(STX), Just(ETX), Just(b'/'), any::<u8>()], 0..200),
        mut cuts in proptest::collection::vec(0_usize..200, 0..6),
    ) {
        cuts.sort_unstable();
        prop_assert_eq!(found(&bytes, &cuts), found(&bytes, &[]));
    }

    #[test]
    fn what_is_taken_for_an_identification_is_one(bytes in "[/A-Z0-9\r\n?!\u{0}]{0,60}") {
        let mut held = BytesMut::from(bytes.as_bytes());
        if let Some((line, letter)) = identification_of(&mut held) {
            prop_assert!(line.starts_with('/') && line.as_bytes()[4] == letter);
            prop_assert!(line.bytes().all(|byte| !byte.is_ascii_control()));
        }
    }
}
