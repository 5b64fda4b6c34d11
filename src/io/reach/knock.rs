//! Whether somebody is there, where nothing connects: of several ways by datagrams one may lead nowhere without a word
//! (an AAAA record and no IPv6), and a flow that nobody answers on would cost half a minute.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng as _;
use tokio::net::UdpSocket;

use crate::sip::dialog::via;
use crate::sip::wire::{Method, Writer};
use crate::sip::{FlowId, Hop, Transport};

/// How long an answer is waited for. A server that does not answer questions of strangers is taken after that,
/// as it stands in its order.
const ANSWER: Duration = Duration::from_secs(3);
/// When it is asked again, as a packet may be lost.
const AGAIN: Duration = Duration::from_millis(600);

/// Asks by an OPTIONS that goes no further than the server itself. Any answer will do, and silence proves nothing.
///
/// # Errors
/// Nobody listens there, or there is no way.
pub async fn answers(peer: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if peer.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(peer).await?;
    let question = question(socket.local_addr()?, peer, rand::rng().random());
    let heard = async {
        let mut buffer = [0; 64];
        loop {
            socket.send(&question).await?;
            // What comes, comes from there: the socket hears nobody else.
            if let Ok(heard) = tokio::time::timeout(AGAIN, socket.recv(&mut buffer)).await {
                return heard.map(drop);
            }
        }
    };
    tokio::time::timeout(ANSWER, heard).await.unwrap_or(Ok(()))
}

fn question(local: SocketAddr, peer: SocketAddr, random: u64) -> Vec<u8> {
    let hop = Hop { flow: FlowId(0), transport: Transport::Udp, local, peer };
    let mut writer = Writer::request(Method::Options, &format!("sip:{peer}"));
    via(&mut writer, hop, &format!("z9hG4bKk{random:016x}"));
    writer.raw(b"Max-Forwards: 0\r\n");
    writer.field_fmt("From", format_args!("<sip:anonymous@anonymous.invalid>;tag={:08x}", random as u32));
    writer.field_fmt("To", format_args!("<sip:{peer}>"));
    writer.field_fmt("Call-ID", format_args!("{random:016x}"));
    writer.raw(b"CSeq: 1 OPTIONS\r\n");
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_enough_and_a_refusal_is_told() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer = server.local_addr().unwrap();
        let serve = async {
            let mut buffer = [0; 2048];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            assert!(buffer[..length].starts_with(b"OPTIONS sip:127.0.0.1:"));
            server.send_to(b"SIP/2.0 483 Too Many Hops\r\n\r\n", from).await.unwrap();
        };
        let (answer, ()) = tokio::join!(answers(peer), serve);
        answer.unwrap();
        drop(server);
        assert_eq!(answers(peer).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        let [local, peer] = ["[2001:db8::7]:4000", "[2001:db8::1]:5060"].map(|it| it.parse().unwrap());
        let text = String::from_utf8(question(local, peer, 7)).unwrap();
        assert!(
            text.starts_with(
                "OPTIONS sip:[2001:db8::1]:5060 SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::7]:4000;"
            ),
            "{text}"
        );
        assert!(text.contains("To: <sip:[2001:db8::1]:5060>\r\n"), "{text}");
    }
}
