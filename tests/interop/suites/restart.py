"""The gateway dies at any moment and starts again: whoever watched goes on in his dialog, and nothing moves."""

import random
import signal
import time

import home
import ua as sip
from lab import PASSWORD, USER, check, equal, until
from mqtt_plug import Plug
from peers import Kamailio, Mosquitto

DOMAIN = "example.com"
DEATHS = 10
# After the last death: up again, and for those behind a provider registered.
SOON = 10


def run(lab):
    lab.need("mosquitto", "kamailio")
    seed = int(time.time())
    dice = random.Random(seed)
    kamailio = Kamailio(lab, PASSWORD)
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    server = f"{kamailio.address[0]}:{kamailio.address[1]}"
    account = {"user": "plug", "auth_user": "plug", "password": {"secret": "kam"}, "device": "plug"}
    upstream = {"kam": {"server": server, "transport": "udp", "domain": DOMAIN, "expires": "60s", "accounts": [account]}}
    house = home.start(lab, DOMAIN, broker.address, upstream=upstream, secrets={"kam": PASSWORD}, state="state")
    near = lab.phone(house.listen, USER, PASSWORD, DOMAIN)
    equal(near.register().status, 200, "REGISTER")
    far = lab.phone(kamailio.address, USER, PASSWORD, DOMAIN)
    wired = Wired(lab, house)
    watches = [Watch(near, "presence", "at home, UDP"), Watch(near, "dialog", "at home, a lamp key"), wired.watch]
    until("the plug to be registered", lambda: far.subscribe(far.uri("plug"), "presence", expires=0).answer.status == 200, 20, 0.5)
    watches.append(Watch(far, "presence", "behind Kamailio"))
    for watch in watches:
        watch.sees(plug.on)
    with lab.case("after a kill -9 each watcher hears the whole state in the same dialog"):
        again(house, signal.SIGKILL)
        wired.back()
        for watch in watches:
            watch.sees(plug.on)
    with lab.case(f"{DEATHS} kills at any moment (seed {seed}): each sees the final state, and nothing moves"):
        for _ in range(DEATHS):
            until("the plug to be online", plug.online.is_set, 10)
            if dice.random() < 0.5:
                plug.press()
            near.pump(dice.uniform(0, 0.8))
            far.pump(0.05)
            if dice.random() < 0.3:
                equal(watches[0].subscription.refresh().status, 200, "a refresh in between")
            house.program.stop(signal.SIGKILL)
            house.begin()
        plug.press()
        wired.back()
        for watch in watches:
            watch.sees(plug.on)
        equal(plug.orders(), [], "what the plug was told to do")
    with lab.case("a new subscription that was answered 200 at the last moment goes on"):
        fresh = near.subscribe(near.uri("plug"), "presence;id=7", expires=600)
        house.program.stop(signal.SIGKILL)
        equal(fresh.answer.status, 200, "SUBSCRIBE")
        house.begin()
        since = len(fresh.notifies)
        fresh.wait("after the kill", lambda notify: says(notify, plug.on), since, SOON)
        equal(fresh.unsubscribe().status, 200, "unsubscribing by the dialog from before")
    with lab.case("a clean stop ends nothing: watchers hear that nothing is known, and then everything"):
        since = [len(watch.subscription.notifies) for watch in watches]
        house.program.tell(signal.SIGTERM)
        watches[0].subscription.wait("not known", lambda notify: not says(notify, True) and not says(notify, False), since[0], 5)
        watches[0].holds()
        far.pump(0.2)
        house.program.stop(signal.SIGTERM)
        for watch in watches:
            watch.looked = len(watch.subscription.notifies)
        house.begin()
        wired.back()
        for watch in watches:
            watch.sees(plug.on)
    with lab.case("a phone on UDP is reachable after a kill without registering again"):
        count = len(near.received("MESSAGE"))
        again(house, signal.SIGKILL)
        answer = near.message(near.uri("plug"), "status")
        check(200 <= answer.status < 300, answer.start)
        near.reply_text(count)
    with lab.case("a damaged record is kept aside, and what is whole of it counts"):
        house.program.stop(signal.SIGKILL)
        path = lab.folder / "state" / "records"
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0x10
        path.write_bytes(raw)
        house.begin()
        house.program.see("is damaged", 5)
        check((lab.folder / "state" / "records.damaged").exists(), "nothing was kept aside")
        equal(plug.orders(), [], "what the plug was told to do")


def says(notify, on):
    """Whether a document in PIDF or of a lamp key says so."""
    if "dialog-info" in notify.get("Content-Type"):
        return ("<state>confirmed" in notify.text) == on
    return f">{'on' if on else 'off'}<" in notify.text


class Watch:
    """A subscription, and what must hold for all that it hears: one dialog, CSeqs and versions that rise."""

    def __init__(self, phone, event, name):
        self.subscription, self.name = phone.subscribe(phone.uri("plug"), event, expires=3600), name
        equal(self.subscription.answer.status, 200, f"SUBSCRIBE {name}")
        self.looked = 0

    def sees(self, on, timeout=SOON):
        word = "on" if on else "off"
        self.subscription.wait(f"{self.name}: {word}", lambda notify: says(notify, on), self.looked, timeout)
        self.holds()
        self.looked = len(self.subscription.notifies)

    def holds(self):
        notifies = self.subscription.notifies
        rising([int(n.get("CSeq").split()[0]) for n in notifies], f"CSeqs {self.name}")
        versions = [n.text.split('version="')[2].split('"')[0] for n in notifies if "dialog-info" in n.text]
        rising([int(version) for version in versions], f"versions {self.name}")
        equal(len({(n.tag("From"), n.tag("To")) for n in notifies}), 1, f"dialogs {self.name}")
        for notify in notifies:
            check(notify.get("Subscription-State").startswith("active"), f"{self.name}: {notify.get('Subscription-State')}")


def rising(numbers, what):
    check(all(one < two for one, two in zip(numbers, numbers[1:])), f"{what}: {numbers}")


class Wired:
    """A phone over TCP, whose connection dies with the gateway: it makes another and registers over it."""

    def __init__(self, lab, house):
        self.house, self.ua = house, lab.phone(house.listen, USER, PASSWORD, DOMAIN, transport="tcp")
        equal(self.ua.register().status, 200, "REGISTER over TCP")
        self.watch = Watch(self.ua, "presence", "at home, TCP")

    def back(self):
        self.ua.wire.close()
        self.ua.wire = sip.Wire(self.house.listen, "tcp")
        equal(self.ua.register().status, 200, "REGISTER over TCP")


def again(house, how):
    house.program.stop(how)
    house.begin()
