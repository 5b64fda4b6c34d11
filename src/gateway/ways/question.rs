//! Small questions: an OPTIONS that goes no further than the server at the far end of a flow. Every answer
//! to it will do, and its Via says how we are seen there (RFC 3581).

use rand::Rng as _;

use crate::gateway::Gateway;
use crate::sip::dialog::via;
use crate::sip::registration;
use crate::sip::wire::{Message, Method, Writer};
use crate::sip::{FlowId, Hop, User};
use crate::timer::Now;

/// What a question of ours says besides its branch.
struct Question {
    hop: Hop,
    domain: String,
    /// In whose name: a registrar knows its accounts, and takes strangers for guessers of passwords.
    from: String,
    random: u64,
}

impl Question {
    fn write(&self, branch: &str) -> Vec<u8> {
        let Self { hop, domain, from, random } = self;
        let mut writer = Writer::request(Method::Options, &format!("sip:{domain}"));
        via(&mut writer, *hop, branch);
        writer.raw(b"Max-Forwards: 0\r\n");
        writer.field_fmt("From", format_args!("<{from}>;tag={:08x}", *random as u32));
        writer.field_fmt("To", format_args!("<sip:{domain}>"));
        writer.field_fmt("Call-ID", format_args!("{random:016x}"));
        writer.raw(b"CSeq: 1 OPTIONS\r\n");
        writer.finish()
    }
}

impl Gateway {
    /// Asks the far end of a way, and waits for an answer.
    pub(super) fn ask(&mut self, key: usize, now: Now) {
        let Some(question) = self.small_question(key) else { return };
        let (hop, user) = (question.hop, User::Ask(question.hop.flow));
        self.transactions.send(hop, Method::Options, user, now.mono, |branch| question.write(branch));
    }

    /// Asks once, and waits for whatever comes.
    pub(super) fn ask_once(&mut self, key: usize) {
        let Some(question) = self.small_question(key) else { return };
        let bytes = question.write(&format!("z9hG4bKp{:016x}", question.random));
        self.transactions.send_once(question.hop, bytes);
    }

    fn small_question(&mut self, key: usize) -> Option<Question> {
        let way = self.ways.get(key)?;
        let (hop, settings) = (way.hop?, &self.upstreams.get(way.upstream)?.settings);
        let domain = settings.domain.clone();
        let from = match settings.accounts.first() {
            Some(account) => format!("sip:{}@{domain}", account.user),
            None => format!("sip:{}", hop.local),
        };
        Some(Question { hop, domain, from, random: self.rng.random() })
    }

    /// A question was answered.
    pub(in crate::gateway) fn on_ask_answer(&mut self, flow: FlowId, answer: &Message<'_>, now: Now) {
        let Some(key) = self.flows.get(&flow).and_then(|flow| flow.upstream) else { return };
        let Some(way) = self.ways.get_mut(key) else { return };
        let Some(alive) = &mut way.alive else { return };
        let news = alive.on_answer(registration::seen(answer), &mut self.rng, now);
        way.answers = alive.answers();
        self.on_alive_news(key, news, now);
        self.notifier.resume(flow, now);
    }
}
