"""A reload with real brokers, sockets and signals: what nothing changed for hears nothing of it, and what cannot be taken over changes nothing."""

import json
import os
import signal
import socket
import subprocess
import threading
import time

import home
from lab import GATEWAY, USER, Gateway, check, equal, free_port, power, record, until
from mqtt_plug import Plug
from peers import Mosquitto

SENML = "application/senml+json"
DOMAIN = "home.local"


def run(lab):
    lab.need("mosquitto")
    quiet, other = Mosquitto(lab, "quiet"), Mosquitto(lab, "other")
    plug, lamp = Plug(quiet.address, "plug1"), Plug(other.address, "lamp1")
    lab.closers += [plug.close, lamp.close]
    check(plug.online.wait(10) and lamp.online.wait(10), "the plugs did not connect")
    house = House(lab, quiet, other)
    phone = house.gateway.phone(domain=DOMAIN)
    watch = phone.subscribe(phone.uri("plug"), "appliance", SENML, 600)
    watch.wait("power off", lambda n: record(n, "power") is False, timeout=15)
    until("the lamp to be asked", lambda: lamp.commands, 15)
    untouched(lab, house, quiet, other, plug, lamp, phone, watch)
    devices(lab, house, plug, lamp, phone, watch)
    refused(lab, house, phone, watch)
    doors(lab, house, phone)
    with lab.case("of all this, the broker that nothing was changed of saw one connection, and the plug's watcher one subscription"):
        equal(quiet.connects(f"sipliance-{DOMAIN}-quiet"), 1, "CONNECTs")
        check(watch.refresh().status in (200, 202), "the subscription is gone")
        count = len(watch.notifies)
        plug.press()
        watch.wait("the press", lambda n: record(n, "power") == plug.on, since=count)
        equal([text for _, text in plug.orders() + lamp.orders()].count("OFF"), 0, "orders that nobody gave")


def untouched(lab, house, quiet, other, plug, lamp, phone, watch):
    with lab.case("another broker's password changes: that broker alone is connected to anew"):
        asked, told = len(plug.commands), len(watch.notifies)
        house.secrets["broker"] = {"password": "another word"}
        words = house.reload()
        check("started broker other" in words and "quiet" not in words, words)
        until("the other broker to see another connection", lambda: other.connects(f"sipliance-{DOMAIN}-other") == 2, 10)
        phone.pump(1)
        equal(quiet.connects(f"sipliance-{DOMAIN}-quiet"), 1, "CONNECTs at the broker that was left alone")
        equal(len(plug.commands), asked, "questions to the plug")
        equal(len(watch.notifies), told, "NOTIFYs about the plug")
    with lab.case("a command that is under way goes on over a reload"):
        plug.mute, began = True, time.time()
        house.home["devices"]["lamp"]["name"] = "Floor lamp"

        def meanwhile():
            until("the plug to be told", lambda: plug.orders(began), 5)
            house.reload()
            plug.mute = False
            plug.press()
        beside = threading.Thread(target=meanwhile)
        beside.start()
        equal(phone.message(phone.uri("plug"), "on").status, 200, "MESSAGE on")
        beside.join(10)
        equal([text for _, text in plug.orders(began)], ["ON"], "orders")


def devices(lab, house, plug, lamp, phone, watch):
    with lab.case("an appliance comes before the others, and goes again: they keep their addresses, watchers and state"):
        phone.pump(1)
        told = len(watch.notifies)
        before = house.home["devices"]
        house.home["devices"] = {"first": {"name": "First", "profile": "tasmota-plug", "broker": "quiet", "params": {"topic": "first"}}, **before}
        check("1 new" in house.reload(), "the answer")
        equal(phone.message(phone.uri("lamp"), "on").status, 200, "MESSAGE on to the lamp")
        check(lamp.on, "the lamp is off")
        equal(power(phone, "plug"), plug.on, "the plug")
        house.home["devices"] = before
        check("1 gone" in house.reload(), "the answer")
        equal(phone.message(phone.uri("first"), "on").status, 404, "MESSAGE to what is gone")
        phone.pump(1)
        equal(len(watch.notifies), told, "NOTIFYs about the plug")


def refused(lab, house, phone, watch):
    with lab.case("a file with a mistake changes nothing and says where it is"):
        good = json.loads(json.dumps(house.home))
        house.home["devices"]["lamp"]["profil"] = "x"
        house.home["devices"]["lamp"]["name"] = "Another"
        answer = house.reload(1)
        check("profil" in answer and "home.yaml" in answer, answer)
        house.home = good
    with lab.case("a port that is taken: the whole file is refused, and the gateway goes on"):
        with taken() as port:
            listen = house.home["listen"]
            house.home["listen"] = [*listen, f"udp:127.0.0.1:{port}"]
            del house.home["devices"]["lamp"]
            answer = house.reload(1)
            check(str(port) in answer and "cannot listen" in answer, answer)
        house.home = good
        check(power(phone, "lamp") is not None, "the lamp is gone")
    with lab.case("another domain needs a restart, and that is what it says"):
        house.home["house"]["domain"] = "other.local"
        check("restart" in house.reload(1), "the answer")
        house.home["house"]["domain"] = DOMAIN


def doors(lab, house, phone):
    with lab.case("a new port is opened, an old one closed, and who came in elsewhere stays"):
        port = free_port()
        house.home["listen"] = [*house.home["listen"], f"tcp:127.0.0.1:{port}"]
        house.write()
        os.kill(house.gateway.program.pid, signal.SIGHUP)
        until("the new port", lambda: opens(port), 10)
        guest = lab.phone(("127.0.0.1", port), USER, phone.password, DOMAIN, "tcp")
        equal(guest.register().status, 200, "REGISTER at the new port")
        house.home["listen"].pop()
        house.reload()
        check(not opens(port), "the port is still open")
        equal(guest.message(guest.uri("plug"), "status").status, 200, "MESSAGE over the connection of before")


class House:
    """A gateway whose home file a test writes anew."""

    def __init__(self, lab, quiet, other):
        self.lab = lab
        devices = {"lamp": {"name": "Lamp", "profile": "tasmota-plug", "broker": "other", "params": {"topic": "lamp1"}}}
        brokers = {name: {"host": b.address[0], "port": b.address[1]} for name, b in (("quiet", quiet), ("other", other))}
        brokers["other"].update(user="lamp", password={"secret": "broker"})
        listen, arguments = home.write(lab, DOMAIN, quiet.address, secrets={"broker": "a word"}, devices=devices, mqtt=brokers)
        self.home = json.loads((lab.folder / "home.yaml").read_text())
        self.secrets = json.loads((lab.folder / "home-secrets.yaml").read_text())
        self.home["devices"]["plug"]["broker"] = "quiet"
        self.write()
        self.control = lab.folder / "control"
        self.gateway = Gateway(lab, [*arguments, "--control", str(self.control)], listen, name="gateway-home")

    def write(self):
        self.lab.write("home-secrets.yaml", json.dumps(self.secrets, indent=1) + "\n", 0o600)
        self.lab.write("home.yaml", json.dumps(self.home, indent=1) + "\n")

    def reload(self, code=0):
        """What `sipliance reload` says."""
        self.write()
        run = subprocess.run([GATEWAY, "reload", "--control", str(self.control)], capture_output=True, text=True, timeout=10)
        equal(run.returncode, code, f"reload: {run.stdout}{run.stderr}")
        self.gateway.alive()
        return run.stdout + run.stderr


def opens(port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class taken:
    """A UDP port that somebody else has."""

    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        return self.socket.getsockname()[1]

    def __exit__(self, *_):
        self.socket.close()
