#!/usr/bin/env python3
"""Measures a provider with many houses, as docs/scale.md has it: measure.py [-n HOUSES] [-m PLUGS] [PHASE ...]

Phases: rest, provider, edge, power, watch. Each prints lines of JSON; the whole record is in target/interop/measure.
SIPLIANCE is the binary to take (target/release/sipliance); sipliance-load lies beside it.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("SIPLIANCE", str(ROOT / "target/release/sipliance"))
sys.path.insert(0, str(ROOT / "tests/interop"))
sys.dont_write_bytecode = True

import lab as laboratory  # noqa: E402
import town  # noqa: E402
from certs import Authority  # noqa: E402
from lab import PASSWORD  # noqa: E402
from peers import Postgres  # noqa: E402
from suites.edge import Edge  # noqa: E402

PHASES = ["rest", "provider", "edge", "power", "watch"]


class Report:
    def ok(self, *words):
        print(*words, flush=True)

    failed = skipped = ok


def say(**what):
    print(json.dumps(what), flush=True)


def tree(pid):
    """Processor time in µs of a process and its children, and their memory in kB."""
    micros = kb = 0
    for each in [pid, *children(pid)]:
        try:
            for task in pathlib.Path(f"/proc/{each}/task").iterdir():
                micros += int((task / "schedstat").read_text().split()[0]) // 1000
            kb += next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{each}/status").read_text().splitlines() if line.startswith("VmRSS"))
        except (OSError, StopIteration):
            continue
    return micros, kb


def children(pid):
    try:
        own = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in own for each in [int(child), *children(int(child))]]


class Measure:
    def __init__(self, lab, args):
        self.lab, self.args = lab, args
        authority = Authority(lab)
        certificate = authority.sign("edge", "DNS:edge.example.com")
        users, plugs = town.names(args.houses, args.plugs)
        self.database = Postgres(lab, "127.0.0.8", settings=("synchronous_commit=off",))
        town.tables(self.database, [*users, "walter"], plugs, "walter")
        self.memory = args.memory
        self.kamailio = town.provider(lab, self.database, "127.0.0.2", memory=1024, arguments=["-x", "fm", *(["-A", "FORGETFUL"] if args.memory else [])])
        inner = {"certificate": certificate}
        self.edges = [Edge(lab, "edge1", self.kamailio, "127.0.0.3", "127.0.0.4", ["127.0.0.5", "127.0.0.6"], **inner),
                      Edge(lab, "edge2", self.kamailio, "127.0.0.5", "127.0.0.6", ["127.0.0.3", "127.0.0.4"], **inner)]
        kinds = args.kinds.split(",")
        at = [f"{kind}:{edge.tcp[0]}:{(edge.tls if kind == 'tls' else edge.tcp)[1]}" for kind, edge in zip(kinds, self.edges)]
        self.all = args.houses * (1 + args.plugs) * 2
        self.began = time.time()
        more = ["--publish", *(["--ca", authority.file] if "tls" in kinds else [])]
        self.houses = town.Houses(lab, args.houses, args.plugs, at, expires=args.expires, seconds=7200, more=more)

    def processes(self):
        return {"kamailio": self.kamailio.program.pid, "edge1": self.edges[0].program.pid, "edge2": self.edges[1].program.pid,
                "postgres": self.database.program.pid, "houses": self.houses.process.pid}

    def stands(self, share, timeout):
        """Seconds until so many registrations stand, by the gateways' own word; None when they do not."""
        began = time.time()
        while time.time() - began < timeout:
            if self.houses.look().get("registered", 0) >= self.all * share:
                return round(time.time() - began, 1)
            time.sleep(0.2)
        return None

    def while_(self, name, seconds):
        """What is sent and used meanwhile."""
        pids, began = self.processes(), time.time()
        before = {process: tree(pid) for process, pid in pids.items()}
        time.sleep(seconds)
        after = {process: tree(pid) for process, pid in pids.items()}
        used = {process: {"cpu_us_per_s": round((after[process][0] - before[process][0]) / seconds), "rss_kb": after[process][1]} for process in pids}
        return self.summary(name, began, used=used)

    def summary(self, name, began, **more):
        lines = self.houses.since(began + 0.5)
        sent = [line["sent"] for line in lines]
        words = sorted({word for line in sent for word in line})
        rates = {word: {"mean": round(sum(line.get(word, 0) for line in sent) / max(1, len(sent)), 1), "peak": max(line.get(word, 0) for line in sent)} for word in words}
        got = {}
        for line in lines:
            for status, count in line["got"].items():
                got[status] = got.get(status, 0) + count
        say(phase=name, seconds=len(sent), sent=rates, got=got, connects=sum(line["connects"] for line in lines), **more)
        return lines

    def curve(self, name, lines):
        """REGISTERs, registrations and published plugs, second by second."""
        say(phase=name, curve=[[round(line["t"]), line["sent"].get("REGISTER", 0), line["registered"], line["published"], line["connects"]] for line in lines])

    def settle(self, timeout=400):
        return {"s_to_99": self.stands(0.99, timeout), "s_to_all": self.stands(1, timeout)}

    def rest(self):
        self.while_("rest", self.args.seconds)

    def provider(self):
        before = town.bindings(self.kamailio)
        began = time.time()
        self.kamailio.kill()
        time.sleep(60)
        self.summary("provider is gone", began)
        self.kamailio.begin()
        began, curve, back = time.time(), [], None
        while time.time() - began < self.args.expires + 60:
            count = town.bindings(self.kamailio)
            curve.append([round(time.time() - began, 1), count])
            if count >= before * 0.99 and back is None:
                back = curve[-1][0]
                if count >= before * 0.999:
                    break
            time.sleep(2)
        time.sleep(20)
        lines = self.summary("provider is back", began, bindings_before=before, s_to_99_bindings=back, bindings=curve[:: max(1, len(curve) // 30)], **self.settle())
        self.curve("provider is back", lines)

    def edge(self):
        edge = self.edges[0]
        began = time.time()
        edge.program.kill()
        time.sleep(60)
        reachable = self.houses.look()["reachable"]
        lines = self.summary("edge is gone", began, reachable=reachable)
        self.curve("edge is gone", lines)
        began = time.time()
        edge.begin()
        ready = time.time() - began
        settled = self.settle()
        time.sleep(10)
        lines = self.summary("edge is back", began, ready=round(ready, 1), **settled)
        self.curve("edge is back", lines)
        began = time.time()
        edge.program.kill()
        edge.begin()
        time.sleep(3)
        settled = self.settle()
        lines = self.summary("edge restarts", began, **settled)
        self.curve("edge restarts", lines)

    def power(self):
        began = time.time()
        self.houses.say("power")
        time.sleep(3)
        settled = self.settle()
        time.sleep(5)
        lines = self.summary("power", began, **settled)
        self.curve("power", lines)

    def watch(self):
        plugs = self.args.houses
        each, stay = self.args.watchers, 75
        argv = [town.LOAD, "--target", "%s:%d" % self.kamailio.address, "--domain", town.DOMAIN, "--name", "h{}-1", "--names", plugs, "--user", "walter",
                "--password", PASSWORD, "-n", plugs * each, "--trigger", "none", "--stay", stay, "--sign", ">on<", "--from", "127.0.0.99:0"]
        crowd = subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE, text=True)
        self.lab.closers.append(crowd.kill)
        say(crowd=json.loads(crowd.stdout.readline()))
        lines = []
        for nth in range(1, stay + 1):
            if nth in (10, 40):
                pids = self.processes()
                before, began = {process: tree(pid) for process, pid in pids.items()}, time.time()
                self.houses.say(f"change {self.args.within}")
            lines.append(json.loads(crowd.stdout.readline()))
            if nth in (38, 68):
                used = {process: tree(pid)[0] - before[process][0] for process, pid in pids.items()}
                told = [line["notifies"] for line in lines[nth - 29:]]
                self.summary("change", began, watchers=plugs * each, showing=lines[-1]["showing"], notifies=sum(told), notifies_peak=max(told), cpu_us=used)
        crowd.wait(120)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--houses", type=int, default=500)
    parser.add_argument("-m", "--plugs", type=int, default=1)
    parser.add_argument("--kinds", default="tcp,udp", help="how houses reach each edge")
    parser.add_argument("--expires", type=int, default=600)
    parser.add_argument("--seconds", type=int, default=60, help="of rest")
    parser.add_argument("--watchers", type=int, default=1, help="of each plug")
    parser.add_argument("--within", type=int, default=10, help="seconds within which all plugs change")
    parser.add_argument("--name", default="measure", help="folder of the record, where several run at once")
    parser.add_argument("--memory", action="store_true", help="bindings in memory alone")
    parser.add_argument("phases", nargs="*", default=[], metavar="PHASE")
    args = parser.parse_args()
    lab = laboratory.Lab(args.name, Report())
    try:
        measure = Measure(lab, args)
        time.sleep(3)
        settled = measure.settle()
        lines = measure.summary("start", measure.began, **settled)
        say(born=measure.houses.lines[0])
        measure.curve("start", lines)
        time.sleep(10)
        for phase in args.phases or PHASES:
            getattr(measure, phase)()
    finally:
        lab.close()


if __name__ == "__main__":
    main()
