"""The gateway dies at any moment and starts again: whoever watched goes on in his dialog, and nothing moves."""

import random
import signal
import time

import home
from lab import PASSWORD, USER, check, equal, until
from mqtt_plug import Plug
from peers import Kamailio, Mosquitto

DOMAIN = "example.com"
DEATHS = 10
# After the last death: up again, the first NOTIFY, and for those behind a provider a registration before it.
SOON = 10


def run(lab):
    lab.need("mosquitto", "kamailio")
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
    far = lab.phone(kamailio.address, USER, PASSWORD, DOMAIN)
    watches = [Watch(near.subscribe(near.uri("plug"), "presence", expires=3600), "at home, UDP")]
    until("the plug to be registered", lambda: far.subscribe(far.uri("plug"), "presence", expires=0).answer.status == 200, 20, 0.5)
    watches.append(Watch(far.subscribe(far.uri("plug"), "presence", expires=3600), "behind Kamailio"))
    for watch in watches:
        watch.sees(plug.on)
    with lab.case("after a kill -9 each watcher hears the whole state in the same dialog"):
        before = plug.on
        again(house, signal.SIGKILL)
        for watch in watches:
            watch.sees(before)
        equal(plug.on, before, "the plug")


class Watch:
    """A subscription, and what must hold for all that it hears: one dialog, CSeqs that rise."""

    def __init__(self, subscription, name):
        self.subscription, self.name = subscription, name
        equal(subscription.answer.status, 200, f"SUBSCRIBE {name}")
        self.looked = 0

    def sees(self, on, timeout=SOON):
        word = "on" if on else "off"
        def tells(notify):
            return f">{word}" in notify.text.lower() or f" {word}<" in notify.text.lower() or word in notify.text.lower()
        self.subscription.wait(f"{self.name}: {word}", tells, self.looked, timeout)
        self.holds()
        self.looked = len(self.subscription.notifies)

    def holds(self):
        notifies = self.subscription.notifies
        numbers = [int(n.get("CSeq").split()[0]) for n in notifies]
        equal(numbers, sorted(set(numbers)), f"CSeqs {self.name}")
        tags = {(n.tag("From"), n.tag("To")) for n in notifies}
        equal(len(tags), 1, f"dialogs {self.name}")
        for notify in notifies:
            check(notify.get("Subscription-State").startswith("active"), f"{self.name}: {notify.get('Subscription-State')}")


def again(house, how):
    house.program.stop(how)
    house.begin()
