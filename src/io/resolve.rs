//! Asks name servers what the walk of RFC 3263 wants to know, and remembers what worked.
//!
//! Addresses come from the system (hosts file, mDNS, whatever the machine is set up for); NAPTR and SRV, which
//! the system has no call for, from the name servers that it names.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::sip::locate::{CHOICE, Naptr, Query, Records, Srv, Step, Target, Walk, Wanted};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a whole walk may take.
const WALK: Duration = Duration::from_secs(15);
/// How long a target that failed stands behind the others.
const BAD: Duration = Duration::from_secs(300);
/// The same for one that never served, while others of its name did: an address family that leads nowhere here is not tried
/// first each night when the router has another address.
const USELESS: Duration = Duration::from_secs(48 * 3600);
/// Who was used for so long served.
const SERVED: Duration = Duration::from_secs(300);
/// Answers and failures that are remembered; when it is full, all are forgotten.
const REMEMBERED: usize = 256;

/// What is remembered from one search to the next.
#[derive(Debug, Default)]
pub struct Resolver {
    /// The last answer with records to each question: good enough while no name server answers.
    good: RefCell<HashMap<Query, Records>>,
    marks: RefCell<Marks>,
    /// What each who asked took last, and when.
    taken: RefCell<HashMap<usize, (Target, Instant)>>,
}

/// Which targets failed when, and which of them served before.
#[derive(Debug, Default)]
struct Marks {
    bad: HashMap<Target, Instant>,
    served: HashSet<Target>,
}

impl Marks {
    /// Somebody is done with a target that he used for so long, or that he did not reach.
    fn failed(&mut self, target: Target, used: Duration, now: Instant) {
        if self.bad.len() >= REMEMBERED || self.served.len() >= REMEMBERED {
            *self = Self::default();
        }
        self.bad.insert(target, now);
        if used >= SERVED {
            self.served.insert(target);
        } else {
            self.served.remove(&target);
        }
    }

    /// The best first; the order stays among those that are equally good.
    fn sort(&mut self, targets: &mut [Target], now: Instant) {
        let some_served = targets.iter().any(|target| self.served.contains(target));
        let Self { bad, served } = self;
        // A connection shows soon that nobody is there, and the next is tried beside it.
        let useless = |target: &Target| !target.transport.is_reliable() && !served.contains(target);
        let lasts = |target: &Target, all: bool| if all && useless(target) { USELESS } else { BAD };
        bad.retain(|target, since| now.duration_since(*since) < lasts(target, true));
        targets.sort_by_key(|target| {
            let since = bad.get(target).copied();
            let since = since.filter(|at| now.duration_since(*at) < lasts(target, some_served));
            (since.is_some(), since.is_some() && useless(target), since)
        });
    }
}

impl Resolver {
    /// The ways to a server, the best first.
    ///
    /// # Errors
    /// Says in words why there is none.
    pub async fn locate(&self, wanted: &Wanted) -> Result<Vec<Target>, String> {
        let mut walk = Walk::new(wanted.clone(), CHOICE, ChaCha8Rng::from_rng(&mut rand::rng()));
        let servers = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        let until = tokio::time::Instant::now() + WALK;
        let mut silent = false;
        let mut targets = loop {
            let query = match walk.step() {
                Step::Done(targets) => break targets,
                Step::Ask(query) => query,
            };
            let asking = tokio::time::timeout(ANSWER, ask(&query, servers.as_ref().ok()));
            let answer = match tokio::time::timeout_at(until, asking).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Err(()),
            };
            silent |= answer.is_err();
            walk.answer(self.remember(query, answer));
        };
        if targets.is_empty() {
            let host = &wanted.host;
            if let Some(fault) = walk.fault() {
                return Err(fault);
            }
            return Err(if silent {
                format!("no name server answers what `{host}` is: is this machine on the network?")
            } else {
                format!("the name `{host}` has no address")
            });
        }
        self.marks.borrow_mut().sort(&mut targets, Instant::now());
        Ok(targets)
    }

    /// Somebody asks who asked before: what he took then did not last.
    pub fn asked_again(&self, asking: usize) {
        if let Some((target, since)) = self.taken.borrow_mut().remove(&asking) {
            self.marks.borrow_mut().failed(target, since.elapsed(), Instant::now());
        }
    }

    /// What somebody took.
    pub fn took(&self, asking: usize, target: Target) {
        let mut taken = self.taken.borrow_mut();
        if taken.len() >= REMEMBERED {
            taken.clear();
        }
        taken.insert(asking, (target, Instant::now()));
    }

    /// A target did not answer: the others come before it for a while.
    pub fn failed(&self, target: Target) {
        self.marks.borrow_mut().failed(target, Duration::ZERO, Instant::now());
    }

    /// Without an answer, the last one counts.
    fn remember(&self, query: Query, answer: Result<Records, ()>) -> Records {
        let mut good = self.good.borrow_mut();
        match answer {
            Ok(Records::Nothing) => Records::Nothing,
            Ok(records) => {
                if good.len() >= REMEMBERED {
                    good.clear();
                }
                good.insert(query, records.clone());
                records
            }
            Err(()) => good.get(&query).cloned().unwrap_or(Records::Nothing),
        }
    }
}

/// One question. `Err`: nobody answered.
async fn ask(query: &Query, servers: Option<&TokioResolver>) -> Result<Records, ()> {
    match query {
        Query::Addresses(host) => match tokio::net::lookup_host((host.as_str(), 0)).await {
            Ok(found) => Ok(Records::Addresses(found.map(|addr| addr.ip()).collect())),
            Err(error) if is_final(&error) => Ok(Records::Nothing),
            Err(_) => Err(()),
        },
        Query::Naptr(name) => {
            let data = records(servers, name, RecordType::NAPTR).await?;
            let found: Vec<Naptr> = data.iter().filter_map(naptr).collect();
            Ok(if found.is_empty() { Records::Nothing } else { Records::Naptr(found) })
        }
        Query::Srv(name) => {
            let data = records(servers, name, RecordType::SRV).await?;
            let found: Vec<Srv> = data.iter().filter_map(srv).collect();
            Ok(if found.is_empty() { Records::Nothing } else { Records::Srv(found) })
        }
    }
}

/// The system says that there is no such name, rather than that nobody told.
fn is_final(error: &std::io::Error) -> bool {
    let words = error.to_string();
    words.contains("not known") || words.contains("No address associated")
}

async fn records(servers: Option<&TokioResolver>, name: &str, kind: RecordType) -> Result<Vec<RData>, ()> {
    // A name without a final dot would be tried in the search domains of the machine as well.
    let name = format!("{}.", name.trim_end_matches('.'));
    match servers.ok_or(())?.lookup(name, kind).await {
        Ok(lookup) => Ok(lookup.answers().iter().map(|record| record.data.clone()).collect()),
        Err(error) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
        Err(_) => Err(()),
    }
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(naptr) = data else { return None };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(Naptr {
        order: naptr.order,
        preference: naptr.preference,
        flags: text(&naptr.flags)?,
        service: text(&naptr.services)?,
        replacement: naptr.replacement.to_ascii(),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(srv) = data else { return None };
    Some(Srv { priority: srv.priority, weight: srv.weight, port: srv.port, target: srv.target.to_ascii() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;

    /// UDP tells nothing when it is opened: what was learned of a family is not to be learned again each night.
    #[test]
    fn a_target_that_served_comes_before_one_that_never_did() {
        let target = |text: &str| Target { addr: text.parse().unwrap(), transport: Transport::Udp };
        let [six, four] = ["[2001:db8::7]:5060", "192.0.2.7:5060"].map(target);
        let (mut marks, begin) = (Marks::default(), Instant::now());
        let first = |marks: &mut Marks, after: u64| {
            let mut targets = [six, four];
            marks.sort(&mut targets, begin + Duration::from_secs(after));
            targets[0]
        };
        let at = |after: u64| begin + Duration::from_secs(after);
        assert_eq!(first(&mut marks, 0), six);
        marks.failed(six, Duration::from_secs(75), at(75));
        assert_eq!(first(&mut marks, 75), four);
        // The router has another address the next day.
        marks.failed(four, Duration::from_secs(86_000), at(86_100));
        assert_eq!(first(&mut marks, 86_100), four);
        // Now it is the server that is dead: the other one has its turn, and then they take turns.
        marks.failed(four, Duration::from_secs(75), at(86_200));
        assert_eq!(first(&mut marks, 86_200), six);
        marks.failed(six, Duration::from_secs(75), at(86_300));
        assert_eq!(first(&mut marks, 86_300), four);
        // Without one that served, a failure counts for minutes.
        assert_eq!(first(&mut marks, 86_700), six);
    }
}
