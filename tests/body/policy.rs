use jiff::{SignedDuration, Timestamp};
use sipliance::body::policy::{
    Act, Condition, Except, Handling, Rule, Ruleset, Show, Watch, Who, read, write,
};

use super::{golden, now, refused};

const ANA: &str = "sip:ana@example.com";

fn rules() -> Ruleset {
    let monday = now() + SignedDuration::from_hours(96);
    Ruleset {
        rules: vec![
            Rule {
                id: "family".to_owned(),
                conditions: vec![Condition::Identity(vec![Who::One(ANA.to_owned())])],
                watch: Watch::Allow,
                act: Act::Allow,
                show: Show::All,
            },
            Rule {
                id: "neighbour-until-monday".to_owned(),
                conditions: vec![
                    Condition::Identity(vec![Who::One("sip:neighbour@example.net".to_owned())]),
                    Condition::Validity(vec![(now(), monday)]),
                ],
                watch: Watch::Confirm,
                act: Act::Block,
                show: Show::Properties(vec!["temperature".to_owned()]),
            },
            Rule {
                id: "village".to_owned(),
                conditions: vec![Condition::Identity(vec![Who::Many {
                    domain: Some("example.net".to_owned()),
                    except: vec![
                        Except::One("sip:thief@example.net".to_owned()),
                        Except::Domain("evil.example.net".to_owned()),
                    ],
                }])],
                watch: Watch::PoliteBlock,
                act: Act::Block,
                show: Show::Properties(vec!["humidity".to_owned()]),
            },
            Rule {
                id: "takes-nothing-away".to_owned(),
                conditions: vec![Condition::Identity(vec![Who::One(ANA.to_owned())])],
                ..Rule::default()
            },
            Rule {
                id: "never".to_owned(),
                conditions: vec![Condition::Sphere("work".to_owned()), Condition::Unknown],
                watch: Watch::Allow,
                act: Act::Allow,
                show: Show::All,
            },
        ],
    }
}

#[test]
fn documents_of_ours() {
    golden("rules.auth-policy.xml", write(&rules()));
    assert_eq!(read(write(&rules()).as_bytes()).unwrap(), rules());
}

/// Reads: AUTH-2, AUTH-3, AUTH-4
#[test]
fn who_is_granted_what() {
    let rules = rules();
    let granted = |identity: Option<&str>, at: Timestamp| {
        let Handling { watch, act, show, .. } = rules.evaluate(identity, "plug", at);
        (watch, act, show)
    };
    let none = || Show::Properties(Vec::new());
    let only = |names: &[&str]| Show::Properties(names.iter().map(|name| (*name).to_owned()).collect());
    let later = now() + SignedDuration::from_hours(96);
    for (who, at, handling) in [
        (Some(ANA), now(), (Watch::Allow, Act::Allow, Show::All)),
        (Some("sips:ana@EXAMPLE.com;transport=tls"), now(), (Watch::Allow, Act::Allow, Show::All)),
        (Some("sip:Ana@example.com"), now(), (Watch::Block, Act::Block, none())),
        (Some("sip:ana@example.com:5070"), now(), (Watch::Block, Act::Block, none())),
        (Some("sip:ana@example.com.evil.net"), now(), (Watch::Block, Act::Block, none())),
        (None, now(), (Watch::Block, Act::Block, none())),
        // Two rules match: the greater word, both properties.
        (
            Some("sip:neighbour@example.net"),
            now(),
            (Watch::PoliteBlock, Act::Block, only(&["temperature", "humidity"])),
        ),
        (Some("sip:neighbour@example.net"), later, (Watch::PoliteBlock, Act::Block, only(&["humidity"]))),
        (Some("sip:thief@example.net"), now(), (Watch::Block, Act::Block, none())),
        (Some("ana"), now(), (Watch::Block, Act::Block, none())),
    ] {
        assert_eq!(granted(who, at), handling, "{who:?} {at}");
    }
    assert!(Show::All.has("x") && !only(&["y"]).has("x"));
    assert_eq!(rules.next_change(now()), Some(later));
    assert_eq!(rules.next_change(later), None);
}

fn ruleset(conditions: &str) -> String {
    format!(
        "<ruleset xmlns='urn:ietf:params:xml:ns:common-policy' xmlns:pr='urn:ietf:params:xml:ns:pres-rules' \
         xmlns:act='urn:x-sipliance:control-rules:1' xmlns:x='urn:x'>\n<rule id='r'><conditions>{conditions}</conditions>\
         <actions><pr:sub-handling>allow</pr:sub-handling><act:do-handling>allow</act:do-handling><x:y/></actions>\
         <transformations><x:provide-everything/></transformations></rule></ruleset>"
    )
}

/// Whatever is not understood grants nothing.
/// Reads: AUTH-4
#[test]
fn what_is_not_known_matches_nobody() {
    for conditions in [
        "<x:moon phase='full'/>",
        "<sphere value='home'/>",
        "<pr:anonymous-request/>",
        "<identity/>",
        "<identity><x:group/></identity>",
        "<identity><many><x:except-family/></many></identity>",
        "<identity><many><except/></many></identity>",
        "<identity><one id='sip:ana@example.com'/></identity><x:moon/>",
        "<validity/>",
        "<identity><one id='sip:bob@example.com'/></identity>",
    ] {
        let rules = read(ruleset(conditions).as_bytes()).unwrap();
        assert_eq!(rules.evaluate(Some(ANA), "plug", now()), Handling::default(), "{conditions}");
        let again = read(write(&rules).as_bytes()).unwrap();
        assert_eq!(again.evaluate(Some(ANA), "plug", now()), Handling::default(), "{conditions}");
    }
    // A rule for everybody lets everybody watch, but nobody act unknown.
    let rules = read(ruleset("").as_bytes()).unwrap();
    assert_eq!(rules.evaluate(Some(ANA), "plug", now()).act, Act::Allow);
    let unknown = rules.evaluate(None, "plug", now());
    assert_eq!((unknown.watch, unknown.act), (Watch::Allow, Act::Block));
}

#[test]
fn what_is_no_ruleset() {
    let many: String = (0..257).map(|n| format!("<rule id='r{n}'/>")).collect();
    refused(
        read,
        &[
            (&ruleset("").replace("</ruleset>", &format!("{many}</ruleset>")), "more than 256 rules"),
            ("<ruleset/>", "namespace of <ruleset>"),
            (&ruleset("").replace("id='r'", ""), "line 2: id of <rule> is missing"),
            (&ruleset("<identity><one/></identity>"), "id of <one> is missing"),
            (&ruleset("<validity><from>today</from></validity>"), "<from> is \"today\""),
            (
                &ruleset("<validity><until>2026-01-01T00:00:00Z</until></validity>"),
                "<from> and <until> in turn",
            ),
            (
                &ruleset("<validity><from>2026-01-01T00:00:00Z</from></validity>"),
                "the last <until> of <validity> is missing",
            ),
            (&ruleset("").replace(">allow</pr", ">maybe</pr"), "<sub-handling> is \"maybe\""),
            (&ruleset("").replace(">allow</act", ">maybe</act"), "<do-handling> is \"maybe\""),
            (&ruleset("").replace("</ruleset>", "<rule id='r'/></ruleset>"), "two rules have the same id"),
        ],
    );
}
