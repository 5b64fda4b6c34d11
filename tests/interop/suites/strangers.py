"""What nobody proved may not cost, tell or move anything; what somebody proved once may not be used twice."""

import re
import socket
import time

import ua as sip
from lab import PASSWORD, USER, Gateway, Stopwatch, check, equal, power

METHODS = ["REGISTER", "SUBSCRIBE", "MESSAGE", "INVITE", "OPTIONS", "NOTIFY", "PUBLISH", "INFO", "REFER", "BYE", "DO"]
FLOOD = 10_000
MAY_GROW_KB = 8 * 1024


def run(lab):
    house = Gateway.demo(lab)
    owner = house.phone()
    guard = Guard(lab, house, owner)
    anonymous(lab, house, guard)
    identities(lab, house, owner, guard)
    replays(lab, house, owner, guard)
    odd_requests(lab, house, owner, guard)
    guesses(lab, house, owner, guard)
    bodies(lab, house, owner, guard)
    crossings(lab, house, owner, guard)
    floods(lab, house, owner, guard)


class Guard:
    """Around every attack: the plug and the garage stay as they are, the process lives."""

    def __init__(self, lab, house, owner):
        self.lab, self.house, self.owner = lab, house, owner

    def case(self, name):
        return _Guarded(self, name)

    def state(self):
        # Replies to what the case before said may still be on their way.
        self.owner.pump(0.2)
        count = len(self.owner.requests)
        words = []
        for appliance in ("plug", "garage"):
            equal(self.owner.message(self.owner.uri(appliance), "status").status, 200, f"the owner asks {appliance}")
            words.append(self.owner.reply_text(count, contains=appliance))
            count = len(self.owner.requests)
        return words[0], words[1], power(self.owner)


class _Guarded:
    def __init__(self, guard, name):
        self.guard, self.inner = guard, guard.lab.case(name)

    def __enter__(self):
        self.before = self.guard.state()
        self.inner.__enter__()

    def __exit__(self, kind, error, trace):
        if error is None:
            try:
                self.guard.house.alive()
                equal(self.guard.state(), self.before, "state after the attack")
            except Exception as found:
                return self.inner.__exit__(type(found), found, found.__traceback__)
        return self.inner.__exit__(kind, error, trace)


def opposite(owner):
    return "off" if power(owner) else "on"


def request_of(phone, method, uri, text="on", **more):
    extra = {"SUBSCRIBE": [("Event", "appliance"), ("Expires", "600")], "REGISTER": [("Expires", "600")],
             "NOTIFY": [("Event", "appliance"), ("Subscription-State", "active")], "PUBLISH": [("Event", "presence"), ("Expires", "600")],
             "REFER": [("Refer-To", "<sip:garage@home.local>")]}.get(method, [])
    body = text if method in ("MESSAGE", "INFO", "DO") else b""
    if body:
        extra = extra + [("Content-Type", "text/plain")]
    return phone.build(method, uri, extra, body, **more)


def anonymous(lab, house, guard):
    due = {"REGISTER": {401, 405}, "SUBSCRIBE": {401, 489}, "MESSAGE": {401}, "INVITE": {401}, "OPTIONS": {200, 401, 404},
           "NOTIFY": {401, 481}, "BYE": {401, 481}, "INFO": {401, 405, 481, 501}, "PUBLISH": {401, 403, 405, 489, 501},
           "REFER": {401, 403, 405, 501, 603}, "DO": {401, 403, 405, 501}}
    for method in METHODS:
        with guard.case(f"{method} without credentials"):
            stranger = house.phone("mallory", None, registered=False, host="127.0.0.9")
            asked = request_of(stranger, method, stranger.aor if method == "REGISTER" else stranger.uri("plug"), opposite(guard.owner))
            answer = stranger.send(asked)
            check(answer.status in due[method], f"{method}: {answer.start}")
            if answer.status == 401:
                check(answer.all("WWW-Authenticate"), "401 without WWW-Authenticate")
                size, factor = len(stranger.wire.transcript[-1][2]), len(stranger.wire.transcript[-1][2]) / len(asked.bytes())
                check(factor <= 1.5, f"401 is {size} bytes, {factor:.2f} times the request")
            stranger.pump(0.3)
            check(not stranger.received("NOTIFY"), "a NOTIFY went to a stranger")
    with guard.case("INVITE without credentials and without ACK is not amplified"):
        wire = sip.Wire(house.listen, local=("127.0.0.9", 0))
        stranger = house.phone("mallory", None, registered=False, host="127.0.0.9")
        asked = request_of(stranger, "INVITE", stranger.uri("21")).bytes().replace(b"%d;rport" % stranger.wire.local[1], b"%d;rport" % wire.local[1])
        wire.send(asked)
        back, end = [], time.monotonic() + 6
        while time.monotonic() < end and (got := wire.receive(end - time.monotonic())):
            back.append(got[0])
        wire.close()
        check(1 <= len(back) <= 3, f"{len(back)} packets came back")
        check(sum(map(len, back)) <= 3 * len(asked), f"{sum(map(len, back))} bytes for {len(asked)}")


def identities(lab, house, owner, guard):
    with guard.case("an unknown user and a wrong password look the same"):
        wrong = house.phone(USER, "guess", registered=False, host="127.0.0.10").message(owner.uri("plug"), opposite(owner))
        nobody = house.phone("nobody", "guess", registered=False, host="127.0.0.11").message(owner.uri("plug"), opposite(owner))
        equal(wrong.status, nobody.status, "status")
        check(wrong.status in (401, 403), wrong.start)
        equal(sorted(n for n, _ in wrong.headers), sorted(n for n, _ in nobody.headers), "header names")
    with guard.case("From is not the user of the digest: 403"):
        uri = owner.uri("plug")
        answer = owner.request("MESSAGE", uri, [("Content-Type", "text/plain")], opposite(owner), sender=owner.uri("ben"), contact=False)
        equal(answer.status, 403, "MESSAGE")
    with guard.case("identity headers of anyone count for nothing"):
        stranger = house.phone("mallory", None, registered=False, host="127.0.0.12")
        for name in ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID"):
            asked = stranger.build("MESSAGE", stranger.uri("plug"), [(name, f"<{owner.aor}>"), ("Content-Type", "text/plain")],
                                   opposite(owner), sender=owner.aor, contact=False)
            equal(stranger.send(asked).status, 401, f"MESSAGE with {name}")
    with guard.case("somebody else's address cannot be registered"):
        answer = owner.request("REGISTER", f"sip:{owner.domain}", [("Expires", "600")], to=f"<{owner.uri('ben')}>")
        equal(answer.status, 403, "REGISTER of ben by anna")
    with guard.case("a To tag does not make a stranger a part of a dialog"):
        stranger = house.phone("mallory", None, registered=False, host="127.0.0.13")
        for method in ("MESSAGE", "SUBSCRIBE", "INVITE", "BYE", "REFER"):
            asked = request_of(stranger, method, stranger.uri("plug"), opposite(owner), to=f"<{stranger.uri('plug')}>;tag=made-up")
            check(stranger.send(asked).status in (401, 403, 405, 481, 501), f"{method} with a To tag")


def challenged(owner, method, uri, body=""):
    """A fresh challenge for this request."""
    asked = request_of(owner, method, uri, body)
    answer = owner.send(asked)
    equal(answer.status, 401, f"{method} without credentials")
    return owner.choose(answer)


def with_proof(owner, proof, text, uri=None):
    return owner.send(owner.build("MESSAGE", uri or owner.uri("plug"), [("Authorization", proof), ("Content-Type", "text/plain")], text, contact=False))


def replays(lab, house, owner, guard):
    uri = owner.uri("plug")
    with guard.case("a command's digest sent again: 401 stale, nothing moves"):
        word, back = opposite(owner), "on" if power(owner) else "off"
        challenge = challenged(owner, "MESSAGE", uri)
        proof = owner.authorize(challenge, "MESSAGE", uri, word)
        equal(with_proof(owner, proof, word).status, 200, "the command itself")
        equal(owner.message(uri, back).status, 200, "the command back")
        answer = with_proof(owner, proof, word)
        equal(answer.status, 401, "the replay")
        check(any("stale=true" in v.lower().replace('"', "") for v in answer.all("WWW-Authenticate")), "the replay's 401 is not stale=true")
    with guard.case("the same datagram again is answered from memory and acts once"):
        word, back = opposite(owner), "on" if power(owner) else "off"
        equal(owner.message(uri, word).status, 200, "the command")
        raw = next(r for _, way, r in reversed(owner.wire.transcript) if way == "->" and r.startswith(b"MESSAGE"))
        equal(owner.message(uri, back).status, 200, "the command back")
        owner.wire.send(raw)
        owner.pump(1)
    with guard.case("nc does not go back, another body does not borrow the digest"):
        word = opposite(owner)
        challenge = challenged(owner, "MESSAGE", uri)
        equal(with_proof(owner, owner.authorize(challenge, "MESSAGE", uri, "status", nc=5), "status").status, 200, "nc=5")
        equal(with_proof(owner, owner.authorize(challenge, "MESSAGE", uri, word, nc=4), word).status, 401, "nc=4 after nc=5")
        equal(with_proof(owner, owner.authorize(challenge, "MESSAGE", uri, word, nc=5), word).status, 401, "nc=5 again")
    foreign = {"uri of another appliance": dict(uri=owner.uri("garage")), "method": dict(method="INVITE"),
               "realm": dict(realm="elsewhere.example"), "nonce": dict(nonce="0123456789abcdef0123456789abcdef")}
    for what, change in foreign.items():
        with guard.case(f"a digest made for another {what}"):
            challenge = dict(challenged(owner, "MESSAGE", uri))
            for key in ("realm", "nonce"):
                challenge[key] = change.get(key, challenge[key])
            word = opposite(owner)
            answer = with_proof(owner, owner.authorize(challenge, change.get("method", "MESSAGE"), change.get("uri", uri), word), word)
            check(answer.status in (400, 401, 403), answer.start)
    with guard.case("a digest without qop does not act"):
        word = opposite(owner)
        answer = with_proof(owner, owner.authorize(challenged(owner, "MESSAGE", uri), "MESSAGE", uri, word, qop=None), word)
        check(answer.status in (400, 401, 403), answer.start)
    with guard.case("broken Authorization headers"):
        for proof in broken_proofs():
            answer = with_proof(owner, proof, opposite(owner))
            check(answer.status in (400, 401, 403), f"{proof[:60]!r}: {answer.start}")


def broken_proofs():
    whole = f'Digest username="{USER}", realm="home.local", nonce="abc", uri="sip:x", response="{"0" * 32}", nc=00000001, cnonce="c", qop=auth'
    yield from ("", "Digest", "Digest ,", "Digest ,,,,=,", "Basic YW5uYTphbm5h", "Digest =", 'Digest username="', 'Digest username=anna"', whole[:-40])
    yield from (whole.replace("00000001", n) for n in ("zz", "-1", "99999999999999999999", ""))
    yield from (whole.replace(f'username="{USER}"', f'username="{u}"') for u in ("", "%s%n%s%n", "a" * 4000, 'a\\"b', "anna\\"))
    yield from (whole.replace("qop=auth", q) for q in ("qop=", "qop=auth-conf", "qop=auth, qop=auth"))
    yield from (whole + ", algorithm=" + a for a in ("SHA-1", "MD5-sess", '"', "x" * 2000))


def odd_requests(lab, house, owner, guard):
    with guard.case("a control character in a header name is 400, a space before the colon is legal"):
        stranger = house.phone("mallory", None, registered=False, host="127.0.0.14")
        asked = request_of(stranger, "MESSAGE", stranger.uri("plug"), opposite(owner), to=f"<{stranger.uri('plug')}>;tag=x")
        raw = asked.bytes()
        for change, due in ((b"\r\nTo\x01: ", (400,)), (b"\r\nTo : ", (401, 481))):
            stranger.responses.clear()
            stranger.wire.send(raw.replace(b"\r\nTo: ", change).replace(asked.get("Via").partition("branch=")[2].encode(), b"z9hG4bK" + sip.token().encode()))
            stranger.pump(2, lambda: stranger.responses)
            statuses = [r.status for rs in stranger.responses.values() for r in rs]
            check((not statuses and 400 in due) or (statuses and statuses[0] in due), f"{change!r}: {statuses}")
    with guard.case("format strings and long words in every field"):
        stranger = house.phone("mallory", None, registered=False, host="127.0.0.15")
        for word in ("%s%n%s%n%x", "A" * 3000, "\\", "</>", "'\";--"):
            for header in ("User-Agent", "Subject", "Call-Info", "P-Any"):
                asked = stranger.build("MESSAGE", stranger.uri("plug"), [(header, word), ("Content-Type", "text/plain")], word, contact=False)
                check(stranger.send(asked).status in (400, 401, 413, 513), f"{header}: {word[:10]}")
    with guard.case("Content-Length of every kind"):
        content_lengths(house)
    with guard.case("a header bomb is refused within a second"):
        for line in ("Accept: a/b", "Via: SIP/2.0/UDP x.example;branch=z9hG4bKx", "Route: <sip:x;lr>", "X: y"):
            stranger = house.phone("mallory", None, registered=False, host="127.0.0.16")
            name, value = line.split(": ", 1)
            asked = stranger.build("MESSAGE", stranger.uri("plug"), [(name, value)] * 900, "on", contact=False)
            watch = Stopwatch(house.program)
            stranger.wire.send(asked.bytes())
            stranger.pump(5, lambda: stranger.responses)
            watch.within(1.2, line)
            check(power(owner) is not None, line)
    with guard.case("unsolicited responses are met with silence"):
        wire = sip.Wire(house.listen, local=("127.0.0.17", 0))
        for status in ("200 OK", "401 Unauthorized", "503 Service Unavailable", "100 Trying"):
            wire.send(sip.Message(f"SIP/2.0 {status}", [("Via", f"SIP/2.0/UDP 127.0.0.17:{wire.local[1]};branch=z9hG4bK{sip.token()}"),
                                                       ("From", "<sip:a@b>;tag=1"), ("To", "<sip:c@d>;tag=2"), ("Call-ID", sip.token()),
                                                       ("CSeq", "1 INVITE")]).bytes())
        check(wire.receive(0.7) is None, "a response was answered")
        wire.close()
    with guard.case("the answer goes to the sender: maddr, received and a third party's Via are ignored"):
        via_lies(house)
    with guard.case("NOTIFY goes along the flow that subscribed, not to a third party's Contact"):
        third = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        third.bind(("127.0.0.18", 0))
        owner.contact, kept = f"<sip:{USER}@127.0.0.18:{third.getsockname()[1]}>", owner.contact
        try:
            watch = owner.subscribe(owner.uri("plug"), "appliance", "application/senml+json", 60)
            owner.pump(1, lambda: watch.notifies)
            third.settimeout(0.5)
            try:
                check(False, f"the third party got {third.recv(65535)[:40]!r}")
            except TimeoutError:
                pass
            watch.unsubscribe()
        finally:
            owner.contact = kept
            third.close()
    with guard.case("a branch used again with another method or CSeq"):
        stranger = house.phone("mallory", None, registered=False, host="127.0.0.19")
        for n, method in enumerate(METHODS * 2):
            stranger.wire.send(request_of(stranger, method, stranger.uri("plug"), branch="sameagain", call_id="same", tag="same", cseq=n + 1).bytes())
        stranger.pump(0.5)


def content_lengths(house):
    for value in ("-1", "4294967296", "18446744073709551617", "2147483648", "1e3", "0x10", "", " ", "+5", "5 5", "99999", "65536", "5;a", "٣", "00000000000000000002", "NaN"):
        for transport in ("udp", "tcp"):
            stranger = house.phone("mallory", None, registered=False, host="127.0.0.20", transport=transport)
            raw = request_of(stranger, "MESSAGE", stranger.uri("plug")).bytes()
            stranger.wire.send(re.sub(rb"Content-Length: \d+", b"Content-Length: " + value.encode(), raw))
            stranger.pump(0.15, lambda: stranger.responses)
            statuses = [r.status for rs in stranger.responses.values() for r in rs]
            check(all(s in (400, 401, 413, 513) for s in statuses), f"Content-Length {value!r} over {transport}: {statuses}")
            stranger.close()


def via_lies(house):
    victim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    victim.bind(("127.0.0.21", 0))
    victim.settimeout(0.3)
    port = victim.getsockname()[1]
    for more in (";rport", f";maddr=127.0.0.21;rport", f";received=127.0.0.21;rport={port}", f";maddr=127.0.0.21;received=127.0.0.21;rport"):
        stranger = house.phone("mallory", None, registered=False, host="127.0.0.22")
        asked = request_of(stranger, "MESSAGE", stranger.uri("plug"))
        via = f"SIP/2.0/UDP 127.0.0.21:{port}{more};branch=z9hG4bK{sip.token()}"
        asked.headers[0] = ("Via", via)
        stranger.wire.send(asked.bytes())
        try:
            check(False, f"{more}: the third party got {victim.recv(65535)[:40]!r}")
        except TimeoutError:
            pass
        stranger.close()
    victim.close()


def guesses(lab, house, owner, guard):
    with guard.case("300 guesses are slowed, and the owner elsewhere is served meanwhile"):
        uri, word = owner.uri("plug"), opposite(owner)
        guesser = house.phone(USER, PASSWORD, registered=False, host="127.0.0.23")
        challenge = challenged(guesser, "MESSAGE", uri)
        for _ in range(300):
            answer = with_proof(guesser, guesser.authorize(challenge, "MESSAGE", uri, word).replace('response="', 'response="0'), word)
            equal(answer.status, 401, "a wrong guess")
            challenge = guesser.choose(answer)
        equal(with_proof(guesser, guesser.authorize(challenge, "MESSAGE", uri, word), word).status, 401, "the right one, too soon")
        watch = Stopwatch(house.program)
        equal(owner.message(uri, "status").status, 200, "the owner's question")
        watch.within(1, "it")


def bodies(lab, house, owner, guard):
    part = "--a\r\nContent-Type: multipart/mixed;boundary=a\r\n\r\n"
    bombs = {
        "multipart without a boundary": ("MESSAGE", "plug", "multipart/mixed", "off"),
        "multipart with a boundary of 8 kB": ("MESSAGE", "plug", "multipart/mixed;boundary=" + "b" * 8000, "--" + "b" * 8000 + "\r\n\r\noff"),
        "multipart in itself": ("MESSAGE", "plug", "multipart/mixed;boundary=a", part * 500),
        "2,900 m-lines": ("INVITE", "26", "application/sdp", "v=0\r\n" + "m=audio 1 RTP/AVP 0\r\n" * 2900),
        "numbers out of range": ("INVITE", "26", "application/sdp", "v=99999999999999999999\r\nm=audio 99999999 \0"),
        "entities": ("DO", "plug", "application/dmp", '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>' * 100),
        "an entity of a file": ("MESSAGE", "plug", "message/imdn+xml", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
        "30,000 brackets": ("DO", "plug", "application/senml+json", "[" * 30_000),
        "brackets below an unknown name": ("DO", "plug", "application/senml+json", '[{"x":' + "[" * 20_000),
        "15,000 records": ("DO", "plug", "application/senml+json", "[" + "{}," * 15_000 + "{}]"),
        "a number too large": ("DO", "plug", "application/senml+json", '[{"n":"power","v":1e999}]'),
        "a name of 30 kB with line ends": ("DO", "plug", "application/senml+json", '[{"n":"' + "A" * 30_000 + '\\u001b[31m\\r\\nX: y","vb":true}]'),
        "CPIM in CPIM": ("MESSAGE", "plug", "message/cpim", "a: b\r\n\r\nContent-Type: message/cpim\r\n\r\n" * 500),
        "no UTF-8": ("MESSAGE", "plug", "text/plain", b"\xff\xfe" * 100),
        "escape sequences": ("MESSAGE", "plug", "text/plain", "\x1b[31mhello\r\n{\"step\":\"ordered\"}\x07"),
    }
    for name, (method, user, kind, body) in bombs.items():
        with guard.case(f"a body of the owner's: {name}"):
            watch = Stopwatch(house.program)
            answer = owner.request(method, owner.uri(user), [("Content-Type", kind)], body)
            watch.within(1, "it")
            check(answer.status in (200, 400, 415, 486, 488, 513), answer.start)
            check(len(answer.bytes()) < 2000 and "root:" not in answer.text and "\x1b" not in answer.start, answer.start[:200])
            check("\x1b" not in house.program.log.read_text("utf-8", "replace"), "an escape sequence reached the terminal")


def crossings(lab, house, owner, guard):
    with guard.case("unsubscribing while a NOTIFY is under way, and refreshing after that"):
        phone = house.phone(host="127.0.0.24")
        handle, held = phone._handle, []
        phone._handle = lambda raw, sender: held.append((raw, sender)) if raw.startswith(b"NOTIFY") else handle(raw, sender)
        watch = phone.subscribe(phone.uri("plug"), "appliance", "application/senml+json", 600)
        phone.wait("a NOTIFY", lambda: held)
        equal(watch.unsubscribe().status, 200, "the end")
        equal(watch.refresh(600).status, 481, "a refresh after the end")
        phone._handle = handle
        handle(*held[0])
        watch.wait("the end", lambda n: n.get("Subscription-State").startswith("terminated"))
        equal(watch.refresh(600).status, 481, "a refresh after the last NOTIFY")
    with guard.case("a NOTIFY that is answered 481 ends it; a stranger ends nothing"):
        phone = house.phone(host="127.0.0.25")
        phone.answer["NOTIFY"] = 481
        watch = phone.subscribe(phone.uri("plug"), "presence", "application/pidf+xml", 600)
        watch.wait("the first document")
        phone.answer.clear()
        equal(watch.refresh(600).status, 481, "a refresh of what is over")
        watch = phone.subscribe(phone.uri("plug"), "presence", "application/pidf+xml", 600)
        stranger = house.phone("mallory", None, registered=False, host="127.0.0.26")
        asked = stranger.build("SUBSCRIBE", watch.target, [("Event", "presence"), ("Expires", "0")], to=watch.to,
                               call_id=watch.call_id, tag=watch.tag, cseq=99)
        equal(stranger.send(asked).status, 401, "a stranger in the dialog")
        equal(watch.refresh(600).status, 200, "the owner's refresh")
        equal(watch.unsubscribe().status, 200, "the end")


def floods(lab, house, owner, guard):
    for method in METHODS:
        with guard.case(f"{FLOOD} {method}s of a stranger: memory stays, the owner is served"):
            warm(house, method)
            before = house.program.rss_kb()
            flood(house, method, FLOOD // 2)
            watch = Stopwatch(house.program)
            equal(owner.message(owner.uri("plug"), "status").status, 200, "the owner's question")
            watch.within(1.5, "the owner's question")
            flood(house, method, FLOOD // 2)
            grown = house.program.rss_kb() - before
            check(grown < MAY_GROW_KB, f"memory grew by {grown} kB")


def warm(house, method):
    flood(house, method, 200)


def flood(house, method, count):
    """Sends without waiting for answers, but never more than the socket's buffer holds unread."""
    stranger = sip.Ua(house.listen, "mallory", None, host="127.0.0.30")
    sip.Ua.made.remove(stranger)
    wire = stranger.wire.socket
    wire.setblocking(False)
    target = stranger.aor if method == "REGISTER" else stranger.uri("plug")
    for n in range(count):
        wire.sendto(request_of(stranger, method, target).bytes(), house.listen)
        if n % 20 == 0:
            time.sleep(0.002)
            drain(wire)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        drain(wire)
        time.sleep(0.02)
    stranger.close()


def drain(wire):
    try:
        while True:
            wire.recv(65535)
    except BlockingIOError:
        return
