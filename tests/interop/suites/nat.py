"""How a gateway behind a router stays reachable, over each transport at once: each has a network, a provider and a watcher of its own.

The figures go to target/interop/nat/figures.json; tests/interop/nat/report puts them into docs/nat.md.
NAT_LONG=1: the cable is out for ten minutes instead of one.
"""

import json
import os
import re
import sys
import threading
import time

from certs import Authority
from lab import HERE, PASSWORD, Skip, check, until

sys.path.insert(0, str(HERE / "nat"))
import ladder  # noqa: E402
import net as network  # noqa: E402
from place import BACK, DOMAIN, FAILOVER, SEEN, SLACK, Fault, Place, asked  # noqa: E402

from peers import Baresip, sipp  # noqa: E402

LONG = os.environ.get("NAT_LONG") == "1"
LONGEST = 1500 if LONG else 570
CABLE = 600 if LONG else 60
CALM = 100                      # how long nothing happens at first
FLOW_TIMER = 29                 # what Kamailio asks for: 80 to 100 % of it; with 16 s for the answers that makes 45 s
SPARE = 90 + 12                 # a flow that another one stands in for waits so long (RFC 5626 §4.5), and then comes at random
DEATH = 50                      # how long Kamailio is dead, or an edge: longer than it takes to see it
PING = 12                       # after how much silence QUIC says that it is there
QUICK = 4                       # how long something takes when nothing is wrong, on a busy machine
MIGRATED = 1.0                  # how long QUIC may take from the gateway's next packet to the next answer


def run(lab):
    lab.need("kamailio", "mosquitto", "ip", "nft", "conntrack", "tshark", "openssl", "baresip", "sipp")
    lab.need_files("/usr/lib/*/kamailio/modules/outbound.so", "/usr/lib/*/kamailio/modules/tls.so", "/usr/lib/*/kamailio/modules/websocket.so")
    lab.need_gateway()
    why = network.permitted()
    if why:
        raise Skip(why)
    network.sweep()
    names = [f"IP:{address}" for address in (network.PROVIDER, *(edge[0] for edge in network.EDGES))]
    certificate = Authority(lab).sign("kamailio", f"DNS:{DOMAIN}", f"URI:sip:{DOMAIN}", *names)
    figures = {"rows": [], "quic": [], "two": [], "paces": {}, "ladders": {}}
    plans = {
        "udp": lambda: Single(lab, "udp", ["udp"], certificate),
        "tcp": lambda: Single(lab, "tcp", ["tcp"], certificate),
        "tls": lambda: Single(lab, "tls", ["tls"], certificate),
        "ws": lambda: Single(lab, "ws", ["ws"], certificate),
        "wss": lambda: Single(lab, "wss", ["wss"], certificate, addresses=[network.PROVIDER]),
        "cgnat": lambda: Shared(lab, "cgnat", ["udp"], certificate, shared=True),
        "six": lambda: Six(lab, "six", ["udp"], certificate, six=True, four=False, addresses=[network.SIX]),
        "six-tcp": lambda: Six(lab, "six-tcp", ["tcp"], certificate, six=True, four=False, addresses=[network.SIX]),
        "dual": lambda: Dual(lab, "dual", ["tls"], certificate, six=True, addresses=[network.SIX, network.PROVIDER]),
        "dual-udp": lambda: Dual(lab, "dual-udp", ["udp"], certificate, six=True, addresses=[network.SIX, network.PROVIDER]),
        "quic": lambda: Quic(lab, "quic", ["quic"], certificate, edges=1),
        "two": lambda: Two(lab, "two", ["udp", "tcp"], certificate, edges=2, expires="60s"),
    }
    only = os.environ.get("NAT_ONLY", " ".join(plans)).split()
    places = [plans[name]() for name in only]
    threads = [threading.Thread(target=place.live, args=(figures,), daemon=True) for place in places]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(1)
    finally:
        for place in places:
            place.close()
    order = {name: nth for nth, name in enumerate(plans)}
    figures["rows"].sort(key=lambda row: order[row["place"]])
    (lab.folder / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


class Scene(Place):
    """What every place has in common: it is furnished, left alone, and then the faults come."""

    def live(self, figures):
        self.figures, self.title = figures, self.name.upper()
        with self.lab.case(f"{self.title}: behind a router the gateway registers, and the watcher sees the plug"):
            self.born = time.time()
            self.furnish()
            with self.prober.asking():
                since = time.monotonic()
                self.until("the plug to be reached", lambda: self.prober.first(since), 20)
            self.watch()
            self.settled()
            self.standing = time.time()
        if not getattr(self, "standing", None):
            return
        self.play()

    def settled(self):
        pass

    def trial(self, fault):
        # Proves: REQ-4.3
        with self.lab.case(f"{self.title}: {fault.words}"):
            try:
                seen = self.suffer(fault)
                row = {key: round(value, 1) for key, value in seen.items()}
                self.figures["rows"].append({"place": self.name, "over": self.title, "what": fault.words, **row, "promise": fault.promise})
                print(f"    {self.title}: {fault.words}: {row}", flush=True)
                check(seen["asked"] <= fault.promise + SLACK, f"reachable again after {seen['asked']:.1f} s, promised {fault.promise} s")
                told = seen.get("told", 0)
                check(told <= fault.promise + FAILOVER, f"the watcher was told after {told:.1f} s, promised {fault.promise} s and a NOTIFY that is repeated")
                if fault.dead:
                    check(seen["seen"] <= SEEN + SLACK, f"the dead flow was seen after {seen['seen']:.1f} s, promised {SEEN} s")
            finally:
                # Made anew: its dialog may lead to an address that is gone.
                self.until("a new subscription", self.again, 60)

    def calm(self, seconds):
        """Nobody asks, nothing changes: after that the plug is still reached at once."""
        with self.lab.case(f"{self.title}: after {seconds} s in which nothing happened the plug is reached at once"):
            self.rest(seconds)
            took = self.command()
            check(took <= QUICK, f"the command took {took:.1f} s")
            self.plug.press()
            self.until("the watcher to be told", self.told, QUICK)

    def again(self):
        try:
            self.watch()
            return True
        except AssertionError:
            return False

    def losses(self, seconds=30):
        """One packet of fifty is lost; commands and changes come through all the same."""
        words = f"2 % of all packets are lost for {seconds} s"
        with self.lab.case(f"{self.title}: {words}"):
            self.net.lose(2)
            told, done = [], []
            try:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    done.append(self.command())
                    began = time.monotonic()
                    self.plug.press()
                    self.until("the watcher to be told", self.told, 35)
                    told.append(time.monotonic() - began)
                    self.rest(1)
            finally:
                self.net.lose(0)
            # A transaction over UDP may take 64 T1, and TCP waits for what was lost.
            check(max(told + done) <= 32, f"the slowest took {max(told + done):.1f} s")
            self.figures["rows"].append({"place": self.name, "over": self.title, "what": words, "told": round(max(told), 1), "command": round(max(done), 1), "promise": 32})

    def paced(self, over, least=2):
        """Keep-alives come at 80 to 100 % of what the registrar asked for, at the provider."""
        time.sleep(2)       # tshark writes with a delay
        gaps = ladder.pace(ladder.read(self.capture), over)
        self.figures["paces"][f"{self.name} {over}"] = gaps
        check(len(gaps) >= least, f"too few keep-alives over {over}: {gaps}")
        # The router holds a packet for no time at all; the machine may, so that one is late and the next early.
        check(FLOW_TIMER * 0.8 - 0.5 <= gaps[0] and gaps[-1] <= FLOW_TIMER + SLACK, f"seconds between keep-alives over {over}: {gaps}")

    def draw(self, name, since, until, notes=(), **more):
        """Keeps a ladder of a time for the document."""
        time.sleep(2)
        packets = ladder.read(self.capture, since, until)
        self.figures["ladders"][name] = ladder.draw(packets, since, notes, len(self.edges), **more)


class Single(Scene):
    """The gateway reaches Kamailio itself, over one flow."""

    def play(self):
        over = self.over[0]
        self.calm(CALM)
        if over not in ("tls", "wss"):      # encrypted: what is a keep-alive cannot be told from outside
            # Proves: OB-9, OB-10
            with self.lab.case(f"{self.title}: a flow that is left alone has keep-alives of the pace that was asked for"):
                self.paced(over)
        changed = Fault("another public address", self.net.readdress, SEEN + BACK)
        self.trial(Fault("the router restarts and takes other ports", self.net.restart_router, SEEN + BACK))
        self.trial(changed)
        if over in ("udp", "tcp"):
            self.draw(f"address-{over}", changed.at, changed.well, [(changed.at, "another public address, and the plug is pressed")])
        self.trial(Fault(f"the cable is out for {CABLE} s", lambda: self.net.cable(False), BACK, lambda: self.net.cable(True), CABLE))
        self.trial(Fault(f"Kamailio is killed, and back after {DEATH} s", self.kamailio_dies, BACK, self.kamailio_is_back, DEATH))
        self.losses()


class Shared(Scene):
    """Behind two routers, the outer of which the watcher shares: the same address outside, a short memory, and no way from one to the other."""

    def play(self):
        # Proves: OB-10
        with self.lab.case(f"{self.title}: a router that forgets after {network.UDP_IDLE_SHARED} s is spoken over more often"):
            self.rest(45)       # it is found out by the first silence that is too long
            flow, since = self.flows(), time.time()
            self.rest(45)
            check(self.flows() == flow, f"the flow is another one: {self.flows()}, before {flow}")
            time.sleep(2)
            gaps = ladder.pace(ladder.read(self.capture, since), "udp")
            self.figures["paces"][f"{self.name} udp"] = gaps
            check(len(gaps) >= 2 and gaps[-1] < network.UDP_IDLE_SHARED, f"seconds between keep-alives: {gaps}")
        self.calm(25)
        self.trial(Fault("the outer router restarts and takes other ports", self.net.restart_router, SEEN + BACK))
        # It is the watcher's address as well, so that he is told when he subscribes anew.
        self.trial(Fault("another public address", self.net.readdress, SEEN + BACK, press=False))
        self.losses(15)


class Six(Scene):
    """A house with IPv6 alone, behind a wall that translates nothing."""

    def play(self):
        over = self.over[0]
        self.calm(70)
        with self.lab.case(f"{self.title}: a flow that is left alone has keep-alives of the pace that was asked for"):
            self.paced(over, least=1)
        moved = Fault("another temporary address of this machine comes first", self.net.privacy, QUICK, dead=False)
        with self.lab.case(f"{self.title}: the flow outlives it that another temporary address comes first"):
            flow = self.flows()
            self.suffer(moved)
            check(self.flows() == flow, f"the flow is another one: {self.flows()}, before {flow}")
        # The kernel tells it: nobody has to wait for a keep-alive.
        self.trial(Fault("the temporary address of before ends", self.net.expire_private, BACK))
        self.trial(Fault("the provider gives the house another prefix", self.net.other_prefix, BACK))
        self.trial(Fault("the router restarts", self.net.forget_six, SEEN + BACK, dead=over != "udp"))
        # Proves: REQ-4.3
        with self.lab.case(f"{self.title}: what the house says of its address is one of IPv6, in brackets, and not link-local"):
            self.written()

    def written(self):
        time.sleep(2)       # tshark writes with a delay
        packets = ladder.read(self.capture)
        vias = [value for value in ladder.headers(packets, "Via") if "z9hG4bK" in value and network.SIX not in value.partition(";")[0]]
        contacts = ladder.headers(packets, "Contact")
        ours = re.compile(r"\[2001:db8:77:[0-9]+::[0-9]+\]:[0-9]+")
        check(vias and contacts, "nothing was captured")
        wrong = [value for value in vias if not re.match(rf"SIP/2\.0/(UDP|TCP) {ours.pattern};", value) and network.FAR not in value]
        # A GRUU is the registrar's own address.
        wrong += [value for value in contacts if not ours.search(value) and ";gr" not in value]
        check(not wrong, f"{len(wrong)} of {len(vias + contacts)}: {wrong[:4]}")
        check(not any("fe80" in value for value in vias + contacts), "a link-local address")


class Dual(Scene):
    """A house with both, and a provider whose name leads to both. One of them leads nowhere at each moment that matters: which of two that work is
    taken is a matter of milliseconds."""

    def live(self, figures):
        self.net.four_leads(False)
        super().live(figures)

    def play(self):
        self.leads_over(network.SIX, "the flow is over IPv6 after a start while IPv4 leads nowhere")
        self.net.four_leads(True)
        self.trial(Fault("IPv6 goes, with the address of this machine", self.net.without_six, BACK))
        self.leads_over(network.PROVIDER, "the flow is over IPv4 when IPv6 is gone")
        self.net.with_six()
        self.trial(Fault("IPv4 leads nowhere any more", lambda: self.net.four_leads(False), SEEN + BACK))
        self.leads_over(network.SIX, "the flow is over IPv6 when IPv4 leads nowhere")
        # Only now, so that there is one way alone.
        self.trial(Fault("IPv6 leads nowhere any more, and IPv4 does again", self.other_family, SEEN + BACK))
        self.leads_over(network.PROVIDER, "the flow is over IPv4 when IPv6 leads nowhere")
        words = "a start while IPv6, which the provider's name leads to first, leads nowhere"
        with self.lab.case(f"{self.title}: {words}"), self.prober.asking():
            self.gateway.kill()
            began = time.monotonic()
            self.move_in(BACK)
            self.until("the plug to be reached", lambda: self.prober.first(began), BACK)
            took = self.prober.first(began) - began
            self.figures["rows"].append({"place": self.name, "over": self.title, "what": words, "asked": round(took, 1), "promise": BACK})
            print(f"    {self.title}: {words}: {took:.1f} s", flush=True)
        self.leads_over(network.PROVIDER, "the flow is over IPv4 after that start")

    def other_family(self):
        self.net.six_leads(False)
        self.net.four_leads(True)

    def leads_over(self, due, words):
        with self.lab.case(f"{self.title}: {words}"):
            flows = [flow["words"] for flow in asked(self.control)["flows"]]
            check(flows and all(f" to {due}:" in flow or f" to [{due}]:" in flow for flow in flows), f"the flow: {flows}")


class Quic(Scene):
    """The gateway reaches an edge over QUIC, and the edge Kamailio."""

    def play(self):
        since = time.time()
        self.calm(CALM)
        with self.lab.case(f"{self.title}: a flow that is left alone shows that it lives every {PING} s"):
            time.sleep(2)
            gaps = ladder.silences(ladder.read(self.capture, since))
            self.figures["paces"][self.name] = gaps
            check(len(gaps) >= 4 and gaps[-1] <= PING + SLACK, f"seconds of silence: {gaps}")
        shown = Fault("another public address, and something changes at home", self.net.readdress, MIGRATED, dead=False)
        self.moves(Fault("the router restarts and takes other ports, and something changes at home", self.net.restart_router, MIGRATED, dead=False))
        self.moves(shown)
        self.draw("quic", shown.at - 0.12, shown.answered + 0.1, [(shown.at, "another public address, and the plug is pressed")],
                  inner=True, leave=(), most=32)
        self.moves(Fault("another public address, and nothing happens at home", self.net.readdress, PING + MIGRATED, dead=False, press=False))
        self.moves(Fault("the gateway's own address changes, and nothing happens there", self.net.move_in, MIGRATED, dead=False, press=False))
        self.trial(Fault(f"the cable is out for {CABLE} s", lambda: self.net.cable(False), BACK, lambda: self.net.cable(True), CABLE))
        self.trial(Fault(f"the edge is killed, and back after {DEATH} s", self.edges[0].kill, BACK, self.edges[0].begin, DEATH))
        self.losses()

    def moves(self, fault):
        """The flow goes on from another address. How soon counts from the first packet of the gateway that comes from there: before that nobody can know."""
        # Proves: REQ-4.3
        with self.lab.case(f"{self.title}: {fault.words}: no REGISTER, and asked again within {MIGRATED} s"):
            flow = self.flows()
            seen = self.suffer(fault)
            time.sleep(2)
            packets = ladder.read(self.capture, fault.at - 30, fault.well)
            packet = ladder.next_from_elsewhere(packets, fault.at)
            check(packet, "no packet came from another address")
            row = {"packet": packet - fault.at, "resumed": fault.answered - packet, **seen}
            self.figures["quic"].append({"what": fault.words, **{key: round(value, 2) for key, value in row.items()}})
            print(f"    {self.title}: {self.figures['quic'][-1]}", flush=True)
            asked = ladder.registers([packet for packet in packets if packet.at >= fault.at])
            check(asked == 0, f"{asked} REGISTERs")
            check(self.flows() == flow, f"the flow is another one: {self.flows()}, before {flow}")
            check(row["resumed"] <= MIGRATED, f"asked again {row['resumed']:.2f} s after the gateway's first packet from elsewhere")
            check(row["packet"] <= fault.promise, f"the first packet from elsewhere came after {row['packet']:.1f} s")
            self.plug.press()
            self.until("the watcher to be told in the same dialog", self.told, QUICK)


class Two(Scene):
    """Two edge proxies before Kamailio, a flow over each."""

    def settled(self):
        self.until("both edges to have a flow of the gateway", lambda: all(edge.serves() for edge in self.edges), 30)

    def play(self):
        self.draw("register", self.born, self.standing + 1, leave=("OPTIONS", "SUBSCRIBE", "NOTIFY"))
        self.phones()
        since = time.time()
        self.calm(CALM - 40)
        self.draw("keep-alive", since, since + CALM - 42, leave=("OPTIONS", "REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE"))
        for nth, edge in enumerate(self.edges):
            self.death(f"edge {nth + 1} ({self.over[nth].upper()}) is killed, and back after {DEATH} s", edge.kill, edge.begin, nth)
        for over in set(self.over) - {"quic"}:
            with self.lab.case(f"{self.title}: keep-alives towards an edge over {over.upper()} have the pace that the registrar asked for"):
                self.paced(over)
        self.trial(Fault("another public address", self.net.readdress, SEEN + BACK))
        self.trial(Fault(f"Kamailio is killed, and back after {DEATH} s", self.kamailio_dies, BACK, self.kamailio_is_back, DEATH, dead=False))

    def death(self, words, kill, back, nth):
        """One flow dies and comes back. No question and no command stays unanswered meanwhile, and the watcher sees what changes."""
        # Proves: OB-13
        with self.lab.case(f"{self.title}: {words}"), self.prober.asking():
            began, at = time.monotonic(), time.time()
            kill()
            try:
                self.plug.press()
                # A NOTIFY that went into the dead flow goes into the other as soon as that is seen.
                self.until("the watcher to be told", self.told, SEEN + FAILOVER)
                told = time.monotonic() - began
                command = self.command()
                self.rest(max(0.0, began + DEATH - time.monotonic()))
            finally:
                back()
            returned, at_return = time.monotonic(), time.time()
            self.until("both flows again", lambda: all(edge.serves() for edge in self.edges), SPARE + 30)
            again = time.monotonic() - returned
            self.command()
            self.plug.press()
            self.until("the watcher to be told", self.told, FAILOVER)
            self.rest(FAILOVER)
            waits = self.prober.waits(began, time.monotonic() - FAILOVER)
            row = {"what": words, "wait": max(wait or 99 for wait in waits), "told": told, "command": command, "again": again}
            self.figures["two"].append({key: value if key == "what" else round(value, 1) for key, value in row.items()})
            print(f"    {self.title}: {self.figures['two'][-1]}", flush=True)
            if nth == 0:
                notes = [(at, "edge1 is killed, and the plug is pressed"), (at_return, "edge1 is back")]
                self.draw("failure", at, time.time(), notes, leave=("OPTIONS", "MESSAGE"), most=60)
            check(None not in waits, f"{waits.count(None)} of {len(waits)} questions were not answered")
            check(max(waits) <= FAILOVER, f"a question waited {max(waits):.1f} s for its answer")
            check(again <= SPARE + SLACK, f"the flow stood again after {again:.1f} s, promised {SPARE} s")

    # -- other people's phones ---------------------------------------------------------------------------------

    def phones(self):
        """baresip and sipp behind the watcher's router, at Kamailio."""
        server = (network.PROVIDER, 5060)
        with self.net.within("far"):
            for scenario, keys in (("register", {}),
                                   ("subscribe", {"target": "plug", "event": "dialog", "accept": "application/dialog-info+xml", "body": "dialog-info"}),
                                   ("switch", {"target": "plug", "event": "dialog", "accept": "application/dialog-info+xml", "word": "on", "body": "confirmed"}),
                                   ("dial", {"target": "plug", "phrase": ".*off"})):
                with self.lab.case(f"{self.title}: sipp behind another router: {scenario}"):
                    if scenario == "switch" and self.plug.on:
                        self.command()
                    sipp(self.lab, scenario, server, "anna", PASSWORD, name=f"nat-{scenario}", host=network.FAR, domain=DOMAIN,
                         auth_uri=f"plug@{DOMAIN}", **keys)
            with self.lab.case(f"{self.title}: baresip behind another router registers, watches, switches and calls"):
                self.baresip(server)

    def baresip(self, server):
        account = f'<sip:anna@{DOMAIN}>;auth_user=anna;auth_pass={PASSWORD};regint=60;outbound="sip:{server[0]}:{server[1]};transport=udp"'
        phone = Baresip(self.lab, "nat-baresip", account, [("Plug", f"sip:plug@{DOMAIN}", "presence=p2p")], host=network.FAR)
        self.programs.append(phone.program)
        phone.see(r"200 OK.*?\[\d+ binding", 15)
        phone.see(r"NOTIFY sip:.*?Event: presence.*?<basic>open</basic>", 20)
        word, mark = "off" if self.plug.on else "on", phone.mark()
        phone.text(word)
        until(f"the plug to be {word}", lambda: self.plug.on == (word == "on"), 10)
        phone.see(rf"NOTIFY sip:.*?Event: presence.*?<note[^>]*>[^<]*\b{word}\b", 10, mark)
        before, mark = self.plug.on, phone.mark()
        phone.do("dial", f"sip:plug@{DOMAIN}")
        phone.see(r"session closed: 486 [^\n]*\b%s\b" % ("off" if before else "on"), 15, mark)
        phone.program.stop()
