"""Two relays of a board on a serial cable that is pulled in the middle of things: told, refused, never delivered late."""

import fcntl
import os
import signal
import threading
import time

import home
from cable import Board, Cable, Meter
from lab import Stopwatch, check, equal, power, record, until

SENML, PIDF = "application/senml+json", "application/pidf+xml"
QUICK = 2.5     # how long a command may take to be refused while the port is away, in seconds


def run(lab):
    cable = Cable(lab)
    board = Board(cable.theirs)
    optical = Cable(lab, "optical")
    meter = Meter(optical.theirs, {"F.F": "00", "1.8.0": "001234.567*kWh"})
    meter.damaged = 1
    lab.closers += [board.close, meter.close]
    relays = {f"relay{n}": {"name": f"Relay {n}", "profile": "serial-relay-board", "port": "bus", "numbers": f"3{n}", "params": {
        "relay": str(n), "switch_on": f"A0 0{n} 01 A{1 + n}", "switch_off": f"A0 0{n} 00 A{n}"}} for n in (1, 2)}
    house = home.start(lab, "home.local", None, serial={"bus": {"port": str(cable.ours)}, "optical": {"port": str(optical.ours)}},
                       devices={**relays, "meter": {"name": "Meter", "profile": "iec62056-meter", "port": "optical", "params": {"every": "1m"}}})
    phone = house.phone(domain="home.local")
    watch = {}
    with lab.case("the board's relays are two appliances on one port"):
        until("the board to be asked", lambda: board.asked, 15)
        for name in relays:
            watch[name] = phone.subscribe(phone.uri(name), "appliance", SENML, 600)
            watch[name].wait("power off", lambda n: record(n, "power") is False, timeout=15)
        watch["presence"] = phone.subscribe(phone.uri("relay1"), "presence", PIDF, 600)
        watch["presence"].wait("open", lambda n: "<basic>open" in n.text)
    with lab.case("a command moves one relay, and the board's word proves it"):
        equal(phone.message(phone.uri("relay1"), "on").status, 200, "MESSAGE on")
        equal(board.relays, [True, False], "the relays")
        watch["relay1"].wait("power on", lambda n: record(n, "power") is True)
    with lab.case("somebody switches at the board: the watcher hears it"):
        board.relays[1] = True
        watch["relay2"].wait("power on", lambda n: record(n, "power") is True, timeout=12)
    with lab.case("a meter is read out; the block that was damaged was asked for again"):
        watch["meter"] = phone.subscribe(phone.uri("meter"), "appliance", SENML, 600)
        watch["meter"].wait("the energy", lambda n: record(n, "imported") == 1234.567, timeout=20)
        equal(meter.told[:3], [b"/?!\r\n", b"\x06050\r\n", b"\x15"], "what the meter was told")
    pulled(lab, house, cable, board, phone, watch)
    in_the_middle(lab, cable, board, phone, watch)
    occupied(lab, house, cable, phone, watch)
    flooded(lab, house, board, phone)
    with lab.case("the meter is read again after its time"):
        meter.values["1.8.0"] = "001235.000*kWh"
        watch["meter"].wait("the energy", lambda n: record(n, "imported") == 1235, timeout=70)
    with lab.case("the gateway still runs"):
        house.alive()


def pulled(lab, house, cable, board, phone, watch):
    since = time.time()
    count = len(watch["presence"].notifies)
    with lab.case("the cable is pulled: watchers are told that the relay is out of reach"):
        cable.pull()
        watch["presence"].wait("closed", lambda n: "<basic>closed" in n.text, since=count, timeout=20)
    with lab.case("a command meanwhile is refused quickly, by MESSAGE and by number"):
        for what, ask in (("MESSAGE", lambda: phone.message(phone.uri("relay1"), "off")), ("INVITE", lambda: phone.invite(phone.uri("31")))):
            clock = Stopwatch(house.program)
            answer = ask()
            check(answer.status in (480, 503), f"{what}: {answer.start}")
            clock.within(QUICK, f"the refusal of {what}")
    with lab.case("plugged again under another number, the relay switched by hand meanwhile: the state is true"):
        board.relays[0] = False
        other = Cable(lab, "other")     # takes the numbers that were free
        count = len(watch["presence"].notifies)
        cable.plug()
        watch["presence"].wait("open", lambda n: "<basic>open" in n.text, since=count, timeout=30)
        until("the relay's state", lambda: power(phone, "relay1") is False, 15)
        other.pull()
    with lab.case("no command of the outage arrives late"):
        phone.pump(3)
        equal(board.orders(since), [], "orders to the board")
    with lab.case("commands work again"):
        equal(phone.message(phone.uri("relay1"), "on").status, 200, "MESSAGE on")
        equal(board.relays[0], True, "the relay")


def in_the_middle(lab, cable, board, phone, watch):
    with lab.case("the cable is pulled in the middle of a command: no 200, and nothing comes afterwards"):
        board.mute = True
        before, count = time.time(), len(watch["presence"].notifies)
        threading.Timer(0.5, cable.pull).start()
        answer = phone.message(phone.uri("relay1"), "off")
        equal(board.orders(before), [[1, 0]], "orders to the board")
        check(answer.status >= 400 or answer.status == 202, f"MESSAGE off: {answer.start}")
        watch["presence"].wait("closed", lambda n: "<basic>closed" in n.text, since=count, timeout=20)
        board.mute, since = False, time.time()
        count = len(watch["presence"].notifies)
        cable.plug()
        watch["presence"].wait("open", lambda n: "<basic>open" in n.text, since=count, timeout=30)
        phone.pump(3)
        equal(board.orders(since), [], "orders to the board")
        until("the relay's state", lambda: power(phone, "relay1") == board.relays[0], 15)


def occupied(lab, house, cable, phone, watch):
    with lab.case("another program has the port when the cable is back: it is named, and gets no company"):
        count, mark = len(watch["presence"].notifies), len(house.program.output())
        house.program.tell(signal.SIGSTOP)
        try:
            cable.pull()
            cable.plug()
            thief = os.open(cable.ours, os.O_RDWR | os.O_NOCTTY)
            fcntl.flock(thief, fcntl.LOCK_EX)
        finally:
            house.program.tell(signal.SIGCONT)
        words = house.program.see(r"busy: ([^\n]*)", 20, since=mark).group(1)
        check(f"process {os.getpid()}" in words, words)
        watch["presence"].wait("closed", lambda n: "<basic>closed" in n.text, since=count, timeout=20)
        os.close(thief)
        watch["presence"].wait("open", lambda n: "<basic>open" in n.text, since=count, timeout=30)


def flooded(lab, house, board, phone):
    with lab.case("ten thousand frames in a second, good and bad: answers stay quick, memory stays small, the state is true"):
        before, lines = house.program.rss_kb(), len(house.program.output().splitlines())
        mixed = b"CH1: MAYBE\r\n" + b"CH2: ON \r\n" + b"\xff\xfe\x00\r\n" + b"x" * 300 + b"\r\n" + b"CH9: ON \r\n"
        sent, began, slowest = 0, time.monotonic(), 0.0
        while sent < 10_000:
            board.say(mixed * 50)
            sent += 250
            if sent % 2500 == 0:
                clock = Stopwatch(house.program)
                equal(phone.request("OPTIONS", phone.uri("relay2")).status, 200, "OPTIONS")
                slowest = max(slowest, clock.passed())
        check(slowest < 1.0, f"OPTIONS took {slowest:.2f} s")
        check(time.monotonic() - began < 60, "the flood did not get through")
        board.relays[0] = True
        until("the relay's state", lambda: power(phone, "relay1") is True and power(phone, "relay2") is True, 30)
        equal(phone.message(phone.uri("relay2"), "off").status, 200, "MESSAGE off")
        grown = house.program.rss_kb() - before
        check(grown < 8192, f"the gateway grew by {grown} kB")
        said = len(house.program.output().splitlines()) - lines
        check(said < 50, f"the gateway wrote {said} lines about it")
