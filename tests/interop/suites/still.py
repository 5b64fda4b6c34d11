"""No relay moves by itself: every shipped profile that can move something on a broker, a serial port or a bus, with a recorder on every wire. The
gateway is killed, stopped and reloaded, brokers die, ports are pulled out; stored states and stored commands come back. Whatever is sent that the
profile does not ask is a failure."""

import json
import os
import pathlib
import re
import signal
import threading
import time
import tty

import home
from lab import ROOT, Gateway, check, equal, until
from mqtt_plug import Plug
from peers import Mosquitto

DOMAIN = "home.local"
READING = (1, 2, 3, 4)      # function codes of Modbus that only read


def run(lab):
    lab.need("mosquitto")
    broker = Mosquitto(lab, more="log_type all\n")
    profiles = [p for p in map(Profile, sorted((ROOT / "device-profiles").glob("*.yaml"))) if p.moves]
    mqtt = [p for p in profiles if p.driver == "mqtt"]
    wires = [Wire(lab, p) for p in profiles if p.driver in ("serial", "modbus")]
    check(len(mqtt) >= 12 and len(wires) >= 4, f"{len(mqtt)} profiles on a broker, {len(wires)} on ports")
    devices = {p.name: {"name": p.name, "profile": p.name, "params": p.params} for p in mqtt}
    devices.update({w.profile.name: {"profile": w.profile.name, "port": w.profile.name, "params": w.profile.params} for w in wires})
    serial = {w.profile.name: {"port": str(w.path)} for w in wires}
    listen, arguments = home.write(lab, DOMAIN, broker.address, devices=devices, serial=serial)
    voice = Plug(broker.address, "voice")      # speaks on topics that stand for appliances and strangers
    lab.closers.append(voice.close)
    gateway = Gateway(lab, arguments, listen, name="gateway-home")
    still = Still(lab, broker, mqtt, wires, voice, gateway)

    still.while_("it starts", lambda: None)
    still.while_("stored states and stored commands come back", lambda: still.replay(True))
    still.while_("they come again, unstored", lambda: still.replay(False))
    still.while_("it is killed and started", lambda: (gateway.program.kill(), gateway.begin()))
    still.while_("it is stopped and started", lambda: (gateway.program.stop(), gateway.begin()))
    still.while_("its file is read again, as it was", lambda: os.kill(gateway.program.pid, signal.SIGHUP))
    still.while_("its file is read again without half of them, and with all of them", lambda: still.halve(devices, serial))
    still.while_("the broker dies, and begins with what was stored", still.outage)
    still.while_("every port is pulled out and put back", lambda: [wire.plug_again() for wire in wires])
    still.while_("ports answer rubbish", lambda: [wire.say(bytes(range(256))) for wire in wires])
    still.while_("it is killed in the middle of a replay", lambda: (still.replay(True), gateway.program.kill(), still.replay(False), gateway.begin()))
    with lab.case("and an order is seen at the wire, once"):
        phone = gateway.phone(domain=DOMAIN)
        phone.message(phone.uri("plug"), "on")
        orders = [line for line in still.published() if line == ("cmnd/plug1/POWER", 2)]
        equal(len(orders), 1, "orders")
        board = next(wire for wire in wires if wire.profile.name == "serial-relay-board")
        phone.message(phone.uri("serial-relay-board"), "on")
        until("the relay board to be told what is no question", board.moved, 5)


class Still:
    def __init__(self, lab, broker, mqtt, wires, voice, gateway):
        self.lab, self.broker, self.mqtt, self.wires, self.voice, self.gateway = lab, broker, mqtt, wires, voice, gateway
        plug = Profile(ROOT / "device-profiles" / "tasmota-plug.yaml", {"topic": "plug1"})
        self.asks = {ask for profile in [*mqtt, plug] for ask in profile.hello}
        # What the gateway says of itself.
        self.asks |= {(f"sipliance/{DOMAIN}/status", len(word)) for word in ("online", "offline")}
        check(voice.online.wait(10), "the voice did not connect")

    def while_(self, what, act):
        """What happens, and four seconds after it."""
        with self.lab.case(what):
            act()
            time.sleep(4)
            wrong = [said for said in self.published() if said not in self.asks]
            equal(wrong, [], "published without an order: topic and length")
            for wire in self.wires:
                equal(wire.moved(), [], f"sent to {wire.profile.name} without an order")
            check(self.gateway.alive(), "it runs")

    def published(self):
        """Topic and length of everything that the gateway has published."""
        found = re.findall(r"Received PUBLISH from sipliance-home.local-main \(.*?, '([^']*)', \.\.\. \((\d+) bytes\)\)", self.broker.program.output())
        return [(topic, int(size)) for topic, size in found]

    def replay(self, retain):
        for profile in self.mqtt:
            for topic, texts in profile.topics.items():
                for text in texts:
                    self.voice._publish(topic, text, retain)

    def outage(self):
        self.broker.kill()
        time.sleep(1)
        self.broker.begin()
        check(self.voice.online.wait(10), "the voice did not come back")
        self.replay(True)

    def halve(self, devices, serial):
        path = self.lab.folder / "home.yaml"
        whole = path.read_text()
        names = sorted(devices)[::2]
        rest = {name: of for name, of in devices.items() if name not in names}
        ports = {name: of for name, of in serial.items() if name in rest}
        secrets = (self.lab.folder / "home-secrets.yaml").read_text()
        home.write(self.lab, DOMAIN, self.broker.address, devices=rest, serial=ports, listen=json.loads(whole)["listen"])
        self.lab.write("home-secrets.yaml", secrets, 0o600)
        os.kill(self.gateway.program.pid, signal.SIGHUP)
        self.gateway.program.see(r"read again: devices: [^\n]*\d+ gone", 10)
        path.write_text(whole)
        os.kill(self.gateway.program.pid, signal.SIGHUP)
        self.gateway.program.see(r"read again: devices: [^\n]*\d+ new", 10)

class Profile:
    """What the suite needs of a shipped profile: its wire, what it asks, and every topic that it knows."""

    def __init__(self, path, params=None):
        text = pathlib.Path(path).read_text()
        self.name = pathlib.Path(path).stem
        self.driver = re.search(r"^driver: (\w+)", text, re.M).group(1)
        body = text.split("\ntests:")[0]
        self.hex = "encoding: hex" in body
        self.moves = bool(re.search(r"^\s+write:|^actions:", body, re.M))
        block = re.search(r"^params:\n((?:  .*\n)+)", text, re.M)
        found = re.findall(r"^  (\w+): \{.*?(?:example|default): (\"[^\"]*\"|[^,}]+)", block.group(1) if block else "", re.M)
        self.params = params or {key: value.strip().strip('"') for key, value in found}
        self.hello = {(self.fill(topic), len(unquote(payload))) for topic, payload in
                      re.findall(r"\{topic: ([^,}]+), payload: ('[^']*'|\"[^\"]*\"|[^,}]+)\}", self.section(body, "hello"))}
        said = re.findall(r"topic: ([^,}\n]+)(?:, payload: ('[^']*'|\"[^\"]*\"|[^,}\n]+))?", text)
        self.topics = {}
        for topic, payload in said:
            # Not signs of discovery with wildcards, nor a word of `about:`.
            if any(mark in topic.split(" #")[0] for mark in "+#{"):
                continue
            texts = self.topics.setdefault(self.fill(topic.split(" #")[0].rstrip("]")), {"ON", "on", "1"})
            texts |= {unquote(payload)} if payload and "<" not in payload else set()
        self.asks = {unquote(ask) for ask in re.findall(r"ask: (\"[^\"]*\"|[^,}\n]+)", body)}
        for listed in re.findall(r"hello: \[(\"[^\]]*)\]", body):
            self.asks |= {unquote(ask) for ask in re.findall(r"\"[^\"]*\"", listed)}

    @staticmethod
    def section(text, key):
        found = re.search(rf"^  {key}:(.*(?:\n    .*)*)", text, re.M)
        return found.group(1) if found else ""

    def fill(self, text):
        text = unquote(text)
        for key, value in self.params.items():
            text = text.replace(f"<{key}>", value)
        return text


def unquote(text):
    text = text.strip()
    if text[:1] == text[-1:] == '"' and len(text) > 1:
        return text[1:-1].encode().decode("unicode_escape")
    return text[1:-1] if text[:1] == text[-1:] == "'" and len(text) > 1 else text


class Wire:
    """A serial port that can be pulled out, with a recorder."""

    def __init__(self, lab, profile):
        self.profile, self.path, self.lock, self.data = profile, lab.folder / f"tty-{profile.name}", threading.Lock(), b""
        self.master = None
        self.plug_again()
        lab.closers.append(lambda: os.close(self.master))

    def plug_again(self):
        if self.master is not None:
            os.close(self.master)
            self.path.unlink()
            time.sleep(0.3)
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path.symlink_to(os.ttyname(slave))
        self.slave = slave      # open, so that the master is not at its end before the gateway comes
        threading.Thread(target=self._record, args=(self.master, slave), daemon=True).start()

    def _record(self, master, slave):
        try:
            while piece := os.read(master, 4096):
                with self.lock:
                    self.data += piece
        except OSError:
            pass
        os.close(slave)

    def say(self, raw):
        os.write(self.master, raw)

    def sent(self):
        with self.lock:
            return self.data

    def moved(self):
        """What was sent that is no question."""
        data = self.sent()
        if self.profile.driver == "modbus":
            # A request to read is eight bytes; what writes shows by its function code.
            return [data[at:at + 8] for at in range(0, len(data), 8) if data[at + 1:at + 2] and data[at + 1] not in READING]
        if self.profile.hex:
            # Its only question is one byte, again and again.
            return [] if set(data) <= {int(ask, 16) for ask in self.profile.asks} else [data]
        known = {ask.strip().encode() for ask in self.profile.asks}
        return [frame for frame in re.split(rb"[\r\n]+", data) if frame.strip() and frame.strip() not in known]
