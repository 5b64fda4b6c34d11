"""A provider of many houses, for the suite `scale` and for measuring: Kamailio with provider.cfg and a database, and
`sipliance-load houses`, in which each house is a whole gateway."""

import hashlib
import json
import pathlib
import queue
import subprocess
import threading
import time

from lab import GATEWAY, PASSWORD, check, until
from peers import Kamailio

DOMAIN = "example.com"
TABLES = "/usr/share/kamailio/postgres"
LOAD = pathlib.Path(GATEWAY).with_name("sipliance-load")
RULES = """<?xml version="1.0"?>
<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules"><rule id="friends">
<conditions><identity><one id="sip:{who}@{domain}"/></identity></conditions>
<actions><pr:sub-handling>allow</pr:sub-handling></actions><transformations/></rule></ruleset>"""


def tables(postgres, users, watched, watcher):
    """The tables as kamdbctl makes them; `watcher` may watch each of `watched`."""
    parts = [pathlib.Path(f"{TABLES}/{part}-create.sql").read_text() for part in ("standard", "auth_db", "usrloc", "presence")]
    secret = [(user, DOMAIN, hashlib.md5(f"{user}:{DOMAIN}:{PASSWORD}".encode()).hexdigest()) for user in users]
    rules = RULES.format(who=watcher, domain=DOMAIN)
    parts += insert("subscriber (username, domain, ha1)", secret)
    parts += insert("xcap (username, domain, doc, doc_type, etag, source, doc_uri, port)",
                    [(user, DOMAIN, rules, 2, "e", 0, f"/pres-rules/{user}", 0) for user in watched])
    postgres.run("\n".join(parts))


def insert(into, rows):
    """In portions, as no statement should be endless."""
    def value(it):
        return str(it) if isinstance(it, int) else "'" + it.replace("'", "''") + "'"
    lines = ["(" + ", ".join(value(it) for it in row) + ")" for row in rows]
    return [f"INSERT INTO {into} VALUES " + ",\n".join(lines[at:at + 500]) + ";" for at in range(0, len(lines), 500)]


def provider(lab, postgres, host, memory=64, arguments=(), **more):
    """Kamailio with provider.cfg; `port` and other words as Kamailio has them."""
    lab.need_files("/usr/lib/*/kamailio/modules/db_postgres.so", "/usr/lib/*/kamailio/modules/presence_xml.so")
    words = {"DATABASE": postgres.url(), "CONTROL": lab.folder / f"kamailio-{host}.ctl", **more}
    return Kamailio(lab, PASSWORD, host=host, config="provider.cfg", arguments=("-m", str(memory), *arguments), **words)


def names(houses, appliances):
    """The accounts of all houses, and those of their plugs."""
    plugs = [f"h{nth:05}-{plug}" for nth in range(houses) for plug in range(1, appliances + 1)]
    return [f"h{nth:05}" for nth in range(houses)] + plugs, plugs


class Houses:
    """`sipliance-load houses`, its lines as they come."""

    def __init__(self, lab, houses, appliances, edges, expires=600, seconds=120, more=()):
        check(LOAD.exists(), f"{LOAD} is not built: cargo build --workspace")
        argv = [LOAD, "houses", "-n", houses, "-m", appliances, "--expires", expires, "--seconds", seconds, "--password", PASSWORD, *more]
        for edge in edges:
            argv += ["--edge", edge]
        self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        lab.closers.append(self.end)
        self.lines, self.queue = [], queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.queue.put((time.time(), json.loads(line)))

    def look(self):
        """Takes in what has come; the newest line."""
        check(self.process.poll() in (None, 0), f"sipliance-load ended with {self.process.returncode}")
        while not self.queue.empty():
            at, line = self.queue.get()
            self.lines.append({"at": at, **line})
        return self.lines[-1] if self.lines else {}

    def say(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def until(self, what, condition, timeout):
        return until(what, lambda: condition(self.look()), timeout, 0.2)

    def since(self, at):
        """Lines that were written after that moment."""
        self.look()
        return [line for line in self.lines if "t" in line and line["at"] > at]

    def sent(self, method, lines):
        return sum(line["sent"].get(method, 0) for line in lines)

    def end(self):
        self.process.kill()
        self.process.wait(5)


def bindings(kamailio):
    """Contacts that Kamailio has, as kamcmd tells."""
    run = subprocess.run(["kamcmd", "-s", f"unixs:{kamailio.more['CONTROL']}", "stats.get_statistics", "usrloc:"], capture_output=True, text=True, timeout=10,
                         env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    found = [line.split("=")[1] for line in run.stdout.splitlines() if "location_contacts" in line]
    return int(found[0]) if found else 0
