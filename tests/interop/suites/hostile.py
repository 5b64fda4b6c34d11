"""A gateway between servers that lie, stall, refuse and talk nonsense: nobody is flooded, the status says what is wrong, and what becomes sane again is used again."""

import itertools
import os
import re
import secrets
import socket
import ssl
import subprocess
import time

import home
from certs import Authority
from fakes import HOST, Names, Registrar, answer, sane
from lab import GATEWAY, Stopwatch, check, equal, until

AFTER = 42      # when everything is looked at, in seconds: behind the 32 s that a registrar has to answer
BACK = 45       # how long it may then take until who is sane again is registered at
NEVER = "a person has to change something, or half an hour passes"


def says(status, *more, **keys):
    return lambda fake, request, send: send(answer(request, status, *more, **keys))


def challenge(realm="r.test", algorithm="SHA-256", name="WWW-Authenticate", code="401 Unauthorized"):
    def serve(fake, request, send):
        word = realm() if callable(realm) else realm
        send(answer(request, code, f'{name}: Digest realm="{word}", nonce="{secrets.token_hex(8)}", qop="auth", algorithm={algorithm}'))
    return serve


def proxy(fake, request, send):
    """407, and 200 to whoever answers it."""
    if b"Proxy-Authorization: Digest" in request:
        return sane(fake, request, send)
    return challenge(name="Proxy-Authenticate", code="407 Proxy Authentication Required")(fake, request, send)


def rising(fake, request, send):
    least = int(re.search(rb"\r\nExpires: (\d+)", request).group(1)) + 1
    send(answer(request, "423 Interval Too Brief", f"Min-Expires: {least}"))


def trying(fake, request, send):
    send(answer(request, "100 Trying"))


def silent(fake, request, send):
    pass


def garbage(fake, request, send):
    for size in (1, 40, 900):
        send(secrets.token_bytes(size))


def drip(fake, request, send):
    for byte in answer(request):
        send(bytes([byte]))
        time.sleep(0.002)


def crowd(fake, request, send):
    send(answer(request, "200 OK", *(f"Contact: <sip:x{n}@127.0.0.1>" for n in range(10_000))))


def loris(stream):
    """A handshake of a byte a second."""
    for byte in b"\x16\x03\x03\x40\x00" + bytes(60):
        stream.send(bytes([byte]))
        time.sleep(1)


def hang_up(stream):
    stream.close()


def rubbish_stun(fake, packet, send):
    """Somebody else's answer, one that is cut off, and an address from nowhere under a wrong number."""
    send(b"\x01\x01\x00\x0c\x21\x12\xa4\x42" + secrets.token_bytes(12) + b"\x00\x20\x00\x08\x00\x01\x12\x34\x01\x02\x03\x04")
    send(b"\x01\x01\xff\xff\x21\x12\xa4\x42" + packet[8:20])
    send(b"\x01\x01\x00\x08\x21\x12\xa4\x42" + packet[8:20] + b"\x00\x20\x00\xff")


def both(fake, request, send):
    """A proxy wants a proof, and the registrar behind it another."""
    if b"\r\nProxy-Authorization: Digest" in request and b"\r\nAuthorization: Digest" in request:
        return sane(fake, request, send)
    if b"\r\nProxy-Authorization: Digest" in request:
        return challenge()(fake, request, send)
    return proxy(fake, request, send)


def rewritten(fake, request, send):
    """Our Contact in the words of a router on the way."""
    send(answer(request, expires=60, swap=[(r"Contact: <sip:([^@]*)@[^>]*>", r"Contact: <sip:\1@203.0.113.5:31000>"),
                                           (r"(Contact: .*)", r"\1;" + instance(request))]))


def instance(request):
    return re.search(rb'\+sip\.instance="[^"]*"', request).group(0).decode()


def keeping(fake, request, send):
    """It promises to answer STUN."""
    send(answer(request, expires=60, swap=[(r";keep(?=[;\r])", ";keep=20")]))


def stranger(fake, request, send):
    sane(fake, request, send)
    for method in ("MESSAGE", "NOTIFY", "INVITE", "SUBSCRIBE", "BYE"):
        send((f"{method} sip:stranger@{HOST} SIP/2.0\r\nVia: SIP/2.0/UDP {HOST}:{fake.port};branch=z9hG4bK{secrets.token_hex(6)}\r\n"
              f"From: <sip:eve@evil.test>;tag=1\r\nTo: <sip:stranger@evil.test>\r\nCall-ID: {secrets.token_hex(8)}\r\nCSeq: 1 {method}\r\n"
              f"Contact: <sip:eve@{HOST}:{fake.port}>\r\nEvent: presence\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\non").encode())


# name: how it serves, transport, the state of the registration, words that must be there, most REGISTERs till then, and whether it recovers by itself soon.
CASES = {
    "garbage": (garbage, "udp", "failed", r"does not answer.*no SIP", 2, NEVER),
    "wrongbranch": (says("200 OK", swap=[("branch=z9hG4bK", "branch=z9hG4bKx")]), "udp", "failed", "does not answer", 2, True),
    "wrongcseq": (says("200 OK", swap=[(r"CSeq: \d+", "CSeq: 4711")]), "udp", "registered", "since", 3, None),
    "wrongcall": (says("200 OK", swap=[("Call-ID: ", "Call-ID: x")]), "udp", "registered", "since", 3, None),
    "nocontact": (says("200 OK", contact=False), "udp", "registered", "lists no Contact", 3, None),
    "zero": (says("200 OK", expires=0), "udp", "failed", "grants 0 s", 2, NEVER),
    "huge": (says("200 OK", expires=4294967295), "udp", "registered", r"good for [1-6]?\d\d? s", 3, None),
    "negative": (says("200 OK", expires=-5), "udp", "registered", r"good for [1-6]?\d\d? s", 3, None),
    "crowd": (crowd, "tcp", "no flow", "too long", 3, NEVER),
    "longhead": (says("200 OK", "X: " + "y" * 100_000), "tcp", "no flow", "too long", 3, NEVER),
    "trying": (trying, "udp", "failed", "does not answer", 2, True),
    "password": (challenge(), "udp", "failed", "refuses the password of `password`", 2, NEVER),
    "realms": (challenge(realm=lambda: secrets.token_hex(4)), "udp", "failed", "refuses the password", 2, NEVER),
    "algorithm": (challenge(algorithm="ROT13"), "udp", "failed", "kind of login", 1, NEVER),
    "basic": (says("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"'), "udp", "failed", "kind of login", 1, NEVER),
    "proxy": (proxy, "udp", "registered", "since", 5, None),
    "both": (both, "udp", "registered", "since", 7, None),
    "covers": (says("401 Unauthorized", 'WWW-Authenticate: Digest realm="x", nonce="1", qop="auth-int"'), "udp", "failed", "kind of login", 1, NEVER),
    "rewritten": (rewritten, "udp", "registered", r"good for [1-6]?\d s", 3, None),
    "others": (says("200 OK", "Contact: <sip:x@203.0.113.9>;expires=60", contact=False), "udp", "registered", "other Contacts than ours", 3, None),
    "wordless": (sane, None, "registered", "udp 127.0.0.1", 3, None),
    "brief": (says("423 Interval Too Brief", "Min-Expires: 4294967295"), "udp", "failed", "more than a day", 1, NEVER),
    "rising": (rising, "udp", "failed", "423 again and again", 4, NEVER),
    "busy": (says("503 Service Unavailable", "Retry-After: 120"), "udp", "failed", r"503.*trying again in (1[01]\d|[6-9]\d) s", 1, NEVER),
    "busyforever": (says("503 Service Unavailable", "Retry-After: 1000000000"), "udp", "failed", r"503.*trying again in 3[45]\d\d s", 1, NEVER),
    "forbidden": (says("403 Forbidden"), "udp", "failed", r"403 Forbidden: is this account allowed.*in 5\d\d s", 1, NEVER),
    "forbiddentcp": (says("403 Forbidden"), "tcp", "failed", r"403 Forbidden", 1, NEVER),
    "unknown": (says("404 Not Found"), "udp", "failed", "it does not know this address", 2, NEVER),
    "error": (says("500 Server Internal Error"), "udp", "failed", "500 Server", 2, NEVER),
    "everywhere": (says("600 Busy Everywhere"), "udp", "failed", "600 Busy", 2, NEVER),
    "silent": (silent, "udp", "failed", "does not answer", 2, True),
    "mute": (silent, "tcp", "(no flow|trying)", "nobody answers there", 2, NEVER),
    "drip": (drip, "tcp", "registered", "since", 3, None),
    "stranger": (stranger, "udp", "registered", "since", 3, None),
    "stun": (keeping, "udp", "registered", "keep-alives are not answered there", 3, None),
    "good": (sane, "udp", "registered", "since", 3, None),
}


def run(lab):
    lab.need("openssl")
    fakes = {name: Registrar(lab, of[0], rubbish_stun if name == "stun" else None) for name, of in CASES.items()}
    thief = Registrar(lab, sane)
    fakes["moved"] = Registrar(lab, says("302 Moved Temporarily", f"Contact: <sip:{HOST}:{thief.port}>"))
    fakes["flapping"] = Registrar(lab, sane, wrap=hang_up)
    cases = {**CASES, "moved": (None, "udp", "failed", "sends us elsewhere.*ask the provider", 1, NEVER),
             "flapping": (None, "tcp", "no flow", "(closed the connection|reset).*before anything was registered", 0, NEVER)}
    certificates(lab, fakes, cases)
    cases["halfopen"] = (None, "tcp", "no flow", "no answer", 0, None)
    full = half_open(lab)
    upstream = {}
    for name, (_, transport, *_) in cases.items():
        port = fakes[name].port if name in fakes else full
        upstream[name] = {"server": f"{HOST}:{port}", **({"transport": transport} if transport else {}), "domain": f"{name}.test", "expires": "60s",
                          "accounts": [{"user": name, "password": {"secret": "word"}}]}
        if transport == "tls":
            upstream[name]["ca"] = str(lab.folder / "ca.pem")
    control = lab.folder / "home.sock"
    began = time.monotonic()
    house = home.start(lab, "example.com", None, upstream=upstream, secrets={"word": "a-word-for-all"}, control=control)
    names = names_begin(lab)
    phone = house.phone()
    slowest, rss = 0, 0
    while time.monotonic() - began < AFTER:
        at, clock = time.monotonic(), Stopwatch(house.program)
        equal(phone.send(phone.build("OPTIONS", phone.uri("house"))).status, 200, "OPTIONS by a phone at home")
        slowest = max(slowest, clock.passed())
        if not rss and at - began > 12:
            rss = house.program.rss_kb()
        if names and names[0].silent and at - began > 18:
            names_dark(lab, names)
        time.sleep(0.5)
    words = look(lab, control, house.program)
    for name, (_, _, state, pattern, most, _) in cases.items():
        with lab.case(f"{name}: {state}"):
            judge(name, state, pattern, words)
            if name in fakes:
                check(len(fakes[name].seen) <= most, f"{len(fakes[name].seen)} REGISTERs, {most} at most")
                check(fakes[name].connects <= 6, f"{fakes[name].connects} connections")
    with lab.case("nobody who was only pointed at is sent a password"):
        equal((thief.seen, thief.got), ([], []), "what the thief has")
    with lab.case("strangers on a flow get nothing but challenges and refusals"):
        statuses = sorted({int(got.split()[1]) for got in fakes["stranger"].got if got.startswith(b"SIP/2.0")})
        check(statuses and all(400 <= status < 500 for status in statuses), str(statuses))
    with lab.case("phones at home are answered at once, and memory stays"):
        check(slowest < 1, f"{slowest:.1f} s")
        grown = house.program.rss_kb() - rss
        check(grown < 8_192, f"{grown} kB more")
    names_judge(lab, names)
    for name, fake in fakes.items():
        fake.serve, fake.wrap = sane, fake.wrap if cases[name][1] == "tls" else None
    names_heal(lab, names)
    soon = [name for name, of in cases.items() if of[5] is True]
    with lab.case(f"who is sane again is registered at within {BACK} s: {', '.join(soon)}"):
        def back():
            state = {one["address"].split("@")[0]: one["state"] for one in home.status(lab, control)["registrations"]}
            return all(state[name] == "registered" for name in soon)
        try:
            until("all of them", back, BACK, 0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{look(lab, control, house.program)}") from None
    names_back(lab, names)
    with lab.case("a stop is quick, whoever does not answer"):
        for program in (house.program, *([names[1].program] if names else [])):
            clock = Stopwatch(program)
            program.tell(15)
            equal(program.wait(15), 0, "the exit code")
            clock.within(5, "it")


def look(lab, control, program):
    """What a person sees."""
    done = subprocess.run([GATEWAY, "status", "--control", str(control)], capture_output=True, text=True, timeout=10)
    lab.write(f"{program.name}-status.txt", done.stdout)
    return done.stdout


def judge(name, state, pattern, words):
    mine = [line for line in words.splitlines() if re.match(rf"{name}[ @]", line)]
    line = next((line for line in mine if line.startswith(f"{name}@")), "")
    check(re.match(rf"\S+ +{state} ", line), f"{mine}")
    check(re.search(pattern, "; ".join([line, *mine])), f"{mine}")


def certificates(lab, fakes, cases):
    """Servers over TLS whose certificate is not to be believed, and one that makes no progress."""
    ca, other = Authority(lab), Authority(lab, "other")
    signed = {
        "badca": (other.sign("badca", "DNS:badca.test", f"IP:{HOST}"), "signed by somebody unknown"),
        "badname": (ca.sign("badname", "DNS:somebody.else"), "badname.test|127.0.0.1"),
        "ended": (ca.sign("ended", "DNS:ended.test", days=-1), "expired.*renew it"),
        "early": (ca.sign("early", "DNS:early.test", early=True), "valid from.*clock"),
    }
    for name, ((file, key), pattern) in signed.items():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, key)
        fakes[name] = Registrar(lab, sane, wrap=lambda stream, context=context: context.wrap_socket(stream, server_side=True))
        cases[name] = (None, "tls", "no flow", pattern, 0, None)
    fakes["loris"] = Registrar(lab, sane, wrap=loris)
    fakes["plain"] = Registrar(lab, sane, wrap=lambda stream: stream.sendall(b"SIP/2.0 400 Speak TCP\r\n\r\n"))
    cases["loris"] = (None, "tls", "no flow", "does not get on with the handshake", 0, None)
    cases["plain"] = (None, "tls", "no flow", "speaks no TLS", 0, None)


def half_open(lab):
    """A port whose queue is full: connections to it never come about."""
    server = socket.socket()
    server.bind((HOST, 0))
    server.listen(0)
    port = server.getsockname()[1]
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((HOST, port))
        lab.closers.append(client.close)
    lab.closers.append(server.close)
    return port


# --- names -----------------------------------------------------------------------------------------------------------------

NAMESERVER = "127.9.9.9"
REAL = {}


def chain(name, kind):
    return [("CNAME", "b." + name)] if not name.startswith("b.") else [("CNAME", name[2:])]


def names_begin(lab):
    """A house whose name server lies; only root may give it another one."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"]).returncode:
        lab.report.skipped("hostile: names", "only root may give a program another name server")
        return None
    right = Registrar(lab, sane)
    REAL["port"], REAL["heal"] = right.port, False

    def lie(rotten):
        def reply(name, kind):
            if REAL["heal"]:
                return [("A", HOST)] if kind == "A" else []
            return rotten(name, kind)
        return reply

    def only(kind, *values):
        return lambda name, asked: [(kind, value) for value in values] if asked == kind else []

    lies = {
        "nx.test": (lambda name, kind: 3, "has no address"),
        "fail.test": (lambda name, kind: 2, "no name server answers"),
        "loop.test": (chain, "no name server answers|has no address"),
        "port0.test": (only("SRV", (0, "x.test")), "has no address"),
        "dot.test": (only("SRV", (5060, ".")), "says that it has no SIP service"),
        "any.test": (only("A", "0.0.0.0"), "leads to 0.0.0.0.*filter"),
        "group.test": (only("A", "224.0.0.1"), "leads to 224.0.0.1"),
        "many.test": (only("A", *(f"127.77.{n >> 8}.{n & 255}" for n in range(1, 1001))), "nobody listens there"),
        "other.test": (lambda name, kind: "other number", "no name server answers|has no address"),
        "mute.test": (lambda name, kind: None, "no name server answers"),
    }
    server = Names(lab, NAMESERVER, {name: lie(rotten) for name, (rotten, _) in lies.items()})
    server.answers["late.test"] = lambda name, kind: [("A", HOST)] if kind == "A" else []
    server.silent = True
    upstream = {}
    for name in [*lies, "late.test"]:
        with_port = "" if name in ("port0.test", "dot.test") else f":{right.port}"
        upstream[name[:-5]] = {"server": f"{name}{with_port}", "transport": "tcp", "domain": name, "expires": "60s",
                               "accounts": [{"user": name[:-5], "password": {"secret": "word"}}]}
    resolv = lab.write("resolv.conf", f"nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n")
    control = lab.folder / "names.sock"
    listen, arguments = home.write(lab, "example.org", None, upstream=upstream, secrets={"word": "w"}, name="names")
    command = f'mount --bind {resolv} /etc/resolv.conf && exec "$@"'
    program = lab.start("gateway-names", ["unshare", "-m", "sh", "-c", command, "sh", GATEWAY, *arguments, "--control", str(control)])
    began = time.monotonic()

    class House:
        pass
    house = House()
    house.program, house.control, house.lies, house.began = program, control, lies, began
    until("the gateway to run without names", control.exists, 15)
    return server, house


def names_dark(lab, names):
    server, house = names
    with lab.case("names: none are answered at the start, and the status says so"):
        words = look(lab, house.control, house.program)
        check(words.count("no name server answers") >= 10, words)
    server.silent = False


def names_judge(lab, names):
    if not names:
        return
    server, house = names
    words = look(lab, house.control, house.program)
    with lab.case("names: a server that is there late is found"):
        judge("late", "registered", "since", words)
    for name, (_, pattern) in house.lies.items():
        with lab.case(f"names: {name}"):
            judge(name[:-5], "no flow", pattern, words)
    with lab.case("names: nobody is asked without end"):
        passed = time.monotonic() - house.began
        for name in house.lies:
            asked = [at for got, _, at in server.asked if got == name or got.endswith("." + name)]
            if name != "many.test":
                # Two kinds of address each, and what does not fit a datagram twice.
                check(len(asked) <= 2 * passed, f"{name} was asked for {len(asked)} times in {passed:.0f} s")
                continue
            # The C library asks for a thousand addresses anew with each larger buffer: a lookup is what comes in one go.
            looked = 1 + sum(later - at > 0.5 for at, later in itertools.pairwise(asked))
            check(looked <= passed / 2, f"{name} was looked up {looked} times in {passed:.0f} s")


def names_heal(lab, names):
    REAL["heal"] = True


def names_back(lab, names):
    if not names:
        return
    _, house = names
    good = [name[:-5] for name in house.lies if name not in ("port0.test", "dot.test")]
    with lab.case("names: when they are right again, all are registered"):
        def back():
            state = {one["address"].split("@")[0]: one["state"] for one in home.status(lab, house.control)["registrations"]}
            return all(state[name] == "registered" for name in good)
        try:
            until("all of them", back, 40, 0.5)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{look(lab, house.control, house.program)}") from None
