"""sipp as a phone at the demo house, and the answers that a watcher is due."""

import re

from lab import PASSWORD, USER, Gateway, check, equal, power, record
from peers import sipp

SENML = "application/senml+json"
FORMS = {"appliance": (SENML, "power"), "dialog": ("application/dialog-info+xml", "dialog-info"),
         "presence": ("application/pidf+xml", "presence")}


def run(lab):
    lab.need("sipp")
    house = Gateway.demo(lab)
    owner = house.phone()

    def scenario(name, run_as, password=PASSWORD, **keys):
        sipp(lab, name, house.listen, USER, password, name=run_as, **keys)

    for transport, over in (("u1", "UDP"), ("t1", "TCP")):
        with lab.case(f"sipp registers over {over}"):
            scenario("register", f"register-{over}", transport=transport)
        for event, (accept, body) in FORMS.items():
            with lab.case(f"sipp watches {event} over {over}: 200, NOTIFY at once, leaves"):
                scenario("subscribe", f"{event}-{over}", transport=transport, target="plug", event=event, accept=accept, body=body)
        with lab.case(f"sipp switches by MESSAGE over {over}: 200 and a NOTIFY with the change"):
            text(owner, "off")
            scenario("switch", f"switch-{over}", transport=transport, target="plug", event="dialog",
                     accept="application/dialog-info+xml", word="on", body="confirmed")
            equal(power(owner), True, "the plug")
        with lab.case(f"sipp dials 21 over {over}: 486 with the state, the plug has toggled"):
            before = power(owner)
            scenario("dial", f"dial-{over}", transport=transport, target="21", phrase=".*" + ("off" if before else "on"))
            equal(power(owner), not before, "the plug after the call")
    with lab.case("sipp with a wrong password is refused and moves nothing"):
        before = power(owner)
        scenario("refused", "refused", password="wrong", target="plug", word="off" if before else "on")
        equal(power(owner), before, "the plug")
    watcher(lab, house, owner)
    commands(lab, house, owner)
    with lab.case("the gateway still runs"):
        house.alive()


def text(phone, words, appliance="plug"):
    """Sends a MESSAGE that must succeed and returns the gateway's words."""
    count = len(phone.requests)
    equal(phone.message(phone.uri(appliance), words).status, 200, f"MESSAGE {words!r}")
    return phone.reply_text(count)


def watcher(lab, house, owner):
    # Proves: EV-9, REQ-6.5
    with lab.case("SUBSCRIBE with Expires 0 fetches once and ends"):
        fetch = owner.subscribe(owner.uri("plug"), "appliance", SENML, expires=0)
        equal(fetch.answer.status, 200, "SUBSCRIBE")
        last = fetch.wait("the fetched state")
        check(last.get("Subscription-State").startswith("terminated"), last.get("Subscription-State"))
        check(record(last, "power") in (True, False), f"no power in {last.text}")
    # Proves: EV-16, EV-18
    with lab.case("a refresh keeps the dialog and brings full state; unsubscribing ends it"):
        watch = owner.subscribe(owner.uri("plug"), "appliance", SENML, 600)
        first = watch.wait("the first document")
        count = len(watch.notifies)
        equal(watch.refresh(600).status, 200, "refresh")
        again = watch.wait("the document after the refresh", since=count)
        check(int(again.get("CSeq").split()[0]) > int(first.get("CSeq").split()[0]), "CSeq of NOTIFY did not grow")
        equal(watch.unsubscribe().status, 200, "unsubscribe")
        watch.wait("terminated", lambda n: n.get("Subscription-State").startswith("terminated"))
        equal(watch.refresh(600).status, 481, "a SUBSCRIBE in the dialog that has ended")
    # Proves: DI-2, DI-5
    with lab.case("dialog: version counts up by one, one dialog element, lamp follows the plug"):
        lamp(owner)
    # Proves: EV-14
    with lab.case("an unknown event package: 489 with Allow-Events"):
        answer = owner.subscribe(owner.uri("plug"), "weather", None).answer
        equal(answer.status, 489, "SUBSCRIBE")
        for event in FORMS:
            check(event in answer.get("Allow-Events"), f"Allow-Events: {answer.get('Allow-Events')!r} lacks {event}")
    with lab.case("no acceptable body: 406"):
        equal(owner.subscribe(owner.uri("plug"), "appliance", "image/png").answer.status, 406, "SUBSCRIBE")
    with lab.case("an unknown appliance: 404 for SUBSCRIBE, MESSAGE and INVITE"):
        equal(owner.subscribe(owner.uri("toaster"), "appliance", SENML).answer.status, 404, "SUBSCRIBE")
        equal(owner.message(owner.uri("toaster"), "on").status, 404, "MESSAGE")
        equal(owner.invite(owner.uri("9876")).status, 404, "INVITE")
    with lab.case("a short Expires is granted or cut, never refused"):
        answer = owner.subscribe(owner.uri("plug"), "appliance", SENML, 7).answer
        equal(answer.status, 200, "SUBSCRIBE")
        check(0 < int(answer.get("Expires")) <= 7, f"Expires: {answer.get('Expires')}")


def lamp(owner):
    text(owner, "off")
    watch = owner.subscribe(owner.uri("plug"), "dialog", "application/dialog-info+xml", 600)
    watch.wait("the lamp that is off", lambda n: "terminated" in n.text)
    text(owner, "on")
    watch.wait("the lamp that is on", lambda n: "confirmed" in n.text)
    versions = [int(re.search(r'<dialog-info[^>]* version="(\d+)"', n.text).group(1)) for n in watch.notifies]
    equal(versions, list(range(versions[0], versions[0] + len(versions))), "versions")
    for notify in watch.notifies:
        equal(notify.text.count("<dialog "), 1, "dialog elements")
        check('state="full"' in notify.text, "state is not full")
    watch.unsubscribe()


def commands(lab, house, owner):
    for algorithm in ("SHA-256", "MD5"):
        with lab.case(f"digest with {algorithm} is good for a command"):
            phone = house.phone(algorithm=algorithm)
            check("on" in text(phone, "on").lower(), "the reply does not say on")
    with lab.case("status asks without changing; toggle toggles; set sets"):
        text(owner, "on")
        check("on" in text(owner, "status").lower(), "the status does not say on")
        text(owner, "toggle")
        equal(power(owner), False, "the plug after toggle")
        check("21.5" in text(owner, "set setpoint 21.5", "thermostat"), "the reply does not tell 21.5")
    with lab.case("nonsense is answered with words and moves nothing"):
        before = power(owner)
        answer = owner.message(owner.uri("plug"), "make me a sandwich")
        check(answer.status < 500, answer.start)
        equal(power(owner), before, "the plug")
    # Proves: IM-2
    with lab.case("Require of an unknown extension: 420 with Unsupported; an unknown body: 415 with Accept"):
        uri, before = owner.uri("plug"), power(owner)
        plain = [("Content-Type", "text/plain")]
        answer = owner.request("MESSAGE", uri, plain + [("Require", "teleport")], "toggle", contact=False)
        equal(answer.status, 420, "MESSAGE with Require")
        check("teleport" in answer.get("Unsupported"), f"Unsupported: {answer.get('Unsupported')!r}")
        answer = owner.message(uri, "<on/>", "application/tea-menu")
        equal(answer.status, 415, "MESSAGE with an unknown body")
        check("text/plain" in answer.get("Accept"), f"Accept: {answer.get('Accept')!r}")
        equal(power(owner), before, "the plug")
    with lab.case("a phone over TCP hears what a phone over UDP did"):
        other = house.phone(transport="tcp")
        watch = other.subscribe(other.uri("plug"), "appliance", SENML, 600)
        state = record(watch.wait("the first document"), "power")
        count = len(watch.notifies)
        text(owner, "off" if state else "on")
        watch.wait("the change", lambda n: record(n, "power") is (not state), since=count)
        watch.unsubscribe()
