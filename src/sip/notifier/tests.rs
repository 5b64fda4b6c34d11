//! What is left behind.

use super::rate::Rates;
use super::*;
use crate::sip::Transport;
use crate::sip::dialog::Dialog;

fn hop(flow: u64) -> Hop {
    let address = "192.0.2.1:5060".parse().unwrap();
    Hop { flow: FlowId(flow), transport: Transport::Tcp, local: address, peer: address }
}

fn subscribe(tag: &str, cseq: u32) -> String {
    format!(
        "SUBSCRIBE sip:plug@h SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK{cseq}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:plug@h>{tag}\r\nCall-ID: x\r\nCSeq: {cseq} SUBSCRIBE\r\nContact: <sip:a@a>\r\n\r\n"
    )
}

fn watched(now: Now) -> (Notifier, SubscriptionId, String) {
    let mut notifier = Notifier::default();
    let tag = notifier.next_tag(7);
    let text = subscribe("", 1);
    let request = Message::parse(text.as_bytes()).unwrap();
    let dialog = Dialog::accept(&request, hop(1), tag.clone(), "sip:plug@h").unwrap();
    let id = notifier.add(
        Wanted {
            resource: Resource { subject: 0, package: 0, form: 0, view: 1, facet: 0 },
            who: "a".to_owned(),
            dialog,
            event: "presence".to_owned(),
            entity: "sip:plug@h".to_owned(),
            expires: Duration::from_secs(3600),
            interval: Duration::from_secs(1),
            rates: Rates::default(),
            condition: None,
            standing: Standing::Active,
            template: None,
            filter: None,
        },
        now,
    );
    (notifier, id, tag)
}

#[test]
fn a_storm_of_refreshes_leaves_nothing_behind() {
    let mut now = Now { mono: Instant::now(), wall_ms: 0 };
    let (mut notifier, id, tag) = watched(now);
    for cseq in 2..20_000 {
        now.mono += Duration::from_millis(1);
        let text = subscribe(&format!(";tag={tag}"), cseq);
        let request = Message::parse(text.as_bytes()).unwrap();
        let wish = Refresh { expires: Duration::from_secs(3600), rates: Rates::default(), condition: None };
        notifier.refresh(id, &request, hop(1), wish, now).unwrap();
        notifier.on_deadline(now);
    }
    assert!(notifier.deadlines.len() < 2000, "{}", notifier.deadlines.len());
    // What counts is kept: it ends when it has to.
    now.mono += Duration::from_secs(3600) + GRACE;
    assert!(notifier.next_deadline().is_some_and(|at| at <= now.mono));
    notifier.on_deadline(now);
    assert_eq!(notifier.get(id).unwrap().end, Some(End::Timeout));
}

#[test]
fn who_cannot_be_told_the_end_is_not_kept_for_it() {
    let now = Now { mono: Instant::now(), wall_ms: 0 };
    let (mut notifier, _, _) = watched(now);
    notifier.on_flow_closed(FlowId(1), now);
    assert_eq!(notifier.len(), 1, "it may come back");
    notifier.end(End::Rejected, |_, _| true, now);
    assert!(notifier.is_empty() && notifier.by_who.is_empty());
}

/// Sends what is due, and has it refused.
fn refused(notifier: &mut Notifier, id: SubscriptionId, now: Now) {
    let subscription = notifier.get_mut(id).unwrap();
    (subscription.dirty, subscription.outstanding, subscription.last) = (false, true, Some(now.mono));
    let cseq = subscription.dialog.local_seq;
    notifier.on_answer(id, cseq, Answered { status: 503, ..Answered::default() }, now);
}

#[test]
fn who_could_not_be_told_hears_the_state_when_the_server_serves_again() {
    let mut now = Now { mono: Instant::now(), wall_ms: 0 };
    let (mut notifier, id, _) = watched(now);
    let due = |notifier: &Notifier| notifier.get(id).unwrap().next();
    let mut waits = Vec::new();
    for _ in 0..20 {
        refused(&mut notifier, id, now);
        let subscription = notifier.get(id).unwrap();
        if subscription.dirty {
            waits.push(due(&notifier).unwrap().duration_since(now.mono).as_secs());
        }
        now.mono += Duration::from_secs(200);
    }
    assert_eq!(waits, [10, 20, 40, 80, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120], "then it is over");
    notifier.served_again(FlowId(2), now);
    assert!(!notifier.get(id).unwrap().dirty, "that is another flow");
    notifier.served_again(FlowId(1), now);
    assert!(notifier.get(id).unwrap().dirty && due(&notifier).unwrap() <= now.mono);
    // The same while it waits, and when it goes on over another flow.
    refused(&mut notifier, id, now);
    assert!(due(&notifier).unwrap() > now.mono + Duration::from_secs(9));
    notifier.served_again(FlowId(1), now);
    assert!(due(&notifier).unwrap() <= now.mono + Duration::from_secs(1), "paced as ever");
    refused(&mut notifier, id, now);
    notifier.move_flow(FlowId(1), hop(2), now);
    assert!(due(&notifier).unwrap() <= now.mono + Duration::from_secs(1));
    // Nobody who was told is told again.
    notifier.get_mut(id).unwrap().dirty = false;
    notifier.served_again(FlowId(2), now);
    assert!(!notifier.get(id).unwrap().dirty);
}
