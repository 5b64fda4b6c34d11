"""What strangers and broken registrars do to an edge: each ends in a bounded wait and a clear line, and others are served meanwhile."""

import json
import re
import secrets
import signal
import socket
import ssl
import threading
import time

from certs import Authority
from lab import GATEWAY, PASSWORD, USER, Stopwatch, check, equal, free_port, until
from peers import Kamailio
from suites.edge import DOMAIN, NAME, REGISTRAR, Edge, ask, raw

SOON = 1.0


def run(lab):
    lab.need("kamailio", "openssl")
    authority = Authority(lab)
    certificate = authority.sign("edge", f"DNS:{NAME}")
    kamailio = Kamailio(lab, PASSWORD, host=REGISTRAR, config="edge.cfg")
    edge = Edge(lab, "edge1", kamailio, "127.0.0.3", "127.0.0.4", [], certificate, web="https://phone.example")
    phone = lab.phone(edge.tcp, USER, PASSWORD, DOMAIN, transport="tcp")
    with lab.case("a phone registers through the edge over TCP"):
        equal(phone.register().status, 200, "REGISTER")
    requests(lab, edge)
    large(lab, edge, phone)
    renewed = renew(lab, edge, authority, certificate)
    slow(lab, edge)
    renewed()
    greedy(lab, edge)
    many(lab, edge, authority)
    silent(lab, edge, kamailio)
    nonsense(lab, certificate)
    with lab.case("the phone of the beginning is served still"):
        check(edge.program.alive(), edge.program.tail())
        again = lab.phone(edge.tcp, USER, PASSWORD, DOMAIN, transport="tcp")
        equal(again.register().status, 200, "REGISTER")


def probe(edge):
    """How long another client waits for an answer that the registrar gives."""
    clock = Stopwatch(edge.program)
    answer = ask("127.0.0.77", edge.tcp, lambda via: raw("REGISTER", f"sip:{DOMAIN}", f"<sip:{edge.tcp[0]};lr>", via), 5)
    check(answer.startswith(b"SIP/2.0 401 "), answer[:60])
    return clock.passed()


def requests(lab, edge):
    with lab.case("a token with any byte changed is 403"):
        token = path_token(lab, edge)
        answers = []
        for at in range(len(token)):
            time.sleep(0.02)        # no flood
            bad = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1:]
            route = f"<sip:{bad}@{edge.inner[0]}:{edge.inner[1]};lr>"
            answers.append(ask("127.0.0.66", edge.tcp, lambda via, route=route: raw("MESSAGE", "sip:x@127.0.0.1", route, via))[8:11])
        # The last letter may have bits that mean nothing.
        equal(set(answers[:-1]), {b"403"}, "the answers")
    with lab.case("no hops left is 483, what is no request 400, and what is too long ends there"):
        route = f"<sip:{edge.tcp[0]};lr>"
        none = ask("127.0.0.66", edge.tcp, lambda via: raw("MESSAGE", "sip:x@a", route, via).replace(b"Forwards: 10", b"Forwards: 0"))
        equal(none[8:11], b"483", "Max-Forwards")
        bad = ask("127.0.0.66", edge.tcp, lambda via: raw("MESSAGE", "sip:x@a", route, via).replace(b"CSeq: 1 MESSAGE", b"CSeq: x"))
        equal(bad[8:11], b"400", "a bad CSeq")
        long = ask("127.0.0.66", edge.tcp, lambda via: raw("MESSAGE", "sip:x@a", route, via).replace(
            b"Content-Length", b"X: " + b"x" * 40_000 + b"\r\nContent-Length"))
        check(long[8:11] in (b"400", b"513"), long[:60])
        with socket.create_connection(edge.tcp) as client:
            client.sendall(b"MESSAGE sip:x@a SIP/2.0\r\nX: " + b"x" * 40_000)
            check(ends(client, 3), "the connection of an endless header stays")


def large(lab, edge, phone):
    with lab.case("a message that is larger than Kamailio takes is 513, and ends the connection of nobody else"):
        for bytes_ in (15_600, 16_100, 16_384):
            with socket.create_connection(edge.tcp) as client:
                client.settimeout(3)
                text = raw("REGISTER", f"sip:{DOMAIN}", f"<sip:{edge.tcp[0]};lr>", ("127.0.0.1", 1)).replace(b"Call-ID: ", b"Call-ID: PAD")
                client.sendall(text.replace(b"PAD", b"x" * (bytes_ - len(text) + 3)))
                answer = client.recv(65535)
                check(answer.startswith(b"SIP/2.0 513 "), answer[:60])
        equal(edge.count("too_large"), 3, "counted")
        equal(phone.register().status, 200, "REGISTER over the same connection to Kamailio")
        check("the connection to the registrar ended" not in edge.program.output(), edge.program.tail())


def renew(lab, edge, authority, certificate):
    """A certificate is renewed behind the edge's back; what is returned looks at what came of it, some time later."""
    context = ssl.create_default_context(cafile=authority.file)

    def secure():
        client = context.wrap_socket(socket.create_connection(edge.tls, source_address=("127.0.0.79", 0)), server_hostname=NAME)
        client.settimeout(3)
        return client

    held = secure()
    before = held.getpeercert(True)
    for new, old in zip(authority.sign("renewed", f"DNS:{NAME}"), certificate, strict=True):
        new.replace(old)

    def shown():
        held.sendall(b"\r\n\r\n")
        equal(held.recv(10), b"\r\n", "the pong on the connection of before")
        with secure() as client:
            return client.getpeercert(True) != before

    def renewed():
        with lab.case("a certificate that is renewed on the disk counts without a signal, and no connection ends for it"):
            until("the new one to be shown", shown, 60, 1)
            held.close()

    held.sendall(b"\r\n\r\n")
    equal(held.recv(10), b"\r\n", "the pong")
    return renewed


def path_token(lab, edge):
    """What stands in Path: seen by a registrar of ours, for an edge with the same key."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.create_server(("127.0.0.8", 0)) as tcp:
        udp.bind(("127.0.0.8", tcp.getsockname()[1]))
        at = f"127.0.0.8:{udp.getsockname()[1]}"
        settings = {**json.loads(edge.file.read_text()), "registrar": [f"udp:{at}", f"tcp:{at}"], "control": str(lab.folder / "seen.sock")}
        own = free_port("127.0.0.9")
        settings.update(listen=[f"udp:127.0.0.9:{own}"], inner=[f"{way}:127.0.0.10:{own}" for way in ("udp", "tcp")])
        settings.pop("tls")
        settings.pop("websocket")
        program = lab.start("seen", [GATEWAY, "edge", "--config", lab.write("seen.yaml", json.dumps(settings))])
        udp.settimeout(10)
        while True:
            text, source = udp.recvfrom(65535)
            if text.startswith(b"OPTIONS "):
                fields = [line for line in text.split(b"\r\n") if line.startswith((b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"))]
                udp.sendto(b"SIP/2.0 200 OK\r\n" + b"\r\n".join(fields) + b"\r\nContent-Length: 0\r\n\r\n", source)
                time.sleep(0.2)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.bind(("127.0.0.66", 0))
                    client.sendto(raw("REGISTER", f"sip:{DOMAIN}", "<sip:127.0.0.9;lr>", client.getsockname()), ("127.0.0.9", own))
            elif found := re.search(rb"Path: <sip:([\w-]+)@", text):
                program.stop()
                return found.group(1).decode()


def ends(client, timeout):
    """Whether the far end closes the connection in time."""
    client.settimeout(timeout)
    try:
        while client.recv(65535):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def slow(lab, edge):
    """All at the same time, as each takes its time."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    kinds = {   # what is said every two seconds, and after how many seconds the edge has had enough
        "a message in pieces": (edge.tcp, b"R", 10, 17), "nothing": (edge.tcp, b"", 30, 37),
        "half a TLS handshake": (edge.tls, hello, 0, 10), "half a WebSocket handshake": (edge.ws, b"GET / HTTP/1.1\r\n", 0, 10),
        "a TLS handshake byte by byte": (edge.wss, hello[:1], 0, 10),
    }
    took = {}

    def try_it(what, at, bytes_, longest):
        began = time.monotonic()
        with socket.create_connection(at) as client:
            while time.monotonic() - began < longest + 3:
                try:
                    client.sendall(bytes_)
                except OSError:
                    break
                if ends(client, 2):
                    break
                bytes_ = bytes_[:1]
        took[what] = time.monotonic() - began

    with lab.case("who takes his time is closed in his time, and keeps nobody waiting"):
        threads = [threading.Thread(target=try_it, args=(what, at, bytes_, most)) for what, (at, bytes_, _, most) in kinds.items()]
        # A handshake of QUIC that is begun again and again, and never done.
        noise = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for thread in threads:
            thread.start()
        waits = []
        while any(thread.is_alive() for thread in threads):
            noise.sendto(b"\xc0\x00\x00\x00\x01\x08" + secrets.token_bytes(1194), edge.quic)
            waits.append(probe(edge))
            time.sleep(0.5)
        for what, (_, _, least, most) in kinds.items():
            check(least <= took[what] <= most, f"{what}: {took[what]:.1f} s")
        check(max(waits) < SOON, f"others waited up to {max(waits):.1f} s")
        noise.close()


def greedy(lab, edge):
    with lab.case("who asks much and reads nothing is closed, costs no memory, and keeps nobody waiting"):
        before, client = edge.program.rss_kb(), socket.create_connection(edge.tcp)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(2)
        # The answer repeats the Via.
        text = raw("MESSAGE", "sip:x@a", f"<sip:{edge.tcp[0]};lr>", ("127.0.0.1", 1)).replace(b"Forwards: 10", b"Forwards: 0")
        text = text.replace(b";rport", b";rport;x=" + b"x" * 12_000)
        waits, closed, until_ = [], False, time.monotonic() + 30
        while not closed and time.monotonic() < until_:
            try:
                client.sendall(text)
            except TimeoutError:
                waits.append(probe(edge))   # it is not listened to any more
            except OSError:
                closed = True
            if len(waits) < 20:
                waits.append(probe(edge))
        client.close()
        check(closed, "it is still there")
        check(max(waits) < SOON, f"others waited up to {max(waits):.1f} s")
        grown = edge.program.rss_kb() - before
        check(grown < 16_384, f"{grown} kB more")


def many(lab, edge, authority):
    with lab.case("one address takes a bounded number of places, and another one still comes in"):
        held = []
        for _ in range(80):
            client = socket.create_connection(edge.tcp, source_address=("127.0.0.66", 0))
            held.append(client)
        closed = sum(ends(client, 0.02) for client in held)
        check(10 <= closed <= 20, f"{closed} of 80 were closed")
        context = ssl.create_default_context(cafile=authority.file)
        with socket.create_connection(edge.tls, source_address=("127.0.0.77", 0)) as client:
            with context.wrap_socket(client, server_hostname=NAME) as secure:
                secure.settimeout(3)
                secure.sendall(b"\r\n\r\n")
                equal(secure.recv(10), b"\r\n", "the pong")
        for client in held:
            client.close()


def silent(lab, edge, kamailio):
    # Proves: OB-13
    with lab.case("a registrar that accepts and says nothing is seen within 20 s, by both ways; clients hear 503"):
        kamailio.program.tell(signal.SIGSTOP)
        try:
            until("the edge to see it", lambda: edge.registrars() == [False, False], 20)
            for transport in ("udp", "tcp"):
                phone = lab.phone(edge.tcp, USER, None, DOMAIN, transport=transport)
                answer = phone.send(phone.build("REGISTER", f"sip:{DOMAIN}"))
                check(answer.status == 503 and answer.get("Retry-After"), answer.start)
            time.sleep(20)
            tried = edge.program.output().count("is reached over")
            check(tried < 8, f"{tried} connections were made")
        finally:
            kamailio.program.tell(signal.SIGCONT)
    with lab.case("it answers again, and is spoken to again"):
        until("both ways", edge.ready, 45)
        check(probe(edge) < SOON, "the answer")


def nonsense(lab, certificate):
    """A registrar that accepts every connection and says what is no SIP."""
    server = socket.create_server(("127.0.0.8", 0))
    seen = []

    def answer():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            seen.append(time.monotonic())
            with client:
                client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: x\r\n\r\n" + secrets.token_bytes(200_000))

    threading.Thread(target=answer, daemon=True).start()
    at, own = server.getsockname(), free_port("127.0.0.9")
    settings = {"format": 1, "name": "127.0.0.9", "listen": [f"tcp:127.0.0.9:{own}"], "inner": [f"tcp:127.0.0.10:{own}"],
                "registrar": [f"tcp:{at[0]}:{at[1]}"], "key": "other.key", "control": str(lab.folder / "nonsense.sock")}
    program = lab.start("nonsense", [GATEWAY, "edge", "--config", lab.write("nonsense.yaml", json.dumps(settings))])
    with lab.case("a registrar that answers nonsense is not hammered, and the status says so"):
        program.see("the connection to the registrar ended", 10)
        began = len(seen)
        time.sleep(15)
        check(1 <= len(seen) - began <= 8, f"{len(seen) - began} connections in 15 s")
        check(program.alive(), program.tail())
        phone = lab.phone(("127.0.0.9", own), USER, None, DOMAIN, transport="tcp")
        answer = phone.send(phone.build("REGISTER", f"sip:{DOMAIN}"))
        equal(answer.status, 503, answer.start)
    server.close()
    program.stop()
