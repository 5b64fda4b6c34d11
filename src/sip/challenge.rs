//! The client's side of 401 and 407 (RFC 3261 §22): what was asked, and how often it was answered.
//!
//! A challenge is answered once per realm and request; up to three times more when the server says
//! that only the nonce was old. Answered challenges are remembered, so that the next request brings
//! its credentials along with a rising count.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use secrecy::{ExposeSecret as _, SecretString};

use super::auth;
use super::wire::{Message, Name, Start, Writer};

/// Realms that are answered in one request: the server's own and those of proxies before it. When
/// there are more, the oldest is forgotten and the request fails at that one.
const REALMS: usize = 4;
/// Further answers to one realm in one request, when only the nonce was old.
const STALE: u8 = 3;
/// Answers in one request, to whomever.
const ANSWERS: u8 = 8;

/// User name and password.
#[derive(Clone, Debug)]
pub struct Login {
    /// Digest user name.
    pub user: String,
    /// Password; `None` when nobody gave one.
    pub password: Option<SecretString>,
    /// The realm that the password is for; `None`: whoever is asked may ask for it. Behind a provider
    /// somebody else may challenge, and could guess at the answer.
    pub realm: Option<String>,
}

/// Why a challenge is not answered (again).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The server asks for a password and there is none.
    #[error("the server asks for a password, and none was given")]
    NoPassword,
    /// The answer was right in form and the server refuses it.
    #[error("wrong user or password")]
    Wrong,
    /// It was answered, and is asked for again. What the request was to do may be done: a server that
    /// started anew in between forgot both.
    #[error("the server asks for the password again")]
    Again,
    /// The password is for another realm.
    #[error("somebody behind the server asks for a password of their own, and none was given")]
    Foreign,
    /// No challenge is of a kind that is known.
    #[error("the server asks for a kind of login that is not supported")]
    Unsupported,
}

/// See the module.
#[derive(Debug)]
pub struct Challenges {
    login: Login,
    realms: Vec<Realm>,
    /// Nothing is answered twice, however old the nonce.
    once: bool,
    /// The server itself has one realm: only proxies before it may have others.
    sole: bool,
    /// Challenges of this request that were answered.
    answered: u8,
}

#[derive(Debug)]
struct Realm {
    name: String,
    /// The challenge as a response with nothing else in it.
    challenge: Vec<u8>,
    /// How often its nonce was used.
    count: u32,
    /// How often this request was challenged by it.
    asked: u8,
    /// It is that of a proxy (407).
    proxy: bool,
}

impl Challenges {
    /// Nobody has asked for anything yet.
    pub fn new(login: Login) -> Self {
        Self { login, realms: Vec::new(), once: false, sole: false, answered: 0 }
    }

    /// For a request that must not act twice: the second challenge of a realm is [`Refused::Again`].
    pub fn once(login: Login) -> Self {
        Self { once: true, ..Self::new(login) }
    }

    /// For a REGISTER: a registrar that asks anew under another name does not know the password.
    pub fn registering(login: Login) -> Self {
        Self { sole: true, ..Self::new(login) }
    }

    /// The realm that asked last.
    pub fn realm(&self) -> Option<&str> {
        self.realms.last().map(|realm| realm.name.as_str())
    }

    /// Nobody has asked for anything yet.
    pub fn forget(&mut self) {
        (self.realms, self.answered) = (Vec::new(), 0);
    }

    /// A new request begins: each realm may ask again.
    pub fn begin(&mut self) {
        self.answered = 0;
        for realm in &mut self.realms {
            realm.asked = 0;
        }
    }

    /// Takes a 401 or 407. `Ok`: send the request again with [`Challenges::fields`].
    ///
    /// # Errors
    /// When answering it (again) is of no use.
    pub fn on_challenge(&mut self, response: &Message<'_>) -> Result<(), Refused> {
        let password = self.login.password.as_ref().ok_or(Refused::NoPassword)?;
        let login = auth::Login { user: &self.login.user, password: password.expose_secret() };
        let answer = auth::answer(response, login, "", "", "", 1).ok_or(Refused::Unsupported)?;
        if self.login.realm.as_ref().is_some_and(|realm| *realm != answer.realm) {
            return Err(Refused::Foreign);
        }
        let proxy = matches!(response.start, Start::Response { status: 407, .. });
        let other = |realm: &Realm| !realm.proxy && realm.asked > 0 && realm.name != answer.realm;
        // Whoever has another realm every time would never be done.
        if self.sole && !proxy && self.realms.iter().any(other) || self.answered >= ANSWERS {
            return Err(Refused::Wrong);
        }
        // What acts takes the same realm for the same server, whoever asks for it.
        let same = |realm: &Realm| realm.name == answer.realm && (self.once || realm.proxy == proxy);
        let known = self.realms.iter().position(same);
        let asked = known.and_then(|at| self.realms.get(at)).map_or(0, |realm| realm.asked);
        if asked > 0 && !(answer.stale && asked <= STALE && !self.once) {
            return Err(if answer.stale && self.once { Refused::Again } else { Refused::Wrong });
        }
        match known {
            Some(at) => drop(self.realms.remove(at)),
            None if self.realms.len() >= REALMS => drop(self.realms.remove(0)),
            None => {}
        }
        let challenge = challenge_of(response);
        self.answered += 1;
        self.realms.push(Realm { name: answer.realm, challenge, count: 0, asked: asked + 1, proxy });
        Ok(())
    }

    /// Authorization and Proxy-Authorization for a request, whole fields; empty before the first
    /// challenge.
    pub fn fields(&mut self, method: &str, uri: &str, rng: &mut ChaCha8Rng) -> String {
        let Some(password) = &self.login.password else { return String::new() };
        let login = auth::Login { user: &self.login.user, password: password.expose_secret() };
        let mut fields = String::new();
        for realm in &mut self.realms {
            let Ok(challenge) = Message::parse(&realm.challenge) else { continue };
            realm.count += 1;
            let cnonce = format!("{:016x}", rng.random::<u64>());
            if let Some(answer) = auth::answer(&challenge, login, method, uri, &cnonce, realm.count) {
                fields.push_str(&answer.field);
            }
        }
        fields
    }
}

fn challenge_of(response: &Message<'_>) -> Vec<u8> {
    let mut writer = Writer::status(401, "Unauthorized");
    for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
        for value in response.all(name) {
            writer.echo(name.as_str(), value);
        }
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn challenge(realm: &str, nonce: &str, more: &str) -> Vec<u8> {
        format!("SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"{more}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    }

    fn challenges(password: Option<&str>) -> Challenges {
        Challenges::new(Login { user: "anna".to_owned(), password: password.map(Into::into), realm: None })
    }

    #[test]
    fn once_per_request_and_thrice_more_for_old_nonces() {
        let mut ours = challenges(Some("secret"));
        let mut ask = |raw: Vec<u8>, fresh: bool| {
            if fresh {
                ours.begin();
            }
            ours.on_challenge(&Message::parse(&raw).unwrap())
        };
        assert_eq!(ask(challenge("h", "1", ""), true), Ok(()));
        assert_eq!(ask(challenge("h", "2", ""), false), Err(Refused::Wrong));
        assert_eq!(ask(challenge("h", "3", ""), true), Ok(()));
        for _ in 0..3 {
            assert_eq!(ask(challenge("h", "4", ", stale=true"), false), Ok(()));
        }
        assert_eq!(ask(challenge("h", "5", ", stale=true"), false), Err(Refused::Wrong));
        assert_eq!(ask(challenge("h", "6", ", algorithm=NEW"), true), Err(Refused::Unsupported));
        assert_eq!(
            challenges(None).on_challenge(&Message::parse(&challenge("h", "1", "")).unwrap()),
            Err(Refused::NoPassword)
        );
    }

    /// Proves: DG-7
    #[test]
    fn a_password_goes_to_its_realm_alone_and_once_to_what_acts() {
        let login = |realm: Option<&str>| Login {
            user: "anna".to_owned(),
            password: Some("secret".into()),
            realm: realm.map(str::to_owned),
        };
        let ask = |ours: &mut Challenges, raw: Vec<u8>| ours.on_challenge(&Message::parse(&raw).unwrap());
        let mut ours = Challenges::new(login(Some("provider")));
        assert_eq!(ask(&mut ours, challenge("mallory", "1", "")), Err(Refused::Foreign));
        assert_eq!(ask(&mut ours, challenge("provider", "1", "")), Ok(()));
        let mut ours = Challenges::once(login(None));
        assert_eq!(ask(&mut ours, challenge("h", "1", "")), Ok(()));
        assert_eq!(ask(&mut ours, challenge("h", "2", ", stale=true")), Err(Refused::Again));
        // A proxy on the way is another realm, and nobody has acted before it.
        assert_eq!(ask(&mut ours, challenge("p", "1", "")), Ok(()));
    }

    /// Whoever asks under another name each time, or wants a proof that covers the body, is not answered without end.
    #[test]
    fn changing_names_and_proofs_that_nobody_can_give_come_to_an_end() {
        let ask = |ours: &mut Challenges, raw: &[u8]| ours.on_challenge(&Message::parse(raw).unwrap());
        let mut ours = challenges(Some("secret"));
        let answered =
            (0..100).take_while(|nth| ask(&mut ours, &challenge(&nth.to_string(), "n", "")).is_ok());
        assert_eq!(answered.count(), usize::from(ANSWERS));
        let login = || Login { user: "anna".to_owned(), password: Some("secret".into()), realm: None };
        let mut ours = Challenges::registering(login());
        assert_eq!(ask(&mut ours, &challenge("a", "n", "")), Ok(()));
        assert_eq!(ask(&mut ours, &challenge("b", "n", "")), Err(Refused::Wrong));
        for (qop, answered) in [("auth-int", false), ("auth-int,auth", true), ("", true)] {
            let text = String::from_utf8(challenge("h", "1", "")).unwrap();
            let raw = text.replace("qop=\"auth\"", &format!("qop=\"{qop}\""));
            let expected = if answered { Ok(()) } else { Err(Refused::Unsupported) };
            assert_eq!(ask(&mut challenges(Some("secret")), raw.as_bytes()), expected, "{qop}");
        }
    }

    #[test]
    fn every_realm_gets_its_credentials_with_a_rising_count() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut ours = challenges(Some("secret"));
        assert_eq!(ours.fields("SUBSCRIBE", "sip:h", &mut rng), "");
        for realm in ["proxy", "home"] {
            ours.on_challenge(&Message::parse(&challenge(realm, "n", "")).unwrap()).unwrap();
        }
        let first = ours.fields("SUBSCRIBE", "sip:h", &mut rng);
        assert_eq!(first.matches("\r\n").count(), 2);
        assert!(first.contains("realm=\"proxy\"") && first.contains("realm=\"home\""), "{first}");
        assert!(first.contains("nc=00000001") && !first.contains("secret"), "{first}");
        assert!(ours.fields("SUBSCRIBE", "sip:h", &mut rng).contains("nc=00000002"));
    }
}
