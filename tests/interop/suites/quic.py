"""SIP over QUIC (docs/sip-over-quic.md), between programs of ours: nobody else speaks it. The suite `two` has two houses over it."""

import re
import select
import signal
import socket
import subprocess
import threading
import time

import home
from certs import Authority
from lab import GATEWAY, PASSWORD, USER, Gateway, Stopwatch, check, equal, free_port
from mqtt_plug import Plug
from peers import Mosquitto
from suites import two
from suites.presence import record

DOMAIN = "home.example"
HOST = "127.0.0.1"


def run(lab):
    lab.need("openssl", "mosquitto")
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    ca, other = Authority(lab), Authority(lab, "other")
    programs(lab, broker, plug, ca, other)
    router(lab, broker, plug, ca)


def programs(lab, broker, plug, ca, other):
    port = free_port()
    ca.sign("gateway", f"DNS:{DOMAIN}")
    house = start(lab, broker, port)
    with lab.case("the program switches over QUIC by send and by do"):
        for command, word in (("send", "on"), ("do", "off"), ("do", "on")):
            code, said = client(port, ca, command, word)
            equal((code, plug.on, bool(re.search(rf"\b{word}\b", said))), (0, word == "on", True), said)
    with lab.case("the program watches over QUIC: a change is a line, and its end takes the subscription along"):
        watch = lab.start("watch", [GATEWAY, "watch", f"sip:plug@{DOMAIN}", *options(port, ca)])
        watch.see(r"\bon\b", 10)
        mark = len(watch.output())
        plug.press()
        watch.see(r"\boff\b", 5, mark)
        watch.stop(signal.SIGINT)
        equal(watch.process.returncode, 0, watch.tail())
    with lab.case("the program says why it does not believe a server"):
        code, said = client(port, other, "send", "on")
        check(code == 3 and "signed by somebody unknown" in said, said)
    with lab.case("a port that does not speak QUIC gives no answer, and that is said"):
        code, said = client(house.listen[1], ca, "send", "on")
        check(code == 3 and "no answer" in said, said)
    with lab.case("noise and half-begun handshakes keep nobody out"):
        noise = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
        for nth, wire in enumerate(noise):
            # A long header of QUIC 1 with nothing good behind it, and what is no QUIC at all.
            wire.sendto(b"\xc0\x00\x00\x00\x01\x08" + bytes([nth]) * 1194, (HOST, port))
            wire.sendto(b"OPTIONS sip:a SIP/2.0\r\n\r\n", (HOST, port))
        code, said = client(port, ca, "do", "off")
        equal((code, plug.on), (0, False), said)
        for wire in noise:
            wire.close()
    with lab.case("who stops the gateway leaves nobody in the dark"):
        watch = lab.start("watch-end", [GATEWAY, "watch", f"sip:plug@{DOMAIN}", *options(port, ca)])
        watch.see(r"\boff\b", 10)
        began = time.monotonic()
        house.program.stop()
        watch.see(r"(?i)closed|ended|lost|gone|again", 3)
        check(time.monotonic() - began < 5, "it took too long")
        watch.stop(signal.SIGKILL)


def start(lab, broker, port):
    where = (HOST, free_port())
    _, arguments = home.write(lab, DOMAIN, broker.address, listen=[f"udp:{where[0]}:{where[1]}", f"quic:{HOST}:{port}"],
                              tls={"certificate": "gateway.pem", "key": "gateway.key"})
    return Gateway(lab, arguments, where, name="gateway-home")


def options(port, ca):
    return ["--server", f"{HOST}:{port}", "--transport", "quic", "--user", USER, "--password", PASSWORD, "--ca", str(ca.file)]


def client(port, ca, command, word):
    done = subprocess.run([GATEWAY, command, f"sip:plug@{DOMAIN}", word, *options(port, ca)], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def router(lab, broker, plug, ca):
    """Ana's house reaches Mum's through a router that takes another port."""
    mum = two.mums(lab, broker, "quic", ca)
    nat = Nat(mum.at)
    lab.closers.append(nat.close)
    ana = two.anas(lab, nat.address, "quic", ca)
    phone = ana.phone()
    watch = phone.subscribe(phone.uri("mums-plug"), "appliance", "application/senml+json", 600)
    watch.wait("the plug", lambda n: record(n, "power") == plug.on, timeout=15)
    control = lab.folder / "ana-quic" / "control"
    flow = home.status(lab, control)["flows"]
    for nth in range(3):
        with lab.case(f"the router takes another port: commands and changes go on within a second, on the same flow ({nth + 1})"):
            nat.move()
            word = "off" if plug.on else "on"
            clock = Stopwatch(mum.program, ana.program)
            equal(two.command(phone, word).status, 200, "DO")
            clock.within(1, "the command")
            count, clock = len(watch.notifies), Stopwatch(mum.program, ana.program)
            plug.press()
            watch.wait("the change", lambda n: record(n, "power") == plug.on, since=count)
            clock.within(1, "the change")
            equal(home.status(lab, control)["flows"], flow, "the flow")
    with lab.case("the router is dead for 10 s: the flow outlives it, and what changed meanwhile is told"):
        nat.pause(10)
        count = len(watch.notifies)
        plug.press()
        watch.wait("the change", lambda n: record(n, "power") == plug.on, since=count, timeout=30)
        equal(home.status(lab, control)["flows"], flow, "the flow")
    ana.program.stop()
    mum.program.stop()


class Nat:
    """A UDP relay for one client, which can be made to come from another port, or to pass nothing for a while."""

    def __init__(self, server):
        self.server, self.client = server, None
        self.inner, self.outer = self._socket(), self._socket()
        self.address = self.inner.getsockname()
        self.deaf_until, self.running = 0, True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @staticmethod
    def _socket():
        wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        wire.bind((HOST, 0))
        return wire

    def move(self):
        self.outer = self._socket()

    def pause(self, seconds):
        self.deaf_until = time.monotonic() + seconds

    def close(self):
        self.running = False
        self.thread.join(2)

    def _run(self):
        while self.running:
            ready, _, _ = select.select([self.inner, self.outer], [], [], 0.05)
            for wire in ready:
                packet, source = wire.recvfrom(65535)
                if time.monotonic() < self.deaf_until:
                    continue
                if wire is self.inner:
                    self.client = source
                    self.outer.sendto(packet, self.server)
                elif self.client:
                    self.inner.sendto(packet, self.client)
