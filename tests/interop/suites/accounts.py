"""One house with accounts at two registrars, each with its own login: who is asked answers, and one registrar's trouble is not the other's."""

import re
import subprocess

import home
from lab import GATEWAY, PASSWORD, USER, check, equal, until
from mqtt_plug import Plug
from peers import Kamailio, Mosquitto

ONE, TWO = "one.test", "two.test"
OTHER, WORD = "ben", "a-second-word-71"


def run(lab):
    lab.need("mosquitto", "kamailio")
    lab.need_files("/usr/lib/*/kamailio/modules/registrar.so")
    one = Kamailio(lab, PASSWORD, config="edge.cfg", **{"example.com": ONE})
    two = Kamailio(lab, WORD, config="edge.cfg", **{"example.com": TWO})
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")

    def upstream(kamailio, domain, secret, *accounts):
        listed = [{"user": user, "password": {"secret": secret if user != "typo" else "wrong"}, **({"device": "plug"} if device else {})} for user, device in accounts]
        return {"server": "{0[0]}:{0[1]}".format(kamailio.address), "transport": "udp", "domain": domain, "expires": "60s", "accounts": listed}
    upstreams = {"first": upstream(one, ONE, "one", ("home", False), ("4930123", True), ("4930124", True)),
                 "second": upstream(two, TWO, "two", ("huis", False), ("plug", True), ("typo", True))}
    control = lab.folder / "home.sock"
    house = home.start(lab, "house.test", broker.address, upstream=upstreams, secrets={"one": PASSWORD, "two": WORD, "wrong": "no"},
                       others={OTHER: WORD}, control=control, access=[{"who": [USER, OTHER], "see": "*", "do": "*"}])
    anna = lab.phone(one.address, USER, PASSWORD, ONE)
    ben = lab.phone(two.address, OTHER, WORD, TWO)
    good = [f"home@{ONE}", f"4930123@{ONE}", f"4930124@{ONE}", f"huis@{TWO}", f"plug@{TWO}"]
    with lab.case("five accounts are registered, each with its login; the wrong one is named and harms nobody"):
        until("all of them", lambda: all(states(lab, control).get(name) == "registered" for name in good), 20, 0.3)
        equal(states(lab, control)[f"typo@{TWO}"], "failed", "the wrong password")
        words = text(control)
        check(re.search(rf"typo@{TWO} +failed +the registrar refuses the password of `typo`", words), words)
    with lab.case("the phones register where they are"):
        for phone in (anna, ben):
            equal(phone.register().status, 200, "REGISTER")
    for phone, account, word in ((anna, "4930123", "on"), (anna, "4930124", "off"), (anna, "home", "plug on"), (ben, "plug", "off"), (ben, "huis", "plug on")):
        with lab.case(f"`{word}` to {account}@{phone.domain} is obeyed, and that account answers"):
            since = len(phone.received("MESSAGE"))
            answer = phone.message(phone.uri(account), word)
            check(answer.status in (200, 202), answer.start)
            until(f"the plug to be {word}", lambda: plug.on == word.endswith("on"), 5)
            phone.wait("the reply", lambda: len(phone.received("MESSAGE")) > since)
            reply = phone.received("MESSAGE")[-1]
            check(f"sip:{account}@{phone.domain}" in reply.get("From"), reply.get("From"))
    for phone, account in ((anna, "4930123"), (anna, "4930124"), (ben, "plug")):
        with lab.case(f"a call to {account}@{phone.domain} switches, and ends with the state"):
            before = plug.on
            equal(phone.invite(phone.uri(account)).status, 486, "the call")
            until("the call to switch", lambda: plug.on != before, 5)
    watches = {}
    for phone, account in ((anna, "4930123"), (anna, "4930124"), (ben, "plug")):
        # Proves: GR-3
        with lab.case(f"who watches {account}@{phone.domain} is in a dialog with the GRUU of that account"):
            watch = phone.subscribe(phone.uri(account), "appliance", "application/senml+json")
            check(watch.answer.status in (200, 202), watch.answer.start)
            watch.wait("the first state")
            check(watch.target.startswith(f"sip:{account}@{phone.domain};gr="), watch.target)
            watches[account] = watch
    with lab.case("a press is told to the watchers of every account"):
        sizes = {account: len(watch.notifies) for account, watch in watches.items()}
        plug.press()
        for account, watch in watches.items():
            watch.wait("the press", since=sizes[account])
    with lab.case("one registrar dies: its accounts say so, the others go on"):
        two.kill()
        until("the gateway to see it", lambda: states(lab, control)[f"plug@{TWO}"] != "registered", 75, 0.5)
        words = text(control)
        check(re.search(r"second by \S+ +\w+ .*nobody listens there", words), words)
        for name in good[:3]:
            equal(states(lab, control)[name], "registered", name)
        equal(anna.invite(anna.uri("4930123")).status, 486, "a call by the other")
    with lab.case("it comes back, and is registered at again"):
        two.begin()
        until("its accounts", lambda: states(lab, control)[f"plug@{TWO}"] == states(lab, control)[f"huis@{TWO}"] == "registered", 45, 0.5)
        equal(ben.register().status, 200, "REGISTER")
        before = plug.on
        equal(ben.invite(ben.uri("plug")).status, 486, "the call")
        until("the call to switch", lambda: plug.on != before, 5)
    with lab.case("a clean stop takes every registration back"):
        house.program.stop()
        for phone, account in ((anna, "4930124"), (ben, "plug")):
            equal(phone.send(phone.build("OPTIONS", phone.uri(account))).status, 404, account)


def states(lab, control):
    return {one["address"]: one["state"] for one in home.status(lab, control)["registrations"]}


def text(control):
    return subprocess.run([GATEWAY, "status", "--control", str(control)], capture_output=True, text=True, timeout=10).stdout
