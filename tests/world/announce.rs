//! The presence of an appliance at the provider where it has an address.

use std::time::Duration;

use sipliance::gateway::Input;
use sipliance::sip::wire::{Message, Name};

use super::home;
use super::world::World;

fn world(seed: u64) -> World {
    let config =
        home::with_upstream("udp", "    expires: 600s\n", "    expires: 600s\n    publish: [presence]\n");
    let mut world = World::with(seed, config);
    world.run(8_000);
    world
}

/// If-Match, Expires and the body of a PUBLISH.
fn parts(text: &str) -> (Option<String>, String, String) {
    let message = Message::parse(text.as_bytes()).unwrap();
    let field = |name| message.first(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let body = String::from_utf8_lossy(message.body).into_owned();
    (field(Name::SipIfMatch), field(Name::Expires).unwrap(), body)
}

#[test]
fn an_appliance_with_an_address_is_published_there() {
    let mut world = world(801);
    let (when, first) = world.provider.publications.last().cloned().unwrap();
    assert!(first.starts_with("PUBLISH sip:101@provider.example SIP/2.0\r\n"), "{first}");
    let (tag, expires, body) = parts(&first);
    assert_eq!((tag, expires.as_str()), (None, "300"));
    assert!(
        body.contains("entity=\"sip:101@provider.example\"") && body.contains("<basic>open</basic>"),
        "{body}"
    );
    assert!(when < Duration::from_secs(5), "after it is registered: {when:?}");
    // Many changes at once: the newest, and no more than one in five seconds.
    let before = world.provider.publications.len();
    for watts in 0..40 {
        world.report("tele/plug/SENSOR", &format!("{{\"ENERGY\":{{\"Power\":{watts}}}}}"));
        world.run(500);
    }
    world.run(6_000);
    let new = &world.provider.publications[before..];
    assert!((4..=6).contains(&new.len()), "{}", new.len());
    assert!(new.windows(2).all(|two| two[1].0 - two[0].0 >= Duration::from_secs(5)));
    let (tag, _, body) = parts(&new.last().unwrap().1);
    assert!(tag.is_some() && body.contains("39 W"), "{body}");
    // What cannot be reached is not shown as if it could.
    world.report("tele/plug/LWT", "Offline");
    world.run(6_000);
    let (_, _, body) = parts(&world.provider.publications.last().unwrap().1);
    assert!(body.contains("<basic>closed</basic>") && !body.contains("39 W</ap:value>"), "{body}");
    let status = world.gateway.status(world.time()).publications;
    assert_eq!((status.len(), status[0].device.as_str(), status[0].state), (1, "plug", "published"));
}

#[test]
fn a_stop_takes_the_publication_back() {
    let mut world = world(802);
    world.handle(Input::Shutdown);
    assert!(!world.gateway.is_quiet());
    world.run(1_000);
    let (tag, expires, body) = parts(&world.provider.publications.last().unwrap().1);
    assert!(tag.is_some() && expires == "0" && body.is_empty(), "{tag:?} {expires} {body}");
    assert!(world.gateway.is_quiet());
    let count = world.provider.publications.len();
    world.run(3_600_000);
    assert_eq!(world.provider.publications.len(), count);
}

#[test]
fn it_is_kept_alive_and_costs_little() {
    let mut world = world(803);
    let before = world.provider.publications.len();
    world.run(3_600_000);
    let refreshes = &world.provider.publications[before..];
    assert!((13..=19).contains(&refreshes.len()), "{}", refreshes.len());
    assert!(refreshes.iter().all(|(_, text)| parts(text).2.is_empty()));
}
