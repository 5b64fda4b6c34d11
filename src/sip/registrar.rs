//! The registrar of phones at home (RFC 3261 §10.3): where each user can be reached.
//!
//! Contacts are opaque: a request to a phone goes to the stored Contact over the flow that
//! registered it (phones name hosts that resolve nowhere).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::wire::text::seconds;
use super::wire::{Address, Message, Name};
use super::{FlowId, Hop, Rejection};
use crate::limits;
use crate::timer::Now;

/// One place where a user is reachable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The Contact URI as it was registered, byte for byte.
    pub contact: String,
    /// The parameters of the Contact, each with its `;`, without those that are the registrar's.
    pub params: String,
    /// `+sip.instance` and `reg-id` as written; a phone that comes back replaces itself.
    pub instance: Option<String>,
    /// The methods that it says it takes (RFC 3840 §9.3), as written.
    pub methods: Option<String>,
    /// The flow that it registered on.
    pub hop: Hop,
    /// When it ends.
    pub expires: Instant,
    /// Call-ID of the REGISTER that made it.
    pub call_id: Vec<u8>,
    /// Its CSeq.
    pub cseq: u32,
}

impl Binding {
    /// Whether it says that it takes `method`.
    pub fn takes(&self, method: &str) -> bool {
        let methods = self.methods.as_deref().unwrap_or_default();
        methods.split([',', '"']).any(|known| known.trim().eq_ignore_ascii_case(method))
    }
}

/// All bindings.
#[derive(Debug, Default)]
pub struct Registrar {
    users: HashMap<String, Vec<Binding>>,
}

/// The lifetime that a REGISTER gets when it asks for none.
const DEFAULT: u32 = 3600;
/// The longest lifetime granted, in seconds.
pub const LONGEST: u32 = 7200;
/// The shortest lifetime granted; who asks for less gets 423 (RFC 3261 §10.3 step 7).
const SHORTEST: u32 = 10;

impl Registrar {
    /// Works through an authenticated REGISTER of `user` (RFC 3261 §10.3 steps 6-8): all of it
    /// happens, or nothing. The result is the Contact fields of the 200.
    ///
    /// # Errors
    /// The response that refuses it.
    pub fn register(
        &mut self,
        user: &str,
        request: &Message<'_>,
        hop: Hop,
        now: Now,
    ) -> Result<String, Rejection> {
        let contacts: Vec<&[u8]> = request.list(Name::Contact).collect();
        let mut bindings = self.users.get(user).cloned().unwrap_or_default();
        bindings.retain(|binding| binding.expires > now.mono);
        let order = Order {
            call_id: request.call_id().unwrap_or_default(),
            cseq: request.cseq().map_or(0, |cseq| cseq.number),
        };
        if contacts.iter().any(|contact| *contact == b"*") {
            if contacts.len() != 1 || request.expires() != Some(0) {
                return Err(Rejection::new(400, "Contact * Needs Expires 0 And Nothing Else"));
            }
            for binding in &bindings {
                order.check(binding)?;
            }
            bindings.clear();
        } else {
            for contact in contacts {
                update(&mut bindings, contact, request.expires(), &order, hop, now)?;
            }
        }
        let fields = contact_fields(&bindings, now);
        if bindings.is_empty() {
            self.users.remove(user);
        } else {
            self.users.insert(user.to_owned(), bindings);
        }
        Ok(fields)
    }

    /// Takes back a binding of an earlier run.
    pub fn restore(&mut self, user: &str, binding: Binding) {
        let bindings = self.users.entry(user.to_owned()).or_default();
        if bindings.len() < limits::CONTACTS_PER_USER {
            bindings.push(binding);
        }
    }

    /// Where `user` can be reached now.
    pub fn reach(&self, user: &str, now: Now) -> impl Iterator<Item = &Binding> {
        self.users.get(user).into_iter().flatten().filter(move |binding| binding.expires > now.mono)
    }

    /// A connection is gone, and with it what was registered over it; the users whom that concerns.
    pub fn on_flow_closed(&mut self, flow: FlowId) -> Vec<String> {
        let mut concerned = Vec::new();
        self.users.retain(|user, bindings| {
            let before = bindings.len();
            bindings.retain(|binding| binding.hop.flow != flow);
            if bindings.len() < before {
                concerned.push(user.clone());
            }
            !bindings.is_empty()
        });
        // The same in every run.
        concerned.sort_unstable();
        concerned
    }

    /// How many bindings there are.
    pub fn len(&self) -> usize {
        self.users.values().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

struct Order<'a> {
    call_id: &'a [u8],
    cseq: u32,
}

impl Order<'_> {
    /// A REGISTER of the same Call-ID must come later than the one that made the binding.
    fn check(&self, binding: &Binding) -> Result<(), Rejection> {
        if binding.call_id == self.call_id && self.cseq <= binding.cseq {
            return Err(Rejection::new(500, "CSeq Out Of Order"));
        }
        Ok(())
    }
}

fn update(
    bindings: &mut Vec<Binding>,
    contact: &[u8],
    expires: Option<u32>,
    order: &Order<'_>,
    hop: Hop,
    now: Now,
) -> Result<(), Rejection> {
    let address = Address::parse(contact).map_err(|_| Rejection::new(400, "Malformed Contact"))?;
    let wanted = address.params.get("expires").flatten().and_then(seconds).or(expires).unwrap_or(DEFAULT);
    if wanted != 0 && wanted < SHORTEST {
        return Err(Rejection::new(423, "Interval Too Brief").with("Min-Expires", &SHORTEST.to_string()));
    }
    let instance = address
        .params
        .text("+sip.instance")
        .map(|instance| format!("{instance};{}", address.params.text("reg-id").unwrap_or_default()));
    let same = |binding: &Binding| {
        binding.contact == address.uri.raw || (instance.is_some() && binding.instance == instance)
    };
    if let Some(old) = bindings.iter().find(|binding| same(binding)) {
        order.check(old)?;
    }
    bindings.retain(|binding| !same(binding));
    if wanted == 0 {
        return Ok(());
    }
    if bindings.len() >= limits::CONTACTS_PER_USER {
        return Err(Rejection::new(403, "Too Many Contacts"));
    }
    bindings.push(Binding {
        contact: address.uri.raw.to_owned(),
        params: params_of(&address)?,
        instance,
        methods: address.params.text("methods").map(ToOwned::to_owned),
        hop,
        expires: now.mono + Duration::from_secs(u64::from(wanted.min(LONGEST))),
        call_id: order.call_id.to_vec(),
        cseq: order.cseq,
    });
    Ok(())
}

/// The parameters of a Contact that the 200 repeats, on one line.
fn params_of(address: &Address<'_>) -> Result<String, Rejection> {
    let mut params = String::new();
    // A GRUU is for the registrar to give (RFC 5627 §5.1).
    let own = ["expires", "pub-gruu", "temp-gruu"];
    let echoed = |name: &[u8]| !own.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()));
    for (name, value) in address.params.iter().filter(|(name, _)| echoed(name)) {
        params.push(';');
        params.push_str(&String::from_utf8_lossy(name));
        if let Some(value) = value {
            params.push('=');
            params.push_str(&String::from_utf8_lossy(value).replace(['\r', '\n'], " "));
        }
    }
    if params.len() > limits::CONTACT_PARAMS {
        return Err(Rejection::new(400, "Contact Parameters Too Long"));
    }
    Ok(params)
}

fn contact_fields(bindings: &[Binding], now: Now) -> String {
    let mut fields = String::new();
    for binding in bindings {
        let left = binding.expires.saturating_duration_since(now.mono).as_secs();
        let Binding { contact, params, .. } = binding;
        fields.push_str(&format!("Contact: <{contact}>{params};expires={left}\r\n"));
    }
    fields
}
