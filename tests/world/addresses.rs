//! What can stand before the `@`: the naming of the appliance drafts.

use std::sync::Arc;

use sipliance::body::rlmi;
use sipliance::config::Config;
use sipliance::control::opaque;
use sipliance::gateway::Input;

use super::home;
use super::world::World;

/// Before the first section behind the devices.
const AFTER: &str = "alerts: {message: [anna]}\n";
/// Ben may see the plug.
const BEN: &str = "    see: [plug]\n";

/// Two appliances of one kind, in two rooms and one group, with a nickname.
fn house() -> Arc<Config> {
    home::edited(&[
        ("    room: Kitchen\n", "    room: Küche\n    kind: light\n    nicknames: [Cool boy, Spülenlicht]\n"),
        ("    room: Bedroom\n", "    room: Bedroom\n    kind: light\n"),
        (
            AFTER,
            "alerts: {message: [anna]}\ngroups:\n  lights: {name: All lights, devices: [plug, lamp]}\n  \
             solo: [lamp]\nopaque_names: {x1: {secret: names}}\n",
        ),
    ])
}

fn world(seed: u64) -> World {
    let mut world = World::with(seed, house());
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    world.run(500);
    world
}

/// What somebody gets who asks an address for its state: the status, and the words.
fn ask(world: &mut World, phone: usize, name: &str) -> (u16, String) {
    let before = world.phones[phone].messages.len();
    let op = world.at(phone, |phone, now| phone.message(name, "status", now));
    world.run(500);
    let words = world.phones[phone].messages.get(before).map(|(_, text)| text.clone());
    (world.phones[phone].ops[op].status(), words.unwrap_or_default())
}

/// Proves: REQ-5.1, REQ-5.4, NEG-23
#[test]
fn one_appliance_has_many_names() {
    let mut world = world(1001);
    let anna = world.phone("anna");
    for name in [
        "lamp",
        "d=lamp",
        "d=lamp,r=bedroom,u=anna",
        "u=home,x=7,r=bedroom,d=lamp",
        "d=light,r=bedroom",
        "r=bedroom",
        "[d=lamp,r=bedroom]",
        "[slp://d=lamp,r=bedroom]",
        "slp%3A%2F%2Fd=lamp,r=bedroom",
        "slp%3A/d=lamp",
        "ZD1sYW1wLHI9YmVkcm9vbQ==",
        "ZD1sYW1wLHI9YmVkcm9vbQ",
        "x1.ivWqbLbJly1QljSESzNMo8Td_xYdoMINQTEzJvNetEfOQ7A_fNk",
        "group=solo",
        "solo",
        "group.solo",
        "group=lights,r=bedroom",
    ] {
        // The vector's owner is a user of another house.
        let expected =
            if name.starts_with("x1.") { (404, String::new()) } else { (200, "Lamp: off".to_owned()) };
        assert_eq!(ask(&mut world, anna, name), expected, "{name}");
    }
    for name in [
        "cool-boy",
        "Cool%20boy",
        "d=Cool%20boy",
        "Sp%C3%BClenlicht",
        "d=light,r=K%C3%BCche",
        "d=plug,r=kueche",
    ] {
        assert_eq!(ask(&mut world, anna, name), (200, "Plug: off".to_owned()), "{name}");
    }
    for (name, status) in [
        ("d=lamp,r=kueche", 404),
        ("d=lamp,u=somebody", 404),
        ("d=toaster", 404),
        ("d=light,r=attic", 404),
        ("group=nothing", 404),
        ("d=lamp,d=plug", 404),
        ("[d=lamp,r=bedroom", 400),
        ("d=lamp]", 400),
        ("[[lamp]]", 400),
    ] {
        assert_eq!(ask(&mut world, anna, name).0, status, "{name}");
    }
}

/// Proves: SEC-4, REQ-8.2
#[test]
fn an_encrypted_name_is_the_appliance_and_a_damaged_one_is_nothing() {
    let mut world = world(1002);
    let config = house();
    let anna = world.phone("anna");
    let token = opaque::seal(&config.opaque[0], "home.example", "d=lamp,r=bedroom,u=anna").unwrap();
    assert_eq!(ask(&mut world, anna, &token), (200, "Lamp: off".to_owned()));
    let damaged = format!("{}A{}", &token[..9], &token[10..]);
    assert_ne!(damaged, token);
    assert_eq!(ask(&mut world, anna, &damaged).0, 404, "no oracle: as if it were no name at all");
    // A digest that covers one spelling is good for the same appliance in another, and for no other.
    for (covers, status) in [("d=lamp,r=bedroom", 200), ("d=plug", 400)] {
        // The first attempt is challenged; the second says what it covers.
        let op = world.at(anna, |phone, now| {
            phone.reuses_nonces = false;
            let op = phone.message(&token, "status", now);
            phone.ops[op].digest_uri = Some(format!("sip:{covers}@home.example"));
            op
        });
        world.run(500);
        assert_eq!(world.phones[anna].ops[op].status(), status, "{covers}");
    }
}

/// Proves: REQ-5.2, REQ-5.3
#[test]
fn a_class_is_a_list_of_what_one_may_see_of_it() {
    let mut world = world(1003);
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    for name in ["d=light", "lights", "group.lights", "group=lights", "d=*", "u=anna", "all"] {
        let op = world.at(anna, |phone, now| phone.subscribe(name, "appliance", 600, now));
        world.run(500);
        assert_eq!(world.phones[anna].ops[op].status(), 421, "{name}: lists are an extension");
    }
    for phone in [anna, ben] {
        world.phones[phone].extra = "Supported: eventlist\r\n".to_owned();
    }
    world.phones[anna].subs.clear();
    world.at(anna, |phone, now| phone.subscribe("d=light", "appliance", 600, now));
    world.run(500);
    world.report("stat/lamp/POWER", "ON");
    world.run(1_000);
    let notifies = &world.phones[anna].subs[0].notifies;
    let (list, _) = rlmi::read_related(&notifies[1].content_type, notifies[1].body.as_bytes()).unwrap();
    let members: Vec<&str> = list.resources.iter().map(|resource| resource.uri.as_str()).collect();
    assert_eq!(members, ["sip:plug@home.example", "sip:lamp@home.example"]);
    assert_eq!(list.uri, "sip:d=light@home.example", "documents name it as it was dialled");
    // Of the class Ben may see the plug alone: to him it is the plug.
    let op = world.at(ben, |phone, now| phone.subscribe("d=light", "appliance", 600, now));
    world.run(500);
    assert_eq!(world.phones[ben].ops[op].status(), 200);
    assert_eq!(world.phones[ben].subs[0].notifies[0].content_type, "application/senml+json");
    assert_eq!(ask(&mut world, ben, "group=solo").0, 404, "a group of which he may see nothing is not there");
    let heard = world.phones[ben].subs[0].notifies.len();
    world.report("stat/lamp/POWER", "OFF");
    world.run(1_000);
    assert_eq!(world.phones[ben].subs[0].notifies.len(), heard);
}

/// What the command prints is understood, whatever it is made of.
#[test]
fn what_we_write_we_read() {
    let mut world = world(1006);
    let config = house();
    let anna = world.phone("anna");
    for name in ["lamp", "d=lamp,r=bedroom,u=anna", "Spülenlicht", "r=bedroom"] {
        let addresses = sipliance::cli::address::addresses(&config, name).unwrap();
        assert_eq!(addresses.len(), 3);
        for address in addresses {
            let user =
                address.strip_prefix("sip:").and_then(|rest| rest.strip_suffix("@home.example")).unwrap();
            assert_eq!(ask(&mut world, anna, user).0, 200, "{address}");
        }
    }
    assert_eq!(sipliance::cli::address::addresses(&config, "toaster"), None);
}

#[test]
fn a_group_that_a_reload_takes_away_ends() {
    let mut world = world(1004);
    let anna = world.phone("anna");
    world.phones[anna].extra = "Supported: eventlist\r\n".to_owned();
    world.at(anna, |phone, now| phone.subscribe("lights", "appliance", 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].subs[0].notifies[0].state.split(';').next(), Some("active"));
    world.handle(Input::Reload(home::edited(&[(BEN, BEN)])));
    world.run(500);
    let last = world.phones[anna].subs[0].notifies.last().unwrap();
    assert_eq!(last.state, "terminated;reason=noresource");
    assert_eq!(ask(&mut world, anna, "lights").0, 404);
}

/// The address that is asked counts, and not the one that was meant at first (framework §5.2).
///
/// Proves: REQ-4.3
#[test]
fn the_request_uri_decides_and_to_does_not() {
    let mut world = world(1005);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| {
        let op = phone.message("d=light,r=kueche", "on", now);
        phone.ops[op].to = "sip:d=light,r=bedroom@home.example".to_owned();
        op
    });
    world.run(2_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!((world.plug.on, world.lamp.on), (true, false));
}
