"""What may go wrong around a house, on purpose: kills in traffic, a process that stood still, registrars that fall silent, lines that lose, double and damage,
disks that are full or slow, brokers that hang, no room. Whatever happens, nothing moves that nobody ordered, nothing moves late or twice, and every act has
its line in the audit file before it. The seed is printed; FAULTS_SEED=n takes it again."""

import contextlib
import datetime
import glob
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time

import home
import ua as sip
from lab import GATEWAY, PASSWORD, ROOT, USER, Gateway, Stopwatch, answers_options, check, equal, power, record, until
from mqtt_plug import Plug
from peers import Kamailio, Mosquitto
from relay import Relay

DOMAIN = "example.com"
UP, REGISTERED, BACK, RESET = 3, 10, 30, 5      # what is promised, in seconds
KILLS = 6
STILL = 12
LATE = 10       # how old an order may be that is carried out, in seconds
SENML = "application/senml+json"


def run(lab):
    lab.need("kamailio", "mosquitto", "prlimit", "unshare", "strace")
    lab.need_files("/usr/lib/*/faketime/libfaketime.so.1")
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(1 << 32))
    print(f"FAULTS_SEED={seed}", flush=True)
    house = House(lab, random.Random(seed), seed)
    kills(house)
    still(house)
    for way in house.ways.values():
        way.silent = True
    lossy(house)
    registrar(house)
    room(house)
    disk(house)
    card(house)
    hung(house)
    clock(house)


class House:
    """A plug and a door, which is sensitive, at a broker; an account at Kamailio over UDP and one over TCP, each through a line of its own."""

    def __init__(self, lab, rng, seed):
        self.lab, self.random = lab, rng
        self.broker = Mosquitto(lab)
        self.plug, self.door = Plug(self.broker.address, "plug1"), Plug(self.broker.address, "door1")
        self.kamailio = Kamailio(lab, PASSWORD)
        self.ways = {name: Relay(self.kamailio.address, seed + n) for n, name in enumerate(("udp", "tcp"))}
        lab.closers += [self.plug.close, self.door.close, *(way.close for way in self.ways.values())]
        check(self.plug.online.wait(10) and self.door.online.wait(10), "the plugs did not connect")
        self.audit, self.control = lab.folder / "audit" / "audit.jsonl", lab.folder / "control"
        self.audit.parent.mkdir()
        door_profile(lab)
        upstream = {name: {"server": "{}:{}".format(*way.address), "transport": name, "domain": DOMAIN, "expires": "40s",
                           "accounts": [{"user": device, "password": {"secret": name}, "device": device}]}
                    for (name, way), device in zip(self.ways.items(), ("plug", "door"))}
        devices = {"door": {"name": "Door", "profile": "test-door", "params": {"topic": "door1"}}}
        self.listen, self.arguments = home.write(
            lab, DOMAIN, self.broker.address, upstream=upstream, secrets={name: PASSWORD for name in self.ways}, devices=devices,
            profiles=["profiles"], audit=str(self.audit), access=[{"who": [USER], "see": "*", "do": ["*", "door.power"]}])
        self.gateway = Gateway(lab, [*self.arguments, "--control", str(self.control)], self.listen, name="gateway-home")

    def status(self):
        return home.status(self.lab, self.control)

    def registered(self):
        return [r["words"] for r in self.status()["registrations"] if r["standing"] == "registered"]

    def kamailio_saw(self):
        """How many connections led to Kamailio so far."""
        return self.ways["tcp"].opened

    def phone(self, address=None):
        phone = self.lab.phone(address or self.listen, USER, PASSWORD, DOMAIN)
        return phone

    def lines(self):
        """Everything that is on record, whole lines alone."""
        found = []
        for name in (f"{self.audit}.1", self.audit):
            if os.path.exists(name):
                found += [json.loads(line) for line in pathlib.Path(name).read_text().splitlines() if line]
        return found


def door_profile(lab):
    """The plug as something sensitive."""
    text = (ROOT / "device-profiles" / "tasmota-plug.yaml").read_text().split("\ntests:")[0]
    text = text.replace("profile: tasmota-plug", "profile: test-door").replace("    confirm: 3s", "    sensitive: true\n    confirm: 3s")
    text = re.sub(r"\ndiscover:.*?\n\n", "\n", text, flags=re.S)
    lab.write("profiles/test-door.yaml", text)


class Traffic:
    """One phone that gives orders without a pause, in a thread of its own; `given` is (began, ended, appliance, word, status or None)."""

    def __init__(self, house, phone, pause=0.05):
        self.house, self.phone, self.pause, self.given = house, phone, pause, []
        self.random, self.ended = random.Random(house.random.random()), threading.Event()
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def _live(self):
        while not self.ended.is_set():
            appliance, word = self.random.choice(("plug", "door")), self.random.choice(("on", "off"))
            began = time.time()
            try:
                status = self.phone.message(self.phone.uri(appliance), word).status
            except (sip.Timeout, OSError):
                status = None
            self.given.append((began, time.time(), appliance, word, status))
            self.phone.pump(self.pause)

    def stop(self):
        self.ended.set()
        self.thread.join(40)
        check(not self.thread.is_alive(), "the traffic does not end")
        return self.given


def judge(house, given, since, understood=True):
    """Every order was given, moved something once at most and within its time, and stands on record before it; what was answered 200 did move, where it was
    `understood`: a digest does not cover the words."""
    records = [r for r in house.lines() if r.get("step") == "ordered"]
    for name, appliance in (("plug", house.plug), ("door", house.door)):
        open_ones = [g for g in given if g[2] == name]
        for at, text in appliance.orders(since):
            # An order that was answered had moved it by then; of one that was not, nobody knows.
            mine = [g for g in open_ones if g[3].upper() == text and g[0] <= at <= g[1] + (LATE if g[4] is None else 0.02)]
            check(mine, f"{name} got {text} at {stamp(at)}, which nobody ordered, or not twice; then: {near(given, at)}, moves of it {[stamp(a) for a, t in appliance.orders(at - 5) if a <= at + 1]}")
            open_ones.remove(mine[0])
            line = next((r for r in records if r["device"] == name and r["what"] == f"power={text.lower()}" and when(r) <= at), None)
            check(line, f"no line before {text} to {name} at {stamp(at)}")
            records.remove(line)
        lost = [g for g in open_ones if g[4] == 200 and understood]
        check(not lost, f"answered 200, and nothing moved: {lost[:3]}")


def near(given, at):
    return [(stamp(b), stamp(e), *rest) for b, e, *rest in given if b - 0.1 <= at <= e + 0.1]


def when(record):
    return datetime.datetime.fromisoformat(record["at"].replace("Z", "+00:00")).timestamp()


def stamp(at):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03d}Z"


def settled(house):
    """Both appliances are known and both accounts registered."""
    status = house.status()
    known = all(d["health"] == "online" for d in status["devices"])
    return known and all(r["state"] == "registered" for r in status["registrations"])


def kills(house):
    until("the house to be there", lambda: settled(house), 20)
    since, ups, news = time.time(), [], []
    with house.lab.case(f"it is killed {KILLS} times at a random moment of traffic: nothing moves at a start, nothing twice, and each act has its line"):
        traffic = Traffic(house, house.phone(), 0.02)
        for _ in range(KILLS):
            time.sleep(house.random.uniform(0.2, 2.0))
            house.gateway.program.kill()
            began = time.monotonic()
            house.gateway.begin()
            ups.append(time.monotonic() - began)
            until("the registrations", lambda: settled(house), REGISTERED, 0.1)
            news.append(time.monotonic() - began)
        given = traffic.stop()
        judge(house, given, since)
        check(max(ups) <= UP, f"up after {max(ups):.1f} s")
        check(len([g for g in given if g[4] == 200]) >= KILLS, f"{len(given)} orders, hardly any was carried out")
        print(f"    {len(given)} orders, up after {max(ups):.2f} s, registered after {max(news):.1f} s at the latest", flush=True)


def still(house):
    """SIGSTOP: what was sent meanwhile sits in the kernel, with a proof that was good when it was sent."""
    phone = house.phone()
    with house.lab.case(f"it stands still for {STILL} s: what waited moves nothing, and the registrations are asked for at once"):
        until("the house to be there", lambda: settled(house), 20)
        proofs = [proven(phone, appliance) for appliance in ("plug", "door")]
        since = time.time()
        stop(house.gateway.program)
        for raw in proofs:
            phone.wire.send(raw)
        time.sleep(STILL)
        house.gateway.program.tell(signal.SIGCONT)
        phone.pump(3)
        equal(house.plug.orders(since) + house.door.orders(since), [], "orders that waited")
        until("the registrations", lambda: settled(house), BACK)
        house.gateway.program.see("stood still for")
    with house.lab.case("a short pause is none: what waited a moment is carried out"):
        raw, since = proven(phone, "plug"), time.time()
        stop(house.gateway.program)
        phone.wire.send(raw)
        time.sleep(1.5)
        house.gateway.program.tell(signal.SIGCONT)
        until("the order", lambda: len(house.plug.orders(since)) == 1, 3)
    with house.lab.case("the service manager hears nothing of a loop that stands still, and again when it goes on"):
        watchdog(house)


def stop(program):
    """Returns when no thread of it runs any more."""
    program.tell(signal.SIGSTOP)
    tasks = pathlib.Path(f"/proc/{program.pid}/task")
    until("the process to stand still", lambda: all(") T " in (task / "stat").read_text() for task in tasks.iterdir()), 2, 0.005)


def proven(phone, appliance, word="on"):
    """A MESSAGE with a fresh proof, not sent yet."""
    uri = phone.uri(appliance)
    headers = [("Content-Type", "text/plain")]
    challenge = phone.choose(phone.send(phone.build("MESSAGE", uri, headers, word, contact=False)))
    proof = ("Authorization", phone.authorize(challenge, "MESSAGE", uri, word))
    return phone.build("MESSAGE", uri, [*headers, proof], word, contact=False).bytes()


def watchdog(house):
    path = house.lab.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.setblocking(False)

        def heard():
            said = []
            while True:
                try:
                    said.append(manager.recv(4096).decode())
                except BlockingIOError:
                    return said
        listen, arguments = home.write(house.lab, "watched.local", house.broker.address, name="watched")
        program = house.lab.start("gateway-watched", [GATEWAY, *arguments], env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"})
        until("READY", lambda: any("READY=1" in said for said in heard()), 10)
        clock, words = Stopwatch(program), []
        until("three words", lambda: words.extend(said for said in heard() if "WATCHDOG=1" in said) or len(words) >= 3, 10)
        clock.within(2, "to say three words")
        stop(program)
        heard()
        time.sleep(2)
        equal(heard(), [], "said while it stood still")
        os.kill(program.pid, signal.SIGCONT)
        until("a word", lambda: any("WATCHDOG=1" in said for said in heard()), 10)
        program.stop()


def lossy(house):
    """A phone behind a bad line."""
    line = Relay(house.listen, house.random.randrange(1 << 32))
    house.lab.closers.append(line.close)
    for what, more, orders in (("30 % each way are lost: nothing moves twice", {"loss": 0.3}, 4),
                               ("everything is half a second late each way, 20 % are overtaken and 10 % doubled: nothing moves twice", {"late": 0.5, "overtaken": 0.2, "double": 0.1}, 3),
                               ("a fifth is damaged, and a tenth doubled: it lives, and nothing moves twice", {"damaged": 0.2, "double": 0.1}, 40)):
        with house.lab.case(f"{what}, and the watcher ends with what is so"):
            line.well()
            phone = house.phone(line.address)
            watch = phone.subscribe(phone.uri("plug"), "appliance", SENML, 600)
            check(watch.answer.status in (200, 202), watch.answer.start)
            since, given = time.time(), []
            for name, value in more.items():
                setattr(line, name, value)
            while len(given) < orders:
                appliance, word = house.random.choice(("plug", "door")), house.random.choice(("on", "off"))
                began = time.time()
                try:
                    status = phone.message(phone.uri(appliance), word).status
                except (sip.Timeout, IndexError, ValueError):
                    # A damaged request has answers that no phone understands.
                    status = None
                given.append((began, time.time(), appliance, word, status))
            line.well()
            judge(house, given, since, understood=not more.get("damaged"))
            phone.pump(2)
            watch.refresh()

            def believes():
                # A NOTIFY that was lost comes again, after up to four seconds.
                phone.pump(1)
                return power_of([n for n in watch.notifies if n.body]) == house.plug.on
            until("the watcher to believe what is so", believes, 30)
            slow = sorted(e - b for b, e, *_ in given)
            print(f"    {sum(g[4] == 200 for g in given)} of {orders} answered 200, the slowest after {slow[-1]:.1f} s, {line.lost} packets lost", flush=True)
            check(house.gateway.alive(), "it runs")


def power_of(notifies):
    told = [(int(n.get("CSeq").split()[0]), record(n, "power")) for n in notifies]
    return max((one for one in told if one[1] is not None), default=(0, None))[1]


def registrar(house):
    """The lines to Kamailio: silent while the phone on a bad line had its turn, and reset."""
    with house.lab.case(f"both lines to the registrar were silent: the registrations are back {BACK} s after the lines"):
        for way in house.ways.values():
            until("something to be sent", lambda way=way: way.lost or way.held, 40)
            way.well()
        began = time.monotonic()
        until("the registrations", lambda: settled(house), BACK, 0.1)
        print(f"    back after {time.monotonic() - began:.0f} s", flush=True)
    with house.lab.case(f"a connection is reset: registered again within {RESET} s"):
        before = house.kamailio_saw()
        check(house.ways["tcp"].reset() >= 1, "there was no connection")
        until("another REGISTER", lambda: settled(house) and house.kamailio_saw() > before, RESET, 0.05)


def room(house):
    """No descriptors, no disk, a disk that is slow."""
    with house.lab.case("64 descriptors, and strangers take all they get: the owner's orders are quick"):
        limited = start(house, "limited", ["prlimit", "--nofile=64:64"])
        phone = house.lab.phone(limited.listen, USER, PASSWORD, limited.domain)
        strangers = []
        try:
            for _ in range(200):
                stream = socket.socket()
                stream.settimeout(0.2)
                strangers.append(stream)
                stream.connect_ex(limited.listen)
            until("the plug to be known", lambda: phone.message(phone.uri("plug"), "status").status == 200, 10)
            times = []
            for word in ("on", "off") * 5:
                clock = Stopwatch(limited.program, house.broker.program)
                equal(phone.message(phone.uri("plug"), word).status, 200, f"MESSAGE {word}")
                times.append(clock.passed())
            check(max(times) < 2, f"the slowest took {max(times):.1f} s")
        finally:
            for stream in strangers:
                stream.close()
        guest = until("a connection to be taken again", lambda: tcp_phone(house, limited), 35, 0.5)
        equal(guest.message(guest.uri("plug"), "status").status, 200, "MESSAGE over TCP")
        limited.program.stop()


def disk(house):
    lab, folder = house.lab, house.lab.folder / "disk"
    folder.mkdir()
    with lab.case("the disk is full: what is sensitive is refused, the rest goes on; there is room again, and so does all"):
        own = [] if os.geteuid() == 0 else ["-r"]
        small = ["unshare", *own, "-m", "sh", "-c", f'mount -t tmpfs -o size=64k none "{folder}" && exec "$0" "$@"']
        gateway = start(house, "small", small, audit=str(folder / "audit.jsonl"))
        phone, since = known(house, gateway), time.time()
        inside = pathlib.Path(f"/proc/{gateway.program.pid}/root{folder}")
        order(phone, "door", "on", 200)
        with contextlib.suppress(OSError), open(inside / "ballast", "wb", 0) as ballast:
            while True:
                ballast.write(b"x" * 64)
        # There is room to the end of a page.
        until("no room", lambda: phone.message(phone.uri("door"), "off" if house.door.on else "on").status >= 400, 20, 0)
        refused(house, phone)
        (inside / "ballast").unlink()
        order(phone, "door", "off", 200)
        lines = [json.loads(line) for line in (inside / "audit.jsonl").read_text().splitlines()]
        equal(len([r for r in lines if r["step"] == "ordered" and r["device"] == "door"]), len(house.door.orders(since)), "lines for the door")
        gateway.program.stop()
    with lab.case("the folder of the audit file is not there at the start: it starts, refuses what is sensitive, and goes on when it is"):
        gateway = start(house, "later", [], audit=str(folder / "later" / "audit.jsonl"))
        phone = known(house, gateway)
        refused(house, phone)
        (folder / "later").mkdir()
        order(phone, "door", "off", 200)
        gateway.program.stop()
    with lab.case("a disk that takes half a second, and one that fails: nobody waits but who must"):
        slow = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync", "-e"]
        gateway = start(house, "slow", [*slow, "inject=fdatasync:delay_exit=500000"], audit=str(folder / "slow.jsonl"))
        phone = known(house, gateway)
        order(phone, "door", "on", 200)
        times = []

        def busy():
            given = 0
            while given < 3 or given % 2 == 0 or len(times) <= 20:
                order(phone, "door", "on" if given % 2 else "off", 200)
                given += 1
        orders = threading.Thread(target=busy, daemon=True)
        orders.start()
        while orders.is_alive():
            clock = Stopwatch(gateway.program)
            check(answers_options(gateway.listen), "no answer to OPTIONS")
            times.append(clock.passed())
            time.sleep(0.02)
        check(len(times) > 20 and sorted(times)[len(times) * 9 // 10] < 0.1, f"the slowest of {len(times)} took {max(times):.2f} s")
        gateway.program.kill()
        gateway = start(house, "failing", [*slow, "inject=fdatasync:error=EIO:when=1"], audit=str(folder / "failing.jsonl"))
        phone = known(house, gateway)
        refused(house, phone)
        order(phone, "door", "on", 200)
        gateway.program.kill()


def card(house):
    """What is kept under `state:`, on a card that takes nothing, or takes its time."""
    lab, folder = house.lab, house.lab.folder / "card"
    folder.mkdir()
    own = [] if os.geteuid() == 0 else ["-r"]

    def mounted(what):
        return ["unshare", *own, "-m", "sh", "-c", f'mount -t tmpfs -o size=64k none "{folder}" && {what} && exec "$0" "$@"']

    def watch(phone):
        """One more subscription, which is answered soon."""
        nth = len(watched)
        began = time.monotonic()
        watched.append(phone.subscribe(phone.uri("plug"), f"presence;id=n{nth}", expires=600))
        equal(watched[-1].answer.status, 200, "SUBSCRIBE")
        check(time.monotonic() - began < 2, f"SUBSCRIBE took {time.monotonic() - began:.1f} s")

    def trouble(gateway):
        return home.status(lab, gateway.control)["disk"]

    def record(gateway):
        return pathlib.Path(f"/proc/{gateway.program.pid}/root{folder}/state/records").read_bytes()

    watched = []
    with lab.case("the card is full: watchers are served, it is told once and in the status; there is room again, and all is on record"):
        gateway = start(house, "full", mounted("true"), state=str(folder / "state"))
        phone = known(house, gateway)
        watch(phone)
        equal(trouble(gateway), [], "trouble")
        ballast = pathlib.Path(f"/proc/{gateway.program.pid}/root{folder}/ballast")
        with contextlib.suppress(OSError), open(ballast, "wb", 0) as file:
            while True:
                file.write(b"x" * 64)
        until("no room", lambda: watch(phone) or trouble(gateway), 20, 0)
        check("records cannot be written" in trouble(gateway)[0], trouble(gateway))
        watch(phone)
        order(phone, "plug", "off" if house.plug.on else "on", 200)
        equal(gateway.program.output().count("cannot be written"), 1, "lines in the journal")
        ballast.unlink()
        watch(phone)
        until("no trouble", lambda: not trouble(gateway), 5)
        missing = [nth for nth in range(len(watched)) if b"id=n%d\r" % nth not in record(gateway)]
        equal(missing, [], "subscriptions that are not on record")
        gateway.program.kill()
    watched.clear()
    with lab.case("the card is read-only at the start: it starts, serves and says so; it can be written, and what was made meanwhile is on record"):
        gateway = start(house, "readonly", mounted(f'mount -o remount,ro "{folder}"'), state=str(folder / "state"))
        phone = known(house, gateway)
        watch(phone)
        until("trouble", lambda: trouble(gateway), 5)
        order(phone, "plug", "off" if house.plug.on else "on", 200)
        inside = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
        subprocess.run(["nsenter", "-t", str(gateway.program.pid), *inside, "-m", "mount", "-o", "remount,rw", folder], check=True)
        watch(phone)
        until("no trouble", lambda: not trouble(gateway), 5)
        check(all(b"id=n%d\r" % nth in record(gateway) for nth in range(2)), "not on record")
        gateway.program.kill()
    watched.clear()
    with lab.case("the card takes three seconds over everything: nobody waits for it, it is told, and a kill loses nothing"):
        slow = ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=3000000"]
        gateway = start(house, "stalled", slow, state=str(lab.folder / "stalled"))
        phone = known(house, gateway)
        for _ in range(4):
            watch(phone)
        gateway.program.see("the disk takes more than 500 ms over the record", 5)
        check("nothing on record for" in str(trouble(gateway)), trouble(gateway))
        gateway.program.kill()
        gateway = start(house, "stalled", [], state=str(lab.folder / "stalled"))
        gateway.program.see("4 subscriptions go on", 5)
        gateway.program.kill()


def hung(house):
    """A broker that takes everything and does nothing, until it goes on."""
    phone = house.phone()
    with house.lab.case("the broker hangs: orders are refused within 5 s, and none is carried out when it goes on"):
        order(phone, "plug", "off", 200)
        phone.pump(2)
        stop(house.broker.program)
        since = time.time()
        for _ in range(3):
            clock = Stopwatch(house.gateway.program)
            answer = phone.message(phone.uri("plug"), "on")
            check(answer.status >= 400, answer.start)
            clock.within(5, "the refusal")
        phone.pump(4)
        house.broker.program.tell(signal.SIGCONT)
        until("the house to be there", lambda: settled(house), 30)
        phone.pump(1)
        equal(house.plug.orders(since), [], "orders that waited in the broker")
        order(phone, "plug", "on", 200)


def clock(house):
    """The wall clock jumps, as it does where nothing keeps it while the power is off."""
    library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")))
    with house.lab.case("the clock is ten years behind and is set, steps an hour to and fro: who watches is told on, who orders is obeyed"):
        offset = house.lab.folder / "offset"
        offset.write_text("-3650d")
        faked = ["env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={offset}", "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
        account = {"user": "plug", "password": {"secret": "udp"}, "device": "plug"}
        server = "{}:{}".format(*house.kamailio.address)
        upstream = {"udp": {"server": server, "transport": "tcp", "domain": DOMAIN, "expires": "10m", "accounts": [account]}}
        gateway = start(house, "clock", faked, upstream=upstream, secrets={"udp": PASSWORD})
        phone = known(house, gateway)
        watch = phone.subscribe(phone.uri("plug"), "appliance", SENML, 600)
        stands = lambda: all(r["state"] == "registered" for r in home.status(house.lab, gateway.control)["registrations"])
        until("the registration", stands, 10)
        for jump in ("+0", "+1h", "-1h", "+0"):
            offset.write_text(jump)
            phone.pump(1)
            told = len(watch.notifies)
            for word in ("on", "off"):
                order(phone, "door", word, 200)
            house.plug.press()
            watch.wait(f"the press after {jump}", lambda n: record(n, "power") == house.plug.on, since=told)
            check(stands(), f"the registration is gone after {jump}")
            check(all("terminated" not in n.get("Subscription-State") for n in watch.notifies), f"the subscription ended after {jump}")
        gateway.program.stop()


def known(house, gateway):
    """A phone at that gateway, which knows the appliances."""
    phone = house.lab.phone(gateway.listen, USER, PASSWORD, gateway.domain)
    for name in ("plug", "door"):
        until(f"the {name} to be known", lambda: power(phone, name) is not None, 10)
    return phone


def order(phone, appliance, word, due):
    equal(phone.message(phone.uri(appliance), word).status, due, f"MESSAGE {word} to the {appliance}")


def refused(house, phone):
    """What is sensitive does not move, all else does."""
    since = time.time()
    answer = phone.message(phone.uri("door"), "off" if house.door.on else "on")
    check(answer.status >= 400, f"the door: {answer.start}")
    order(phone, "plug", "off" if house.plug.on else "on", 200)
    equal(house.door.orders(since), [], "orders to the door")


def tcp_phone(house, gateway):
    try:
        phone = house.lab.phone(gateway.listen, USER, PASSWORD, gateway.domain, "tcp")
        return phone if phone.register().status == 200 else None
    except (OSError, sip.Timeout):
        return None


def start(house, name, before, **more):
    """One more gateway of that house, with a domain of its own at the broker and something before its command line."""
    devices = {"door": {"name": "Door", "profile": "test-door", "params": {"topic": "door1"}}}
    listen, arguments = home.write(house.lab, f"{name}.local", house.broker.address, name=name, devices=devices, profiles=["profiles"],
                                   access=[{"who": [USER], "see": "*", "do": ["*", "door.power"]}], **more)
    control = house.lab.folder / f"{name}.sock"
    return Wrapped(house.lab, before, [*arguments, "--control", str(control)], listen, name, control)


class Wrapped(Gateway):
    """A gateway that something else starts."""

    def __init__(self, lab, before, arguments, listen, name, control):
        self.before, self.control, self.domain = before, control, f"{name}.local"
        super().__init__(lab, arguments, listen, f"gateway-{name}")

    def begin(self):
        self.program = self.lab.start(self.name, [*self.before, GATEWAY, *self.arguments])
        probe = sip.Wire(self.listen)
        try:
            until("the gateway to answer OPTIONS", lambda: self.alive() and answers_options(self.listen, probe, 0.2), 20)
        finally:
            probe.close()
