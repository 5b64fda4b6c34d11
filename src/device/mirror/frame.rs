//! Frames that a pattern matches.

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest frame that is made of a pattern; a pattern that wants more makes none.
const LONGEST: usize = 4096;

/// A short text that the pattern matches.
pub(super) fn example(pattern: &Regex) -> Option<String> {
    let tree = regex_syntax::parse(pattern.as_str()).ok()?;
    let mut out = Vec::new();
    write(&tree, &mut out)?;
    let text = String::from_utf8(out).ok()?;
    pattern.is_match(&text).then_some(text)
}

fn write(tree: &Hir, out: &mut Vec<u8>) -> Option<()> {
    match tree.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(class) => class_member(class, out)?,
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                write(&repetition.sub, out)?;
                if out.len() > LONGEST {
                    return None;
                }
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, out)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, out))?,
        HirKind::Alternation(choices) => write(choices.first()?, out)?,
    }
    (out.len() <= LONGEST).then_some(())
}

/// A digit, a letter or whatever the class has first.
fn class_member(class: &Class, out: &mut Vec<u8>) -> Option<()> {
    let has = |wanted: char| match class {
        Class::Unicode(ranges) => {
            ranges.ranges().iter().any(|range| (range.start()..=range.end()).contains(&wanted))
        }
        Class::Bytes(ranges) => ranges.ranges().iter().any(|range| {
            u8::try_from(wanted).is_ok_and(|wanted| (range.start()..=range.end()).contains(&wanted))
        }),
    };
    let usual = ['0', 'A', 'a', '1', ' '].into_iter().find(|wanted| has(*wanted));
    let first = match class {
        Class::Unicode(ranges) => ranges.ranges().first().map(|range| range.start()),
        Class::Bytes(ranges) => ranges.ranges().first().map(|range| char::from(range.start())),
    };
    let mut buffer = [0; 4];
    out.extend_from_slice(usual.or(first)?.encode_utf8(&mut buffer).as_bytes());
    Some(())
}

/// `frame` with `raw` where the pattern looks; `None` where the pattern then finds something else.
pub(super) fn say(pattern: &Regex, frame: &str, raw: &str) -> Option<String> {
    let found = pattern.captures(frame)?;
    let span = found.get(1).or_else(|| found.get(0))?.range();
    let mut text = frame.to_owned();
    text.replace_range(span, raw);
    says(pattern, &text, raw).then_some(text)
}

/// Whether the pattern finds `raw` in `frame`.
pub(super) fn says(pattern: &Regex, frame: &str, raw: &str) -> bool {
    let found = pattern.captures(frame).and_then(|found| found.get(1).or_else(|| found.get(0)));
    found.is_some_and(|group| group.as_str() == raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_many_kinds_get_a_frame() {
        for (pattern, raw, want) in [
            (r"^PW(ON|STANDBY)$", "STANDBY", "PWSTANDBY"),
            (r"^MV(\d\d)5?$", "07", "MV07"),
            (r"^T=([+-]?\d+\.\d) C", "-3.5", "T=-3.5 C"),
            (r"^43 48 32 3A 20 (4F 4E|4F 46 46)", "4F 46 46", "43 48 32 3A 20 4F 46 46"),
            (r"\d{3}", "123", "123"),
            (r"(?i)^state:\s*(\w+)", "open", "STATE:open"),
            (r"[^,]*,[^,]*,(\d+)", "12", ",,12"),
        ] {
            let pattern = Regex::new(pattern).expect("a pattern");
            let example = example(&pattern).expect("an example");
            assert_eq!(say(&pattern, &example, raw).as_deref(), Some(want), "{pattern} {example:?}");
        }
        let digits = Regex::new(r"^(\d\d)$").expect("a pattern");
        assert_eq!(say(&digits, "00", "7"), None, "what does not fit is not said");
    }
}
