"""Every message of tests/torture, and of the folder SIP_CORPUS, over UDP and TCP against the table of dues.

Each message comes from a source address of its own. Over UDP that address listens on the port that the message's
Via names, as RFC 3261 section 18.2.2 sends the answer there when rport is absent.
"""

import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import time

from lab import ROOT, Gateway, answers_options, check
import ua as sip

FOLDER = ROOT / "tests" / "torture"
# What a UA may say to a well-formed request of a stranger for somebody it does not know.
ACCEPTED = {200, 202, 401, 403, 404, 405, 407, 415, 420, 480, 481, 483, 486, 488, 489, 501, 603, 604}
QUIET = 0.4


def run(lab):
    house = Gateway.demo(lab)
    dues = table()
    with lab.case("the messages are what compose.py writes"):
        done = subprocess.run([sys.executable, FOLDER / "compose.py", "--check"], capture_output=True, text=True, timeout=30)
        check(done.returncode == 0, done.stderr.strip())
    with lab.case("every message has its due and every due its message"):
        names = {p.stem for p in FOLDER.glob("*.sip")}
        check(names == set(dues), f"only in one of both: {sorted(names ^ set(dues))}")
    number = 0
    for kind, path in corpora():
        raw = path.read_bytes() if kind == "own" else on_the_wire(path.read_bytes())
        for transport, due in zip(("udp", "tcp"), dues.get(path.stem, ("any", "any"))):
            number += 1
            source = f"127.{77 + number // 250}.{number % 250 + 1}.2"
            with lab.case(f"{kind} {path.stem} over {transport}: {due}"):
                judge(due, over_udp(house, raw, source, due) if transport == "udp" else over_tcp(house, raw, source, due))
                house.alive()
                check(answers_options(house.listen), "OPTIONS is not answered after the message")


def table():
    rows = [line.split("\t") for line in (FOLDER / "dues.tsv").read_text().splitlines() if not line.startswith("#")]
    return {row[0]: (row[2], row[3]) for row in rows}


def corpora():
    yield from (("own", path) for path in sorted(FOLDER.glob("*.sip")))
    other = os.environ.get("SIP_CORPUS")
    if other:
        found = sorted(p for p in pathlib.Path(other).rglob("*") if p.is_file() and p.suffix in ("", ".dat", ".sip", ".txt"))
        check(found, f"SIP_CORPUS={other} holds no message")
        yield from (("corpus", path) for path in found)


def on_the_wire(raw):
    """Archives keep some messages with bare LF, lengths that do not fit those, or without the closing blank line."""
    if b"\r\n" not in raw:
        head, _, body = raw.replace(b"\n", b"\r\n").partition(b"\r\n\r\n")
        head = re.sub(rb"(?im)^(content-length\s*:).*?\r?$", lambda m: m.group(1) + b" %d" % len(body), head.rstrip(b"\r\n"))
        head = re.sub(rb"\r?\n", b"\r\n", head)
        return head + b"\r\n\r\n" + body
    return raw if b"\r\n\r\n" in raw else raw.rstrip(b"\r\n") + b"\r\n\r\n"


def over_udp(house, raw, source, due):
    """The final statuses that came back, as a list."""
    ports = {5060} | {int(p) for p in re.findall(rb"(?im)^v(?:ia)?\s*:[^\r\n,;]*[\]\w]:(\d+)", raw)[:1] if 1024 < int(p) < 65536}
    sockets = []
    try:
        for port in sorted(ports, key=lambda p: p != 5060):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sockets.append(one)
            try:
                one.bind((source, port))
            except OSError:
                one.bind((source, 0))
        sockets[0].sendto(raw, house.listen)
        return collect(sockets, lambda s: s.recv(65535), due)
    finally:
        for one in sockets:
            one.close()


def over_tcp(house, raw, source, due):
    wire = sip.Wire(house.listen, "tcp", (source, 0))
    try:
        wire.send(raw)
        return collect([wire.socket], lambda s: s.recv(65535), due)
    finally:
        wire.close()


def collect(sockets, read, due):
    """Reads until a final status has come and it has been quiet a moment, or nothing has come for too long."""
    statuses, data, sockets = [], b"", list(sockets)
    patience = QUIET if due in ("silence", "any") else 4.0
    end = time.monotonic() + patience
    while sockets and time.monotonic() < end:
        ready, _, _ = select.select(sockets, [], [], max(0, end - time.monotonic()))
        for one in ready:
            try:
                chunk = read(one)
            except OSError:
                chunk = b""
            if not chunk:
                sockets.remove(one)
            data += chunk
        statuses = [int(s) for s in re.findall(rb"(?m)^SIP/2\.0 ([2-6]\d\d) ", data)]
        if statuses:
            end = min(end, time.monotonic() + 0.1)
    return statuses


def judge(due, statuses):
    words = due.split()
    if "any" in words:
        return
    if "silence" in words:
        check(not statuses, f"answered {statuses}, due is silence")
        return
    check(statuses, "no answer")
    allowed = {int(w) for w in words if w.isdigit()} | (ACCEPTED if "accept" in words else set())
    check(statuses[0] in allowed, f"answered {statuses[0]}, due is {due}")
    if "once" in words:
        check(len(statuses) == 1, f"answered {statuses}, due is one answer")
