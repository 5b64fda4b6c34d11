"""The power is cut at any moment, on a real file system: an image of what had reached the disk at that moment is mounted, and the gateway starts from it.
What was answered 200 before is there: documents, and subscriptions in their dialogs. Needs root and a loop device; POWER_SEED=n takes a run again."""

import os
import random
import shutil
import signal
import subprocess
import time

from lab import PASSWORD, USER, check, equal
from suites import xcap

CUTS = int(os.environ.get("POWER_CUTS", 6))
# In one run the disk is asked so often on end; what comes then waits for a power cut's sake for nothing.
AT_ONCE = 8


def run(lab):
    lab.need("mkfs.ext4", "mount", "umount")
    seed = int(os.environ.get("POWER_SEED") or random.randrange(1 << 32))
    print(f"POWER_SEED={seed}", flush=True)
    dice, card = random.Random(seed), Card(lab)
    house = xcap.House(lab, str(card.place / "state"))
    phone = house.gateway.phone(USER, PASSWORD, domain=house.domain)
    watched, answered = [], -1
    with lab.case(f"the power is cut {CUTS} times in traffic: what was answered 200 is there, and everybody hears on in his dialog"):
        for cut in range(CUTS):
            ends, made = time.monotonic() + dice.uniform(0.2, 2.0), 0
            while time.monotonic() < ends:
                if made < AT_ONCE and dice.random() < 0.4:
                    made += 1
                    one = phone.subscribe(phone.uri("plug"), f"presence;id={len(watched)}", expires=3600)
                    equal(one.answer.status, 200, "SUBSCRIBE")
                    watched.append(one)
                else:
                    check(house.put(document(answered + 1)) in (200, 201), "PUT")
                    answered += 1
                phone.pump(dice.uniform(0, 0.05))
            heard = [len(one.notifies) for one in watched]
            card.cut(house.gateway.program)
            since = len(house.gateway.program.output())
            house.gateway.begin()
            status, _, body = house.ask("GET")
            equal((status, body), (200, document(answered)) if answered >= 0 else (404, body), f"the document after cut {cut}")
            for one, count in zip(watched, heard):
                one.wait(f"a NOTIFY after cut {cut}", lambda _: True, count, 10)
            said = house.gateway.program.see(r"(\d+) subscriptions go on, (\d+) are told their end", since=since)
            equal(said.groups(), (str(len(watched)), "0"), f"subscriptions after cut {cut}")
        check("damaged" not in house.gateway.program.output(), "something was damaged")
        print(f"    {answered + 1} documents and {len(watched)} subscriptions", flush=True)


def document(nth):
    return xcap.lists("lamps", f"sip:n{nth}@elsewhere.example")


class Card:
    """An ext4 file system in a file."""

    def __init__(self, lab):
        self.image, self.place = lab.folder / "card.img", lab.folder / "card"
        self.place.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(24 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", self.image], check=True)
        self.mount()
        lab.closers.append(lambda: subprocess.run(["umount", "-l", self.place], check=False))

    def mount(self):
        subprocess.run(["mount", "-o", "loop,commit=5", self.image, self.place], check=True)
        os.sync()

    def cut(self, program):
        """Whatever is on the disk at this moment, and nothing else."""
        program.tell(signal.SIGSTOP)
        later = self.image.with_suffix(".later")
        shutil.copyfile(self.image, later)
        program.tell(signal.SIGKILL)
        program.wait(5)
        subprocess.run(["umount", self.place], check=True)
        os.replace(later, self.image)
        self.mount()
