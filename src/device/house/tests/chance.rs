//! Whatever drivers report and people order, in whatever order: the promises hold.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::device::command::ANSWER;

const PAYLOADS: [&str; 12] = [
    "ON",
    "OFF",
    "",
    "1",
    "0",
    "PWR=01",
    "PWR=00",
    "ERR",
    "MV20",
    "{\"state\":\"offline\"}",
    "Online",
    "{\"occupied_heating_setpoint\":21.5,\"ENERGY\":{\"Power\":40}}",
];

fn orders() -> Vec<Order> {
    let set = |property: &str, value: Value| Order::Set { property: property.into(), value };
    let act = |action: &str| Order::Do { action: action.into(), args: Vec::new() };
    vec![
        set("power", Value::Bool(true)),
        set("power", Value::Enum("on".into())),
        set("setpoint", Value::Float(21.5)),
        set("volume", Value::Int(20)),
        act("open"),
        act("close"),
    ]
}

/// One run; returns how many commands were taken.
fn play(seed: u64) -> usize {
    let devices = [
        device("tasmota-plug", "{topic: x}", "plug", 0),
        device("z2m-trv", "{name: v}", "valve", 0),
        device("serial-projector", "{}", "projector", 1),
        device("serial-av-amp", "{}", "amp", 1),
        device("gpio-garage-door", "{relay: GPIO1, reed: GPIO2}", "garage", 2),
    ];
    let channels = ["tele/x/LWT", "stat/x/POWER", "tele/x/SENSOR", "zigbee2mqtt/v", "port", "reed", "relay"];
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut room = Room::of(&devices, 3);
    let orders = orders();
    let mut open: Vec<(CommandId, Instant)> = Vec::new();
    let (mut taken, mut versions) = (0, vec![0; devices.len()]);
    let mut waiting: Vec<OpId> = Vec::new();
    for _ in 0..400 {
        let link = LinkId(random.random_range(0..3));
        match random.random_range(0..12) {
            0 => room.house.driver(link, Event::Up, room.now),
            1 if random.random_ratio(1, 3) => room.house.driver(link, Event::Down(Why("x".into())), room.now),
            2..=5 => {
                let channel = Channel::new(channels[random.random_range(0..channels.len())]);
                let payload = Bytes::from_static(PAYLOADS[random.random_range(0..PAYLOADS.len())].as_bytes());
                let retained = random.random_ratio(1, 5);
                room.house.driver(link, Event::Read { channel, payload, retained }, room.now);
            }
            6..=7 if !waiting.is_empty() => {
                let id = waiting.swap_remove(random.random_range(0..waiting.len()));
                let result = match random.random_range(0..6) {
                    0 => Err(Failure::Timeout),
                    1 => Err(Failure::Broken),
                    _ => Ok(()),
                };
                room.house.driver(link, Event::Done { id, result }, room.now);
            }
            8..=9 => {
                let device = DeviceId(random.random_range(0..devices.len()));
                let order = orders[random.random_range(0..orders.len())].clone();
                if let Ok(id) = room.house.order(device, order, room.now) {
                    taken += 1;
                    open.push((id, room.now.mono));
                }
            }
            _ => room.pass(Duration::from_millis(random.random_range(0..4000))),
        }
        room.drain();
        waiting.extend(room.ops.drain(..).filter_map(|op| op.id()));
        for (id, _) in room.finished.drain(..) {
            let index = open.iter().position(|(other, _)| *other == id);
            open.swap_remove(index.expect("one outcome for each command, and only one"));
        }
        for (_, since) in &open {
            assert!(room.now.mono <= *since + ANSWER, "a command is not answered");
        }
        for ((_, device), last) in room.house.devices().zip(&mut versions) {
            assert!(device.shadow().version() >= *last, "a version went back");
            *last = device.shadow().version();
        }
        for wire in &room.house.wires {
            assert!(wire.commands.len() <= devices.len() && wire.queries.len() <= 64);
        }
        assert!(room.house.deadlines.len() < 1000, "{} deadlines", room.house.deadlines.len());
    }
    room.pass(ANSWER);
    assert_eq!(room.finished.len(), open.len(), "every command is answered in the end");
    taken
}

#[test]
fn every_command_gets_one_outcome_in_time() {
    let first: u64 = rand::random();
    println!("seeds from {first}");
    let taken: usize = (0..60).map(|n| play(first.wrapping_add(n))).sum();
    assert!(taken > 200, "only {taken} commands were taken: this proves little");
}
