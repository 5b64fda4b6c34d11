//! What was last heard from an appliance, and how far it can be believed.
//!
//! Three facts are kept apart: whether the *device* is reachable, whether the *link* to it is up, and
//! how old each *value* is. A value is never dropped because one of the others went wrong.

use crate::device::value::Value;

/// Whether the device can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It said so, or it speaks.
    Online,
    /// It said so, its last will said so, or it does not answer.
    Offline,
    /// It sleeps by design: its values are good, and it takes no command now.
    Asleep,
    /// Nothing was heard yet.
    Unknown,
}

impl Health {
    /// The word in profiles and documents.
    pub fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Asleep => "asleep",
            Self::Unknown => "unknown",
        }
    }
}

/// One value as it was last heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The value.
    pub value: Value,
    /// When it was heard, in milliseconds since 1970; `None`: a retained copy of unknown age.
    pub at_ms: Option<i64>,
    /// Older than the profile's `stale_after`, or of unknown age where the profile has one.
    pub stale: bool,
    /// Heard since the link last came up. What was heard before may have changed unseen.
    pub since_up: bool,
}

/// Everything that was heard from one device. Changed by readings and by the link, never by a command.
#[derive(Clone, Debug)]
pub struct Shadow {
    version: u64,
    health: Health,
    health_since_ms: i64,
    link_up: bool,
    link_since_ms: i64,
    readings: Vec<Option<Reading>>,
    targets: Vec<Option<Value>>,
}

impl Shadow {
    /// Nothing heard yet. The version starts at the wall clock, so that it does not go back over a
    /// restart.
    pub(crate) fn new(properties: usize, wall_ms: i64) -> Self {
        Self {
            version: u64::try_from(wall_ms).unwrap_or(0).max(1),
            health: Health::Unknown,
            health_since_ms: wall_ms,
            link_up: false,
            link_since_ms: wall_ms,
            readings: vec![None; properties],
            targets: vec![None; properties],
        }
    }

    /// Off since then, and nothing was ever heard.
    pub(crate) fn off(properties: usize, wall_ms: i64) -> Self {
        Self { health: Health::Offline, link_up: true, ..Self::new(properties, wall_ms) }
    }

    /// Rises with every visible change and never goes back.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether the device can be reached, as far as was last heard.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Since when, in milliseconds since 1970.
    pub fn health_since_ms(&self) -> i64 {
        self.health_since_ms
    }

    /// Whether the broker, port or lines are there.
    pub fn link_up(&self) -> bool {
        self.link_up
    }

    /// Since when, in milliseconds since 1970.
    pub fn link_since_ms(&self) -> i64 {
        self.link_since_ms
    }

    /// The last reading of a property (index in the model), believed or not.
    pub fn reading(&self, property: usize) -> Option<&Reading> {
        self.readings.get(property)?.as_ref()
    }

    /// The goal that the device accepted and has not reached yet.
    pub fn target(&self, property: usize) -> Option<&Value> {
        self.targets.get(property)?.as_ref()
    }

    /// Whether what the shadow says about reachable things can be believed now.
    pub fn trusted(&self) -> bool {
        self.link_up && matches!(self.health, Health::Online | Health::Asleep)
    }

    /// The value of a property when it can be believed: link up, device reachable, not stale.
    pub fn believed(&self, property: usize) -> Option<&Value> {
        self.reading(property)
            .filter(|reading| self.trusted() && !reading.stale)
            .map(|reading| &reading.value)
    }

    /// Like [`Shadow::believed`], of known age and heard since the link came up: what a guard or a
    /// toggle may rest on.
    pub fn certain(&self, property: usize) -> Option<&Value> {
        let known = self.reading(property).is_some_and(|reading| reading.at_ms.is_some() && reading.since_up);
        self.believed(property).filter(|_| known)
    }

    /// Takes a reading; true when something visible changed.
    pub(crate) fn read(&mut self, property: usize, reading: Reading) -> bool {
        let reached =
            self.targets.get(property).is_some_and(|target| target.as_ref() == Some(&reading.value));
        if reached && let Some(target) = self.targets.get_mut(property) {
            *target = None;
        }
        let Some(slot) = self.readings.get_mut(property) else { return false };
        let same = slot.as_ref().is_some_and(|old| {
            old.value == reading.value
                && old.stale == reading.stale
                && old.at_ms.is_some() == reading.at_ms.is_some()
        });
        *slot = Some(reading);
        self.bump(!same || reached)
    }

    /// Takes an accepted goal; true when something visible changed.
    pub(crate) fn aim(&mut self, property: usize, goal: Value) -> bool {
        let reached = self.reading(property).is_some_and(|reading| reading.value == goal);
        let goal = (!reached).then_some(goal);
        let Some(slot) = self.targets.get_mut(property) else { return false };
        let changed = *slot != goal;
        *slot = goal;
        self.bump(changed)
    }

    /// Marks a reading as stale; true when it was not.
    pub(crate) fn age(&mut self, property: usize) -> bool {
        let Some(Some(reading)) = self.readings.get_mut(property) else { return false };
        let changed = !reading.stale;
        reading.stale = true;
        self.bump(changed)
    }

    /// Takes news about the device; true when it changed.
    pub(crate) fn health_is(&mut self, health: Health, wall_ms: i64) -> bool {
        let changed = self.health != health;
        if changed {
            self.health = health;
            self.health_since_ms = wall_ms;
        }
        self.bump(changed)
    }

    /// Takes news about the link; true when it changed.
    pub(crate) fn link_is(&mut self, up: bool, wall_ms: i64) -> bool {
        let changed = self.link_up != up;
        if changed {
            self.link_up = up;
            self.link_since_ms = wall_ms;
            self.readings.iter_mut().flatten().for_each(|reading| reading.since_up = false);
        }
        self.bump(changed)
    }

    /// Takes over what an earlier configuration knew of the same device, property by property; its health
    /// where that is told the same way, and its link where that is still the same one.
    pub(crate) fn inherit(
        &mut self,
        old: &Self,
        same_link: bool,
        same_health: bool,
        property_of: impl Fn(usize) -> Option<usize>,
    ) {
        self.version = self.version.max(old.version) + 1;
        if same_health {
            (self.health, self.health_since_ms) = (old.health, old.health_since_ms);
        }
        if same_link {
            (self.link_up, self.link_since_ms) = (old.link_up, old.link_since_ms);
        }
        for index in 0..self.readings.len() {
            let Some(from) = property_of(index) else { continue };
            if let Some(slot) = self.readings.get_mut(index) {
                *slot = old.reading(from).cloned();
            }
        }
        // It may have changed while another driver, or none, looked.
        self.readings.iter_mut().flatten().for_each(|reading| reading.since_up = false);
    }

    /// Something else about the device is new: its name, its room.
    pub(crate) fn renew(&mut self) {
        self.bump(true);
    }

    /// The wall clock was set: moves every stored time along, so that ages stay what they are.
    pub(crate) fn shift(&mut self, ms: i64) {
        let moved = |at: i64| at.saturating_add(ms);
        self.health_since_ms = moved(self.health_since_ms);
        self.link_since_ms = moved(self.link_since_ms);
        for reading in self.readings.iter_mut().flatten() {
            reading.at_ms = reading.at_ms.map(moved);
        }
    }

    fn bump(&mut self, changed: bool) -> bool {
        if changed {
            self.version += 1;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(value: Value) -> Reading {
        Reading { value, at_ms: Some(5), stale: false, since_up: true }
    }

    #[test]
    fn the_version_rises_with_what_is_visible_and_only_then() {
        let mut shadow = Shadow::new(1, 100);
        assert_eq!(shadow.version(), 100);
        assert!(shadow.read(0, live(Value::Bool(true))));
        assert!(!shadow.read(0, Reading { at_ms: Some(9), ..live(Value::Bool(true)) }));
        assert_eq!(shadow.version(), 101);
        assert!(shadow.age(0) && !shadow.age(0));
        assert_eq!(shadow.version(), 102);
    }

    #[test]
    fn a_value_outlives_its_link_and_is_not_believed_meanwhile() {
        let mut shadow = Shadow::new(1, 100);
        shadow.link_is(true, 100);
        shadow.health_is(Health::Online, 100);
        shadow.read(0, live(Value::Bool(true)));
        assert_eq!(shadow.believed(0), Some(&Value::Bool(true)));
        shadow.link_is(false, 200);
        assert_eq!(shadow.believed(0), None);
        assert_eq!(shadow.reading(0).map(|reading| &reading.value), Some(&Value::Bool(true)));
        assert_eq!(shadow.health(), Health::Online, "the device itself was not heard to go");
    }

    #[test]
    fn a_copy_of_unknown_age_is_believed_but_certain_of_nothing() {
        let mut shadow = Shadow::new(1, 100);
        shadow.link_is(true, 100);
        shadow.health_is(Health::Online, 100);
        shadow.read(0, Reading { at_ms: None, ..live(Value::Bool(true)) });
        assert!(shadow.believed(0).is_some() && shadow.certain(0).is_none());
        assert!(shadow.read(0, live(Value::Bool(true))), "its age became known: that is visible");
    }

    #[test]
    fn a_goal_vanishes_when_it_is_reached() {
        let mut shadow = Shadow::new(1, 100);
        shadow.read(0, live(Value::Int(10)));
        assert!(shadow.aim(0, Value::Int(40)));
        assert_eq!(shadow.target(0), Some(&Value::Int(40)));
        shadow.read(0, live(Value::Int(25)));
        assert!(shadow.target(0).is_some());
        shadow.read(0, live(Value::Int(40)));
        assert!(shadow.target(0).is_none());
    }
}
