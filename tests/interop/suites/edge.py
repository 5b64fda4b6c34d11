"""Two edges before Kamailio, a gateway with a flow over each, a phone at Kamailio: what dies, and what goes on."""

import base64
import contextlib
import hashlib
import hmac
import json
import re
import secrets
import socket
import struct
import time

import home
from certs import Authority
from lab import GATEWAY, PASSWORD, USER, Stopwatch, check, equal, free_port, until
from mqtt_plug import Plug
from peers import Kamailio, Mosquitto
from suites.quic import Nat

DOMAIN = "example.com"
NAME = "edge.example.com"
REGISTRAR = "127.0.0.2"
BACK = 125      # how long a second flow may take to stand again, in seconds: seen within 30, and RFC 5626 §4.5 has it wait for 45 to 90


class Edge:
    """One edge: clients at `outer`, Kamailio at `inner`."""

    def __init__(self, lab, name, kamailio, outer, inner, siblings, certificate, web=None, secure=None, trusted=()):
        self.lab, self.name = lab, name
        self.tcp, self.tls, self.inner = (outer, free_port(outer)), (outer, free_port(outer)), (inner, free_port(inner))
        self.quic = (outer, free_port(outer))
        server = f"{kamailio.address[0]}:{kamailio.address[1]}"
        at = "{0[0]}:{0[1]}".format
        self.control = lab.folder / f"{name}.sock"
        self.ws, self.wss = (outer, free_port(outer)), (outer, free_port(outer))
        settings = {
            "format": 1, "name": outer, "listen": [f"udp:{at(self.tcp)}", f"tcp:{at(self.tcp)}", f"tls:{at(self.tls)}",
                                                         f"quic:{at(self.quic)}"],
            "inner": [f"udp:{at(self.inner)}", f"tcp:{at(self.inner)}"], "registrar": [f"udp:{server}", f"tcp:{server}"],
            # A Kamailio that opens a connection does so from whatever address of the machine fits.
            "trusted": ["127.0.0.1", *trusted], "tls": {"certificate": str(certificate[0]), "key": str(certificate[1])},
            "key": "tokens.key", "siblings": siblings, "control": str(self.control),
        }
        if web:
            settings["listen"] += [f"ws:{at(self.ws)}", f"wss:{at(self.wss)}"]
            settings["websocket"] = {"origins": [web]}
        if secure:
            settings["registrar"][1] = f"tls:{kamailio.address[0]}:{kamailio.more['SECURE']}"
            settings["registrar_tls"] = {"ca": str(secure), "name": "sip.example.com"}
        self.file = lab.write(f"{name}.yaml", json.dumps(settings, indent=1) + "\n")
        self.program = None
        self.begin()

    def begin(self, ready=True):
        self.program = self.lab.start(self.name, [GATEWAY, "edge", "--config", self.file])
        if ready:
            until(f"{self.name} to reach Kamailio", self.ready, 15)

    def ready(self):
        check(self.program.alive(), f"{self.name} ended: {self.program.tail()}")
        return self.control.exists() and self.registrars() == [True, True]

    def registrars(self):
        return [way["state"] == "answers" for way in self.status().get("registrars", [])]

    def status(self):
        try:
            return home.status(self.lab, self.control)
        except ValueError:
            return {}

    def count(self, name):
        return self.status()["counts"][name]


def run(lab):
    lab.need("mosquitto", "kamailio", "openssl")
    lab.need_files("/usr/lib/*/kamailio/modules/registrar.so")
    authority = Authority(lab)
    certificate = authority.sign("edge", f"DNS:{NAME}")
    kamailio = Kamailio(lab, PASSWORD, host=REGISTRAR, config="edge.cfg")
    one = Edge(lab, "edge1", kamailio, "127.0.0.3", "127.0.0.4", ["127.0.0.5", "127.0.0.6"], certificate)
    two = Edge(lab, "edge2", kamailio, "127.0.0.5", "127.0.0.6", ["127.0.0.3", "127.0.0.4"], certificate)
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    account = {"user": "plug", "auth_user": "plug", "password": {"secret": "kam"}, "device": "plug"}
    upstream = {"kam": {"edges": [f"tcp:{one.tcp[0]}:{one.tcp[1]}", f"udp:{two.tcp[0]}:{two.tcp[1]}"], "domain": DOMAIN,
                        "expires": "120s", "accounts": [account]}}
    control = lab.folder / "home.sock"
    house = home.start(lab, DOMAIN, broker.address, upstream=upstream, secrets={"kam": PASSWORD}, control=control)
    ua = lab.phone(kamailio.address, USER, PASSWORD, DOMAIN)
    world = World(lab, kamailio, one, two, plug, house, ua, control)
    flows(world)
    deaths(world)
    tokens(world)
    keepalives(world)
    floods(world)
    over_tls(world, broker, authority)
    over_quic(world, broker, authority)
    with lab.case("an edge ends in order, and takes a new limit at SIGHUP"):
        settings = json.loads(one.file.read_text())
        one.file.write_text(json.dumps({**settings, "per_second": 50}))
        one.program.tell(1)
        one.program.see("the file was read again", 5)
        one.program.tell(15)
        equal(one.program.wait(5), 0, "the exit code")
        check(not one.control.exists(), "the control socket is gone")


class World:
    def __init__(self, lab, kamailio, one, two, plug, house, ua, control):
        self.lab, self.kamailio, self.one, self.two = lab, kamailio, one, two
        self.plug, self.house, self.ua, self.control = plug, house, ua, control
        self.watch = None

    def standing(self):
        return [flow["state"] for flow in home.status(self.lab, self.control).get("flows", [])]

    def both(self, what, timeout=BACK):
        """Both flows are registered, which the edges know too."""
        self.until(what, lambda: one_device(self.one) and one_device(self.two), timeout)

    def until(self, what, condition, timeout):
        """The phone answers meanwhile, or its subscription would end."""
        def looked():
            self.ua.pump(0.3)
            return condition()
        until(what, looked, timeout)

    def switch(self, timeout=20):
        """By a MESSAGE through Kamailio and an edge."""
        word = "off" if self.plug.on else "on"
        answer = self.ua.message(self.ua.uri("plug"), word)
        check(answer.status in (200, 202), answer.start)
        self.until(f"the plug to be {word}", lambda: self.plug.on == (word == "on"), timeout)

    def hears(self, timeout=20):
        """The watcher is told of a press, in the dialog that it has."""
        since = len(self.watch.notifies)
        self.plug.press()
        told = re.compile(r'"vb":\s*%s' % ("true" if self.plug.on else "false"))
        self.watch.wait("the press", lambda notify: told.search(notify.text), since, timeout)


def one_device(edge):
    return edge.status().get("devices", 0) >= 1


def flows(world):
    lab, ua = world.lab, world.ua
    # Proves: OB-3, OB-13
    with lab.case("the gateway registers over both edges"):
        world.both("two flows", 30)
        equal(world.standing(), ["open", "open"], "the flows")
    with lab.case("a phone at Kamailio watches the plug through an edge, and hears of a press"):
        world.watch = ua.subscribe(ua.uri("plug"), "appliance", "application/senml+json")
        check(world.watch.answer.status in (200, 202), world.watch.answer.start)
        check(";gr=" in world.watch.target, f"Kamailio grants a GRUU: {world.watch.target}")
        world.watch.wait("the first state")
        world.hears()
    # Proves: GR-2, GR-3
    with lab.case("who wants privacy watches by a temporary GRUU, which carries a refresh with digest and a command"):
        # A second watch of the same phone would take the place of the first.
        phone = lab.phone(world.kamailio.address, USER, PASSWORD, DOMAIN)
        watch = phone.subscribe(phone.uri("plug"), "appliance", "application/senml+json", more=[("Privacy", "id")])
        check(watch.answer.status in (200, 202), watch.answer.start)
        first = watch.target
        check(first.endswith(";gr") and "plug" not in first, f"Kamailio grants a temporary one: {first}")
        watch.wait("the first state")
        equal(watch.refresh().status, 200, "the refresh, whose digest covers it")
        before = world.plug.on
        answer = phone.message(first, "off" if before else "on")
        check(answer.status in (200, 202), answer.start)
        until("the plug to switch", lambda: world.plug.on != before)
        equal(watch.unsubscribe().status, 200, "the end")
    with lab.case("a phone at Kamailio switches the plug, and calls it: 486"):
        world.switch()
        before = world.plug.on
        answer = ua.invite(ua.uri("plug"))
        equal(answer.status, 486, answer.start)
        until("the call to switch", lambda: world.plug.on != before)


    for transport, server in (("udp", world.two.tcp), ("tcp", world.one.tcp)):
        with lab.case(f"a phone behind an edge, by {transport}, registers, watches, switches and calls"):
            phone = lab.phone(server, USER, PASSWORD, DOMAIN, transport=transport)
            equal(phone.register().status, 200, "REGISTER")
            watch = phone.subscribe(phone.uri("plug"), "appliance", "application/senml+json")
            check(watch.answer.status in (200, 202), watch.answer.start)
            watch.wait("the first state")
            since = len(watch.notifies)
            world.plug.press()
            watch.wait("the press", since=since)
            equal(watch.refresh().status, 200, "the refresh")
            before = world.plug.on
            equal(phone.invite(phone.uri("plug")).status, 486, "the call")
            until("the call to switch", lambda: world.plug.on != before)
            equal(phone.message(phone.uri("plug"), "off").status, 200, "the command")
            phone.wait("the reply", lambda: phone.received("MESSAGE"))
            equal(watch.unsubscribe().status, 200, "the end")


def deaths(world):
    lab = world.lab
    carrier = world.one if world.one.inner[0] in str(world.watch.routes) else world.two
    other = world.two if carrier is world.one else world.one
    with lab.case("the edge that carries the dialog is killed: its NOTIFYs go on over the other"):
        before = other.count("inward")
        carrier.program.kill()
        world.hears(60)
        check(other.count("inward") > before, "it went through the other edge")
    with lab.case("commands reach the plug over the flow that is left"):
        world.switch(30)
    with lab.case("the edge comes back with its key: the dialog works in both directions"):
        carrier.begin()
        world.both("both flows again")
        until("the refresh to be answered", lambda: world.watch.refresh().status == 200, 60, 1)
        world.hears()
        world.switch()
    with lab.case("Kamailio is killed and forgets: clients are told to come again, and both flows register again"):
        world.kamailio.kill()
        world.until("the edges to see it", lambda: not any(world.one.registrars() + world.two.registrars()), 30)
        phone = lab.phone(world.one.tcp, USER, None, DOMAIN)
        answer = phone.send(phone.build("REGISTER", f"sip:{DOMAIN}"))
        equal(answer.status, 503, answer.start)
        check(answer.get("Retry-After"), "Retry-After is missing")
        world.kamailio.begin()
        until("the edges to reach Kamailio", lambda: world.one.ready() and world.two.ready(), 60, 0.5)
        until("the plug to be reached", lambda: reaches(world), 150, 1)
        world.switch()


def reaches(world):
    return world.ua.send(world.ua.build("OPTIONS", world.ua.uri("plug"))).status not in (404, 408, 430, 480, 503)


def raw(method, target, route, via):
    text = (f"{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {via[0]}:{via[1]};branch=z9hG4bK{secrets.token_hex(6)};rport\r\n"
            f"Max-Forwards: 10\r\nRoute: {route}\r\nFrom: <sip:x@{DOMAIN}>;tag=1\r\nTo: <sip:plug@{DOMAIN}>\r\n"
            f"Call-ID: {secrets.token_hex(8)}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n")
    return text.encode()


def ask(source, to, bytes_, timeout=3):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((source, 0))
        udp.settimeout(timeout)
        bytes_ = bytes_(udp.getsockname()) if callable(bytes_) else bytes_
        udp.sendto(bytes_, to)
        return udp.recv(65535)


def repeated(source, to, bytes_):
    """As a phone does it: a datagram that the kernel had no room for comes again."""
    for timeout in (0.5, 1, 2, 4):
        with contextlib.suppress(TimeoutError):
            return ask(source, to, bytes_, timeout)
    raise TimeoutError("no answer to four datagrams")


def tokens(world):
    lab, one = world.lab, world.one
    routes = " ".join(world.watch.routes)
    found = re.search(r"<sip:([\w-]{20,})@127\.0\.0\.[46]:\d+[^>]*>", routes)
    with lab.case("a token that was tampered with is refused: 403, from either side"):
        check(found, routes)
        token = found.group(1)
        bad = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
        before = one.count("forged")
        for source, to in ((REGISTRAR, one.inner), ("127.0.0.66", one.tcp)):
            answer = ask(source, to, lambda via: raw("MESSAGE", "sip:plug@127.0.0.1", f"<sip:{bad}@{one.inner[0]}:{one.inner[1]};lr>", via))
            check(answer.startswith(b"SIP/2.0 403 "), answer)
        equal(one.count("forged"), before + 2, "counted")
    with lab.case("a flow that is dead is said to be: 430"):
        settings = json.loads(one.file.read_text())
        key = bytes.fromhex((lab.folder / settings["key"]).read_text().strip())
        signed = bytes([1]) + struct.pack(">IQ", 1, 99)
        token = base64.urlsafe_b64encode(signed + hmac.new(key, signed, hashlib.sha256).digest()[:10]).decode().rstrip("=")
        answer = ask(REGISTRAR, one.inner, lambda via: raw("MESSAGE", "sip:plug@127.0.0.1", f"<sip:{token}@{one.inner[0]}:{one.inner[1]};lr>", via))
        check(answer.startswith(b"SIP/2.0 430 "), answer)
    with lab.case("the key is for its owner alone, and both edges have the same"):
        equal(oct((lab.folder / "tokens.key").stat().st_mode & 0o777), "0o600", "the mode")


def keepalives(world):
    lab, one = world.lab, world.one
    with lab.case("STUN is answered on the SIP port, CRLF CRLF by a single CRLF"):
        number = secrets.token_bytes(12)
        answer = ask("127.0.0.66", one.tcp, struct.pack(">HHI", 1, 0, 0x2112A442) + number)
        check(answer[:2] == b"\x01\x01" and answer[8:20] == number, answer.hex())
        with socket.create_connection(one.tcp) as client:
            client.settimeout(3)
            client.sendall(b"\r\n\r\n")
            equal(client.recv(100), b"\r\n", "the pong")


def floods(world):
    lab, one = world.lab, world.one
    with lab.case("rubbish at 10,000 datagrams a second costs no memory and keeps nobody out"):
        before, shed = one.program.rss_kb(), one.count("shed")
        lines = [secrets.token_bytes(200), b"REGISTER sip:x SIP/2.0\r\nVia: x\r\n\r\n", b"\r\n" * 20,
                 raw("REGISTER", f"sip:{DOMAIN}", "<sip:127.0.0.3;lr>", ("127.0.0.66", 5060))]
        served, sent, begun = [], 0, time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.66", 0))
            while (passed := time.monotonic() - begun) < 5 or sent < 25_000:
                while sent < passed * 10_000:
                    udp.sendto(lines[sent % 4], one.tcp)
                    sent += 1
                if passed > len(served) + 1:
                    clock = Stopwatch(one.program, world.kamailio.program)
                    repeated("127.0.0.77", one.tcp, lambda via: raw("REGISTER", f"sip:{DOMAIN}", "<sip:127.0.0.3;lr>", via))
                    served.append(clock.passed())
                time.sleep(0.001)
        check(len(served) >= 3 and max(served) < 1, f"others were answered after {served}")
        grown = one.program.rss_kb() - before
        check(grown < 8_192, f"{grown} kB more")
        check(one.count("shed") > shed, "nothing was shed")
        world.switch()
    with lab.case("connections that send rubbish are closed, and the others stay"):
        for _ in range(20):
            with socket.create_connection(one.tcp) as client:
                client.settimeout(5)
                client.sendall(secrets.token_bytes(100_000))
                with_end = b"x"
                try:
                    while with_end:
                        with_end = client.recv(65535)
                except ConnectionError:
                    pass
        world.switch()


def over_tls(world, broker, authority):
    lab, one = world.lab, world.one
    with lab.case("a gateway behind the edge over TLS"):
        account = {"user": "second", "auth_user": "second", "password": {"secret": "kam"}, "device": "plug"}
        upstream = {"kam": {"edges": [f"tls:{one.tls[0]}:{one.tls[1]}"], "name": NAME, "ca": str(authority.file), "domain": DOMAIN,
                            "expires": "120s", "accounts": [account]}}
        # Two houses at one broker would be one client to it.
        world.house.program.stop()
        before = one.status()["devices"]
        second = home.start(lab, DOMAIN, broker.address, name="second", upstream=upstream, secrets={"kam": PASSWORD})
        until("it to register", lambda: one.status()["devices"] > before, 30)
        word = "off" if world.plug.on else "on"
        answer = world.ua.message(world.ua.uri("second"), word)
        check(answer.status in (200, 202), answer.start)
        until(f"the plug to be {word}", lambda: world.plug.on == (word == "on"))
    second.program.stop()


def over_quic(world, broker, authority):
    """A gateway whose flow is one over QUIC through a router."""
    lab, one, ua = world.lab, world.one, world.ua
    router = Nat(one.quic)
    lab.closers.append(router.close)
    account = {"user": "third", "auth_user": "third", "password": {"secret": "kam"}, "device": "plug"}
    edges = [f"quic:{router.address[0]}:{router.address[1]}"]
    upstream = {"kam": {"edges": edges, "name": NAME, "ca": str(authority.file), "domain": DOMAIN, "expires": "600s",
                        "accounts": [account]}}
    control = lab.folder / "third.sock"
    with lab.case("a gateway registers at Kamailio by QUIC through an edge"):
        home.start(lab, DOMAIN, broker.address, name="third", upstream=upstream, secrets={"kam": PASSWORD}, control=control)
        until("its flow", lambda: flow_states(lab, control) == ["open"] and len(good_for(lab, control)) == 1, 30)
    with lab.case("a phone at Kamailio watches and switches it over QUIC"):
        world.watch = ua.subscribe(ua.uri("third"), "appliance", "application/senml+json")
        check(world.watch.answer.status in (200, 202), world.watch.answer.start)
        world.watch.wait("the first state")
        world.hears()
        switch(world, "third")
    for nth in range(3):
        with lab.case(f"the router takes another port: commands and changes go on within a second, on the same flow ({nth + 1})"):
            before, devices, outward = good_for(lab, control), one.status()["devices"], one.count("outward")
            router.move()
            watch = Stopwatch(one.program, world.house.program, world.kamailio.program)
            # Who sits behind a router speaks first: nobody else knows the new port.
            world.hears(3)
            switch(world, "third")
            watch.within(2, "it")
            check(all(now <= then for now, then in zip(good_for(lab, control), before, strict=True)), "a REGISTER was sent")
            equal(one.status()["devices"], devices, "the devices of the edge")
            check(one.count("outward") > outward, "the command came over QUIC")
    with lab.case("the edge is killed and is back: the gateway hears of it at its next packet, and is back over QUIC"):
        one.program.kill()
        began = time.monotonic()
        one.begin()
        world.until("the flow over QUIC again", lambda: one.status()["devices"] >= 1, BACK)
        print(f"    the flow over QUIC is back {time.monotonic() - began:.1f} s after the edge was killed", flush=True)
        world.hears()
        switch(world, "third")
    with lab.case("the edge stops in order: its clients hear of it at once"):
        since = time.monotonic()
        one.program.stop()
        until("the gateway to know", lambda: "open" != flow_states(lab, control)[0], 3)
        check(time.monotonic() - since < 5, "it took too long")
        one.begin()
        world.until("the flow over QUIC again", lambda: one.status()["devices"] >= 1, BACK)


def flow_states(lab, control):
    return [flow["state"] for flow in home.status(lab, control).get("flows", [])]


def good_for(lab, control):
    """Seconds that each registration is good for still: they rise with a REGISTER alone."""
    words = [way["words"] for way in home.status(lab, control)["registrations"] if way["state"] == "registered"]
    return [int(re.search(r"good for (\d+) s", line).group(1)) for line in words]


def switch(world, user):
    word = "off" if world.plug.on else "on"
    answer = world.ua.message(world.ua.uri(user), word)
    check(answer.status in (200, 202), answer.start)
    world.until(f"the plug to be {word}", lambda: world.plug.on == (word == "on"), 20)
