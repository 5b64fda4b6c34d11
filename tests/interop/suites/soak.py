"""A house under load for SOAK_MINUTES (30), with one fault a minute, drawn by a seed: what is promised in the suite faults holds from the first minute to the
last, every watcher ends with what is so, and neither memory nor descriptors grow. The seed is printed; FAULTS_SEED=n takes it again."""

import os
import random
import signal
import threading
import time

from lab import check, record, until
from suites import faults

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
LONGEST = int(MINUTES * 60) + 300
SETTLED = 75        # how long after the last fault everything is as it should be, in seconds
MAY_GROW_KB, MAY_GROW_FDS = 4 * 1024, 8


def run(lab):
    lab.need("kamailio", "mosquitto")
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(1 << 32))
    print(f"FAULTS_SEED={seed}", flush=True)
    house = faults.House(lab, random.Random(seed), seed)
    with lab.case(f"{MINUTES:g} minutes, one fault in each"):
        Soak(house).live()


class Soak:
    def __init__(self, house):
        self.house, self.random = house, house.random
        self.sizes = []     # (kB, descriptors) at the end of each minute without a start
        self.ended = threading.Event()

    def live(self):
        house, since = self.house, time.time()
        until("the house to be there", lambda: faults.settled(house), 20)
        presses = threading.Thread(target=self.press, daemon=True)
        presses.start()
        traffic = faults.Traffic(house, house.phone(), 0.5)
        end = time.monotonic() + MINUTES * 60
        what = [self.kill, self.stand_still, self.silence, self.reset, self.broker_dies, self.broker_hangs, self.registrar_dies, self.bad_line, self.reload]
        while time.monotonic() < end:
            began = time.monotonic()
            fault = self.random.choice(what)
            fault()
            until(f"the house after {fault.__name__}", lambda: faults.settled(house), SETTLED, 0.5)
            print(f"    {time.strftime('%H:%M:%S')} {fault.__name__}: {time.monotonic() - began:.0f} s, {self.size()}", flush=True)
            time.sleep(max(0.0, min(began + 60, end) - time.monotonic()))
            if fault != self.kill:
                self.sizes.append(self.size())
        self.ended.set()
        presses.join(10)
        given = traffic.stop()
        faults.judge(house, given, since)
        done = sum(g[4] == 200 for g in given)
        print(f"    {len(given)} orders, {done} answered 200", flush=True)
        check(done > MINUTES * 20, "hardly any was carried out")
        phone = house.phone()
        for name, appliance in (("plug", house.plug), ("door", house.door)):
            watch = phone.subscribe(phone.uri(name), "appliance", faults.SENML, 60)
            watch.wait(f"what is so of the {name}", lambda n: record(n, "power") == appliance.on)
        self.slopes()

    def slopes(self):
        if len(self.sizes) < 8:
            return
        third = len(self.sizes) // 3
        early, late = self.sizes[:third], self.sizes[-third:]
        for nth, may, what in ((0, MAY_GROW_KB, "kB"), (1, MAY_GROW_FDS, "descriptors")):
            grown = max(s[nth] for s in late) - max(s[nth] for s in early)
            check(grown <= may, f"it grew by {grown} {what}")

    def size(self):
        program = self.house.gateway.program
        return program.rss_kb(), len(os.listdir(f"/proc/{program.pid}/fd"))

    def press(self):
        """Somebody presses the button on the plug, now and then."""
        while not self.ended.wait(3):
            try:
                self.house.plug.press()
            except OSError:
                pass

    # -- what happens ------------------------------------------------------------------------------------------

    def kill(self):
        self.house.gateway.program.kill()
        self.house.gateway.begin()

    def stand_still(self):
        faults.stop(self.house.gateway.program)
        time.sleep(self.random.uniform(2, 30))
        self.house.gateway.program.tell(signal.SIGCONT)

    def silence(self):
        for way in self.house.ways.values():
            way.silent = True
        time.sleep(self.random.uniform(5, 40))
        for way in self.house.ways.values():
            way.well()

    def reset(self):
        self.house.ways["tcp"].reset()

    def broker_dies(self):
        self.house.broker.kill()
        time.sleep(self.random.uniform(1, 10))
        self.house.broker.begin()

    def broker_hangs(self):
        faults.stop(self.house.broker.program)
        time.sleep(self.random.uniform(1, 20))
        self.house.broker.program.tell(signal.SIGCONT)

    def registrar_dies(self):
        self.house.kamailio.kill()
        time.sleep(self.random.uniform(1, 10))
        self.house.kamailio.begin()

    def bad_line(self):
        for way in self.house.ways.values():
            way.loss, way.double, way.overtaken = 0.3, 0.1, 0.2
        time.sleep(20)
        for way in self.house.ways.values():
            way.well()

    def reload(self):
        self.house.gateway.program.tell(signal.SIGHUP)
