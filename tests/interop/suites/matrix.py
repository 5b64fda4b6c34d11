"""The negotiation matrix against sipp, row by row: what a peer of today and one of 2000 sends, and what it gets.

`docs/formats.md` has the table. The rows about people use the suites' own phone.
"""

import ua as sip
from lab import PASSWORD, USER, Gateway, check, equal, free_port
from peers import sipp

import home

CONTACT = "Contact: <sip:[service]@[local_ip]:[local_port];transport=[transport]>"
ANY = "SIP/2.0"
SUMMARY = "application/simple-message-summary"

# name, target, fields beside Contact, what the 200 must match, what the NOTIFY must match, what its body must match
WATCHED = [
    ("presence-no-accept", "plug", ["Event: presence"], "Content-Length: 0", "Content-Type: application/pidf.xml", "ns:pidf"),
    ("presence-pidf", "plug", ["Event: presence", "Accept: application/pidf+xml"], ANY, "application/pidf.xml", "basic"),
    ("presence-both", "plug", ["Event: presence", "Accept: text/lpidf, application/pidf+xml;q=0.5"], ANY, "application/pidf.xml", "basic"),
    ("presence-cpim", "plug", ["Event: presence", "Accept: application/cpim-pidf+xml"], ANY, "application/cpim-pidf.xml", "ns:cpim-pidf"),
    ("presence-xpidf", "plug", ["Event: presence", "Accept: application/xpidf+xml"], ANY, "application/xpidf.xml", "presentity uri"),
    ("presence-lpidf", "plug", ["Event: presence", "Accept: text/lpidf"], ANY, "Content-Type: text/lpidf", "To: "),
    ("presence-empty-accept", "plug", ["Event: presence", "Accept:"], "Content-Length: 0", "Content-Length: 0", ANY),
    ("no-event", "plug", [], "Content-Type: text/lpidf", "Content-Type: text/lpidf", "Contact: "),
    ("no-event-xpidf", "plug", ["Accept: application/xpidf+xml"], "application/xpidf.xml", "application/xpidf.xml", "atomid="),
    ("no-event-contacts", "plug", ["Contact: <sip:nobody@[local_ip]:[local_port]>;expires=0"], "text/lpidf", "text/lpidf", "To: "),
    ("mailbox-no-accept", "alerts", ["Event: message-summary"], "Content-Length: 0", SUMMARY, "Messages-Waiting: "),
    ("mailbox-simple", "alerts", ["Event: message-summary", f"Accept: {SUMMARY}"], ANY, SUMMARY, "Messages-Waiting: "),
    ("mailbox-immediate", "alerts", ["Event: message-summary;immediate"], "Content-Type: text/plain", "text/plain", "Messages-Waiting: "),
    ("mailbox-immediate-xml", "alerts", ["Event: message-summary;immediate", "Accept: text/xml"], "message_summary", "text/xml", "mailbox_in"),
    ("mailbox-text", "alerts", ["Event: message-summary", "Accept: text/plain"], "Content-Length: 0", "text/plain", "Messages-Waiting: "),
    ("winfo-own", USER, ["Event: presence.winfo"], "Content-Length: 0", "application/watcherinfo.xml", "package=.presence."),
    ("group", "upstairs", ["Event: appliance", "Supported: eventlist"], "Require: eventlist", "multipart/related", "fullState"),
    ("group-of-2000", "group=upstairs", ["Event: appliance", "Supported: eventlist"], "Require: eventlist", "multipart/related", "fullState"),
    ("watchers-of-2000", f"{USER}%40home.local%40plug%40home.local", ["Accept: application/xwatcher+xml"],
     "Content-Length: 0", "application/xwatcher.xml", "presentity uri"),
    ("appliance-watchers-of-2000", "plug", ["Event: appliance.winfo", "Accept: application/xwatcher+xml"],
     "Content-Length: 0", "application/xwatcher.xml", "presentity uri"),
    ("appliance-dmp", "plug", ["Event: appliance", "Accept: application/dmp"], "Content-Length: 0", "application/dmp", "DMPResponse"),
    ("device-info", "plug", ["Event: device-info"], "Content-Length: 0", "application/device-profile.xml", "DeviceName"),
    ("mailbox-xml", "alerts", ["Event: message-summary", "Accept: text/xml"], "Content-Length: 0", "text/xml", "message_summary"),
]

# name, target, fields, status, what the answer must match
ANSWERED = [
    ("presence-nothing-fits", "plug", [CONTACT, "Event: presence", "Accept: image/png"], 406, "Accept: application/pidf.xml"),
    ("unknown-event", "plug", [CONTACT, "Event: weather"], 489, "Allow-Events: .*presence"),
    ("no-event-pidf", "plug", [CONTACT, "Accept: application/pidf+xml"], 489, "Allow-Events: "),
    ("no-event-fetch", "plug", ["Expires: 0"], 200, "Content-Type: text/lpidf"),
    ("no-event-no-contact", "plug", ["Expires: 60"], 400, ANY),
    ("mailbox-fetch", "alerts", ["Event: message-summary", "Expires: 0"], 200, "Content-Type: text/plain"),
    ("mailbox-fetch-xml", "alerts", ["Event: message-summary", "Expires: 0", "Accept: text/xml"], 200, "message_summary"),
    ("mailbox-no-contact", "alerts", ["Event: message-summary", "Expires: 60"], 400, ANY),
    ("two-contacts", "plug", [CONTACT, CONTACT, "Event: presence"], 400, ANY),
    ("list-without-eventlist", "all", [CONTACT, "Event: presence"], 421, "Require: eventlist"),
]

QUERY = "<DMPAction><Device>plug</Device><Query><Variable>Power</Variable></Query></DMPAction>"

# The same for other methods, with a body.
OTHERS = [
    ("do-dmp", "plug", ["Content-Type: application/dmp", "Accept: application/dmp"], 200, "DMPResponse", "DO", QUERY),
    ("do-mini-dmp", "plug", ["Content-Type: application/dmp", "Accept: text/plain"], 200, "Content-Type: text/plain", "DO", "<query>Power</query>"),
    ("do-text", "plug", ["Content-Type: text/plain"], 200, "Desk lamp plug", "DO", "status"),
    ("message-dmp", "plug", ["Content-Type: application/dmp"], 200, "Content-Length: 0", "MESSAGE", "<command><turn>Off</turn></command>"),
    ("options-td", "plug", ["Accept: application/td+json"], 200, "application/td.json", "OPTIONS", ""),
    ("options-profile", "plug", ["Accept: application/device-profile+xml"], 200, "DeviceName", "OPTIONS", ""),
    ("qauth", "plug", ["Expires: 600"], 200, "Expires: 600", "QAUTH", ""),
]

# The same with `compat: off`.
OFF = [
    ("off-no-event", "plug", [CONTACT], 489, "Allow-Events: "),
    ("off-xpidf", "plug", [CONTACT, "Event: presence", "Accept: application/xpidf+xml"], 406, "Accept: application/pidf.xml"),
    ("off-lpidf", "plug", [CONTACT, "Event: presence", "Accept: text/lpidf"], 406, "Accept: application/pidf.xml"),
    ("off-empty-accept", "plug", [CONTACT, "Event: presence", "Accept:"], 406, ANY),
    ("off-mailbox-xml", "alerts", [CONTACT, "Event: message-summary", "Accept: text/xml"], 406, f"Accept: {SUMMARY}"),
    ("off-mailbox-fetch", "alerts", ["Event: message-summary", "Expires: 0"], 400, ANY),
]


def run(lab):
    lab.need("sipp")
    house = Gateway.demo(lab)
    house.phone()
    for name, target, fields, answer, form, body in WATCHED:
        # Proves: LP-7, MW-8, NEG-1, NEG-2, NEG-3, NEG-4, NEG-5, NEG-6, NEG-8, NEG-9, NEG-10, NEG-11, NEG-21
        with lab.case(f"SUBSCRIBE, {name}"):
            sipp(lab, "row", house.listen, USER, PASSWORD, name=name, target=target, fields="\n    ".join([CONTACT] + fields),
                 answer=answer, form=form, body=body)
    for row in ANSWERED:
        answered(lab, house, *row)
    for name, target, fields, status, answer, method, content in OTHERS:
        answered(lab, house, name, target, fields, status, answer, method, None, content)
    strict = home.start(lab, "home.example", ("127.0.0.1", free_port()), name="strict", compat="off")
    for row in OFF:
        answered(lab, strict, *row)
    with lab.case("with compat off, DO is 405 and Allow does not name it"):
        phone = strict.phone()
        answer = phone.request("DO", phone.uri("plug"), [("Content-Type", "text/plain")], "on")
        equal(answer.status, 405, "DO")
        check("DO" not in [method.strip() for method in answer.get("Allow").split(",")], answer.get("Allow"))
    registered(lab, house)
    people(lab)
    odd(lab, house)
    with lab.case("the gateways still run"):
        house.alive() and strict.alive()


def answered(lab, house, name, target, fields, status, answer, method="SUBSCRIBE", uri=None, content=""):
    where = f"{house.listen[0]}:{house.listen[1]}"
    to = f"sip:{target}@{where}"
    # Proves: NEG-6, NEG-7, NEG-12, NEG-13, NEG-14, NEG-17, NEG-18, NEG-19, NEG-20
    with lab.case(f"{method}, {name}: {status}"):
        sipp(lab, "answered", house.listen, USER, PASSWORD, name=name, method=method, uri=uri or to, to=to,
             fields="\n    ".join(fields), content=content, status=str(status), answer=answer)


def registered(lab, house):
    """Documents in REGISTER and PUBLISH, in all three formats."""
    where = f"{house.listen[0]}:{house.listen[1]}"
    aor = f"sip:{USER}@{where}"
    pidf = f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{aor}"><tuple id="t1"><status><basic>open</basic></status></tuple></presence>'
    xpidf = (f'<presence><presentity uri="{aor};method=SUBSCRIBE"/><atom atomid="t1"><address uri="{aor}"><status status="open"/>'
             "</address></atom></presence>")
    lpidf = f"To: {aor}\n    Contact: {aor};q=0.5"
    fields = [CONTACT, "Expires: 60", "Accept: application/xbuddy+xml"]
    answered(lab, house, "register-buddies", USER, fields, 200, "buddylist", "REGISTER", f"sip:{where}")
    for kind, body in (("application/pidf+xml", pidf), ("application/xpidf+xml", xpidf), ("text/lpidf", lpidf)):
        fields = [CONTACT + ';q=0.8;methods="SUBSCRIBE"', "Expires: 60", f"Content-Type: {kind}"]
        answered(lab, house, f"register-{kind.split('/')[1]}", USER, fields, 200, 'methods="SUBSCRIBE"', "REGISTER", f"sip:{where}", body)
        fields = ["Event: presence", "Expires: 60", f"Content-Type: {kind}"]
        answered(lab, house, f"publish-{kind.split('/')[1]}", USER, fields, 200, "SIP-ETag: ", "PUBLISH", None, body)


def people(lab):
    """Anna's presence as Ben sees it: where she registered, and what she says."""
    rules = [{"who": USER, "see": "*"}, {"who": "ben", "see": ["plug", f"user:{USER}"]}, {"who": "carla", "see": "*"}]
    house = home.start(lab, "home.example", ("127.0.0.1", free_port()), name="people", access=rules,
                       others={"ben": "river-88-lantern", "carla": "copper-19-window"})
    ben = house.phone("ben", "river-88-lantern")
    carla = house.phone("carla", "copper-19-window")
    anna = house.phone(registered=False)
    watch = ben.subscribe(ben.uri(USER), "presence", "application/pidf+xml")

    def sees(what, *words, without=()):
        watch.wait(what, lambda n: all(w in n.text for w in words) and not any(w in n.text for w in without))

    with lab.case("who has no phone here is closed"):
        equal(watch.answer.status, 200, "SUBSCRIBE by ben")
        sees("closed", "<basic>closed</basic>")
    with lab.case("who is named by no rule is not seen: 404"):
        equal(carla.subscribe(carla.uri(USER), "presence").answer.status, 404, "SUBSCRIBE by carla")
        equal(carla.request("PUBLISH", carla.uri(USER), [("Event", "presence")]).status, 404, "PUBLISH by carla")
    with lab.case("a registration opens"):
        equal(anna.register().status, 200, "REGISTER")
        sees("open", "<basic>open</basic>", sip.uri_of(anna.contact))
    note = f'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{anna.aor}"><tuple id="t1"><status><basic>open</basic></status><note>%s</note></tuple></presence>'

    def publish(words, *headers):
        kind = [("Content-Type", "application/pidf+xml")] if words else []
        body = note % words if words else ""
        return anna.request("PUBLISH", anna.aor, [("Event", "presence"), *kind, *headers], body, contact=False)

    # Proves: PB-8
    with lab.case("PUBLISH of one's own presence: made, refreshed, changed, taken back"):
        first = publish("at home")
        equal(first.status, 200, "PUBLISH")
        sees("the note", "at home")
        second = publish(None, ("SIP-If-Match", first.get("SIP-ETag")))
        equal(second.status, 200, "the refresh")
        equal(publish("late", ("SIP-If-Match", first.get("SIP-ETag"))).status, 412, "the tag of before")
        third = publish("out", ("SIP-If-Match", second.get("SIP-ETag")))
        sees("the change", ">out<", without=["at home"])
        equal(publish(None, ("SIP-If-Match", third.get("SIP-ETag")), ("Expires", "0")).status, 200, "the end")
        sees("the end", "<basic>open</basic>", without=[">out<"])
    with lab.case("PUBLISH for somebody else: 403"):
        equal(ben.request("PUBLISH", ben.uri(USER), [("Event", "presence")], contact=False).status, 403, "PUBLISH by ben")
    with lab.case("the end of the registration closes"):
        count = len(watch.notifies)
        equal(anna.register(0).status, 200, "REGISTER with Expires 0")
        watch.wait("closed", lambda n: "<basic>closed</basic>" in n.text, since=count)


def odd(lab, house):
    phone = house.phone()
    # Proves: NEG-25
    with lab.case("NOTIFY outside of any subscription: 481"):
        headers = [("Event", "message-summary"), ("Subscription-State", "active"), ("Content-Type", SUMMARY)]
        asked = phone.build("NOTIFY", phone.uri(USER), headers, "Messages-Waiting: yes\r\n")
        equal(phone.send(asked).status, 481, "NOTIFY")
    # Proves: NEG-22
    with lab.case("Content-Function is accepted"):
        headers = [("Content-Type", "text/plain"), ("Content-Function", "render")]
        equal(phone.request("DO", phone.uri("plug"), headers, "status").status, 200, "DO")
    # Proves: FL-1
    with lab.case("a filter in a SUBSCRIBE: only what it includes"):
        filters = ('<filter-set xmlns="urn:ietf:params:xml:ns:simple-filter"><filter id="f"><what><include>power</include></what>'
                   "</filter></filter-set>")
        headers = [("Event", "appliance"), ("Content-Type", "application/simple-filter+xml"), ("Expires", "60")]
        answer = phone.request("SUBSCRIBE", phone.uri("plug"), headers, filters)
        equal(answer.status, 200, "SUBSCRIBE")
        phone.wait("the NOTIFY", lambda: phone.received("NOTIFY"))
        document = phone.received("NOTIFY")[0].text
        check('"power"' in document and '"watts"' not in document, document)
        answer = phone.request("SUBSCRIBE", phone.uri("plug"), headers, filters.replace("power", "colour"))
        equal(answer.status, 488, "a filter of what is not there")
