"""Documents over HTTP: curl and Python read and write lists, rubbish is refused, and what was answered is on the disk."""

import contextlib
import http.client
import json
import pathlib
import signal
import socket
import subprocess
import threading
import time

import ua as sip
from lab import PASSWORD, USER, Gateway, check, equal, free_port, until

KIND = "application/resource-lists+xml"
NS = "urn:ietf:params:xml:ns:resource-lists"
OTHER, OTHER_PASSWORD = "ben", "harbour-17-tulip"
MAY_GROW_KB = 8 * 1024


def run(lab):
    lab.need("curl")
    house = House(lab)
    clients(lab, house)
    watching(lab, house)
    rubbish(lab, house)
    slowness(lab, house)
    guesses(lab, house)
    deaths(lab, house)
    damage(lab, house)
    no_disk(lab)


class House:
    def __init__(self, lab, state="state", name="gateway"):
        self.lab, self.http, self.listen = lab, ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
        where = f"{self.listen[0]}:{self.listen[1]}"
        self.state = lab.folder / state
        home = {
            "format": 1, "house": {"user": "house", "domain": where.split(":")[0]}, "listen": [f"udp:{where}"],
            "secrets": "secrets.yaml", "state": state, "http": {"listen": [f"{self.http[0]}:{self.http[1]}"]},
            "users": {name: {"password": {"secret": name}} for name in (USER, OTHER)},
            "mqtt": {"main": {"host": "127.0.0.1", "port": free_port()}},
            "devices": {"plug": {"name": "Plug", "profile": "tasmota-plug", "params": {"topic": "plug1"}}},
            "access": [{"who": [USER, OTHER], "see": "*"}],
        }
        self.domain = home["house"]["domain"]
        lab.write("secrets.yaml", json.dumps({USER: PASSWORD, OTHER: OTHER_PASSWORD}), 0o600)
        path = lab.write(f"{name}.yaml", json.dumps(home, indent=1))
        control = lab.folder / f"{name}.sock"
        self.gateway = Gateway(lab, ["run", "--config", str(path), "--control", str(control)], self.listen, name)

    def url(self, rest="resource-lists/users/anna/index"):
        return f"http://{self.http[0]}:{self.http[1]}/xcap-root/{rest}"

    def again(self, how=None):
        if how:
            self.gateway.program.stop(how)
        self.gateway.begin()

    def ask(self, method, rest="resource-lists/users/anna/index", body=None, headers=None, user=USER, password=PASSWORD):
        """A request, and once more with its login; status, headers, body."""
        path = f"/xcap-root/{rest}"
        raw = body.encode() if body is not None else None
        link = http.client.HTTPConnection(*self.http, timeout=10)
        try:
            def once(more):
                link.request(method, path, raw, {**(headers or {}), **more})
                answer = link.getresponse()
                return answer.status, answer.headers, answer.read().decode()
            first = once({})
            if first[0] != 401:
                return first
            challenge = sip.challenge_of(first[1].get_all("WWW-Authenticate")[0])
            return once({"Authorization": sip.digest(challenge, user, password, method, path, raw or b"")})
        finally:
            link.close()

    def put(self, body, **more):
        return self.ask("PUT", body=body, headers={"Content-Type": KIND, **more})[0]

    def raw(self, text, wait=3.0):
        """Bytes as they are; what comes back until the connection ends or nothing more comes."""
        with socket.create_connection(self.http, 5) as stream:
            stream.settimeout(wait)
            got = b""
            try:
                stream.sendall(text)
                while True:
                    piece = stream.recv(65536)
                    if not piece:
                        return got
                    got += piece
            except (TimeoutError, ConnectionError):
                return got


def lists(name="lamps", *uris):
    entries = "".join(f'<entry uri="{uri}"/>' for uri in uris)
    return f'<?xml version="1.0"?>\n<resource-lists xmlns="{NS}"><list name="{name}">{entries}</list></resource-lists>\n'


def curl(house, *arguments, user=USER, password=PASSWORD):
    """Status and body."""
    out = subprocess.run(["curl", "-s", "-g", "-m", "10", "--digest", "-u", f"{user}:{password}", "-w", "\n%{http_code}",
                          *map(str, arguments)], capture_output=True, text=True, timeout=20)
    equal(out.returncode, 0, f"curl {arguments}")
    body, _, status = out.stdout.rpartition("\n")
    return int(status), body


def clients(lab, house):
    with lab.case("curl writes a list, reads it and changes a part of it"):
        path = lab.write("lists.xml", lists("lamps", f"sip:plug@{house.domain}"))
        typed = ["-H", f"Content-Type: {KIND}"]
        equal(curl(house, "-T", path, *typed, house.url())[0], 201, "the first PUT")
        equal(curl(house, house.url()), (200, path.read_text()), "GET")
        node = house.url() + "/~~/resource-lists/list%5b@name=%22lamps%22%5d/entry%5b@uri=%22sip:tv@elsewhere.example%22%5d"
        part = lab.write("part.xml", '<entry uri="sip:tv@elsewhere.example"/>')
        equal(curl(house, "-T", part, "-H", "Content-Type: application/xcap-el+xml", node)[0], 201, "PUT of a part")
        status, body = curl(house, node)
        check(status == 200 and 'uri="sip:tv@elsewhere.example"' in body, f"GET of a part: {status} {body}")
        equal(curl(house, "-X", "DELETE", node)[0], 200, "DELETE of a part")
        equal(curl(house, node)[0], 404, "GET of what is gone")
        equal(curl(house, house.url(), password="wrong")[0], 401, "a wrong password")
        equal(curl(house, house.url(), user=OTHER, password=OTHER_PASSWORD)[0], 403, "somebody else")

    with lab.case("Python reads and writes under conditions"):
        status, headers, _ = house.ask("GET")
        equal(status, 200, "GET")
        tag = headers["ETag"]
        typed = {"Content-Type": KIND}
        equal(house.ask("GET", headers={"If-None-Match": tag})[0], 304, "GET of what is known")
        body = lists("lamps", f"sip:plug@{house.domain}", "sip:x@elsewhere.example")
        equal(house.ask("PUT", body=body, headers={**typed, "If-Match": tag})[0], 200, "PUT of the newest")
        equal(house.ask("PUT", body=body, headers={**typed, "If-Match": tag})[0], 412, "PUT over another's")
        equal(house.ask("GET", "xcap-caps/global/index")[0], 200, "capabilities")
        status, _, body = house.ask("GET", "rls-services/global/index")
        check(status == 200 and f"sip:list.lamps@{house.domain}" in body, f"services: {status} {body}")
        equal(house.ask("PUT", "pres-rules/users/anna/index", "<x/>", typed)[0], 403, "rules of one who owns nothing")


def watching(lab, house):
    with lab.case("a list that was written is watched by SIP"):
        phone = house.gateway.phone(domain=house.domain)
        extra = [("Event", "presence"), ("Supported", "eventlist"), ("Expires", "0")]
        answer = phone.request("SUBSCRIBE", phone.uri("list.lamps"), extra)
        equal(answer.status, 200, "SUBSCRIBE")
        phone.wait("the NOTIFY", lambda: phone.received("NOTIFY"))
        notify = phone.received("NOTIFY")[0]
        equal(notify.get("Require"), "eventlist", "Require")
        check(f'<resource uri="sip:plug@{house.domain}">' in notify.text, notify.text)
        check('<resource uri="sip:x@elsewhere.example">' in notify.text, notify.text)


def rubbish(lab, house):
    with lab.case("rubbish is refused, and the program lives and stays small"):
        before = house.gateway.program.rss_kb()
        get = f"GET /xcap-root/xcap-caps/global/index HTTP/1.1\r\nHost: h\r\n"
        for name, raw, due in [
            ("a huge head", f"{get}X: {'x' * 100_000}\r\n\r\n", (b"431", b"")),
            ("many fields", get + "".join(f"X{n}: y\r\n" for n in range(500)) + "\r\n", (b"431",)),
            ("a long target", f"GET /xcap-root/{'a' * 60_000} HTTP/1.1\r\nHost: h\r\n\r\n", (b"414", b"431", b"")),
            ("no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 200, (b"400", b"")),
            ("a SIP request", "OPTIONS sip:h SIP/2.0\r\n\r\n", (b"400", b"")),
            ("two lengths", f"{get}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", (b"400",)),
            ("a length and chunks", f"{get}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (b"400", b"401")),
            ("no login", f"{get}\r\n", (b"401",)),
            ("Basic", f"{get}Authorization: Basic YW5uYTphbm5h\r\n\r\n", (b"401",)),
            ("half a Digest", f"{get}Authorization: Digest username=\"anna\"\r\n\r\n", (b"401",)),
            ("another path", "GET /../../etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", (b"404",)),
            ("a broken escape", "GET /xcap-root/%zz%/x HTTP/1.1\r\nHost: h\r\n\r\n", (b"401",)),
        ]:
            got = house.raw(raw.encode("latin-1"), wait=1.0)
            status = got.split(b" ")[1] if got.startswith(b"HTTP/1.1 ") else b""
            check(status in due, f"{name}: got {got[:80]!r}")
            equal(house.ask("GET", "xcap-caps/global/index")[0], 200, f"after {name}")
        equal(house.put("x" * 70_000), 413, "a body that is too long")
        for name, body, due in [
            ("no XML", "hello", 409), ("broken XML", "<resource-lists", 409), ("another format", "<a/>", 409),
            ("a DOCTYPE bomb", "<!DOCTYPE a [<!ENTITY x 'ha'><!ENTITY y '&x;&x;'>]><a>&y;</a>", 409),
            ("a file from elsewhere", "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", 409),
            ("a deep tree", "<a>" * 5000 + "</a>" * 5000, 409), ("many elements", f"<a>{'<b/>' * 9000}</a>", 409),
        ]:
            equal(house.put(body), due, name)
        for node in ("resource-lists/list%5b", "a%00b", "%2f%2f", "*/*/*", "resource-lists/list[1]/" * 60):
            equal(house.ask("GET", f"resource-lists/users/anna/index/~~/{node}")[0], 404, f"the part {node[:40]}")
        check(house.gateway.alive(), "alive")
        grown = house.gateway.program.rss_kb() - before
        check(grown < MAY_GROW_KB, f"the program grew by {grown} kB")


def slowness(lab, house):
    with lab.case("slow and silent clients do not keep others out"):
        silent = [socket.create_connection(house.http, 5) for _ in range(12)]
        silent[0].sendall(b"GET /xcap-root/x HTTP/1.1\r\nHost")
        silent[1].sendall(b"PUT /xcap-root/x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\nabc")
        equal(house.ask("GET")[0], 200, "beside them")
        began = time.monotonic()
        try:
            for stream in silent:
                stream.settimeout(max(0.1, 14 - (time.monotonic() - began)))
                got = stream.recv(4096)
                check(got == b"" or b" 408 " in got, f"a silent connection got {got[:60]!r}")
        finally:
            for stream in silent:
                stream.close()

    with lab.case("one address has so many connections and no more"):
        streams = [socket.create_connection(house.http, 5) for _ in range(40)]
        closed = set()

        def enough():
            for stream in set(streams) - closed:
                stream.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if stream.recv(1) == b"":
                        closed.add(stream)
            return len(closed) >= 20
        try:
            until("twenty of forty to be closed, before a silent one is", enough, 8)
        finally:
            for stream in streams:
                stream.close()
        until("room again", lambda: house.ask("GET")[0] == 200, 15)


def guesses(lab, house):
    with lab.case("guessing over HTTP is slowed, and so it is over SIP"):
        for _ in range(25):
            house.ask("GET", user=OTHER, password="wrong")
        path = "resource-lists/users/ben/index"
        equal(house.ask("GET", path, user=OTHER, password=OTHER_PASSWORD)[0], 401, "the right one, at once")
        phone = house.gateway.phone(OTHER, OTHER_PASSWORD, registered=False, domain=house.domain)
        equal(phone.request("OPTIONS", phone.uri("plug"), [("Accept", "application/td+json")]).status, 401, "by SIP")
        equal(house.ask("GET", "xcap-caps/global/index")[0], 200, "others are not slowed")


def written(file):
    """The document in a file, behind the line that says what it is."""
    line, _, body = file.read_text().partition("\n")
    check(line.startswith("sipliance document 1 "), f"it begins with {line!r}")
    return body


def deaths(lab, house):
    file = pathlib.Path(house.state) / "resource-lists" / "anna.xml"

    with lab.case("what was answered 200 survives kill -9 right behind it"):
        for nth in range(6):
            body = lists("lamps", f"sip:plug@{house.domain}", f"sip:n{nth}@elsewhere.example")
            equal(house.put(body), 200, "PUT")
            house.gateway.program.tell(signal.SIGKILL)
            house.gateway.program.wait(5)
            equal(written(file), body, "the file")
            house.again()
            equal(house.ask("GET")[2], body, f"after restart {nth}")
        equal(file.stat().st_mode & 0o777, 0o600, "its mode")

    with lab.case("a death in the middle of writing leaves a whole document"):
        for nth in range(4):
            answered = []

            def storm():
                for n in range(1000):
                    body = lists("lamps", *[f"sip:{nth}-{n}-{m}@elsewhere.example" for m in range(100)])
                    try:
                        if house.put(body) != 200:
                            return
                    except OSError:
                        return
                    answered.append(n)

            writer = threading.Thread(target=storm)
            writer.start()
            until("some writes", lambda: len(answered) > 3)
            time.sleep(0.003 * nth)
            house.gateway.program.tell(signal.SIGKILL)
            house.gateway.program.wait(5)
            writer.join(10)
            house.again()
            status, _, body = house.ask("GET")
            equal(status, 200, "GET")
            newest = int(body.split(f"sip:{nth}-")[1].split("-")[0])
            check(newest in (answered[-1], answered[-1] + 1), f"{newest} is there, {answered[-1]} was answered")
            check(body.endswith("</resource-lists>\n"), "it is whole")


def damage(lab, house):
    with lab.case("a damaged file is told of and kept aside, and the start goes on"):
        house.gateway.program.stop()
        file = pathlib.Path(house.state) / "resource-lists" / "anna.xml"
        file.write_text("<resource-lists")
        since = len(house.gateway.program.output())
        house.again()
        house.gateway.program.see("anna.xml is damaged.*kept as .*anna.xml.damaged", since=since)
        equal(house.ask("GET")[0], 404, "GET")
        equal(file.with_suffix(".xml.damaged").read_text(), "<resource-lists", "what is kept aside")
        equal(house.put(lists()), 201, "PUT")

    with lab.case("a turned bit makes no other document of it, and the documents of others are there; one of an earlier form is taken over"):
        path = "resource-lists/users/ben/index"
        equal(house.ask("PUT", path, lists(), {"Content-Type": KIND}, user=OTHER, password=OTHER_PASSWORD)[0], 201, "PUT of another")
        house.gateway.program.stop()
        raw = file.read_bytes()
        at = raw.index(b"lamps")
        file.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])
        other = file.with_name("ben.xml")
        other.write_text(written(other))
        since = len(house.gateway.program.output())
        house.again()
        house.gateway.program.see("anna.xml is damaged.*anna has no lists", since=since)
        equal(house.ask("GET")[0], 404, "GET")
        equal(house.ask("GET", path, user=OTHER, password=OTHER_PASSWORD)[0], 200, "GET of another")
        until("it to have its line", lambda: other.read_text().startswith("sipliance document 1 "))
        equal(house.put(lists()), 201, "PUT")


def no_disk(lab):
    with lab.case("without a disk no write is called done, and it is told once"):
        lab.write("blocked", "a file where the folder should be")
        house = House(lab, "blocked", "diskless")
        for _ in range(3):
            equal(house.put(lists()), 507, "PUT")
        equal(house.ask("GET")[:1], (200,), "what is in memory counts")
        equal(house.gateway.program.output().count("cannot be written"), 1, "lines in the journal")
        (lab.folder / "blocked").unlink()
        equal(house.put(lists()), 200, "PUT when the disk is back")
        house.gateway.program.see("the disk works again")
