//! Which topics and filters MQTT 3.1.1 lets through (§4.7, §1.5.3).

/// The longest topic that the length prefix can carry.
const LONGEST: usize = u16::MAX as usize;

/// Checks a topic that is written to.
///
/// # Errors
/// Words for a person.
pub(crate) fn check_topic(topic: &str) -> Result<(), String> {
    check_text(topic, "topic")?;
    match topic.contains(['+', '#']) {
        true => Err(format!("the topic {topic:?} holds a wildcard (+ or #); one topic must be named")),
        false => Ok(()),
    }
}

/// Checks a topic filter that is watched.
///
/// # Errors
/// Words for a person.
pub(crate) fn check_filter(filter: &str) -> Result<(), String> {
    check_text(filter, "topic filter")?;
    match rumqttc::valid_filter(filter) {
        true => Ok(()),
        false => Err(format!(
            "the topic filter {filter:?} misplaces a wildcard: + stands for one whole level, # ends"
        )),
    }
}

fn check_text(text: &str, what: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("the {what} is empty"));
    }
    if text.len() > LONGEST {
        return Err(format!("the {what} is {} bytes long; MQTT carries {LONGEST}", text.len()));
    }
    match text.chars().any(char::is_control) {
        true => Err(format!("the {what} {text:?} holds a control character")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_need_one_topic() {
        check_topic("cmnd/plug/POWER").unwrap();
        for bad in ["", "a/+", "#", "a\0b", "a\nb", &"x".repeat(LONGEST + 1)] {
            assert!(check_topic(bad).is_err(), "{bad:.20}");
        }
    }

    #[test]
    fn watches_may_hold_wildcards_in_their_place() {
        for good in ["a", "+/5/+/$state", "#", "a/#", "+"] {
            check_filter(good).unwrap();
        }
        for bad in ["", "a#", "a/#/b", "a+/b", "\u{0}"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
    }
}
