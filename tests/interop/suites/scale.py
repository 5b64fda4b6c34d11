"""Many houses at one provider, as docs/scale.md has it: Kamailio with provider.cfg and a database, two edges, each house a whole
gateway with an address and a published plug. What dies, and what the watchers see afterwards."""

import time

import town
from certs import Authority
from lab import PASSWORD, check, equal, until
from peers import Postgres
from suites.edge import Edge

HOUSES = 50
REGISTRATIONS = HOUSES * 2 * 2      # the house and its plug, over two flows
WATCHED = ["h00000-1", "h00007-1", "h00049-1"]
PIDF = "application/pidf+xml"


class Town:
    def __init__(self, lab):
        self.lab = lab
        certificate = Authority(lab).sign("edge", "DNS:edge.example.com")
        self.database = Postgres(lab, "127.0.0.8")
        users, self.plugs = town.names(HOUSES, 1)
        town.tables(self.database, [*users, "walter", "mallory"], self.plugs, "walter")
        self.kamailio = town.provider(lab, self.database, "127.0.0.2")
        self.edges = [Edge(lab, "edge1", self.kamailio, "127.0.0.3", "127.0.0.4", ["127.0.0.5", "127.0.0.6"], certificate),
                      Edge(lab, "edge2", self.kamailio, "127.0.0.5", "127.0.0.6", ["127.0.0.3", "127.0.0.4"], certificate)]
        at = [f"{transport}:{edge.tcp[0]}:{edge.tcp[1]}" for transport, edge in zip(("tcp", "udp"), self.edges)]
        self.houses = town.Houses(lab, HOUSES, 1, at, expires=600, more=["--publish"])
        self.phone = lab.phone(self.edges[0].tcp, "walter", PASSWORD, town.DOMAIN, transport="tcp")
        self.watches, self.on = {}, False

    def stands(self, timeout, what="all houses to stand"):
        self.until(what, lambda line: line.get("registered") == REGISTRATIONS and line.get("published") == HOUSES, timeout)

    def until(self, what, condition, timeout):
        """The phone answers meanwhile."""
        def looked():
            self.phone.pump(0.2)
            return condition(self.houses.look())
        until(what, looked, timeout)

    def rows(self, table):
        return int(self.database.ask(f"SELECT count(*) FROM {table}"))

    def bindings(self):
        """Of houses, not of phones."""
        return self.rows("location WHERE username LIKE 'h0%'")

    def change(self, within=1, timeout=15):
        """Every plug is switched; every watcher sees it, and nothing else afterwards."""
        since = {user: len(watch.notifies) for user, watch in self.watches.items()}
        self.houses.say(f"change {within}")
        self.on = not self.on
        for user, watch in self.watches.items():
            watch.wait(f"{user} to be {self.word()}", lambda n: self.word() in n.text, since[user], timeout)
        self.phone.pump(within + 1)
        for user, watch in self.watches.items():
            check(self.word() in watch.notifies[-1].text, f"{user} at last: {watch.notifies[-1].text}")
    def word(self):
        return ">on<" if self.on else ">off<"


def run(lab):
    lab.need("kamailio", "openssl")
    it = Town(lab)
    together(it)
    watchers(it)
    deaths(it)


def together(it):
    with it.lab.case(f"{HOUSES} houses register over two edges and publish their plugs"):
        it.stands(25)
        equal(it.bindings(), REGISTRATIONS, "bindings in the database")
        equal(it.rows("presentity"), HOUSES, "documents in the database")
    with it.lab.case("they did not come all at once"):
        counts = [line["sent"].get("REGISTER", 0) for line in it.houses.lines if "t" in line]
        check(max(counts) < sum(counts) * 0.6, f"REGISTERs by second: {counts}")


def watchers(it):
    with it.lab.case("a person who may watch sees the plugs, through an edge and from the provider alone"):
        equal(it.phone.register().status, 200, "REGISTER")
        for user in WATCHED:
            watch = it.phone.subscribe(f"sip:{user}@{town.DOMAIN}", "presence", PIDF, 600)
            check(watch.answer.status in (200, 202), watch.answer.start)
            watch.wait(user, lambda n: "<basic>open</basic>" in n.text and ">off<" in n.text)
            it.watches[user] = watch
    with it.lab.case("a person who may not is told nothing"):
        stranger = it.lab.phone(it.edges[1].tcp, "mallory", PASSWORD, town.DOMAIN, transport="tcp")
        equal(stranger.register().status, 200, "REGISTER")
        watch = stranger.subscribe(f"sip:{WATCHED[0]}@{town.DOMAIN}", "presence", PIDF, 600)
        check(watch.answer.status in (200, 202, 403), watch.answer.start)
        stranger.pump(1)
        check(all("basic" not in notify.text for notify in watch.notifies), "a document for a stranger")
    # Proves: PB-3, PB-5
    with it.lab.case("every plug changes: one PUBLISH for each, and the watchers see it"):
        began = time.time()
        it.change()
        # A document that was published just now waits for its five seconds.
        it.until("the last of them", lambda _: it.houses.sent("PUBLISH", it.houses.since(began)) >= HOUSES, 30)
        it.phone.pump(1.5)
        # One that is asked for its login again, as its flow is another by now, is the same document.
        seconds = [(line["sent"].get("PUBLISH", 0), line["got"].get("407", 0)) for line in it.houses.since(began)]
        equal(sum(sent - again for sent, again in seconds), HOUSES, f"PUBLISHes of {seconds}")


def deaths(it):
    with it.lab.case("Kamailio is killed and forgets nothing: houses are reached and changes are seen at once"):
        it.kamailio.kill()
        it.kamailio.begin()
        until("the edges to reach it", lambda: all(edge.ready() for edge in it.edges), 30, 0.5)
        equal(it.bindings(), REGISTRATIONS, "bindings in the database")
        answer = it.phone.message(it.phone.uri(WATCHED[0]), "status")
        equal(answer.status, 401, "the house itself asks who that is")
        before = it.rows("presentity")
        it.change(timeout=40)
        equal((before, it.rows("presentity")), (HOUSES, HOUSES), "documents, of which none was published twice")
    # Proves: PB-6
    with it.lab.case("the presence server forgets every document: each is published anew"):
        it.kamailio.kill()
        it.database.run("DELETE FROM presentity")
        it.kamailio.begin()
        until("the edges to reach it", lambda: all(edge.ready() for edge in it.edges), 30, 0.5)
        it.change(timeout=40)
        equal(it.rows("presentity"), HOUSES, "documents in the database")
    with it.lab.case("the power of all houses goes and comes back: they stand again, and what the watchers see is new"):
        it.houses.say("power")
        it.until("some houses to be gone", lambda line: line["registered"] < REGISTRATIONS, 5)
        it.stands(40)
        it.change()
    with it.lab.case("an edge dies: within seconds nobody waits for it any more"):
        # A house's first flow may be by either; Kamailio gives a request that is not answered 5 s.
        it.edges[1].program.kill()
        it.phone.pump(6)
        for nth in range(0, HOUSES, 5):
            began = time.time()
            equal(it.phone.message(it.phone.uri(f"h{nth:05}"), "status").status, 401, "the house asks who that is")
            check(time.time() - began < 4, f"house {nth} answered after {time.time() - began:.1f} s")
