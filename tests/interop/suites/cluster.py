"""Two nodes of a provider, each with an edge, as docs/scale.md has it: bindings in the memory of both (DMQ), presence in one database.
One node dies and comes back."""

import town
from certs import Authority
from lab import PASSWORD, check, equal, free_port, until
from peers import Postgres
from suites.edge import Edge

HOUSES = 20
REGISTRATIONS = HOUSES * 2 * 2
PIDF = "application/pidf+xml"
NODES = ["127.0.0.2", "127.0.0.7"]
PLUG = "h00003-1"


class Cluster:
    def __init__(self, lab):
        self.lab = lab
        certificate = Authority(lab).sign("edge", "DNS:edge.example.com")
        database = Postgres(lab, "127.0.0.8")
        users, plugs = town.names(HOUSES, 1)
        town.tables(database, [*users, "walter"], plugs, "walter")
        ports = [free_port(host) for host in NODES]
        at = [f"{host}:{port}" for host, port in zip(NODES, ports)]
        self.nodes = [town.provider(lab, database, host, arguments=("-A", f"NODE={nth + 1}"), port=ports[nth], PEERS=at[1 - nth])
                      for nth, host in enumerate(NODES)]
        inner = {"siblings": [], "certificate": certificate, "trusted": NODES}
        self.edges = [Edge(lab, "edge1", self.nodes[0], "127.0.0.3", "127.0.0.4", **inner), Edge(lab, "edge2", self.nodes[1], "127.0.0.5", "127.0.0.6", **inner)]
        at = [f"{transport}:{edge.tcp[0]}:{edge.tcp[1]}" for transport, edge in zip(("tcp", "udp"), self.edges)]
        self.houses = town.Houses(lab, HOUSES, 1, at, more=["--publish"])
        self.phone = lab.phone(self.edges[1].tcp, "walter", PASSWORD, town.DOMAIN)
        self.watch, self.on = None, False

    def until(self, what, condition, timeout):
        """The phone answers meanwhile."""
        def looked():
            self.phone.pump(0.2)
            return condition(self.houses.look())
        until(what, looked, timeout)

    def bindings(self):
        """What each node knows of."""
        return [town.bindings(node) for node in self.nodes if node.program.alive()]

    def change(self, timeout):
        since = len(self.watch.notifies)
        self.houses.say("change 0")
        self.on = not self.on
        word = ">on<" if self.on else ">off<"
        self.watch.wait(f"the plug to be {word}", lambda n: word in n.text, since, timeout)

    def reach(self):
        """A message gets through to a house, which asks who that is."""
        answer = self.phone.send(self.phone.build("MESSAGE", self.phone.uri(PLUG), [("Content-Type", "text/plain")], "status", contact=False))
        return answer.status == 401


def run(lab):
    lab.need("kamailio", "openssl")
    it = Cluster(lab)
    with lab.case("houses register at either node, and both know of all"):
        it.until("all houses", lambda line: line.get("registered") == REGISTRATIONS and line.get("published") == HOUSES, 25)
        until("both to know", lambda: it.bindings() == [REGISTRATIONS] * 2, 5)
    with lab.case("a phone at the second node watches what was published at the first, and reaches the house"):
        equal(it.phone.register().status, 200, "REGISTER")
        it.watch = it.phone.subscribe(f"sip:{PLUG}@{town.DOMAIN}", "presence", PIDF, 600)
        check(it.watch.answer.status in (200, 202), it.watch.answer.start)
        it.watch.wait("the plug", lambda n: "<basic>open</basic>" in n.text)
        it.change(10)
        check(it.reach(), "the house")
    with lab.case("the first node is killed: changes are seen and houses are reached by the other"):
        it.nodes[0].kill()
        until("the edge to see it", lambda: not any(it.edges[0].registrars()), 30, 0.5)
        it.change(45)
        check(it.reach(), "the house")
    with lab.case("it comes back and learns all bindings from the other"):
        it.nodes[0].begin()
        until("it to know", lambda: len(set(it.bindings())) == 1 and it.bindings()[0] >= REGISTRATIONS, 30, 0.5)
        until("its edge to reach it", it.edges[0].ready, 30, 0.5)
        it.change(15)
