"""Kamailio as a presence server: the plug's presence is published there and watched, a person there is a device here."""

import json
import shutil

import home
from lab import GATEWAY, PASSWORD, USER, check, equal, until
from mqtt_plug import Plug
from peers import Kamailio, Mosquitto

DOMAIN = "example.com"
TABLES = "/usr/share/kamailio/dbtext/kamailio"
MODULES = "/usr/lib/*/kamailio/modules/presence_xml.so"
PIDF = "application/pidf+xml"


def run(lab):
    lab.need("kamailio", "mosquitto")
    lab.need_files(MODULES, f"{TABLES}/version")
    shutil.copytree(TABLES, lab.folder / "kamailio" / "tables")
    kamailio = Kamailio(lab, PASSWORD, config="presence.cfg")
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    ana = lab.phone(kamailio.address, "ana", PASSWORD, DOMAIN)
    house = start(lab, kamailio, broker)
    watcher = lab.phone(kamailio.address, "walter", PASSWORD, DOMAIN)
    published(lab, watcher, plug, house)
    phone = house.phone()
    person(lab, ana, phone, house)
    # Proves: PB-6
    with lab.case("Kamailio dies and forgets: it is told, published and watched anew"):
        kamailio.kill()
        until("the gateway to notice", lambda: state(lab, house, "remotes") == "failed", 45, 0.5)
        kamailio.begin()
        until("the plug to be published again", lambda: state(lab, house, "publications") == "published", 60, 0.5)
        again = watcher.subscribe(f"sip:plug@{DOMAIN}", "presence", PIDF, 600)
        equal(again.answer.status, 200, "SUBSCRIBE after the restart")
        again.wait("the plug", lambda n: "<basic>open</basic>" in n.text, timeout=40)
        until("the person to be watched again", lambda: state(lab, house, "remotes") == "watched", 60, 0.5)
    # Proves: PB-4
    with lab.case("a clean stop takes the publication back"):
        watch = watcher.subscribe(f"sip:plug@{DOMAIN}", "presence", PIDF, 600)
        watch.wait("the plug", lambda n: "<basic>open</basic>" in n.text)
        count = len(watch.notifies)
        house.program.stop()
        watch.wait("nothing any more", lambda n: "<basic>open</basic>" not in n.text, since=count, timeout=15)


def start(lab, kamailio, broker):
    server = f"{kamailio.address[0]}:{kamailio.address[1]}"
    accounts = [{"user": user, "password": {"secret": "kam"}, **more}
                for user, more in (("house", {}), ("plug", {"device": "plug"}))]
    upstream = {"kam": {"server": server, "transport": "udp", "domain": DOMAIN, "expires": "30s",
                        "publish": ["presence"], "accounts": accounts}}
    devices = {"ana": {"name": "Ana", "profile": "remote-person", "remote": f"sip:ana@{DOMAIN}", "via": "kam"}}
    listen, arguments = home.write(lab, "home.example", broker.address, upstream=upstream, secrets={"kam": PASSWORD},
                                   devices=devices)
    return home.Gateway(lab, [*arguments, "--control", str(lab.folder / "control")], listen)


def published(lab, watcher, plug, house):
    # Proves: PB-1, SR-1
    with lab.case("the gateway publishes the plug at Kamailio, and its watchers see it"):
        until("the plug to be published", lambda: state(lab, house, "publications") == "published", 20)
        watch = watcher.subscribe(f"sip:plug@{DOMAIN}", "presence", PIDF, 600)
        equal(watch.answer.status, 200, "SUBSCRIBE")
        first = watch.wait("the plug", lambda n: "<basic>open</basic>" in n.text)
        check(f'entity="sip:plug@{DOMAIN}"' in first.text, first.text)
    # Proves: PB-3, PB-5
    with lab.case("a change of the plug reaches the watchers at Kamailio, the newest within 6 seconds"):
        for _ in range(3):
            count = len(watch.notifies)
            plug.press()
            word = "on" if plug.on else "off"
            watch.wait(f"{word}", lambda n: f">{word}<" in n.text, since=count, timeout=8)
    with lab.case("a burst of changes is one publication, the newest"):
        count = len(watch.notifies)
        for _ in range(7):
            plug.press()
        word = "on" if plug.on else "off"
        watch.wait(word, lambda n: f">{word}<" in n.text, since=count, timeout=12)
        watcher.pump(2)
        check(len(watch.notifies) - count <= 2, f"{len(watch.notifies) - count} NOTIFYs for one burst")


def person(lab, ana, phone, house):
    with lab.case("a person who publishes nothing is neither reachable nor away"):
        watch = phone.subscribe(phone.uri("ana"), "appliance", "application/senml+json", 600)
        watch.wait("unknown", lambda n: record(n, "health") == "unknown", timeout=15)
    # Proves: EV-2, EV-4, SR-1
    with lab.case("a person at Kamailio is a device of the house"):
        tag = publish(ana, "open", "Back at three")
        watch.wait("reachable", lambda n: record(n, "reachable") is True, timeout=15)
        check(record(watch.notifies[-1], "note") == "Back at three", watch.notifies[-1].text)
        lamp = phone.subscribe(phone.uri("ana"), "dialog", "application/dialog-info+xml", 600)
        lamp.wait("a lit lamp", lambda n: "<state>confirmed</state>" in n.text)
        count = len(watch.notifies)
        tag = publish(ana, "closed", "", tag)
        watch.wait("not reachable", lambda n: record(n, "reachable") is False, since=count, timeout=15)
        answer = phone.message(phone.uri("ana"), "status")
        equal(answer.status, 200, "MESSAGE")
        text = phone.reply_text(contains="reachable")
        check("not reachable" in text, text)
    with lab.case("a person whose publication is gone is shown as not known"):
        count = len(watch.notifies)
        publish(ana, None, "", tag)
        watch.wait("unknown", lambda n: record(n, "reachable") is None, since=count, timeout=15)


def publish(ana, basic, note, tag=None):
    """PUBLISH of a PIDF; without `basic` it is taken back. Gives the entity-tag."""
    headers = [("Event", "presence"), ("Expires", "600" if basic else "0")]
    headers += [("SIP-If-Match", tag)] if tag else []
    body = ""
    if basic:
        headers.append(("Content-Type", PIDF))
        words = f"<note>{note}</note>" if note else ""
        body = (f'<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="{ana.aor}"><tuple id="t">'
                f"<status><basic>{basic}</basic></status>{words}</tuple></presence>")
    answer = ana.request("PUBLISH", ana.aor, headers, body, contact=False)
    equal(answer.status, 200, "PUBLISH")
    return answer.get("SIP-ETag")


def record(notify, name):
    for entry in json.loads(notify.text):
        if entry.get("n") == name:
            return next((entry[key] for key in ("vb", "v", "vs") if key in entry), None)
    return None


def state(lab, house, what):
    """How the first of the remotes or publications stands, by `sipliance status`."""
    return home.status(lab, lab.folder / "control")[what][0]["state"]
