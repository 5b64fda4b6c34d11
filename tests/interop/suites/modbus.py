"""Two Modbus units behind pymodbus, one of them dead, over a serial line and over TCP; the server is killed and started again."""

import os
import re
import socket
import subprocess

import home
from cable import Cable
from lab import HERE, ROOT, Skip, Stopwatch, check, equal, free_port, power, record, until

SENML, PIDF = "application/senml+json", "application/pidf+xml"
FRESH = 9.0     # the meter is read every 2 s and told at most every 5 s
QUICK = 3.0     # a command and the reading that proves it, with a dead unit on the line


def run(lab):
    python = os.environ.get("PYTHON") or str(ROOT / "target" / "ci-python" / "bin" / "python")
    try:
        subprocess.run([python, "-c", "import serial; from pymodbus.simulator import SimData"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise Skip("pymodbus is not installed") from None
    over_a_line(lab, python)
    over_tcp(lab, python)


def over_a_line(lab, python):
    cable = Cable(lab)
    units = Units(lab, python, "rtu", cable.theirs)
    house = start(lab, "rtu", {"serial": {"line": {"port": str(cable.ours)}}})
    one_alive_one_dead(lab, "a serial line", house, units)
    house.program.stop()
    cable.pull()


def over_tcp(lab, python):
    port = free_port()
    units = Units(lab, python, "tcp", port)
    house = start(lab, "tcp", {"modbus": {"line": {"host": "127.0.0.1", "port": port}}})
    one_alive_one_dead(lab, "TCP", house, units)
    house.program.stop()


class Units:
    """pymodbus in a process of its own. It forgets what was written when it dies."""

    def __init__(self, lab, python, kind, place):
        self.lab, self.kind, self.place = lab, kind, place
        self.argv = [python, HERE / "modbus_units.py", kind, place]
        self.begin()

    def begin(self):
        self.program = self.lab.start(f"pymodbus-{self.kind}", self.argv)
        if self.kind == "tcp":
            until("pymodbus to listen", self._listens, 15)

    def _listens(self):
        check(self.program.alive(), f"pymodbus ended: {self.program.tail()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.place)) == 0

    def writes(self):
        """Those to the living unit."""
        return [line for line in self.program.output().splitlines() if re.fullmatch(r"write \d+ 1", line)]


def start(lab, name, line):
    def device(words, profile, unit):
        return {"name": words, "profile": profile, "port": "line", "params": {"unit": str(unit)}}

    meters = {"meter": device("Meter", "eastron-sdm120", 1), "dead-meter": device("Dead meter", "eastron-sdm120", 2)}
    relays = {"relay": device("Relay", "modbus-relay", 1), "dead-relay": device("Dead relay", "modbus-relay", 2)}
    # One line has one speed; the meters' profile has the one of the factory.
    devices = relays if name == "rtu" else {**relays, **meters}
    return home.start(lab, "home.local", None, name=name, devices=devices, **line)


def one_alive_one_dead(lab, over, house, units):
    phone = house.phone(domain="home.local")
    watch = {}
    with lab.case(f"the living unit's state reaches a watcher, over {over}"):
        watch["relay"] = phone.subscribe(phone.uri("relay"), "appliance", SENML, 600)
        watch["relay"].wait("power off", lambda n: record(n, "power") is False, timeout=20)
        watch["presence"] = phone.subscribe(phone.uri("relay"), "presence", PIDF, 600)
        watch["presence"].wait("open", lambda n: "<basic>open" in n.text)
    with lab.case(f"the dead unit is told as out of reach, over {over}"):
        watch["dead"] = phone.subscribe(phone.uri("dead-relay"), "presence", PIDF, 600)
        watch["dead"].wait("out of reach", lambda n: "<basic>closed" in n.text and "offline" in n.text, timeout=60)
        answer = phone.message(phone.uri("dead-relay"), "on")
        check(answer.status in (480, 503), f"MESSAGE to the dead unit: {answer.start}")
    with lab.case(f"twenty commands to the living unit, each proved in time, over {over}"):
        slowest = 0.0
        for turn in range(20):
            clock = Stopwatch(house.program, units.program)
            equal(phone.message(phone.uri("relay"), "off" if turn % 2 else "on").status, 200, f"command {turn}")
            slowest = max(slowest, clock.passed())
        check(slowest < QUICK, f"a command took {slowest:.1f} s")
        equal(len(units.writes()), 20, "writes that the unit saw")
        equal(phone.message(phone.uri("relay"), "on").status, 200, "MESSAGE on")
    if "TCP" in over:
        with lab.case("the living meter's values stay fresh beside the dead one, over TCP"):
            fresh(phone)
    outage(lab, over, house, units, phone, watch)


def fresh(phone):
    values = phone.subscribe(phone.uri("meter"), "appliance", SENML, 600)
    values.wait("a first value", lambda n: record(n, "power"), timeout=20)
    for _ in range(4):
        count, last = len(values.notifies), record(values.notifies[-1], "power")
        values.wait("a newer value", lambda n: record(n, "power") not in (None, last), since=count, timeout=FRESH)


def outage(lab, over, house, units, phone, watch):
    count = len(watch["presence"].notifies)
    with lab.case(f"pymodbus dies: told, over {over}"):
        units.program.kill()
        watch["presence"].wait("closed", lambda n: "<basic>closed" in n.text, since=count, timeout=40)
    with lab.case(f"a command meanwhile is refused quickly, over {over}"):
        clock = Stopwatch(house.program)
        answer = phone.message(phone.uri("relay"), "on")
        check(answer.status in (480, 503), f"MESSAGE: {answer.start}")
        clock.within(2.5, "the refusal")
    with lab.case(f"pymodbus is back and has forgotten: the state is true, nothing arrives late, over {over}"):
        count, written = len(watch["presence"].notifies), len(units.writes())
        units.begin()
        watch["presence"].wait("open", lambda n: "<basic>open" in n.text, since=count, timeout=60)
        until("the relay's state", lambda: power(phone, "relay") is False, 15)
        phone.pump(3)
        equal(len(units.writes()), written, "writes")
    with lab.case(f"commands work again, over {over}"):
        equal(phone.message(phone.uri("relay"), "on").status, 200, "MESSAGE on")
