//! Runs the `tests:` of a profile: the same codec and house as in production, a pretended link, and
//! time that only passes when a test says so.

mod bench;
mod wire;

use crate::config::fault::Faults;
use crate::config::fault::Place;
use crate::config::yaml::{self};
use crate::device::profile::{Case, Profile, Stimulus};
use crate::timer::Now;

use bench::Bench;

/// What came of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// Where the test stands in the profile.
    pub place: Place,
    /// What it does, in a few words.
    pub title: String,
    /// `Err` tells what was expected and what came instead.
    pub outcome: Result<(), String>,
}

/// Runs every test of `profile`. `now` is the moment at which each begins; it is never read from a
/// clock here.
pub fn run(profile: &Profile, now: Now) -> Vec<TestResult> {
    let one = |case: &Case| TestResult {
        place: case.place,
        title: title(&case.stimulus),
        outcome: Bench::new(profile.example.clone(), now).run(case),
    };
    profile.cases.iter().map(one).collect()
}

/// Reads a shipped profile or any other profile text.
pub fn read(text: &str, faults: &mut Faults) -> Option<Profile> {
    let node = yaml::parse(text, faults)?;
    Profile::read(&node, faults)
}

fn title(stimulus: &Stimulus) -> String {
    match stimulus {
        Stimulus::Mqtt { topic, .. } => format!("mqtt {topic}"),
        Stimulus::Rx(text) => format!("rx {text:?}"),
        Stimulus::Registers(_) => "registers".to_owned(),
        Stimulus::Telegram(_) => "telegram".to_owned(),
        Stimulus::Files(_) => "file".to_owned(),
        Stimulus::Told(_) => "sip".to_owned(),
        Stimulus::Request(_) => "request".to_owned(),
        Stimulus::Levels(lines) => {
            format!(
                "levels of {}",
                lines.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>().join(", ")
            )
        }
        Stimulus::Order(order) => match order {
            crate::device::command::Order::Set { property, value } => {
                format!("set {property} {}", value.plain())
            }
            crate::device::command::Order::Do { action, .. } => format!("do {action}"),
        },
        Stimulus::Start => "start".to_owned(),
    }
}
