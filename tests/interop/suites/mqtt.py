"""A real broker between the gateway and a plug: state follows readings, and a dead link is told, not hidden."""

import socket
import time

import home
from lab import Stopwatch, check, equal, power, record, until
from mqtt_plug import Plug
from peers import Mosquitto

SENML = "application/senml+json"
QUICK = 2.5     # how long a command may take to be refused while the broker is away, in seconds


def run(lab):
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    with lab.case("the played plug speaks with a real broker"):
        check(plug.online.wait(10), "the plug did not connect")
    house = home.start(lab, "home.local", broker.address)
    phone = house.phone(domain="home.local")
    watch = {}
    with lab.case("the plug's state reaches a watcher"):
        until("the gateway to ask the plug", lambda: plug.commands, 15)
        watch["state"] = phone.subscribe(phone.uri("plug"), "appliance", SENML, 600)
        watch["state"].wait("power off", lambda n: record(n, "power") is False, timeout=15)
        watch["presence"] = phone.subscribe(phone.uri("plug"), "presence", "application/pidf+xml", 600)
        watch["presence"].wait("open", lambda n: "<basic>open" in n.text)
    with lab.case("a command reaches the plug, its report confirms it"):
        equal(phone.message(phone.uri("plug"), "on").status, 200, "MESSAGE on")
        check(plug.on, "the plug is off")
        watch["state"].wait("power on", lambda n: record(n, "power") is True)
    with lab.case("somebody presses the plug's own button: the watcher hears it"):
        count = len(watch["state"].notifies)
        plug.press()
        watch["state"].wait("power off", lambda n: record(n, "power") is False, since=count)
    with lab.case("a plug that does not obey: no 200, no pretended state"):
        plug.mute = True
        answer = phone.message(phone.uri("plug"), "on")
        plug.mute = False
        check(answer.status >= 400 or answer.status == 202, f"MESSAGE on: {answer.start}")
        equal(power(phone), False, "the plug's state")
    outage(lab, house, broker, plug, phone, watch)


def outage(lab, house, broker, plug, phone, watch):
    since = time.time()
    counts = {name: len(w.notifies) for name, w in watch.items()}
    with lab.case("the broker dies: watchers are told that the plug is out of reach"):
        broker.kill()
        watch["presence"].wait("closed", lambda n: "<basic>closed" in n.text, since=counts["presence"], timeout=20)
    with lab.case("a command meanwhile is refused quickly, by MESSAGE and by number"):
        for what, ask in (("MESSAGE", lambda: phone.message(phone.uri("plug"), "on")), ("INVITE", lambda: phone.invite(phone.uri("21")))):
            clock = Stopwatch(house.program)
            answer = ask()
            check(answer.status in (480, 503), f"{what}: {answer.start}")
            clock.within(QUICK, f"the refusal of {what}")
    with lab.case("the broker is back: the state is true again"):
        counts = {name: len(w.notifies) for name, w in watch.items()}
        broker.begin()
        check(plug.online.wait(10), "the plug did not come back")
        watch["presence"].wait("open", lambda n: "<basic>open" in n.text, since=counts["presence"], timeout=45)
        phone.pump(2)
        until("the plug's state", lambda: power(phone) == plug.on, 15)
    with lab.case("no command of the outage arrives late"):
        phone.pump(3)
        equal(plug.orders(since), [], "orders to the plug")
    with lab.case("commands work again"):
        equal(phone.message(phone.uri("plug"), "on").status, 200, "MESSAGE on")
        check(plug.on, "the plug is off")
    with lab.case("the plug loses power: its last will makes it unreachable"):
        count = len(watch["presence"].notifies)
        plug.ended.set()
        plug.socket.shutdown(socket.SHUT_RDWR)     # without a DISCONNECT the broker tells the will
        watch["presence"].wait("closed", lambda n: "<basic>closed" in n.text, since=count, timeout=20)
        house.alive()
