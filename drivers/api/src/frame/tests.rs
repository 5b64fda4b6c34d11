use proptest::prelude::*;

use super::*;

fn framer(cut: Cut, max: usize, checksum: Option<Checksum>) -> Framer {
    Framer::new(Framing { cut, max, checksum, ..Framing::lines() })
}

fn ends(end: &[u8], max: usize, trim: &[u8]) -> Framer {
    let cut = Cut::End(end.to_vec());
    Framer::new(Framing { cut, max, trim: trim.to_vec(), ..Framing::lines() })
}

fn frames(framer: &mut Framer, bytes: &[u8]) -> Vec<Bytes> {
    framer.push(bytes);
    std::iter::from_fn(|| framer.frame()).collect()
}

const GAP: Duration = Duration::from_millis(20);

fn prefix() -> Framer {
    framer(Cut::Prefix { at: 1, size: 1, adds: 4, gap: GAP }, 32, Some(Checksum::Crc16Modbus))
}

/// `0x68 length … crc crc`
fn counted(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x68, body.len() as u8];
    bytes.extend_from_slice(body);
    let all = bytes.clone();
    Checksum::Crc16Modbus.append(&mut bytes, &all);
    bytes
}

#[test]
fn any_cut_gives_the_same_frames() {
    let stream = b"PWR=01\r\n:LAMP=812\r\n::ab:\r\n:";
    for cut in 0..stream.len() {
        let mut framer = ends(b"\r\n:", 16, b" ");
        let mut got = frames(&mut framer, &stream[..cut]);
        got.extend(frames(&mut framer, &stream[cut..]));
        assert_eq!(got, ["PWR=01", "LAMP=812", ":ab:"], "cut at {cut}");
    }
    let stream = [counted(b"abc"), counted(b""), counted(b"0123456789")].concat();
    for cut in 0..stream.len() {
        let mut framer = prefix();
        let mut got = frames(&mut framer, &stream[..cut]);
        got.extend(frames(&mut framer, &stream[cut..]));
        assert_eq!(got, [&b"\x68\x03abc"[..], b"\x68\x00", b"\x68\x0a0123456789"], "cut at {cut}");
        assert_eq!(framer.take_dropped(), 0);
    }
}

#[test]
fn trim_takes_both_sides_and_may_leave_nothing() {
    let mut framer = ends(b":", 16, b"\r\n");
    assert_eq!(frames(&mut framer, b"\r\nPWR=01\r:\r:a\rb:"), ["PWR=01", "", "a\rb"]);
}

#[test]
fn overlong_input_is_dropped_to_the_next_end_in_small_memory() {
    let mut framer = ends(b"\r", 8, b"");
    for _ in 0..256 {
        assert_eq!(frames(&mut framer, &[0xa5; 4096]), [""; 0]);
        assert!(framer.held.capacity() <= 16 * 1024, "{}", framer.held.capacity());
    }
    assert_eq!(frames(&mut framer, b"tail\rMV45\r123456789\rok\r"), ["MV45", "ok"]);
    assert_eq!(framer.take_dropped(), 2);
    assert_eq!(frames(&mut framer, b"12345678\r"), ["12345678"], "the longest frame passes");
}

#[test]
fn noise_before_a_frame_costs_no_frame_where_there_is_a_checksum() {
    for noise in [&b"\xff\xff\xff"[..], b"\x68", b"\x68\x03ab", b"\x00\x00\x00\x00\x00"] {
        let mut framer = prefix();
        let stream = [noise, &counted(b"abc"), &counted(b"de")].concat();
        assert_eq!(frames(&mut framer, &stream), [&b"\x68\x03abc"[..], b"\x68\x02de"], "{noise:?}");
        assert_eq!(framer.take_dropped(), 1, "{noise:?}");
    }
    let mut four = framer(Cut::Length { length: 4, gap: GAP }, 4, Some(Checksum::Sum8));
    assert_eq!(
        frames(&mut four, b"\x07\xa0\x01\x01\xa2\xa0\x01\x00\xa1"),
        [&b"\xa0\x01\x01"[..], b"\xa0\x01\x00"]
    );
}

#[test]
fn silence_ends_a_frame_or_drops_the_unfinished_one() {
    let mut silent = framer(Cut::Silence(GAP), 8, Some(Checksum::Xor8));
    assert_eq!(frames(&mut silent, b"ab\x03"), [""; 0]);
    assert!(silent.waits());
    assert_eq!(silent.silence().as_deref(), Some(&b"ab"[..]));
    assert_eq!(silent.silence(), None);
    assert_eq!(frames(&mut silent, &[7; 5000]), [""; 0]);
    assert!(silent.held.is_empty());
    assert_eq!((silent.silence(), silent.take_dropped()), (None, 1));

    let mut four = framer(Cut::Length { length: 4, gap: GAP }, 4, None);
    assert_eq!(frames(&mut four, b"abcde"), ["abcd"]);
    assert_eq!((four.silence(), four.take_dropped()), (None, 1));
    assert_eq!(frames(&mut four, b"wxyz"), ["wxyz"], "in step again");
}

#[test]
fn what_is_sent_can_be_read() {
    for (_, sum) in Checksum::WORDS {
        let framing = Framing { checksum: Some(sum), ..Framing::lines() };
        let mut out = BytesMut::new();
        framing.wrap(b"MV45", &mut out);
        assert_eq!(frames(&mut Framer::new(framing), &out), ["MV45"]);
    }
}

fn told(body: &str) -> String {
    format!("{body}{:04X}\r\n", telegram(body.as_bytes()))
}

#[test]
fn telegrams_are_checked_and_found_again_at_the_next_slash() {
    let (one, two) = ("/A\r\n\r\n1-0:1.7.0(00.473*kW)\r\n!", "/B\r\n\r\n1-0:1.7.0(00.474*kW)\r\n!");
    let stream =
        [&told(one)[5..], &told(one), "/A\r\n\r\n1-0:1.7", &told(two), "/X\r\n!0000\r\n", &told(one)]
            .concat();
    for cut in 0..stream.len() {
        let mut framer = framer(Cut::Telegram { checked: true }, 256, None);
        let mut got = frames(&mut framer, &stream.as_bytes()[..cut]);
        got.extend(frames(&mut framer, &stream.as_bytes()[cut..]));
        assert_eq!(got, [one, two, one], "cut at {cut}");
        assert_eq!(framer.take_dropped(), 2);
    }
    let mut old = framer(Cut::Telegram { checked: false }, 256, None);
    assert_eq!(
        frames(&mut old, b"/A\r\n1.7\r\n!\r\n/A\r\n!0000\r\n"),
        ["/A\r\n1.7\r\n!"],
        "a wrong CRC is wrong"
    );
    assert_eq!(frames(&mut old, &[b'x'; 5000]), [""; 0]);
    assert!(old.held.len() <= 256);
}

/// Every way to cut a stream.
fn cuts() -> impl Strategy<Value = Framing> {
    let cut = prop_oneof![
        Just(Cut::End(b"\r\n".to_vec())),
        (1_usize..12).prop_map(|length| Cut::Length { length, gap: GAP }),
        (0_usize..4, 1_usize..3, 0_usize..6).prop_map(|(at, size, adds)| Cut::Prefix {
            at,
            size,
            adds,
            gap: GAP
        }),
        Just(Cut::Silence(GAP)),
        any::<bool>().prop_map(|checked| Cut::Telegram { checked }),
    ];
    let sum = proptest::option::of((0..Checksum::WORDS.len()).prop_map(|index| Checksum::WORDS[index].1));
    (cut, sum).prop_map(|(cut, checksum)| Framing { cut, checksum, max: 300, ..Framing::lines() })
}

/// Bytes among which all that has a meaning somewhere is frequent.
fn bytes(size: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(
        prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'/'), Just(b'!'), Just(2), any::<u8>()],
        size,
    )
}

proptest! {
    /// The same frames, in whatever pieces they come, and the same number of what is none.
    #[test]
    fn pieces_make_no_difference(framing in cuts(), stream in bytes(0..250), mut at in proptest::collection::vec(0_usize..250, 0..8)) {
        let mut whole = Framer::new(framing.clone());
        let mut all = frames(&mut whole, &stream);
        all.extend(whole.silence());
        let mut framer = Framer::new(framing);
        let (mut got, mut from) = (Vec::new(), 0);
        at.sort_unstable();
        for to in at.into_iter().map(|at| at.min(stream.len())).chain([stream.len()]) {
            got.extend(frames(&mut framer, &stream[from..to]));
            from = to;
        }
        got.extend(framer.silence());
        prop_assert_eq!(got, all);
        prop_assert_eq!(framer.take_dropped(), whole.take_dropped());
    }

    /// However much comes: no frame is too long, and what is held is bounded.
    #[test]
    fn a_flood_is_held_in_small_memory(framing in cuts(), part in bytes(1..64)) {
        let (max, mut framer) = (framing.max, Framer::new(framing));
        for _ in 0..200 {
            for frame in frames(&mut framer, &part) {
                prop_assert!(frame.len() <= max, "{}", frame.len());
            }
            prop_assert!(framer.held.len() <= max + part.len() + 2, "{}", framer.held.len());
        }
    }

    #[test]
    fn what_is_wrapped_is_found_again(body in proptest::collection::vec(any::<u8>(), 0..60), index in 0..Checksum::WORDS.len()) {
        let framing = Framing {
            cut: Cut::Silence(GAP),
            checksum: Some(Checksum::WORDS[index].1),
            send_end: Vec::new(),
            ..Framing::lines()
        };
        let mut out = BytesMut::new();
        framing.wrap(&body, &mut out);
        let mut framer = Framer::new(framing);
        framer.push(&out);
        prop_assert_eq!(framer.silence(), Some(Bytes::from(body)));
    }
}
