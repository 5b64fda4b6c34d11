//! Presses of a button, told apart: single, double, hold.

use std::time::{Duration, Instant};

use super::{Due, House};
use crate::device::codec::{self, Dropped, Payload};
use crate::device::profile::Clicks;
use crate::device::value::Kind;
use crate::timer::Now;

/// A button between two presses.
///
/// ```text
/// Idle ──press──▶ Down ──release──▶ Waiting ──time──▶ single
///                  │ held            │ press
///                  ▼                 ▼
///                 hold             double      (both: Spent until released)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// The level was not heard yet: the next one is where things stand, no press.
    #[default]
    Unheard,
    Idle,
    /// Pressed; a hold at this time.
    Down(Option<Instant>),
    /// Released once; a single at this time.
    Waiting(Instant),
    /// Still pressed, already told.
    Spent,
}

/// A deadline that is seen so late shows that this machine was busy: edges from before it may be
/// under way still.
const LATE: Duration = Duration::from_millis(20);

/// How long those are waited for.
const GRACE: Duration = Duration::from_millis(100);

/// One button.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Button {
    state: State,
    /// Waited for what is under way already.
    waited: bool,
    /// Last level of a line whose events come from a map.
    level: Option<bool>,
}

/// What a step of a button gives: a word to tell, and when to look again.
type Step = (Option<&'static str>, Option<Instant>);

impl Button {
    /// Whatever was under way is over: the line went out of sight.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The line became active or inactive.
    fn level(&mut self, pressed: bool, rule: Clicks, now: Instant) -> Step {
        let (state, word) = match (self.state, pressed) {
            (State::Unheard, true) => (State::Spent, None),
            (State::Unheard | State::Spent, false) => (State::Idle, None),
            (State::Idle, true) => match (rule.double, rule.hold) {
                (None, None) => (State::Spent, Some("single")),
                (_, hold) => (State::Down(hold.map(|hold| now + hold)), None),
            },
            (State::Down(Some(at)), false) if at <= now => (State::Idle, Some("hold")),
            (State::Down(_), false) => match rule.double {
                Some(double) => (State::Waiting(now + double), None),
                None => (State::Idle, Some("single")),
            },
            (State::Waiting(until), true) if until > now => (State::Spent, Some("double")),
            // The window closed a moment ago and its deadline was not seen yet.
            (State::Waiting(_), true) => (State::Down(rule.hold.map(|hold| now + hold)), Some("single")),
            (same, _) => (same, None),
        };
        self.state = state;
        self.waited = false;
        (word, self.deadline())
    }

    /// Time passed.
    fn due(&mut self, now: Instant) -> Step {
        let late = self.deadline().is_some_and(|at| now.saturating_duration_since(at) > LATE);
        if late && !std::mem::replace(&mut self.waited, true) {
            return (None, Some(now + GRACE));
        }
        match self.state {
            State::Down(Some(at)) if at <= now => {
                self.state = State::Spent;
                (Some("hold"), None)
            }
            State::Waiting(until) if until <= now => {
                self.state = State::Idle;
                (Some("single"), None)
            }
            _ => (None, None),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Down(at) => at,
            State::Waiting(at) => Some(at),
            State::Unheard | State::Idle | State::Spent => None,
        }
    }
}

impl House {
    /// A line with events changed its level.
    pub(super) fn line_event(
        &mut self,
        index: usize,
        event: usize,
        payload: &Payload<'_>,
        now: Now,
    ) -> Result<(), Dropped> {
        let level = payload.level()?;
        let Some(device) = self.devices.get_mut(index) else { return Ok(()) };
        let model = device.model_arc();
        let state = device.session.events.get_mut(event);
        let (Some(of), Some(state)) = (model.events.get(event), state) else { return Ok(()) };
        if let Some(rule) = of.clicks {
            let (word, again) = state.button.level(level, rule, now.mono);
            if let Some(at) = again {
                self.deadlines.set(at, Due::Click(index, event));
            }
            if let Some(word) = word {
                self.happened(index, event, word, now);
            }
            return Ok(());
        }
        let before = state.button.level.replace(level);
        if before.is_none_or(|before| before == level) {
            return Ok(());
        }
        match codec::value(&of.from, &Kind::Enum(of.values.clone().into()), payload) {
            Ok(word) => self.happened(index, event, &word.plain(), now),
            // Only the levels in the map mean something.
            Err(Dropped::Unknown) => {}
            Err(why) => return Err(why),
        }
        Ok(())
    }

    pub(super) fn click_due(&mut self, index: usize, event: usize, now: Now) {
        let device = self.devices.get_mut(index);
        let Some(state) = device.and_then(|device| device.session.events.get_mut(event)) else { return };
        match state.button.due(now.mono) {
            (Some(word), _) => self.happened(index, event, word, now),
            (None, Some(at)) => self.deadlines.set(at, Due::Click(index, event)),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULE: Clicks =
        Clicks { double: Some(Duration::from_millis(400)), hold: Some(Duration::from_secs(2)) };

    /// Plays levels at millisecond times and returns the words with the times at which they came.
    fn play(rule: Clicks, levels: &[(bool, u64)], until: u64) -> Vec<(&'static str, u64)> {
        let start = Instant::now();
        let mut button = Button::default();
        let mut told = Vec::new();
        let mut next = levels.iter().peekable();
        for ms in 0..=until {
            let now = start + Duration::from_millis(ms);
            if let Some((level, _)) = next.next_if(|(_, at)| *at == ms) {
                told.extend(button.level(*level, rule, now).0.map(|word| (word, ms)));
            }
            told.extend(button.due(now).0.map(|word| (word, ms)));
        }
        told
    }

    #[test]
    fn presses_are_told_apart() {
        assert_eq!(play(RULE, &[(false, 0), (true, 100), (false, 200)], 3000), [("single", 600)]);
        let twice = [(false, 0), (true, 100), (false, 200), (true, 300), (false, 400)];
        assert_eq!(play(RULE, &twice, 3000), [("double", 300)]);
        assert_eq!(play(RULE, &[(false, 0), (true, 100), (false, 2500)], 4000), [("hold", 2100)]);
    }

    #[test]
    fn a_button_that_is_down_at_start_was_not_pressed() {
        assert_eq!(play(RULE, &[(true, 0), (false, 100)], 3000), []);
    }

    /// The machine stood still: the edges come late, with the times at which they happened, and a
    /// deadline between them is seen late as well.
    #[test]
    fn late_edges_are_judged_by_their_own_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let pressed = || {
            let mut button = Button::default();
            button.level(false, RULE, at(0));
            button.level(true, RULE, at(100));
            button
        };
        // Released after 100 ms, heard after 3 s, when the deadline of the hold was seen first.
        let mut button = pressed();
        assert_eq!(button.due(at(3000)), (None, Some(at(3100))));
        assert_eq!(button.level(false, RULE, at(200)), (None, Some(at(600))));
        assert_eq!(button.due(at(3001)), (None, Some(at(3101))), "a second press may be under way too");
        assert_eq!(button.due(at(3101)), (Some("single"), None));
        // The second press of a double, heard too late.
        let mut button = pressed();
        button.level(false, RULE, at(200));
        assert_eq!(button.due(at(3000)), (None, Some(at(3100))));
        assert_eq!(button.level(true, RULE, at(300)).0, Some("double"));
        // Both edges at once, and it was a hold.
        assert_eq!(pressed().level(false, RULE, at(2500)).0, Some("hold"));
        // Nothing was under way.
        let mut button = pressed();
        assert_eq!(button.due(at(3000)).0, None);
        assert_eq!(button.due(at(3100)).0, Some("hold"));
    }

    #[test]
    fn without_double_and_hold_a_press_is_told_at_once() {
        let plain = Clicks { double: None, hold: None };
        assert_eq!(play(plain, &[(false, 0), (true, 100), (false, 200)], 500), [("single", 100)]);
    }
}
