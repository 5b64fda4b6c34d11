"""One network of the suite `nat` with everybody in it: a gateway, its provider with or without edge proxies, and a watcher."""

import contextlib
import json
import pathlib
import signal
import socket
import threading
import time

import home
import net as network
import ua as sip
from lab import GATEWAY, HERE, PASSWORD, USER, check, record, until
from mqtt_plug import Plug

DOMAIN, PORT, SECURE, WEB, SECURE_WEB = "example.com", 5060, 5061, 5080, 5081
PORTS = {"tls": SECURE, "quic": SECURE, "ws": WEB, "wss": SECURE_WEB}
BROKER = ("127.0.0.1", 1883)
SEEN, BACK = 45, 30             # what is promised, in seconds
FAILOVER = 10                   # how long a question may wait while one flow of several lives: the registrar's own patience is 5 s
SLACK = 1.0                     # how late we may look at something, on a busy machine
SOCKET = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Place:
    """`over`: how the gateway reaches its provider; with several, over an edge proxy each. `addresses`: what the name of the provider leads to; without
    them the home file has its address of IPv4. `net`: words for the network."""

    def __init__(self, lab, name, over, certificate, edges=0, expires="600s", addresses=(), **net):
        self.lab, self.name, self.over, self.certificate, self.expires = lab, name, over, certificate, expires
        self.folder = lab.folder / name
        self.folder.mkdir()
        self.net = network.Net(name, **net)
        self.hosts = self.folder / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {DOMAIN}\n" for address in addresses))
        self.addresses = addresses
        self.control = self.folder / "control"
        self.edges = [Edge(self, nth) for nth in range(edges)]
        self.programs, self.plug, self.prober = [], None, None
        self.title = name

    def close(self):
        if self.prober:
            self.prober.ended.set()
        for program in self.programs:
            program.kill()
        if self.plug:
            self.plug.close()
        self.net.close()

    def start(self, part, name, argv):
        program = self.lab.start(f"{self.name}-{name}", ["ip", "netns", "exec", self.net.names[part], *argv], env=SOCKET)
        self.programs.append(program)
        return program

    # -- who is there ------------------------------------------------------------------------------------------

    def furnish(self):
        self.capture = self.folder / "wire.pcapng"
        links = ["wan1", "lo"] if self.net.shared else ["wan1", "wan2", "lo"]
        self.start("prov", "tshark", ["tshark", "-q", *(word for link in links for word in ("-i", link)), "-w", self.capture, "-f", "udp or tcp"])
        self.kamailio()
        for edge in self.edges:
            edge.begin()
        config = self.lab.write(f"{self.name}/mosquitto.conf", f"listener {BROKER[1]} {BROKER[0]}\nallow_anonymous true\npersistence false\n")
        self.start("home", "mosquitto", ["mosquitto", "-c", config])
        with self.net.within("home"):
            self.plug = until("the plug", lambda: Plug(BROKER, "plug1"), 5)
        check(self.plug.online.wait(10), "the plug did not connect")
        account = {"user": "plug", "password": {"secret": "kam"}, "device": "plug"}
        _, arguments = home.write(self.lab, DOMAIN, BROKER, upstream={"kam": {**self.way(), "accounts": [account]}}, secrets={"kam": PASSWORD},
                                  name=f"home-{self.name}")
        # It has a file of names of its own.
        self.arguments = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', self.hosts, GATEWAY, *arguments, "--control", self.control]
        self.move_in()
        with self.net.within("far"):
            self.phone = sip.Ua((network.PROVIDER, PORT), USER, PASSWORD, DOMAIN, host=network.FAR)
            self.prober = Prober(0.1 if "quic" in self.over else 0.2)

    def move_in(self, within=20):
        """The gateway starts; how long until it is registered."""
        began = time.monotonic()
        self.gateway = self.start("home", "gateway", self.arguments)
        mark = len(self.gateway.output())
        self.gateway.see(rf"plug@{DOMAIN}: registered", within, mark)
        return time.monotonic() - began

    def way(self):
        """The registrar in the home file."""
        common = {"domain": DOMAIN, "expires": self.expires}
        if {"tls", "wss", "quic"} & set(self.over):
            common |= {"ca": "ca.pem"} | ({} if self.addresses else {"name": DOMAIN})
        if self.edges:
            return common | {"edges": [f"{over}:{edge.outer}:{PORTS.get(over, PORT)}" for over, edge in zip(self.over, self.edges)]}
        server, port = DOMAIN if self.addresses else network.PROVIDER, PORTS.get(self.over[0], PORT)
        return common | {"server": f"{server}:{port}", "transport": self.over[0]} | ({"path": "/ws"} if self.over[0] in ("ws", "wss") else {})

    def kamailio(self):
        folder = self.folder / "kamailio"
        folder.mkdir(exist_ok=True)
        certificate, key = self.certificate
        filled = {"HOST": network.PROVIDER, "PORT": PORT, "SECURE": SECURE, "WEB": WEB, "COVERED": SECURE_WEB, "EDGES": "^198[.]51[.]100[.][12][12]",
                  "PASSWORD": PASSWORD, "CERTIFICATE": certificate, "KEY": key}
        words = [f"--substdef=!{name}!{value}!g" for name, value in filled.items()]
        if self.net.six:
            words += ["-A", "SIX", f"--substdef=!ADDRESS_6!{network.SIX}!g"]
        self.server = self.start("prov", "kamailio", ["kamailio", "-DD", "-E", "-f", HERE / "kamailio" / "nat.cfg", "-Y", folder,
                                                      "-P", folder / "pid", "-m", "32", "-M", "8", *words])

    def watch(self):
        self.watching = self.phone.subscribe(self.phone.uri("plug"), "appliance", "application/senml+json", 3600)
        check(self.watching.answer.status == 200, f"SUBSCRIBE was answered {self.watching.answer.start}")
        self.watching.wait("the plug", lambda n: record(n, "power") == self.plug.on, timeout=10)

    # -- how things stand --------------------------------------------------------------------------------------

    def turn(self, seconds):
        """The watcher answers, and keeps its own router awake."""
        if time.monotonic() > getattr(self, "awake", 0):
            self.phone.wire.send(b"\r\n\r\n")
            self.awake = time.monotonic() + 5
        self.phone.pump(seconds)

    def rest(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn(min(1, max(0.0, end - time.monotonic())))

    def until(self, what, condition, timeout):
        def looked():
            self.turn(0.2)
            return condition()
        return until(what, looked, timeout)

    def flows(self):
        """What tells each flow of the gateway from the next."""
        return [(flow["state"], flow["words"].split(";")[0] if flow["state"] == "open" else "") for flow in asked(self.control).get("flows", [])]

    def told(self):
        return bool(self.watching.notifies) and record(self.watching.notifies[-1], "power") == self.plug.on

    def command(self):
        """The plug is switched; how long that took."""
        began, due = time.monotonic(), not self.plug.on
        answer = self.phone.message(self.phone.uri("plug"), "on" if due else "off")
        check(answer.status == 200, f"the command was answered {answer.start}")
        took = time.monotonic() - began
        self.until("the plug to obey", lambda: self.plug.on == due, 5)
        return took

    # -- a fault, and what is seen of it -----------------------------------------------------------------------

    def suffer(self, fault):
        """Lets a fault happen, and returns the seconds until everything is well again."""
        if not fault.press:
            # Nobody asks, so that the gateway has nothing to say when it happens.
            self.rest(5)
            seen = self._suffer(fault)
        else:
            with self.prober.asking():
                self.rest(1)
                seen = self._suffer(fault)
        self.prober.asks.clear()
        self.command()
        seen["command"] = time.monotonic() - fault.back
        fault.well = time.time()
        if fault.heal:
            fault.heal()
        return seen

    def _suffer(self, fault):
        before, seen, looked = self.flows(), {}, 0.0
        began, fault.at = time.monotonic(), time.time()
        fault.begin()
        back = None if fault.lasts else time.monotonic()
        if fault.press:
            self.plug.press()
        self.prober.asks.set()
        wanted = {"asked"} | ({"told"} if fault.press else set()) | ({"seen"} if fault.dead else set())
        while back is None or not wanted <= set(seen):
            now = time.monotonic()
            if back is None and now >= began + fault.lasts:
                fault.end()
                back = time.monotonic()
            check(back is None or now < back + fault.promise + 30, f"in vain for {now - (back or now):.0f} s: {seen}, promised {fault.promise} s")
            self.turn(0.05)
            now = time.monotonic()
            if fault.press and "told" not in seen and self.told():
                seen["told"] = max(0.0, now - (back or now))
            if back and "asked" not in seen and (answer := self.prober.first(back)):
                seen["asked"] = answer - back
                fault.answered = time.time() - (time.monotonic() - answer)
            if "seen" not in seen and now > looked + 0.25:
                looked = now
                if (flows := self.flows()) and flows != before:
                    seen["seen"] = now - began
        fault.back = back
        return seen

    def kamailio_dies(self):
        self.server.stop(signal.SIGKILL)

    def kamailio_is_back(self):
        self.kamailio()
        with self.net.within("far"):
            until("kamailio to listen", lambda: listens((network.PROVIDER, PORT)), 15, 0.1)


class Fault:
    """`lasts`: how long, in seconds; 0: it happens and is over. `dead`: it must be seen that the flow is dead. `press`: somebody presses the
    button of the plug meanwhile. `heal`: what is put in order behind it."""

    def __init__(self, words, begin, promise, end=None, lasts=0, dead=True, press=True, heal=None):
        self.words, self.begin, self.promise, self.end, self.lasts = words, begin, promise, end, lasts
        self.dead, self.press, self.heal = dead, press, heal


class Edge:
    """`sipliance edge` before the registrar. All edges have the same key."""

    def __init__(self, place, nth):
        self.place, self.nth = place, nth
        self.outer, self.inner = network.EDGES[nth]
        self.control = place.folder / f"edge{nth + 1}.sock"

    def begin(self):
        place, certificate = self.place, self.place.certificate
        others = [address for edge in network.EDGES if edge[0] != self.outer for address in edge]
        listen = [f"udp:{self.outer}:{PORT}", f"tcp:{self.outer}:{PORT}"] + ([f"quic:{self.outer}:{SECURE}"] if "quic" in place.over else [])
        settings = {
            "format": 1, "name": self.outer, "listen": listen, "inner": [f"udp:{self.inner}:{PORT}", f"tcp:{self.inner}:{PORT}"],
            "registrar": [f"udp:{network.PROVIDER}:{PORT}", f"tcp:{network.PROVIDER}:{PORT}"],
            # A Kamailio that opens a connection does so from whatever address of the machine fits.
            "trusted": [self.inner], "tls": {"certificate": str(certificate[0]), "key": str(certificate[1])},
            "key": "tokens.key", "siblings": others, "control": str(self.control),
        }
        file = place.lab.write(f"{place.name}/edge{self.nth + 1}.yaml", json.dumps(settings, indent=1) + "\n")
        self.program = place.start("prov", f"edge{self.nth + 1}", [GATEWAY, "edge", "--config", file])
        until(f"edge {self.nth + 1} to reach Kamailio", self.ready, 20)

    def ready(self):
        check(self.program.alive(), f"edge {self.nth + 1} ended: {self.program.tail()}")
        ways = asked(self.control).get("registrars", [])
        return len(ways) == 2 and all(way["state"] == "answers" for way in ways)

    def kill(self):
        self.program.stop(signal.SIGKILL)

    def serves(self):
        return asked(self.control).get("devices", 0) >= 1


class Prober(threading.Thread):
    """Somebody who asks for the plug again and again while `asks` is set, and writes down when which question was answered by the plug itself.

    At other times nobody asks, so that nothing but the gateway's own keep-alives keeps a router awake.
    """

    def __init__(self, pause):
        super().__init__(daemon=True)
        self.pause, self.asks = pause, threading.Event()
        self.wire = sip.Wire((network.PROVIDER, PORT), local=(network.FAR, 0))
        self.sent, self.answered, self.ended = {}, {}, threading.Event()
        self.start()

    def run(self):
        due = 0.0
        while not self.ended.is_set():
            now = time.monotonic()
            if not self.asks.is_set():
                due = now + 0.2
            elif now >= due:
                call, due = sip.token(20), now + self.pause
                self.sent[call] = now
                self.wire.send(options(self.wire, f"sip:plug@{DOMAIN}", call))
            if got := self.wire.receive(max(0.0, due - time.monotonic())):
                answer = sip.Message.parse(got[0])
                # Kamailio alone says 404, 408, 430 or 500.
                if answer.status in (200, 401):
                    self.answered.setdefault(answer.get("Call-ID"), time.monotonic())
            del self.wire.transcript[:-40]

    @contextlib.contextmanager
    def asking(self):
        self.asks.set()
        try:
            yield
        finally:
            self.asks.clear()

    def first(self, since):
        """When the first question was answered of those asked since then; `None`: none was."""
        return min((at for call, at in list(self.answered.items()) if self.sent[call] >= since), default=None)

    def waits(self, since, until):
        """How long each question waited for its answer; `None` for those that got none."""
        asked_then = [(call, at) for call, at in list(self.sent.items()) if since <= at <= until]
        return [self.answered[call] - at if call in self.answered else None for call, at in asked_then]


def options(wire, uri, call):
    ip, port = wire.local
    return sip.Message(f"OPTIONS {uri} SIP/2.0", [
        ("Via", f"SIP/2.0/UDP {ip}:{port};rport;branch=z9hG4bK{call}"), ("Max-Forwards", "70"), ("From", f"<sip:probe@{ip}>;tag={call[:8]}"),
        ("To", f"<{uri}>"), ("Call-ID", call), ("CSeq", "1 OPTIONS")]).bytes()


def listens(server):
    wire = sip.Wire(server, local=(network.FAR, 0))
    try:
        call = sip.token(16)
        wire.send(options(wire, f"sip:{DOMAIN}", call))
        got = wire.receive(0.3)
        return bool(got) and call.encode() in got[0]
    finally:
        wire.close()


def asked(control):
    """What `sipliance status --json` would say, without starting a program ten times a second."""
    try:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(2)
            wire.connect(str(pathlib.Path(control)))
            wire.sendall(b"status\n")
            text = b""
            while chunk := wire.recv(65536):
                text += chunk
        return json.loads(text)
    except (OSError, ValueError):
        return {}
