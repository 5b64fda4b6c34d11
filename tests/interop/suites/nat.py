"""How a gateway behind a router stays reachable: over UDP, TCP and TLS at once, each with a network, a provider and a watcher of its own.

The figures go to target/interop/nat/figures.json; tests/interop/nat/report puts them into docs/nat.md.
NAT_LONG=1: the cable is out for ten minutes instead of one.
"""

import json
import os
import signal
import sys
import threading
import time

import home
import ua as sip
from certs import Authority
from lab import GATEWAY, HERE, PASSWORD, USER, Skip, check, record, until

sys.path.insert(0, str(HERE / "nat"))
import net as network  # noqa: E402

from mqtt_plug import Plug  # noqa: E402

DOMAIN, PORT, SECURE = "example.com", 5060, 5061
BROKER = ("127.0.0.1", 1883)
SEEN, BACK = 45, 30             # what is promised, in seconds
CABLE = 600 if os.environ.get("NAT_LONG") == "1" else 60
CALM = 100                      # how long nothing happens at first
FLOW_TIMER = 30                 # what Kamailio asks for: 80 to 100 % of it
DEATH = 30                      # how long Kamailio is dead


def run(lab):
    lab.need("kamailio", "mosquitto", "ip", "nft", "conntrack", "tshark", "openssl")
    lab.need_files("/usr/lib/*/kamailio/modules/outbound.so", "/usr/lib/*/kamailio/modules/tls.so")
    lab.need_gateway()
    why = network.permitted()
    if why:
        raise Skip(why)
    authority = Authority(lab)
    certificate = authority.sign("kamailio", f"DNS:{DOMAIN}", f"URI:sip:{DOMAIN}", f"IP:{network.PROVIDER}")
    figures = {}
    places = [Place(lab, transport, certificate) for transport in ("udp", "tcp", "tls")]
    threads = [threading.Thread(target=place.live, args=(figures,), daemon=True) for place in places]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(1)
    finally:
        for place in places:
            place.close()
    (lab.folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


class Place:
    """One transport's network, with everybody in it."""

    def __init__(self, lab, transport, certificate):
        self.lab, self.transport, self.certificate = lab, transport, certificate
        self.folder = lab.folder / transport
        self.folder.mkdir()
        self.net = network.Net(transport)
        self.control = self.folder / "control"
        self.programs, self.plug, self.figures = [], None, {}

    def close(self):
        for program in self.programs:
            program.kill()
        if self.plug:
            self.plug.close()
        self.net.close()

    def start(self, part, name, argv):
        program = self.lab.start(f"{self.transport}-{name}", ["ip", "netns", "exec", self.net.names[part], *argv],
                                 env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        self.programs.append(program)
        return program

    def live(self, figures):
        figures[self.transport] = self.figures
        name = self.transport.upper()
        with self.lab.case(f"{name}: behind a router the gateway registers and the watcher sees the plug"):
            self.furnish()
            self.until_asked(20)
            self.watch()
        if not self.plug:
            return
        with self.lab.case(f"{name}: a flow that is left alone has keep-alives of the pace that was asked for"):
            self.wait(CALM)
            self.pace()
        for what, fault, promise in (
            ("the router restarts", self.net.restart_router, SEEN + BACK),
            ("another public address", self.net.readdress, SEEN + BACK),
            (f"the cable is out for {CABLE} s", self.cable, BACK),
            (f"Kamailio is killed, and back after {DEATH} s", self.kamailio_dies, BACK),
            ("2 % of all packets are lost for 30 s", self.loss, SEEN + BACK),
        ):
            # Proves: REQ-4.3
            with self.lab.case(f"{name}: {what}"):
                try:
                    self.measure(what, fault, promise)
                finally:
                    # Made anew: its dialog may lead to an address that is gone.
                    self.watch()

    # -- who is there ------------------------------------------------------------------------------------------

    def furnish(self):
        self.kamailio()
        config = self.lab.write(f"{self.transport}/mosquitto.conf", f"listener {BROKER[1]} {BROKER[0]}\nallow_anonymous true\npersistence false\n")
        self.start("home", "mosquitto", ["mosquitto", "-c", config])
        self.plug = until("the plug", lambda: self.net.enter("home", lambda: Plug(BROKER, "plug1")), 5)
        check(self.plug.online.wait(10), "the plug did not connect")
        self.capture = self.folder / "wire.pcap"
        self.start("prov", "tshark", ["tshark", "-q", "-i", "wan1", "-w", self.capture, "-f", "udp or tcp"])
        account = {"user": "plug", "password": {"secret": "kam"}, "device": "plug"}
        port = SECURE if self.transport == "tls" else PORT
        more = {"ca": "ca.pem"} if self.transport == "tls" else {}
        upstream = {"kam": {"server": f"{network.PROVIDER}:{port}", "transport": self.transport, "domain": DOMAIN,
                            "expires": "600s", "accounts": [account], **more}}
        _, arguments = home.write(self.lab, DOMAIN, BROKER, upstream=upstream, secrets={"kam": PASSWORD}, name=f"home-{self.transport}")
        self.gateway = self.start("home", "gateway", [GATEWAY, *arguments, "--control", self.control])
        self.gateway.see(rf"plug@{DOMAIN}: registered", 20)
        self.phone = self.net.enter("far", lambda: sip.Ua((network.PROVIDER, PORT), USER, PASSWORD, DOMAIN, host=network.FAR))
        self.probe = self.net.enter("far", lambda: sip.Wire((network.PROVIDER, PORT), local=(network.FAR, 0)))

    def kamailio(self):
        folder = self.folder / "kamailio"
        folder.mkdir(exist_ok=True)
        certificate, key = self.certificate
        filled = {"HOST": network.PROVIDER, "PORT": PORT, "SECURE": SECURE, "PASSWORD": PASSWORD, "CERTIFICATE": certificate, "KEY": key}
        words = [f"--substdef=!{name}!{value}!g" for name, value in filled.items()]
        self.server = self.start("prov", "kamailio", ["kamailio", "-DD", "-E", "-f", HERE / "kamailio" / "nat.cfg", "-Y", folder,
                                                      "-P", folder / "pid", "-m", "32", "-M", "8", *words])

    def watch(self):
        self.watching = self.phone.subscribe(self.phone.uri("plug"), "appliance", "application/senml+json", 3600)
        check(self.watching.answer.status == 200, f"SUBSCRIBE was answered {self.watching.answer.start}")
        self.watching.wait("the plug", lambda n: record(n, "power") == self.plug.on, timeout=10)

    # -- faults; each returns when the way is there again, and whether the plug was pressed meanwhile ----------

    def cable(self):
        self.net.cable(False)
        self.plug.press()
        self.wait(CABLE)
        self.net.cable(True)
        return True

    def kamailio_dies(self):
        self.server.stop(signal.SIGKILL)
        self.plug.press()
        self.wait(DEATH)
        self.kamailio()
        until("kamailio to listen", self.listens, 10, 0.1)
        return True

    def loss(self):
        self.net.lose(2)
        self.wait(30)

    # -- figures -----------------------------------------------------------------------------------------------

    def measure(self, what, fault, promise):
        before = self.flow()
        changed = fault()
        began = time.monotonic()
        if not changed:
            self.plug.press()
        due, seen = self.plug.on, {}
        sent = 0.0
        while time.monotonic() < began + promise + 60 and not {"asked", "told"} <= set(seen):
            at = time.monotonic() - began
            if at >= sent:
                self.knock()
                sent = at + 0.5
            self.phone.pump(0.1)
            if self.asked():
                seen.setdefault("asked", time.monotonic() - began)
            if self.watching.notifies and record(self.watching.notifies[-1], "power") == due:
                seen.setdefault("told", time.monotonic() - began)
            if self.flow() != before:
                seen.setdefault("seen", time.monotonic() - began)
        self.net.lose(0)
        answer = self.phone.message(self.phone.uri("plug"), "off" if due else "on")
        seen["command"] = time.monotonic() - began
        self.figures[what] = {key: round(value, 1) for key, value in seen.items()} | {"promise": promise}
        print(f"    {self.transport} {what}: {self.figures[what]}", flush=True)
        check(answer.status == 200, f"the command was answered {answer.start}")
        check("told" in seen, f"the watcher never saw the state: {seen}")
        check("asked" in seen and seen["asked"] <= promise, f"reachable again: {seen}, promised {promise} s")

    def knock(self):
        """Somebody asks for the plug, without waiting for an answer."""
        ip, port = self.probe.local
        self.probe.send(sip.Message(f"OPTIONS sip:plug@{DOMAIN} SIP/2.0", [
            ("Via", f"SIP/2.0/UDP {ip}:{port};rport;branch=z9hG4bK{sip.token(16)}"), ("Max-Forwards", "70"),
            ("From", f"<sip:probe@{ip}>;tag={sip.token()}"), ("To", f"<sip:plug@{DOMAIN}>"), ("Call-ID", sip.token(20)),
            ("CSeq", "1 OPTIONS"), ("Timestamp", f"{time.monotonic():.3f}")]).bytes())
        self.phone.wire.send(b"\r\n\r\n")

    def asked(self):
        """Whether the plug itself answered: Kamailio alone says 404, 408 or 500."""
        found = False
        while got := self.probe.receive(0):
            found |= sip.Message.parse(got[0]).status in (200, 401)
        return found

    def listens(self):
        branch = sip.token(16)
        ip, port = self.probe.local
        self.probe.send(sip.Message(f"OPTIONS sip:{DOMAIN} SIP/2.0", [
            ("Via", f"SIP/2.0/UDP {ip}:{port};rport;branch=z9hG4bK{branch}"), ("Max-Forwards", "70"),
            ("From", f"<sip:probe@{ip}>;tag=1"), ("To", f"<sip:{DOMAIN}>"), ("Call-ID", branch), ("CSeq", "1 OPTIONS")]).bytes())
        got = self.probe.receive(0.3)
        return got and branch.encode() in got[0]

    def until_asked(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.knock()
            self.phone.pump(0.3)
            if self.asked():
                return
        raise sip.Timeout(f"nobody reached the plug within {seconds} s")

    def wait(self, seconds):
        """The watcher keeps its own router awake meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.phone.wire.send(b"\r\n\r\n")
            self.phone.pump(min(5, max(0.0, end - time.monotonic())))
        self.asked()

    def flow(self):
        """What tells one flow of the gateway from the next."""
        flow = home.status(self.lab, self.control)["flows"][0]
        return flow["state"], flow["words"].split(";")[0] if flow["state"] == "open" else ""

    def pace(self):
        """Between two keep-alives of one flow, in seconds, as they came to the provider."""
        if self.transport == "tls":
            return      # encrypted: what is a keep-alive cannot be told from outside
        stun = self.transport == "udp"
        # On a port of SIP tshark sees STUN now and then only: the magic cookie tells it.
        wanted = "udp.length == 28 and udp.payload[4:4] == 21:12:a4:42" if stun else "tcp.len == 4 and tcp.payload == 0d:0a:0d:0a"
        text = network.run("tshark", "-r", self.capture, "-Y", f"ip.src == 203.0.113.0/24 and {wanted}", "-T", "fields",
                           "-e", "frame.time_epoch", "-e", "ip.src", "-e", "udp.srcport" if stun else "tcp.srcport",
                           "-e", "udp.payload" if stun else "tcp.seq")
        flows = {}
        for at, *who, which in (line.split("\t") for line in text.splitlines()):
            flows.setdefault(tuple(who), {}).setdefault(which, float(at))
        gaps = [b - a for times in flows.values() for a, b in zip(sorted(times.values()), sorted(times.values())[1:])]
        # tshark writes with a delay; the first of all may be early, when the flow was agreed upon.
        whole = sorted(round(gap, 1) for gap in gaps)
        self.figures["keep-alive"] = whole
        check(len(whole) >= 2, f"too few keep-alives: {whole}")
        check(FLOW_TIMER * 0.8 <= whole[0] and whole[-1] <= FLOW_TIMER + 0.2, f"seconds between keep-alives: {whole}")
