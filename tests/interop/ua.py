"""A small SIP user agent for tests, written against the RFCs and not against the gateway.

It speaks UDP, TCP and TLS, answers a digest challenge (MD5, SHA-256, with and without qop), keeps dialogs for
SUBSCRIBE and INVITE, answers what the other side sends and records every message. It has no thread: whoever
waits for something turns the crank (`Ua.wait`), and every wait has an end.
"""

import hashlib
import re
import select
import socket
import ssl
import time
import uuid

T1, T2 = 0.5, 4.0
COMPACT = {"v": "Via", "f": "From", "t": "To", "i": "Call-ID", "m": "Contact", "l": "Content-Length",
           "c": "Content-Type", "o": "Event", "u": "Allow-Events", "s": "Subject", "k": "Supported"}


class Timeout(AssertionError):
    """What was waited for did not come."""


class Clock:
    """How long a wait may last."""

    def __init__(self, timeout):
        self.end = time.monotonic() + timeout

    def left(self):
        return self.end - time.monotonic()


patience = Clock    # the lab has one that knows what the machine was busy with


def token(length=10):
    return uuid.uuid4().hex[:length]


class Message:
    """One SIP message: the start line, headers in order, the body as bytes."""

    def __init__(self, start, headers=(), body=b""):
        self.start, self.headers = start, list(headers)
        self.body = body.encode() if isinstance(body, str) else body

    @classmethod
    def parse(cls, raw):
        head, _, body = raw.partition(b"\r\n\r\n")
        text = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace"))
        lines = text.split("\r\n")
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                name = name.strip()
                headers.append((COMPACT.get(name.lower(), name), value.strip()))
        return cls(lines[0], headers, body)

    def bytes(self):
        lines = [self.start] + [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + self.body

    def all(self, name):
        return [value for n, value in self.headers if n.lower() == name.lower()]

    def get(self, name, default=""):
        return next(iter(self.all(name)), default)

    def tag(self, name):
        found = re.search(r";\s*tag=([^;,\s]+)", self.get(name))
        return found.group(1) if found else None

    @property
    def is_response(self):
        return self.start.startswith("SIP/2.0 ")

    @property
    def status(self):
        return int(self.start.split(" ")[1]) if self.is_response else None

    @property
    def reason(self):
        return self.start.split(" ", 2)[2] if self.start.count(" ") >= 2 else ""

    @property
    def method(self):
        return self.get("CSeq").split()[-1] if self.is_response else self.start.split(" ")[0]

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def key(self):
        """What a response shares with its request: Call-ID and CSeq."""
        return self.get("Call-ID"), " ".join(self.get("CSeq").split())


def uri_of(value):
    """The URI of a Contact, From or Record-Route value."""
    found = re.search(r"<([^>]*)>", value)
    return found.group(1) if found else value.split(";")[0].strip()


def challenge_of(value):
    """A WWW-Authenticate or Proxy-Authenticate value as a dict of its parameters, names in lower case."""
    found = re.findall(r'(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^",\s]+)', value.partition(" ")[2])
    return {name.lower(): text.strip('"') for name, text in found}


def digest(challenge, user, password, method, uri, body=b"", nc=1, cnonce=None, qop="auth"):
    """The value of an Authorization header (RFC 7616); qop None leaves qop out as RFC 2069 did."""
    algorithm = challenge.get("algorithm", "MD5")
    hashed = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm.upper()]

    def h(text):
        return hashed(text if isinstance(text, bytes) else text.encode()).hexdigest()

    a1 = h(f"{user}:{challenge['realm']}:{password}")
    a2 = h(f"{method}:{uri}:{h(body)}") if qop == "auth-int" else h(f"{method}:{uri}")
    fields = [f'username="{user}"', f'realm="{challenge["realm"]}"', f'nonce="{challenge["nonce"]}"', f'uri="{uri}"']
    if qop and "qop" in challenge:
        cnonce = cnonce or token(16)
        response = h(f"{a1}:{challenge['nonce']}:{nc:08x}:{cnonce}:{qop}:{a2}")
        fields += [f"qop={qop}", f"nc={nc:08x}", f'cnonce="{cnonce}"']
    else:
        response = h(f"{a1}:{challenge['nonce']}:{a2}")
    fields.append(f'response="{response}"')
    if "algorithm" in challenge:
        fields.append(f"algorithm={algorithm}")
    if "opaque" in challenge:
        fields.append(f'opaque="{challenge["opaque"]}"')
    return "Digest " + ", ".join(fields)


class Wire:
    """One socket that carries whole SIP messages and writes down each of them."""

    def __init__(self, server, transport="udp", local=("127.0.0.1", 0), ca=None):
        self.server, self.transport = server, transport
        self.transcript, self.buffer, self.closed = [], b"", False
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(local)
        if transport != "udp":
            self.socket.settimeout(5)
            self.socket.connect(server)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if transport == "tls":
            self.socket = ssl.create_default_context(cafile=ca).wrap_socket(self.socket, server_hostname=server[0])
        self.local = self.socket.getsockname()

    def send(self, raw, to=None):
        self.transcript.append((time.time(), "->", raw))
        if self.transport == "udp":
            self.socket.sendto(raw, to or self.server)
        else:
            self.socket.sendall(raw)

    def receive(self, timeout):
        """The next whole message as (raw bytes, sender), or None when the time is over."""
        end = time.monotonic() + timeout
        while True:
            whole = self._whole()
            if whole:
                self.transcript.append((time.time(), "<-", whole))
                return whole, self.server
            left = end - time.monotonic()
            if self.transport == "tls" and self.socket.pending():
                self._read()
                continue
            if self.closed or not select.select([self.socket], [], [], max(0, left))[0]:
                return None
            if self.transport == "udp":
                try:
                    raw, sender = self.socket.recvfrom(65535)
                except ConnectionError:
                    continue
                if not raw.strip(b"\r\n\0"):
                    continue
                self.transcript.append((time.time(), "<-", raw))
                return raw, sender
            self._read()

    def _read(self):
        try:
            chunk = self.socket.recv(65535)
        except OSError:
            chunk = b""
        self.closed = not chunk
        self.buffer += chunk

    def _whole(self):
        while self.buffer.startswith(b"\r\n"):
            if self.buffer.startswith(b"\r\n\r\n"):
                self.socket.sendall(b"\r\n")
                self.buffer = self.buffer[2:]
            self.buffer = self.buffer[2:]
        head, blank, rest = self.buffer.partition(b"\r\n\r\n")
        if not blank:
            return None
        length = re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
        size = int(length.group(1)) if length else 0
        if len(rest) < size:
            return None
        whole, self.buffer = head + blank + rest[:size], rest[size:]
        return whole

    def story(self, last=12):
        """The last messages for a person to read."""
        lines = []
        for at, way, raw in self.transcript[-last:]:
            lines.append(f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d} {way} {self.transport}")
            lines += ["    " + line for line in raw.decode("utf-8", "backslashreplace").split("\r\n")]
        return "\n".join(lines)

    def close(self):
        self.socket.close()


class Ua:
    """A phone: an address of record, a password, one flow to one server."""

    made = []       # every phone since the runner last emptied the list: for the transcript of a failure

    def __init__(self, server, user, password=None, domain=None, transport="udp", host="127.0.0.1", algorithm=None, ca=None):
        self.user, self.password = user, password
        self.domain = domain or f"{server[0]}:{server[1]}"
        self.aor = f"sip:{user}@{self.domain}"
        self.algorithm = algorithm
        self.wire = Wire(server, transport, (host, 0), ca)
        self.contact = f"<sip:{user}@{self.wire.local[0]}:{self.wire.local[1]};transport={transport}>"
        self.requests, self.responses = [], {}
        self.answer = {}            # method -> status with which requests are answered; 200 without an entry
        self.seen = {}              # (Call-ID, CSeq) of the other side's request -> our response
        self.cseq = 1
        self.call_id = token(20)
        Ua.made.append(self)

    def uri(self, user):
        return f"sip:{user}@{self.domain}"

    # -- requests out ------------------------------------------------------------------------------------------

    def build(self, method, uri, headers=(), body=b"", *, to=None, sender=None, call_id=None, cseq=None, tag=None,
              contact=True, branch=None):
        self.cseq += 1
        ip, port = self.wire.local
        fixed = [("Via", f"SIP/2.0/{self.wire.transport.upper()} {ip}:{port};rport;branch=z9hG4bK{branch or token(16)}"),
                 ("Max-Forwards", "70"), ("From", f"<{sender or self.aor}>;tag={tag or token()}"),
                 ("To", to or f"<{uri}>"), ("Call-ID", call_id or token(20)), ("CSeq", f"{cseq or self.cseq} {method}")]
        if contact:
            fixed.append(("Contact", self.contact))
        return Message(f"{method} {uri} SIP/2.0", fixed + list(headers), body)

    def send(self, request):
        """Sends a request as it stands and waits for its final response; no digest, ACK for a refused INVITE."""
        raw, pause = request.bytes(), T1
        self.wire.send(raw)
        again, end = time.monotonic() + pause, time.monotonic() + 32
        while time.monotonic() < end:
            final = self._final(request)
            if final:
                return final
            step = min(end, again) if self.wire.transport == "udp" else end
            self.pump(max(0.0, step - time.monotonic()), lambda: self._final(request))
            provisional = any(r.status < 200 for r in self.responses.get(request.key(), []))
            if self.wire.transport == "udp" and time.monotonic() >= again and not self._final(request):
                pause = min(pause * 2, T2)
                again = time.monotonic() + pause
                if not (provisional and request.method == "INVITE"):
                    self.wire.send(raw)
            if self.wire.closed:
                break
        raise Timeout(f"no final response to {request.start!r}")

    def _final(self, request):
        return next((r for r in self.responses.get(request.key(), []) if r.status >= 200), None)

    def request(self, method, uri, headers=(), body=b"", **more):
        """Sends a request and answers a challenge: once, and again for each stale=true up to three times."""
        call_id, tag = more.pop("call_id", token(20)), more.pop("tag", token())
        proof, challenged = [], False
        for _ in range(4):
            sent = self.build(method, uri, list(headers) + proof, body, call_id=call_id, tag=tag, **more)
            answer = self.send(sent)
            if answer.status not in (401, 407) or self.password is None:
                break
            challenge = self.choose(answer)
            if not challenge or (challenged and challenge.get("stale", "").lower() != "true"):
                break
            name = "Authorization" if answer.status == 401 else "Proxy-Authorization"
            proof, challenged = [(name, self.authorize(challenge, method, uri, body))], True
        return answer

    def choose(self, answer):
        """The challenge this phone answers: its own algorithm, otherwise the first one it can compute."""
        name = "WWW-Authenticate" if answer.status == 401 else "Proxy-Authenticate"
        offered = [challenge_of(value) for value in answer.all(name) if value.lower().startswith("digest")]
        known = [c for c in offered if c.get("algorithm", "MD5").upper() in ("MD5", "SHA-256")]
        wanted = [c for c in known if not self.algorithm or c.get("algorithm", "MD5").upper() == self.algorithm]
        return next(iter(wanted), None)

    def authorize(self, challenge, method, uri, body=b"", **more):
        raw = body.encode() if isinstance(body, str) else body
        return digest(challenge, self.user, self.password, method, uri, raw, **more)

    def register(self, expires=600, uri=None):
        registrar = uri or f"sip:{self.domain}"
        headers = [("Expires", str(expires))]
        return self.request("REGISTER", registrar, headers, to=f"<{self.aor}>", call_id=self.call_id)

    def message(self, uri, text, content_type="text/plain"):
        return self.request("MESSAGE", uri, [("Content-Type", content_type)], text, contact=False)

    def invite(self, uri, sdp=None):
        """Dials; acknowledges whatever the final answer is."""
        ip = self.wire.local[0]
        offer = sdp or (f"v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n"
                        "m=audio 40000 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n")
        return self.request("INVITE", uri, [("Content-Type", "application/sdp")], offer)

    def subscribe(self, uri, event, accept=None, expires=600, more=()):
        return Subscription(self, uri, event, accept, expires, more)

    # -- what comes in -----------------------------------------------------------------------------------------

    def pump(self, timeout, until=lambda: False):
        """Handles messages until the condition holds or the time is over; true when it holds."""
        end = time.monotonic() + timeout
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return False
            got = self.wire.receive(left)
            if got:
                self._handle(*got)
            elif self.wire.closed:
                return bool(until())
        return True

    def wait(self, what, until, timeout=8.0):
        waits = patience(timeout)
        while not self.pump(max(0, waits.left()), until):
            if self.wire.closed or waits.left() <= 0:
                raise Timeout(f"{self.user} waited {timeout:g} s for {what}")

    def _handle(self, raw, sender):
        message = Message.parse(raw)
        if message.is_response:
            first = not self._final(message)
            self.responses.setdefault(message.key(), []).append(message)
            if message.method == "INVITE" and message.status >= 200:
                self._ack(message, first)
            return
        if message.method == "ACK":
            return
        key = message.key()
        if key not in self.seen:
            self.seen[key] = self._response(message)
            self.requests.append(message)
        self.wire.send(self.seen[key], sender)

    def _response(self, request):
        status = self.answer.get(request.method, 200)
        copied = [(n, v) for n, v in request.headers if n.lower() in ("via", "from", "call-id", "cseq", "record-route")]
        to = request.get("To") if request.tag("To") else request.get("To") + f";tag={token()}"
        return Message(f"SIP/2.0 {status} Test", copied + [("To", to), ("Contact", self.contact)]).bytes()

    def _ack(self, response, first):
        sent = next((Message.parse(raw) for _, way, raw in reversed(self.wire.transcript)
                     if way == "->" and raw.startswith(b"INVITE") and Message.parse(raw).key() == response.key()), None)
        if sent is None:
            return
        target = sent.start.split(" ")[1]
        via = sent.get("Via")
        route = []
        if response.status < 300:
            target = uri_of(response.get("Contact", target))
            via = re.sub(r"branch=[^;]+", f"branch=z9hG4bK{token(16)}", via)
            route = [("Route", value) for value in reversed(response.all("Record-Route"))]
        number = sent.get("CSeq").split()[0]
        headers = [("Via", via), ("Max-Forwards", "70"), ("From", sent.get("From")), ("To", response.get("To")),
                   ("Call-ID", sent.get("Call-ID")), ("CSeq", f"{number} ACK")] + route
        self.wire.send(Message(f"ACK {target} SIP/2.0", headers).bytes())

    def received(self, method, since=0):
        return [r for r in self.requests[since:] if r.method == method]

    def reply_text(self, since=0, timeout=8.0, contains=""):
        """The text of the first MESSAGE sent to this phone that contains the words."""
        def found():
            return [m for m in self.received("MESSAGE", since) if contains.lower() in m.text.lower()]
        self.wait(f"a reply MESSAGE with {contains!r}", found, timeout)
        return found()[0].text

    def close(self):
        self.wire.close()


class Subscription:
    """One SUBSCRIBE dialog; `answer` is the final response to the last SUBSCRIBE."""

    def __init__(self, ua, uri, event, accept, expires, more=()):
        self.ua, self.event, self.target, self.routes = ua, event, uri, []
        self.call_id, self.tag, self.to, self.cseq = token(20), token(), f"<{uri}>", 1
        self.headers = [("Event", event)] + ([("Accept", accept)] if accept else []) + list(more)
        self.answer = self._send(expires)

    def _send(self, expires):
        def attempt(extra):
            self.cseq += 1
            headers = self.headers + [("Expires", str(expires))] + [("Route", r) for r in self.routes] + extra
            return self.ua.send(self.ua.build("SUBSCRIBE", self.target, headers, to=self.to, call_id=self.call_id,
                                              tag=self.tag, cseq=self.cseq))
        answer = attempt([])
        if answer.status in (401, 407) and self.ua.password is not None:
            challenge = self.ua.choose(answer)
            if challenge:
                name = "Authorization" if answer.status == 401 else "Proxy-Authorization"
                answer = attempt([(name, self.ua.authorize(challenge, "SUBSCRIBE", self.target))])
        if 200 <= answer.status < 300:
            self.to = answer.get("To")
            self.routes = list(reversed(answer.all("Record-Route"))) or self.routes
            self.target = uri_of(answer.get("Contact", self.target))
        return answer

    def refresh(self, expires=600):
        self.answer = self._send(expires)
        return self.answer

    def unsubscribe(self):
        return self.refresh(0)

    @property
    def notifies(self):
        return [r for r in self.ua.requests if r.method == "NOTIFY" and r.get("Call-ID") == self.call_id]

    def wait(self, what, accepts=lambda notify: True, since=0, timeout=8.0):
        """The first NOTIFY after number `since` that the test accepts."""
        def found():
            return [n for n in self.notifies[since:] if accepts(n)]
        self.ua.wait(f"NOTIFY {self.event}: {what}", found, timeout)
        return found()[0]
