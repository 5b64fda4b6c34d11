"""Servers that do not do what they should: registrars on loopback, one for each fault, and a name server that lies."""

import contextlib
import re
import secrets
import socket
import struct
import threading
import time

HOST = "127.0.0.1"


def answer(request, status="200 OK", *more, contact=True, expires=600, swap=()):
    """A response to a REGISTER in bytes; `swap`: what of it is written otherwise."""
    text = request.decode("utf-8", "replace")
    lines = [line for line in text.split("\r\n") if re.match(r"(Via|From|To|Call-ID|CSeq):", line)]
    out = [f"SIP/2.0 {status}", *lines, *more]
    found = re.search(r"^Contact: (<[^>]*>)", text, re.M)
    if contact and status.startswith("200") and found:
        out.append(f"Contact: {found.group(1)};expires={expires}")
    whole = "\r\n".join([*out, "Content-Length: 0", "", ""])
    for old, new in swap:
        whole = re.sub(old, new, whole)
    return whole.encode()


def sane(fake, request, send):
    send(answer(request, expires=60))


class Registrar:
    """One registrar, UDP and TCP on one port. `serve(fake, request, send)` answers; it may be replaced at any time."""

    def __init__(self, lab, serve, hello=None, wrap=None):
        self.serve, self.hello, self.wrap = serve, hello, wrap
        self.seen, self.branches, self.connects, self.pings, self.peer, self.got = [], set(), 0, [], None, []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for _ in range(50):
            self.udp.bind((HOST, 0))
            self.port = self.udp.getsockname()[1]
            try:
                self.tcp.bind((HOST, self.port))
                break
            except OSError:
                self.udp.close()
                self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp.listen(16)
        self.open = True
        lab.closers.append(self.close)
        for work in (self._datagrams, self._accept):
            threading.Thread(target=work, daemon=True).start()

    def close(self):
        self.open = False
        for one in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def take(self, request, send):
        """One message."""
        if not request.startswith(b"REGISTER"):
            self.got.append(request)
            if request.startswith(b"OPTIONS") and self.serve is sane:
                send(answer(request, contact=False))
            return
        branch = re.search(rb"branch=([^;\r\s]+)", request).group(1)
        if branch not in self.branches:
            self.branches.add(branch)
            self.seen.append((time.monotonic(), request))
        self.serve(self, request, send)

    def _datagrams(self):
        while self.open:
            try:
                data, self.peer = self.udp.recvfrom(65535)
            except OSError:
                return
            peer = self.peer
            if data[:1] in (b"\x00", b"\x01"):
                self.pings.append(data)
                if self.hello:
                    self.hello(self, data, lambda out: self.udp.sendto(out, peer))
                continue
            with contextlib.suppress(OSError):
                if data.strip(b"\r\n\0"):
                    self.take(data, lambda out: self.udp.sendto(out, peer))

    def _accept(self):
        while self.open:
            try:
                stream, _ = self.tcp.accept()
            except OSError:
                return
            self.connects += 1
            threading.Thread(target=self._stream, args=(stream,), daemon=True).start()

    def _stream(self, stream):
        with contextlib.suppress(OSError, ValueError):
            if self.wrap and not (stream := self.wrap(stream)):
                return
            rest = b""
            while data := stream.recv(65535):
                rest = (rest + data).lstrip(b"\r\n")
                while b"\r\n\r\n" in rest:
                    head, _, rest = rest.partition(b"\r\n\r\n")
                    self.take(head + b"\r\n\r\n", stream.sendall)
        with contextlib.suppress(OSError, AttributeError):
            stream.close()


class Names:
    """A name server: `answers[name]` is a function (question, kind) → a list of records, an rcode, or None for silence."""

    KINDS = {1: "A", 28: "AAAA", 33: "SRV", 35: "NAPTR", 5: "CNAME"}

    def __init__(self, lab, host, answers):
        self.answers, self.silent, self.asked = answers, False, []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((host, 53))
        self.tcp = socket.create_server((host, 53))
        lab.closers.append(self.udp.close)
        lab.closers.append(self.tcp.close)
        for work in (self._datagrams, self._streams):
            threading.Thread(target=work, daemon=True).start()

    def _datagrams(self):
        with contextlib.suppress(OSError):
            while True:
                data, peer = self.udp.recvfrom(4096)
                out = self.reply(data)
                if out and len(out) > 1200:
                    out = out[:2] + struct.pack(">HHHHH", 0x8780, 1, 0, 0, 0) + self._question(data)
                if out:
                    self.udp.sendto(out, peer)

    def _streams(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.tcp.accept()
                with stream, contextlib.suppress(OSError):
                    stream.settimeout(2)
                    rest = b""
                    while got := stream.recv(4096):
                        rest += got
                        while len(rest) >= 2 and len(rest) >= (size := 2 + struct.unpack(">H", rest[:2])[0]):
                            out, rest = self.reply(rest[2:size]), rest[size:]
                            if out:
                                stream.sendall(struct.pack(">H", len(out)) + out)

    @staticmethod
    def _question(data):
        at = 12
        while data[at]:
            at += data[at] + 1
        return data[12:at + 5]

    def reply(self, data):
        question = self._question(data)
        labels, at = [], 0
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += question[at] + 1
        name, kind = ".".join(labels).lower(), self.KINDS.get(struct.unpack(">H", question[-4:-2])[0], "?")
        self.asked.append((name, kind, time.monotonic()))
        if self.silent:
            return None
        key = next((key for key in self.answers if name == key or name.endswith("." + key)), None)
        found = self.answers[key](name, kind) if key else 3
        if found is None:
            return None
        number = data[:2]
        if found == "other number":
            number, found = secrets.token_bytes(2), [("A", HOST)]
        code, records = (found, []) if isinstance(found, int) else (0, found)
        head = struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        return number + head + question + b"".join(record(*one) for one in records)


def coded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.strip(".").split(".") if label) + b"\0"


def record(kind, value):
    number = {"A": 1, "CNAME": 5, "AAAA": 28, "SRV": 33}[kind]
    if kind == "A":
        data = socket.inet_aton(value)
    elif kind == "AAAA":
        data = socket.inet_pton(socket.AF_INET6, value)
    elif kind == "CNAME":
        data = coded(value)
    else:
        port, target = value
        data = struct.pack(">HHH", 1, 1, port) + coded(target)
    return b"\xc0\x0c" + struct.pack(">HHIH", number, 1, 1, len(data)) + data
