//! What watchers do besides subscribing: refreshes, questions, registrations, connections that break.

use super::{Crowd, GUEST};

impl Crowd {
    /// Refreshes a subscription; it is under way until it is answered and the NOTIFY has come.
    pub fn refresh(&mut self, nth: usize) {
        let before = std::mem::replace(&mut self.watchers[nth].refreshing, (true, true));
        self.busy += usize::from(before == (false, false));
        self.send_subscribe(nth, true);
    }

    /// Ends one subscription.
    pub fn unsubscribe(&mut self, nth: usize) {
        self.watchers[nth].expires = 0;
        self.send_subscribe(nth, true);
    }

    /// Whether that watcher has a subscription.
    pub fn is_watching(&self, nth: usize) -> bool {
        self.watchers[nth].watching
    }

    /// Asks by MESSAGE, first without a login, as a question must not be a copy; it is under way until the answer
    /// came as a MESSAGE.
    pub fn ask(&mut self, nth: usize, words: &str) {
        self.busy += 1;
        self.question = (nth, words.to_owned());
        self.ask_again(false);
    }

    pub(super) fn ask_again(&mut self, signed: bool) {
        let (uri, user, (nth, words)) = (self.uri(0), self.user.clone(), self.question.clone());
        let fields = format!(
            "From: <sip:{user}@{}>;tag=q{nth}\r\nTo: <{uri}>\r\nCall-ID: q{}-{nth}\r\nCSeq: {} MESSAGE\r\n",
            self.domain,
            self.run,
            1 + u8::from(signed)
        );
        self.send(GUEST, "MESSAGE", &uri, &fields, signed, Some(("text/plain", &words)));
    }

    /// Registers the user's phone once more.
    pub fn register(&mut self, nth: usize, signed: bool) {
        self.busy += usize::from(!signed || !self.fresh);
        self.registers += 1;
        let (user, domain, cseq) = (self.user.clone(), self.domain.clone(), self.registers);
        let contact = self.contact(0);
        let fields = format!(
            "From: <sip:{user}@{domain}>;tag=r{nth}\r\nTo: <sip:{user}@{domain}>\r\nCall-ID: r{run}-0\r\nCSeq: {cseq} REGISTER\r\nContact: <{contact}>\r\nExpires: 3600\r\n",
            run = self.run,
        );
        self.send(GUEST, "REGISTER", &format!("sip:{domain}"), &fields, signed, None);
    }

    /// Refreshes and requests that are under way.
    pub fn busy(&self) -> usize {
        self.busy
    }

    /// How many refreshes and requests were done to their end.
    pub fn take_done(&mut self) -> usize {
        std::mem::take(&mut self.refreshed)
    }

    /// Connections that ended by themselves.
    pub fn lost(&self) -> u64 {
        self.wire.lost()
    }

    /// A connection breaks and is made anew; those who are on it.
    pub fn reconnect(&mut self, nth: usize) -> Vec<usize> {
        if !self.wire.again(nth) {
            return Vec::new();
        }
        let count = self.wire.count();
        (nth % count..self.watchers.len()).step_by(count).filter(|nth| self.watchers[*nth].watching).collect()
    }
}
