use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::home::{Profiles, from_text};
use crate::gateway::Input;
use crate::sip::auth::{Login, answer};
use crate::sip::wire::Message;

const HOME: &str = "
format: 1
house: {domain: home.example}
listen: [udp:192.0.2.1:5060]
secrets: secrets.yaml
users:
  anna: {password: {secret: anna}}
  ben: {password: {secret: ben}}
";

const LISTS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:x="urn:x">
 <list name="lamps" x:mark="kept">
  <display-name>Lamps</display-name>
  <entry uri="sip:a@home.example"><display-name>A</display-name></entry>
  <entry uri="sip:b@home.example"/>
 </list>
</resource-lists>
"#;

const RULES: &str = r#"<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"><rule id="a"/></ruleset>"#;

const INDEX: &str = "/xcap-root/resource-lists/users/sip:anna@home.example/index";
const TYPE: &str = "application/resource-lists+xml";

struct House {
    gateway: Gateway,
    now: Now,
    kept: Vec<(Key, Option<Bytes>)>,
    /// How many of the answers so far had the disk to wait for.
    waited: usize,
}

impl House {
    fn new() -> Self {
        let secrets = "anna: correct horse\nben: battery staple\n";
        let (config, reports) = from_text(FilePath::new("home.yaml"), HOME, secrets, &Profiles::new());
        let now = Now { mono: Instant::now(), wall_ms: 1_790_000_000_000 };
        let config = config.unwrap_or_else(|| panic!("{reports:?}"));
        Self { gateway: Gateway::new(Arc::new(config), [3; 32], now), now, kept: Vec::new(), waited: 0 }
    }

    fn send(&mut self, request: &Request) -> Answer {
        let peer = "192.0.2.7".parse().unwrap();
        self.gateway.handle(Input::Http { ticket: 1, peer, request }, self.now);
        let mut given = None;
        while let Some(output) = self.gateway.poll() {
            match output {
                Output::Keep { key, body } => {
                    assert!(given.is_none(), "what is kept comes before the answer");
                    self.kept.push((key, body));
                }
                Output::Answer { ticket: 1, answer } => given = Some(answer),
                _ => {}
            }
        }
        let given = given.expect("each request is answered");
        self.waited += usize::from(given.kept);
        given
    }

    /// A request with its login: the first attempt is challenged.
    fn ask(&mut self, user: &str, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut request = Request { method: method.to_owned(), target: target.to_owned(), fields, body };
        let challenged = self.send(&request);
        assert_eq!(challenged.status, 401);
        let field = login(&challenged, user, method, target, 1);
        request.fields.push(("authorization".to_owned(), field));
        self.send(&request)
    }

    fn put(&mut self, target: &str, content_type: &str, body: &str) -> Answer {
        self.ask("anna", "PUT", target, &[("content-type", content_type)], body)
    }

    fn get(&mut self, target: &str) -> (u16, String) {
        let answer = self.ask("anna", "GET", target, &[], "");
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    fn node(&mut self, method: &str, node: &str, body: &str) -> (u16, String) {
        let content_type = if node.contains("/@") { ATTRIBUTE } else { ELEMENT };
        let target = format!("{INDEX}/~~/{node}");
        let answer = self.ask("anna", method, &target, &[("content-type", content_type)], body);
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    }
}

fn login(challenged: &Answer, user: &str, method: &str, target: &str, count: u32) -> String {
    let password = if user == "anna" { "correct horse" } else { "battery staple" };
    let challenges = challenged.fields.iter().filter(|(name, _)| *name == "www-authenticate");
    let challenges: String = challenges.map(|(_, value)| format!("WWW-Authenticate: {value}\r\n")).collect();
    let message = format!("SIP/2.0 401 x\r\n{challenges}\r\n");
    let message = Message::parse(message.as_bytes()).unwrap();
    let answer = answer(&message, Login { user, password }, method, target, "c0ffee", count).unwrap();
    answer.field.split_once(": ").unwrap().1.trim_end().to_owned()
}

#[test]
fn nobody_reads_or_writes_unproven_or_as_another() {
    let mut house = House::new();
    assert_eq!(house.put(INDEX, TYPE, LISTS).status, 201);
    let get = Request { method: "GET".to_owned(), target: INDEX.to_owned(), ..Request::default() };
    let challenged = house.send(&get);
    assert_eq!(challenged.status, 401);
    let first = challenged.fields.iter().find(|(name, _)| *name == "www-authenticate").unwrap();
    assert!(first.1.contains("SHA-256"), "the strongest first: {first:?}");
    for (user, method) in [("ben", "GET"), ("ben", "PUT"), ("ben", "DELETE")] {
        let answer = house.ask(user, method, INDEX, &[("content-type", TYPE)], LISTS);
        assert_eq!(answer.status, 403, "{user} {method}");
    }
    for other in ["sip:anna@elsewhere.example", "sip:carla@home.example", "Anna"] {
        let target = format!("/xcap-root/resource-lists/users/{other}/index");
        assert_eq!(house.ask("anna", "GET", &target, &[], "").status, 403, "{other}");
    }
    assert_eq!(house.kept.len(), 1);
    // A phone that knows no domain names the host that it reaches.
    let target = "/xcap-root/resource-lists/users/sip:anna@192.0.2.1:5060/index";
    for (host, status) in [("192.0.2.1:8080", 200), ("192.0.2.1", 200), ("192.0.2.9:8080", 403)] {
        assert_eq!(house.ask("anna", "GET", target, &[("host", host)], "").status, status, "{host}");
    }
}

#[test]
fn a_proof_is_for_one_address_one_target_and_once() {
    let mut house = House::new();
    let mut get = Request { method: "GET".to_owned(), target: INDEX.to_owned(), ..Request::default() };
    let challenged = house.send(&get);
    let field = login(&challenged, "anna", "GET", INDEX, 1);
    get.fields.push(("authorization".to_owned(), field));
    assert_eq!(house.send(&get).status, 404);
    assert_eq!(house.send(&get).status, 401, "the count has been used");
    let elsewhere = login(&challenged, "anna", "GET", "/xcap-root/xcap-caps/global/index", 2);
    get.fields[0].1 = elsewhere;
    assert_eq!(house.send(&get).status, 400, "it covers something else");
    let put = login(&challenged, "anna", "PUT", INDEX, 3);
    get.fields[0].1 = put;
    assert_eq!(house.send(&get).status, 401, "the method is proven, too");
    house.now.mono += Duration::from_secs(3600);
    get.fields[0].1 = login(&challenged, "anna", "GET", INDEX, 4);
    let stale = house.send(&get);
    assert!(stale.status == 401 && stale.fields.iter().any(|(_, value)| value.contains("stale=true")));
}

#[test]
fn a_document_is_kept_as_it_was_written() {
    let mut house = House::new();
    assert_eq!(house.get(INDEX).0, 404);
    let written = house.put(INDEX, TYPE, LISTS);
    assert!(written.status == 201 && written.kept);
    let key = Key { kind: Kind::Lists, user: "anna".to_owned() };
    assert_eq!(house.kept, [(key.clone(), Some(Bytes::from(LISTS)))]);
    assert_eq!(house.get(INDEX), (200, LISTS.to_owned()));
    // The short name of the same document.
    assert_eq!(house.get("/xcap-root/resource-lists/users/anna/index").1, LISTS);
    assert_eq!(house.put(INDEX, "application/resource-lists+xml; charset=utf-8", LISTS).status, 200);
    assert_eq!(house.put(INDEX, "text/xml", LISTS).status, 415);
    let refused = house.ask("anna", "POST", INDEX, &[], "");
    assert!(
        refused.status == 405 && refused.fields.contains(&("allow", "GET, HEAD, PUT, DELETE".to_owned()))
    );
    assert_eq!(house.ask("anna", "DELETE", INDEX, &[], "").status, 200);
    assert_eq!(house.kept.last(), Some(&(key, None)));
    assert_eq!(house.ask("anna", "DELETE", INDEX, &[], "").status, 404);
    assert_eq!(house.waited, 3, "each change waits for the disk");
}

#[test]
fn conditions_keep_two_writers_apart() {
    let mut house = House::new();
    let tag = |answer: &Answer| {
        answer.fields.iter().find(|(name, _)| *name == "etag").map(|(_, tag)| tag.clone()).unwrap()
    };
    let mut put = |field: (&str, &str), body: &str| {
        house.ask("anna", "PUT", INDEX, &[("content-type", TYPE), field], body)
    };
    assert_eq!(put(("if-match", "*"), LISTS).status, 412, "there is none yet");
    let first = tag(&put(("if-none-match", "*"), LISTS));
    assert_eq!(put(("if-none-match", "*"), LISTS).status, 412);
    let other = LISTS.replace("Lamps", "Lights");
    let second = tag(&put(("if-match", &first), &other));
    assert_ne!(first, second);
    assert_eq!(put(("if-match", &first), LISTS).status, 412, "the other writer was faster");
    let mut get = |tag: &str| house.ask("anna", "GET", INDEX, &[("if-none-match", tag)], "").status;
    assert_eq!((get(&second), get(&first)), (304, 200));
    let node = format!("{INDEX}/~~/resource-lists/list[1]/entry[@uri=\"sip:a@home.example\"]");
    let insert = [("content-type", ELEMENT), ("if-none-match", "*")];
    assert_eq!(house.ask("anna", "PUT", &node, &insert, "<entry uri='sip:a@home.example'/>").status, 412);
    assert_eq!(house.ask("anna", "DELETE", &node, &[("if-match", &first)], "").status, 412);
    assert_eq!(house.ask("anna", "DELETE", &node, &[("if-match", &second)], "").status, 200);
}

#[test]
fn what_is_no_list_changes_nothing() {
    let mut house = House::new();
    let ns = "xmlns='urn:ietf:params:xml:ns:resource-lists'";
    let many: String = (0..300).map(|n| format!("<entry uri='sip:a{n}@h'/>")).collect();
    let bomb = "<!DOCTYPE a [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><a>&b;</a>";
    let deep = format!("{}{}", "<a>".repeat(30), "</a>".repeat(30));
    for (body, what) in [
        ("<resource-lists".to_owned(), "not-well-formed"),
        (bomb.to_owned(), "not-well-formed"),
        (deep, "not-well-formed"),
        (String::new(), "not-well-formed"),
        ("<resource-lists/>".to_owned(), "schema-validation-error"),
        (RULES.to_owned(), "schema-validation-error"),
        (format!("<resource-lists {ns}><list><entry/></list></resource-lists>"), "schema-validation-error"),
        (
            format!("<resource-lists {ns}><list><entry uri='no address'/></list></resource-lists>"),
            "schema-validation-error",
        ),
        (
            format!("<resource-lists {ns}><list name='a'/><list name='a'/></resource-lists>"),
            "uniqueness-failure",
        ),
        (
            format!(
                "<resource-lists {ns}><list><entry uri='sip:a@h'/><entry uri='sip:a@h'/></list></resource-lists>"
            ),
            "uniqueness-failure",
        ),
        (format!("<resource-lists {ns}><list>{many}</list></resource-lists>"), "constraint-failure"),
    ] {
        let answer = house.put(INDEX, TYPE, &body);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert_eq!(answer.status, 409, "{body}");
        assert!(text.contains(&format!("<{what}")), "{what} in {text}");
        assert!(answer.fields.contains(&("content-type", "application/xcap-error+xml".to_owned())));
    }
    assert!(house.kept.is_empty());
    assert_eq!(house.get(INDEX).0, 404);
}

#[test]
fn parts_are_read_and_changed_where_they_are() {
    let mut house = House::new();
    assert_eq!(house.node("PUT", "resource-lists/list[1]", "<list/>").0, 409, "there is no document");
    house.put(INDEX, TYPE, LISTS);
    let lamps = "resource-lists/list%5b@name=%22lamps%22%5d";
    let entry = |uri: &str| format!("{lamps}/entry%5b@uri=%22{uri}%22%5d");
    let a = r#"<entry xmlns="urn:ietf:params:xml:ns:resource-lists" uri="sip:a@home.example"><display-name>A</display-name></entry>"#;
    assert_eq!(house.node("GET", &entry("sip:a@home.example"), ""), (200, a.to_owned()));
    assert_eq!(house.node("GET", &format!("{lamps}/entry[1]"), "").1, a);
    assert_eq!(house.node("GET", &format!("{lamps}/entry[2]/@uri"), "").1, "sip:b@home.example");
    assert_eq!(house.node("GET", &format!("{lamps}/entry"), "").0, 404, "two fit");
    assert_eq!(house.node("GET", &format!("{lamps}/entry[3]"), "").0, 404);
    let bound = format!("{INDEX}/~~/l:resource-lists/l:list?xmlns(l=urn:ietf:params:xml:ns:resource-lists)");
    assert_eq!(house.get(&bound).0, 200);
    assert!(house.node("GET", &format!("{lamps}/namespace::*"), "").1.starts_with("<list xmlns="));

    let c = entry("sip:c@home.example");
    assert_eq!(house.node("PUT", &c, "<entry uri='sip:c@home.example'/>").0, 201);
    assert_eq!(
        house.node("PUT", &c, "<entry uri='sip:c@home.example'><display-name>C</display-name></entry>").0,
        200
    );
    assert_eq!(house.node("GET", &format!("{lamps}/entry[3]/display-name"), "").0, 200);
    assert_eq!(
        house.node("PUT", &format!("{c}/@uri"), "sip:d@home.example").0,
        409,
        "it would not be found again"
    );
    assert_eq!(house.node("PUT", &format!("{lamps}/entry[3]/@uri"), "sip:d&amp;e@home.example").0, 200);
    assert_eq!(house.node("PUT", &format!("{lamps}/entry[3]/@uri"), "a\" b=\"").0, 409);
    assert_eq!(house.node("DELETE", &format!("{lamps}/entry[3]"), "").0, 200);
    assert_eq!(house.node("DELETE", &c, "").0, 404);
    // Where the next one moves up, a repeated DELETE would take that, too.
    assert!(house.node("DELETE", &format!("{lamps}/entry[1]"), "").1.contains("cannot-delete"));
    assert!(house.node("DELETE", "resource-lists", "").1.contains("cannot-delete"));

    let (status, text) =
        house.node("PUT", "resource-lists/list[@name='none']/entry[1]", "<entry uri='sip:x@h'/>");
    assert!(status == 409 && text.contains(&format!("<ancestor>{INDEX}</ancestor>")), "{text}");
    for (node, body, what) in [
        (entry("sip:x@h"), "<entry uri='sip:y@h'/>", "cannot-insert"),
        (format!("{lamps}/entry[7]"), "<entry uri='sip:y@h'/>", "cannot-insert"),
        (entry("sip:x@h"), "<entry uri='sip:x@h'/><entry uri='sip:y@h'/>", "not-xml-frag"),
        (entry("sip:x@h"), "<entry", "not-xml-frag"),
        (format!("{lamps}/entry[3]"), "<entry uri='sip:a@home.example'/>", "uniqueness-failure"),
        (format!("{lamps}/entry[3]"), "<entry/>", "schema-validation-error"),
    ] {
        let (status, text) = house.node("PUT", &node, body);
        assert!(status == 409 && text.contains(what), "{node} {body}: {status} {text}");
    }
    assert_eq!(
        house.ask("anna", "PUT", &format!("{INDEX}/~~/{c}"), &[("content-type", TYPE)], "<entry/>").status,
        415
    );
    assert_eq!(house.get(INDEX).1, LISTS, "all that was there besides is there still");
}

#[test]
fn rules_are_read_by_their_owner_and_written_by_owners_alone() {
    let mut house = House::new();
    let key = Key { kind: Kind::Rules, user: "anna".to_owned() };
    house.gateway.restore(key, RULES.as_bytes(), house.now).unwrap();
    for path in ["pres-rules/users/anna/index", "org.openmobilealliance.pres-rules/users/anna/pres-rules"] {
        let target = format!("/xcap-root/{path}");
        let answer = house.ask("anna", "GET", &target, &[], "");
        assert_eq!((answer.status, &*answer.body), (200, RULES.as_bytes()));
        assert!(answer.fields.contains(&("content-type", "application/auth-policy+xml".to_owned())));
        assert_eq!(
            house.ask("ben", "PUT", &target, &[("content-type", policy::CONTENT_TYPE)], RULES).status,
            403
        );
        let rule = format!("{target}/~~/ruleset/rule[@id=\"a\"]/@id");
        assert_eq!(house.get(&rule), (200, "a".to_owned()));
    }
    assert_eq!(house.ask("ben", "PUT", "/xcap-root/pres-rules/users/ben/index", &[], RULES).status, 403);
    assert!(house.kept.is_empty());
}

#[test]
fn the_gateway_says_what_it_can() {
    let mut house = House::new();
    house.put(INDEX, TYPE, LISTS);
    let (status, text) = house.get("/xcap-root/xcap-caps/global/index");
    assert!(status == 200 && text.contains("<auid>resource-lists</auid>"), "{text}");
    let (status, text) = house.get("/xcap-root/rls-services/global/index");
    assert!(status == 200 && text.contains(r#"<service uri="sip:list.lamps@home.example">"#), "{text}");
    let part = "/xcap-root/rls-services/users/anna/index/~~/rls-services/service[1]/@uri";
    assert_eq!(house.get(part).1, "sip:list.lamps@home.example");
    assert_eq!(house.put("/xcap-root/xcap-caps/global/index", "text/plain", "").status, 405);
    for nothing in ["/xcap-root/resource-lists/users/anna/other", "/xcap-root/directory/users/anna/index"] {
        assert_eq!(house.get(nothing).0, 404, "{nothing}");
    }
    let bare = Request { method: "GET".to_owned(), target: "/".to_owned(), ..Request::default() };
    assert_eq!(house.send(&bare).status, 404);
}

#[test]
fn an_address_list_of_2000_becomes_a_list() {
    let mut house = House::new();
    let old = "<buddylist><title>Mine</title><group><title>G</title><buddy uri='sip:a@home.example'>A</buddy></group></buddylist>";
    assert_eq!(house.put(INDEX, xbuddy::CONTENT_TYPE, old).status, 201);
    assert_eq!(house.get(&format!("{INDEX}/~~/resource-lists/list[1]/@name")).1, "buddies");
    let answer = house.ask("anna", "GET", INDEX, &[("accept", xbuddy::CONTENT_TYPE)], "");
    assert!(String::from_utf8_lossy(&answer.body).contains("<title>Mine</title>"));
    assert!(answer.fields.contains(&("content-type", xbuddy::CONTENT_TYPE.to_owned())));
}

#[test]
fn there_is_room_for_so_much() {
    let mut house = House::new();
    let padded = format!("{LISTS}<!--{}-->", "x".repeat(limits::BODY_BYTES - LISTS.len() - 7));
    for n in 1..limits::KEPT_BYTES / limits::BODY_BYTES {
        let key = Key { kind: Kind::Lists, user: format!("user{n}") };
        house.gateway.restore(key, padded.as_bytes(), house.now).unwrap();
    }
    assert_eq!(house.put(INDEX, TYPE, LISTS).status, 201);
    let ben = INDEX.replace("anna", "ben");
    assert_eq!(house.ask("ben", "PUT", &ben, &[("content-type", TYPE)], &padded).status, 507);
    // Who has room already may use it anew.
    assert_eq!(house.put(INDEX, TYPE, &LISTS.replace("Lamps", "Lights")).status, 200);
}
