//! One request of a client outside a dialog, from the first packet to its final response: MESSAGE
//! (RFC 3428), DO, OPTIONS.

use std::time::Instant;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::Hop;
use super::challenge::{Challenges, Login, Refused};
use super::dialog::{preloaded, via};
use super::transaction::Transactions;
use super::wire::{Message, Method, Start, Uri, Writer};

/// What is asked of whom.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method<'static>,
    /// Request-URI.
    pub target: String,
    /// Our own address.
    pub from: String,
    /// The service route of our registration there (RFC 3608), value by value.
    pub route: Vec<String>,
    /// Header fields of the method's own, whole.
    pub fields: &'static str,
    /// Media type and bytes.
    pub body: Option<(&'static str, Vec<u8>)>,
}

/// What a response means for an [`Exchange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Provisional, or somebody else's, or a challenge that was answered.
    Wait,
    /// This is the final response.
    Final,
    /// A challenge that is not answered (again).
    Refused(Refused),
}

/// See the module.
#[derive(Debug)]
pub struct Exchange {
    request: Request,
    challenges: Challenges,
    call_id: String,
    tag: String,
    cseq: u32,
    rng: ChaCha8Rng,
}

impl Exchange {
    /// An exchange that has not begun.
    pub fn new(request: Request, login: Login, mut rng: ChaCha8Rng) -> Self {
        Self {
            request,
            challenges: Challenges::new(login),
            call_id: format!("{:032x}", rng.random::<u128>()),
            tag: format!("{:016x}", rng.random::<u64>()),
            cseq: 0,
            rng,
        }
    }

    /// An exchange of a request that must not act twice: when the server forgets that the password was
    /// given, the end is [`Refused::Again`] and nothing is repeated.
    pub fn acting(request: Request, login: Login, rng: ChaCha8Rng) -> Self {
        let challenges = Challenges::once(login.clone());
        Self { challenges, ..Self::new(request, login, rng) }
    }

    /// Its Call-ID.
    pub fn call_id(&self) -> &[u8] {
        self.call_id.as_bytes()
    }

    /// Sends the request.
    pub fn send<U: Copy>(&mut self, transactions: &mut Transactions<U>, user: U, hop: Hop, now: Instant) {
        self.cseq += 1;
        let Request { method, target, from, route, fields, body } = &self.request;
        let credentials = self.challenges.fields(method.as_str(), target, &mut self.rng);
        let (call_id, tag, cseq) = (&self.call_id, &self.tag, self.cseq);
        transactions.send(hop, *method, user, now, |branch| {
            let mut writer = Writer::request(*method, target);
            via(&mut writer, hop, branch);
            writer.raw(b"Max-Forwards: 70\r\n");
            preloaded(&mut writer, route);
            writer.field_fmt("From", format_args!("<{from}>;tag={tag}"));
            writer.field("To", &["<", &address_of(target), ">"]);
            writer.field("Call-ID", &[call_id]);
            writer.field_fmt("CSeq", format_args!("{cseq} {}", method.as_str()));
            writer.raw(fields.as_bytes()).raw(credentials.as_bytes());
            match body {
                Some((kind, bytes)) => writer.body(kind, bytes),
                None => writer.finish(),
            }
        });
    }

    /// A response that the transactions gave to us; a challenge is answered.
    pub fn on_response<U: Copy>(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<U>,
        user: U,
        hop: Hop,
        now: Instant,
    ) -> Progress {
        let Start::Response { status, .. } = response.start else { return Progress::Wait };
        let ours = response.call_id() == Some(self.call_id.as_bytes())
            && response.cseq().is_some_and(|cseq| cseq.number == self.cseq);
        match status {
            _ if !ours => Progress::Wait,
            ..200 => Progress::Wait,
            401 | 407 => match self.challenges.on_challenge(response) {
                Ok(()) => {
                    self.send(transactions, user, hop, now);
                    Progress::Wait
                }
                Err(refused) => Progress::Refused(refused),
            },
            _ => Progress::Final,
        }
    }
}

/// A URI without its parameters, for To and From.
pub(super) fn address_of(uri: &str) -> String {
    Uri::parse(uri).map_or_else(|_| uri.to_owned(), |uri| uri.address().into_owned())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::super::{FlowId, Transport};
    use super::*;

    #[test]
    fn a_message_is_challenged_once_and_refused_the_second_time() {
        let now = Instant::now();
        let address = |text: &str| text.parse().unwrap();
        let hop = Hop {
            flow: FlowId(1),
            transport: Transport::Udp,
            local: address("127.0.0.1:4000"),
            peer: address("127.0.0.2:5060"),
        };
        let mut transactions = Transactions::new(ChaCha8Rng::seed_from_u64(7));
        let request = Request {
            method: Method::Message,
            target: "sip:plug@127.0.0.2;transport=udp".to_owned(),
            from: "sip:anna@127.0.0.2".to_owned(),
            route: Vec::new(),
            fields: "",
            body: Some(("text/plain", b"on".to_vec())),
        };
        let login = Login { user: "anna".to_owned(), password: Some("secret".into()), realm: None };
        let mut exchange = Exchange::new(request, login, ChaCha8Rng::seed_from_u64(8));
        exchange.send(&mut transactions, (), hop, now);
        let first = transactions.poll_transmit().unwrap().bytes;
        let text = String::from_utf8(first.to_vec()).unwrap();
        let via = text.lines().nth(1).unwrap();
        assert!(via.starts_with("Via: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bK") && via.ends_with(";rport"));
        let rest: Vec<&str> =
            text.lines().enumerate().filter(|(nth, _)| *nth != 1).map(|(_, line)| line).collect();
        assert_eq!(rest[0], "MESSAGE sip:plug@127.0.0.2;transport=udp SIP/2.0");
        assert_eq!(rest[1], "Max-Forwards: 70");
        assert!(rest[2].starts_with("From: <sip:anna@127.0.0.2>;tag="));
        assert_eq!(rest[3], "To: <sip:plug@127.0.0.2>");
        assert_eq!(rest[5..], ["CSeq: 1 MESSAGE", "Content-Type: text/plain", "Content-Length: 2", "", "on"]);

        let mut challenge = |sent: &[u8]| {
            let sent = Message::parse(sent).unwrap();
            let mut writer = super::super::wire::write::response(&sent, 401, "Unauthorized", Some("t"), None);
            writer.field("WWW-Authenticate", &["Digest realm=\"h\", nonce=\"n\", qop=\"auth\""]);
            let raw = writer.finish();
            let response = Message::parse(&raw).unwrap();
            assert_eq!(transactions.on_response(&response, now), Some(()));
            let progress = exchange.on_response(&response, &mut transactions, (), hop, now);
            (progress, transactions.poll_transmit())
        };
        let (progress, second) = challenge(&first);
        assert_eq!(progress, Progress::Wait);
        let second = second.unwrap().bytes;
        let text = String::from_utf8(second.to_vec()).unwrap();
        assert!(text.contains("CSeq: 2 MESSAGE\r\nAuthorization: Digest username=\"anna\""), "{text}");
        assert_eq!(challenge(&second).0, Progress::Refused(Refused::Wrong));
    }
}
