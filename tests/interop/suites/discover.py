"""A real broker with devices that describe themselves: what is found passes the check, and nothing is published."""

import json
import re
import subprocess

import home
from lab import GATEWAY, check, equal, until
from peers import Mosquitto

STORED = {
    "tele/hall/LWT": "Online",
    "tasmota/discovery/A0B1C2D3E4F1/config": json.dumps({"dn": "Hall plug", "t": "hall", "ft": "%prefix%/%topic%/", "rl": [1, 0, 0, 0]}),
    "tele/plug1/LWT": "Online",
    "shellies/shellyplug-s-4AF19C/online": "true",
    "homeassistant/cover/gate/config": json.dumps({
        "name": None, "dev_cla": "gate", "cmd_t": "gate/command", "stat_t": "gate/state", "avty_t": "gate/alive",
        "dev": {"ids": ["gate1"], "name": "Gate: \x1b[31m\"north\""}}),
    "homie/5/pump/$state": "ready",
    "homie/5/pump/$description": json.dumps({
        "homie": "5.0", "version": 1, "name": "Pump",
        "nodes": {"motor": {"properties": {"running": {"datatype": "boolean", "settable": True}}}}}),
    "tasmota/discovery/BAD/config": "{",
}


def discover(arguments, stdin=""):
    run = subprocess.run([GATEWAY, "discover", *arguments], input=stdin, capture_output=True, text=True, timeout=60)
    return run


class Spy:
    """Everything that is published at the broker while it listens; what is stored already does not count."""

    def __init__(self, lab, where):
        self.where = where
        self.program = lab.start("spy", ["mosquitto_sub", *where, "-R", "-t", "#", "-F", "%t"])
        until("the spy to hear", lambda: self._mark("spy/begin"))

    def _mark(self, topic):
        subprocess.run(["mosquitto_pub", *self.where, "-t", topic, "-m", "x"], check=True, timeout=10)
        return topic in self.program.output()

    def published(self):
        """What was published until now; its own last mark shows that nothing is still on its way."""
        until("the spy to hear the end", lambda: self._mark("spy/end"))
        return [line for line in self.program.output().splitlines() if not line.startswith("spy/")]


def run(lab):
    lab.need_gateway()
    lab.need("mosquitto_pub", "mosquitto_sub")
    broker = Mosquitto(lab)
    where = ["-h", broker.address[0], "-p", str(broker.address[1])]
    for topic, payload in STORED.items():
        subprocess.run(["mosquitto_pub", *where, "-r", "-t", topic, "-m", payload], check=True, timeout=10)
    home.write(lab, "home.local", broker.address)
    file, made = lab.folder / "home.yaml", lab.folder / "made"
    spy = Spy(lab, where)
    found = {}
    with lab.case("what describes itself is found, and what the house has is not found again"):
        run = discover(["--config", str(file), "--for", "2s", "--profiles", str(made)])
        equal(run.returncode, 0, f"the exit code ({run.stderr})")
        found["text"] = run.stdout
        for word in ("profile: tasmota-plug", "profile: shelly-gen1-plug", "profile: homie-pump", "Known already: plug.", "1 not JSON", "sipliance check"):
            check(word in run.stdout, f"{word!r} is missing in:\n{run.stdout}")
        check("plug1" not in run.stdout, "what the house has is proposed again")
        check("\x1b" not in run.stdout, "a control character of a name comes through")
        check("sensitive: true" in (made / "hass-gate-31m-north.yaml").read_text(), "a gate is not sensitive")
    with lab.case("the same over MQTT 5"):
        main = {"host": broker.address[0], "port": broker.address[1], "version": "5"}
        home.write(lab, "home.local", broker.address, name="five", mqtt={"main": main})
        run = discover(["--config", str(lab.folder / "five.yaml"), "--for", "2s", "--profiles", str(made)])
        equal(run.stdout.replace("five.yaml", "home.yaml"), found["text"], "what is found")
    with lab.case("nothing was published, by no will and by no goodbye"):
        equal(spy.published(), [], "messages")
    with lab.case("the proposal passes the check as it is, and so does each profile"):
        house = json.loads(file.read_text())
        house["profiles"] = ["made"]
        devices = house.pop("devices")
        # The keys of the house on lines of their own, and the devices as a person would add them.
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in house.items()]
        lines += ["devices:"] + [f"  {name}: {json.dumps(device)}" for name, device in devices.items()]
        lines += re.split(r"^devices:\n", found["text"], flags=re.M)[1].splitlines()
        path = lab.write("merged.yaml", "\n".join(lines) + "\n")
        files = [str(path), *sorted(str(profile) for profile in made.iterdir())]
        run = subprocess.run([GATEWAY, "check", *files], capture_output=True, text=True, timeout=30)
        equal(run.returncode, 0, run.stdout)
        check("0 errors, 0 warnings" in run.stdout, run.stdout)
    with lab.case("taken in, everything is known"):
        run = discover(["--config", str(lab.folder / "merged.yaml"), "--for", "1s"])
        check(": 0 new, 5 known." in run.stdout, run.stdout)
    with lab.case("a broker by its address; a file that is there is not written over"):
        run = discover(["--broker-url", f"{broker.address[0]}:{broker.address[1]}", "--for", "1s", "--out", str(lab.folder / "out.yaml")])
        equal(run.returncode, 0, run.stderr)
        check("profile: hass-gate-31m-north\n" in (lab.folder / "out.yaml").read_text(), "the profile is missing")
        run = discover(["--broker-url", f"mqtt://{broker.address[0]}:{broker.address[1]}", "--for", "1s", "--out", str(lab.folder / "out.yaml")])
        equal(run.returncode, 1, run.stderr)
    with lab.case("a broker that is away is named, and so is a name that the home file does not have"):
        broker.kill()
        run = discover(["--config", str(file), "--for", "1s"])
        equal(run.returncode, 3, "the exit code")
        check("connection refused" in run.stderr, run.stderr)
        equal(discover(["--config", str(file), "--broker", "attic"]).returncode, 2, "the exit code")
