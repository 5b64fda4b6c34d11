"""Home Assistant's side of a real broker: what it is told, what it may command, and what a broker that dies leaves."""

import json
import os
import signal
import subprocess
import threading
import time

import home
from lab import PASSWORD, USER, Gateway, Stopwatch, check, equal, free_port, until
from mqtt_plug import Plug

HASS, HASS_WORD = "hass", "a-word-for-the-house"
MQTT_USER, MQTT_WORD = "gw", "right"
DOMAIN = "home.local"
TREE = f"sipliance/{DOMAIN}"
PREFIX = "homeassistant"


class Broker:
    """mosquitto with TLS, logins and client certificates; it can be killed and started again on its port."""

    def __init__(self, lab):
        lab.need("mosquitto", "mosquitto_passwd", "mosquitto_pub", "mosquitto_sub", "openssl")
        self.lab, self.address = lab, ("127.0.0.1", free_port())
        self.plain = ("127.0.0.1", free_port())
        self.files = lab.folder
        certificates(self.files)
        (self.files / "passwd").write_text("")
        for user, word in ((MQTT_USER, MQTT_WORD), ("ha", "other")):
            subprocess.run(["mosquitto_passwd", "-b", self.files / "passwd", user, word], check=True)
        self.config = lab.write("mosquitto.conf", "\n".join([
            "per_listener_settings true",
            f"listener {self.address[1]} 127.0.0.1",
            f"cafile {self.files}/ca.pem", f"certfile {self.files}/broker.pem", f"keyfile {self.files}/broker.key",
            "require_certificate true", "allow_anonymous false", f"password_file {self.files}/passwd",
            # The played plug speaks no TLS.
            f"listener {self.plain[1]} 127.0.0.1", "allow_anonymous true",
            "persistence true", f"persistence_location {self.files}/", "autosave_interval 1", "user root", ""]))
        self.program = None
        self.begin()

    def begin(self):
        self.program = self.lab.start("mosquitto", ["mosquitto", "-c", self.config, "-v"])
        def listens():
            return not subprocess.run(self.client("mosquitto_pub", "-t", "lab/ready", "-n"), capture_output=True).returncode
        until("mosquitto to take a client", listens, 10)

    def kill(self):
        self.program.kill()

    def client(self, tool, *arguments):
        files = self.files
        return [tool, "-h", "127.0.0.1", "-p", str(self.address[1]), "--cafile", f"{files}/ca.pem",
                "--cert", f"{files}/ha.pem", "--key", f"{files}/ha.key", "-u", "ha", "-P", "other", *arguments]

    def publish(self, topic, payload, retain=False):
        subprocess.run(self.client("mosquitto_pub", "-q", "1", "-t", topic, "-m", payload, *(["-r"] if retain else [])), check=True, timeout=10)

    def settings(self):
        files = self.files
        return {"host": self.address[0], "port": self.address[1], "user": MQTT_USER, "password": {"secret": MQTT_USER},
                "tls": {"ca": f"{files}/ca.pem", "cert": f"{files}/gw.pem", "key": f"{files}/gw.key"}}


def certificates(folder):
    def openssl(line):
        subprocess.run(["openssl", *line.split(" ")], cwd=folder, check=True, capture_output=True, timeout=30)
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(f"req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca -days 2")
    for name in ("broker", "gw", "ha"):
        openssl(f"req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        openssl(f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile names")


class Listener:
    """mosquitto_sub as Home Assistant: everything that comes, in its order, with its retain flag."""

    def __init__(self, lab, broker, *topics):
        self.heard, self.lock = [], threading.Condition()
        chosen = [part for topic in topics for part in ("-t", topic)]
        argv = broker.client("mosquitto_sub", "-q", "1", "-F", '{"t":"%t","r":%r,"x":"%x"}', *chosen)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        lab.closers.append(self.close)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            entry = json.loads(line)
            with self.lock:
                self.heard.append((entry["t"], bytes.fromhex(entry["x"]).decode(), bool(entry["r"])))
                self.lock.notify_all()

    def wait(self, what, wanted, timeout=15, since=0):
        """The first (topic, payload, retained) after `since` entries that is wanted."""
        end = time.monotonic() + timeout
        with self.lock:
            while True:
                for entry in self.heard[since:]:
                    if wanted(*entry):
                        return entry
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"waited {timeout} s for {what}; heard {self.heard[since:][-8:]}")
                self.lock.wait(left)

    def on(self, topic, payload, timeout=15, since=0):
        return self.wait(f"{payload!r} on {topic}", lambda t, p, r: t == topic and p == payload, timeout, since)

    def count(self):
        with self.lock:
            return len(self.heard)

    def close(self):
        self.process.kill()
        self.process.wait(5)


class RelayBoard:
    """A USB relay board at the far end of a pair of pseudo terminals."""

    def __init__(self, lab):
        lab.need("socat")
        self.ours, theirs = lab.folder / "board", lab.folder / "board-far"
        lab.start("socat", ["socat", f"pty,raw,echo=0,link={self.ours}", f"pty,raw,echo=0,link={theirs}"])
        until("the pseudo terminals", lambda: self.ours.exists() and theirs.exists(), 5)
        self.on, self.commands, self.mute = False, [], False
        self.file = os.open(theirs, os.O_RDWR | os.O_NOCTTY)
        lab.closers.append(lambda: os.close(self.file))
        threading.Thread(target=self._live, daemon=True).start()

    def _live(self):
        held = b""
        try:
            while chunk := os.read(self.file, 64):
                held += chunk
                while held:
                    if held[:1] == b"\xff":
                        held = held[1:]
                        self._tell()
                    elif held[:1] == b"\xa0":
                        if len(held) < 4:
                            break
                        command, held = held[:4], held[4:]
                        self.commands.append(command)
                        self.on = command[2] == 1
                    else:
                        held = held[1:]
        except OSError:
            pass

    def _tell(self):
        if not self.mute:
            os.write(self.file, b"CH1: %s \r\nCH2: OFF \r\n" % (b"ON" if self.on else b"OFF"))


def is_config(device):
    return lambda topic, payload, _: topic.startswith(f"{PREFIX}/device/") and topic.endswith(f"_{device}/config") and payload


def start(lab, broker, board, name, user, do):
    """A house with a relay board, and a plug behind the same broker that is announced by name."""
    announce = {"prefix": PREFIX, "devices": ["*", "plug"]}
    if user:
        announce["as"] = user
    listen, arguments = home.write(
        lab, DOMAIN, broker.plain, name=name, others={HASS: HASS_WORD}, secrets={MQTT_USER: MQTT_WORD},
        mqtt={"main": {**broker.settings(), "home_assistant": announce}},
        serial={"main": {"port": str(board.ours)}},
        devices={"relay": {"name": "Relay", "profile": "serial-relay-board"}},
        access=[{"who": [USER], "see": "*", "do": "*"}, {"who": [HASS], "see": "*", **({"do": do} if do else {})}],
        audit=f"{name}-audit.jsonl")
    control = lab.folder / f"{name}.control"
    return Gateway(lab, [*arguments, "--control", str(control)], listen, name=f"gateway-{name}"), control


def audit(lab, name):
    path = lab.folder / f"{name}-audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(lab):
    broker = Broker(lab)
    board = RelayBoard(lab)
    plug = Plug(broker.plain, "plug1")
    lab.closers.append(plug.close)
    ear = Listener(lab, broker, f"{PREFIX}/#", "sipliance/#")
    reading(lab, broker, board, ear)
    commanding(lab, broker, board, plug, ear)


def reading(lab, broker, board, ear):
    gateway, _ = start(lab, broker, board, "reads", None, None)
    with lab.case("an appliance is announced, with its state and whether it can be reached"):
        _, payload, _ = ear.wait("the relay's description", is_config("relay"), 30)
        document = json.loads(payload)
        equal(document["cmps"]["power"]["platform"], "binary_sensor", "the relay without a user")
        check("command_topic" not in payload, "a command topic without a user")
        equal([entry["topic"] for entry in document["avty"]], [f"{TREE}/status", f"{TREE}/relay/availability"], "availability")
        ear.on(f"{TREE}/status", "online")
        ear.on(f"{TREE}/relay/availability", "online")
        ear.wait("the relay is off", lambda t, p, _: t == f"{TREE}/relay/state" and json.loads(p)["power"] is False)
    with lab.case("without a user nothing moves, whatever is said"):
        broker.publish(f"{TREE}/relay/set/power", "on")
        broker.publish(f"{TREE}/relay/do", "on")
        time.sleep(2)
        equal(board.commands, [], "commands to the board")
        equal(audit(lab, "reads"), [], "audit lines")
    with lab.case("a clean stop leaves everything offline, retained"):
        since = ear.count()
        gateway.program.stop()
        ear.on(f"{TREE}/relay/availability", "offline", since=since)
        ear.on(f"{TREE}/status", "offline", since=since)
        late = Listener(lab, broker, f"{TREE}/status")
        equal(late.wait("the stored status", lambda *_: True), (f"{TREE}/status", "offline", True), "what a newcomer hears")


def commanding(lab, broker, board, plug, ear):
    topic = f"{TREE}/relay/set/power"
    broker.publish(topic, "on", retain=True)
    since = ear.count()
    gateway, control = start(lab, broker, board, "acts", HASS, "*")
    counts = lambda: home.status(lab, control)["home_assistant"][0]["counts"]  # noqa: E731
    with lab.case("a retained command does nothing and is counted"):
        ear.on(f"{TREE}/relay/availability", "online", 30, since)
        until("the retained copy to be counted", lambda: counts()["retained"] == 1)
        time.sleep(1)
        equal(board.commands, [], "commands to the board")
        broker.publish(topic, "", retain=True)
    with lab.case("a command moves the relay and shows in the state; the audit log names the broker"):
        _, payload, _ = ear.wait("the description", is_config("relay"), since=since)
        equal(json.loads(payload)["cmps"]["power"]["command_topic"], topic, "the command topic")
        began = ear.count()
        broker.publish(topic, "on")
        ear.wait("the relay is on", lambda t, p, _: t == f"{TREE}/relay/state" and json.loads(p)["power"] is True, since=began)
        check(board.on, "the board is off")
        until("the end in the audit log", lambda: any(line["step"] == "ended" for line in audit(lab, "acts")))
        steps = [(line["step"], line["who"], line["from"]) for line in audit(lab, "acts") if line["device"] == "relay"]
        equal(steps[-2:], [("ordered", HASS, "broker main"), ("ended", HASS, "broker main")], "the audit log")
    with lab.case("an appliance on the broker itself, announced by name, is commanded too"):
        began = ear.count()
        ear.on(f"{TREE}/plug/availability", "online", 30, since)
        broker.publish(f"{TREE}/plug/set/power", "on")
        ear.wait("the plug is on", lambda t, p, _: t == f"{TREE}/plug/state" and json.loads(p)["power"] is True, since=began)
        check(plug.on, "the plug is off")
    with lab.case("Home Assistant starts: everything is announced again, after a pause"):
        count, at = ear.count(), time.monotonic()
        broker.publish(f"{PREFIX}/status", "online")
        ear.wait("the relay again", is_config("relay"), since=count)
        check(time.monotonic() - at >= 0.9, "it was announced before anybody listens")
        ear.wait("its state again", lambda t, p, _: t == f"{TREE}/relay/state", since=count)
        ear.wait("the plug again", is_config("plug"), since=count)
    ear = killed(lab, broker, board, gateway, topic)
    flood(lab, broker, board, gateway, control, topic)
    with lab.case("kill -9: the last will makes everything unavailable"):
        count = ear.count()
        gateway.program.tell(signal.SIGKILL)
        ear.on(f"{TREE}/status", "offline", since=count)
    with lab.case("without the right nothing moves and the refusal is on record"):
        count = ear.count()
        start(lab, broker, board, "sees", HASS, None)
        ear.on(f"{TREE}/status", "online", 30, count)
        _, payload, _ = ear.wait("the description", is_config("relay"), since=count)
        check("command_topic" not in payload, "a command topic without the right")
        before = list(board.commands)
        broker.publish(topic, "off")
        until("the refusal", lambda: any(line["step"] == "refused" and line["who"] == HASS for line in audit(lab, "sees")))
        equal(board.commands, before, "commands to the board")


def killed(lab, broker, board, gateway, topic):
    """Returns a new ear: mosquitto_sub does not always come back by itself."""
    ears = []
    with lab.case("the broker is killed in mid-traffic and comes back: told again, and nothing acts late"):
        stop = threading.Event()
        talk = threading.Thread(target=chatter, args=(broker, stop), daemon=True)
        talk.start()
        time.sleep(0.5)
        broker.kill()
        gateway.program.see(r"broker main is down", 15)
        before = len(board.commands)
        board.on = not board.on       # somebody presses the button on the board
        time.sleep(6)
        broker.begin()
        again = Listener(lab, broker, f"{PREFIX}/#", "sipliance/#")
        ears.append(again)
        again.on(f"{TREE}/status", "online", 45)
        again.on(f"{TREE}/relay/availability", "online", 15)
        again.wait("the state of now", lambda t, p, _: t == f"{TREE}/relay/state" and json.loads(p)["power"] is board.on)
        stop.set()
        talk.join(10)
        equal(len(board.commands), before, "commands to the board")
        broker.publish(topic, "off" if board.on else "on")
        until("the relay to move", lambda: len(board.commands) > before, 10)
    return ears[0] if ears else Listener(lab, broker, f"{PREFIX}/#", "sipliance/#")


def chatter(broker, stop):
    """Traffic on the topics of the house, from somebody who does not care whether the broker lives."""
    while not stop.is_set():
        subprocess.run(broker.client("mosquitto_pub", "-t", f"{TREE}/relay/set/nothing", "-m", "on"), capture_output=True)
        stop.wait(0.2)


def flood(lab, broker, board, gateway, control, topic):
    with lab.case("10,000 messages at once: memory stays, others are answered, nothing is logged line by line"):
        phone = gateway.phone(domain=DOMAIN)
        phone.message(phone.uri("relay"), "status")
        memory, log = gateway.program.rss_kb(), len(gateway.program.output())
        lines = "".join(f"{n}\n" for n in range(10_000)).encode()
        host, port = broker.plain
        pour = [subprocess.Popen(["mosquitto_pub", "-h", host, "-p", str(port), "-t", where, "-l"], stdin=subprocess.PIPE)
                for where in ("tele/plug1/SENSOR", topic)]
        feed = [threading.Thread(target=lambda p=p: p.communicate(lines), daemon=True) for p in pour]
        for thread in feed:
            thread.start()
        worst = 0.0
        while any(thread.is_alive() for thread in feed):
            clock = Stopwatch(gateway.program)
            equal(phone.message(phone.uri("relay"), "status").status, 200, "a question meanwhile")
            worst = max(worst, clock.passed())
        check(worst < 1.5, f"a question took {worst:.1f} s")
        # Whatever was not understood is in the counters, and not in a line each.
        until("the flood to be counted", lambda: home.status(lab, control)["home_assistant"][0]["counts"]["too_many"] > 100)
        grown = len(gateway.program.output()) - log
        check(grown < 150_000, f"{grown} bytes of log")
        check(gateway.program.rss_kb() - memory < 20_000, f"memory grew by {gateway.program.rss_kb() - memory} kB")
        gateway.alive()
    with lab.case("and then everything works as before"):
        wanted = not board.on
        def moved():
            broker.publish(topic, "on" if wanted else "off")
            time.sleep(1)
            return board.on is wanted
        until("the relay to move", moved, 40)
