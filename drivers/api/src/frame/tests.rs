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
