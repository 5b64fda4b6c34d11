"""A home and a watcher behind a router each, and a provider between them: network namespaces, all of it our own.

    home 192.168.77.10 ── r1 ── 203.0.113.0/24 ── prov 198.51.100.10 ── 203.0.114.0/24 ── r2 ── far 192.168.88.10
         2001:db8:77:1::10 ──── 2001:db8:203::/64 ──── 2001:db8:100::10

A router translates addresses of IPv4, forgets a flow over UDP that is silent for 30 s, and lets nothing in that it does not know. Of IPv6 it
translates nothing, and lets nothing in either. With `shared`, both routers are behind a third one, that of their provider:

    home ── r1 ── 100.64.0.0/24 ─┐
                                 cgn ── 203.0.113.0/24 ── prov
    far ─── r2 ── 100.64.1.0/24 ─┘

It forgets sooner (20 s), takes any port, and lets nobody reach his neighbour by their address outside.
"""

import contextlib
import ctypes
import os
import subprocess

PROVIDER = "198.51.100.10"
EDGES = (("198.51.100.11", "198.51.100.21"), ("198.51.100.12", "198.51.100.22"))    # what clients see, and what the registrar sees
HOME, FAR = "192.168.77.10", "192.168.88.10"
CLONE_NEWNET = 0x40000000
UDP_IDLE = 30
UDP_IDLE_SHARED = 20
SIX = "2001:db8:100::10"        # the provider
PREFIX_SIX = "2001:db8:77:{}::"  # of the house, which changes


def run(*argv, text=None):
    done = subprocess.run([str(a) for a in argv], input=text, capture_output=True, text=True, timeout=20,
                          env={**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"})
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


def permitted():
    """Why there can be no such network here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"slprobe{os.getpid()}"
    try:
        run("ip", "netns", "add", probe)
        try:
            run("ip", "netns", "exec", probe, "nft", "-f", "-", text=RULES.format(wan="lo"))
            run("ip", "netns", "exec", probe, "sysctl", "-qw", f"net.netfilter.nf_conntrack_udp_timeout={UDP_IDLE}")
        finally:
            run("ip", "netns", "del", probe)
    except (RuntimeError, OSError) as why:
        return f"no network namespaces here: {why}"
    return None


RULES = """
table ip nat {{
 chain post {{ type nat hook postrouting priority 100;
  oifname {wan} masquerade
 }}
}}
table ip filter {{
 chain lossy {{ }}
 chain forw {{ type filter hook forward priority 0; policy accept;
  jump lossy
  ct state invalid drop
  iifname {wan} ct state new drop
 }}
 chain inp {{ type filter hook input priority 0; policy accept;
  iifname {wan} ct state {{ new, invalid }} ip protocol {{ udp, tcp }} drop
 }}
}}
"""


# Of IPv6 there is only the wall. `dead`: what is sent over it is lost without a word.
RULES_SIX = """
table ip6 filter {
 chain dead { }
 chain forw { type filter hook forward priority 0; policy accept;
  jump dead
  ct state invalid drop
  iifname wan ct state new drop
 }
}
"""


class Net:
    """`shared`: behind a third router; `six`: with IPv6 as well; `four`: the house has IPv4."""

    def __init__(self, name, shared=False, six=False, four=True):
        self.shared, self.six, self.four = shared, six, four
        parts = ("home", "r1", "prov", "r2", "far") + (("cgn",) if shared else ())
        self.names = {part: f"{PREFIX}{os.getpid()}-{name}-{part}" for part in parts}
        self.address, self.own, self.prefix, self.private = 2, HOME, 1, None
        for part in self.names.values():
            run("ip", "netns", "add", part)
            run("ip", "-n", part, "link", "set", "lo", "up")
        self._line("home", HOME, "r1", "192.168.77.1", "lan")
        self._line("far", FAR, "r2", "192.168.88.1", "lan")
        self._outer() if shared else self._street()
        for address in (PROVIDER, *(address for edge in EDGES for address in edge)):
            run("ip", "-n", self.names["prov"], "addr", "add", f"{address}/32", "dev", "lo")
        for part, way in (("home", "192.168.77.1"), ("far", "192.168.88.1")):
            self._default(part, way)
        for part in ("r1", "r2"):
            self._router(part, UDP_IDLE)
        if not four:
            self.lose_four()
        if six:
            self._with_six()

    def _street(self):
        self._line("r1", "203.0.113.2", "prov", "203.0.113.1", "wan")
        self._line("r2", "203.0.114.2", "prov", "203.0.114.1", "wan", at="wan2")
        self._default("r1", "203.0.113.1")
        self._default("r2", "203.0.114.1")

    def _outer(self):
        """Both houses share one address outside."""
        self._line("r1", "100.64.0.2", "cgn", "100.64.0.1", "wan", at="lan1")
        self._line("r2", "100.64.1.2", "cgn", "100.64.1.1", "wan", at="lan2")
        self._line("cgn", "203.0.113.2", "prov", "203.0.113.1", "wan")
        self._default("r1", "100.64.0.1")
        self._default("r2", "100.64.1.1")
        self._default("cgn", "203.0.113.1")
        self._router("cgn", UDP_IDLE_SHARED)
        self._any_port()
        # No hairpin: a neighbour is not reached, neither by the address outside nor by that inside.
        self.inside("cgn", "nft", "add", "rule", "ip", "filter", "forw", "oifname", "!=", "wan", "iifname", "!=", "wan", "drop")

    def _router(self, part, idle):
        self.inside(part, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.netfilter.nf_conntrack_tcp_loose=0",
                    f"net.netfilter.nf_conntrack_udp_timeout={idle}", f"net.netfilter.nf_conntrack_udp_timeout_stream={idle}")
        self.inside(part, "nft", "-f", "-", text=RULES.format(wan="wan"))

    def _default(self, part, way):
        run("ip", "-n", self.names[part], "route", "replace", "default", "via", way)

    # -- IPv6 --------------------------------------------------------------------------------------------------

    def _with_six(self):
        for part in ("home", "r1", "prov"):
            self.inside(part, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        self.inside("r1", "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        self._address("home", "eth0", PREFIX_SIX.format(1) + "10/64")
        self._address("r1", "lan", "fe80::1/64")
        self._address("r1", "wan", "2001:db8:203::2/64")
        self._address("prov", "wan1", "2001:db8:203::1/64")
        self._address("prov", "lo", f"{SIX}/128")
        self.inside("home", "ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
        self.inside("r1", "ip", "-6", "route", "add", "default", "via", "2001:db8:203::1")
        self._lead(1)
        self.inside("r1", "nft", "-f", "-", text=RULES_SIX)

    def _address(self, part, link, address, *more):
        run("ip", "-n", self.names[part], "-6", "addr", "add", address, "dev", link, "nodad", *more)

    def _lead(self, prefix):
        """The provider leads a prefix to this house, and the house to its lan."""
        net = PREFIX_SIX.format(prefix) + "/64"
        self.inside("r1", "ip", "-6", "route", "replace", net, "dev", "lan")
        self.inside("prov", "ip", "-6", "route", "replace", net, "via", "2001:db8:203::2")

    def other_prefix(self):
        """The provider has another prefix for the house, as many have every day. The address of before is deprecated and stays; what is sent from it or to it is lost."""
        old, self.prefix = self.prefix, self.prefix + 1
        self.inside("prov", "ip", "-6", "route", "del", PREFIX_SIX.format(old) + "/64")
        self.inside("prov", "ip", "-6", "route", "add", "blackhole", PREFIX_SIX.format(old) + "/64")
        self._lead(self.prefix)
        self._address("home", "eth0", PREFIX_SIX.format(self.prefix) + "10/64")
        self.inside("home", "ip", "-6", "addr", "change", PREFIX_SIX.format(old) + "10/64", "dev", "eth0", "preferred_lft", "0", "valid_lft", "7200")
        self.inside("r1", "conntrack", "-F", "-f", "ipv6")

    def privacy(self):
        """Another temporary address comes first from now on (RFC 8981); the one of before goes on for what began there."""
        old, self.private = self.private or "10", f"{(int(self.private or '99') + 1)}"
        prefix = PREFIX_SIX.format(self.prefix)
        self._address("home", "eth0", f"{prefix}{self.private}/64")
        self.inside("home", "ip", "-6", "addr", "change", f"{prefix}{old}/64", "dev", "eth0", "preferred_lft", "0", "valid_lft", "7200")

    def expire_private(self):
        """The temporary address of before is at its end."""
        old = "10" if self.private == "100" else f"{int(self.private) - 1}"
        self.inside("home", "ip", "-6", "addr", "del", f"{PREFIX_SIX.format(self.prefix)}{old}/64", "dev", "eth0")

    def forget_six(self):
        """The router forgets what went out over it."""
        self.inside("r1", "conntrack", "-F", "-f", "ipv6")

    def six_leads(self, there):
        """Without a word: addresses and routes stay as they are, and nothing comes through."""
        self.inside("r1", "nft", "flush", "chain", "ip6", "filter", "dead")
        if not there:
            self.inside("r1", "nft", "add", "rule", "ip6", "filter", "dead", "drop")

    def four_leads(self, there):
        """The same of IPv4."""
        self.inside("r1", "nft", "flush", "chain", "ip", "filter", "lossy")
        if not there:
            self.inside("r1", "nft", "add", "rule", "ip", "filter", "lossy", "drop")

    def without_six(self):
        """The machine of the house has no address of IPv6 any more, and its router is there all the same: what is left is link-local."""
        for last in ("10", self.private):
            if last:
                run("ip", "-n", self.names["home"], "-6", "addr", "del", f"{PREFIX_SIX.format(self.prefix)}{last}/64", "dev", "eth0")

    def with_six(self):
        self._address("home", "eth0", PREFIX_SIX.format(self.prefix) + "10/64")

    def lose_four(self):
        """The house has no IPv4 at all."""
        run("ip", "-n", self.names["home"], "-4", "addr", "flush", "dev", "eth0")

    def _line(self, one, address, other, beyond, kind, at=None):
        near, far = self.names[one], self.names[other]
        first, second = ("eth0", "lan") if kind == "lan" else ("wan", at or "wan1")
        if one == "far":
            first, second = "eth0", "lan"
        run("ip", "link", "add", first, "netns", near, "type", "veth", "peer", "name", second, "netns", far)
        for part, link, ip in ((near, first, address), (far, second, beyond)):
            run("ip", "-n", part, "addr", "add", f"{ip}/24", "dev", link)
            run("ip", "-n", part, "link", "set", link, "up")

    def inside(self, part, *argv, text=None):
        return run("ip", "netns", "exec", self.names[part], *argv, text=text)

    @contextlib.contextmanager
    def within(self, part):
        """This thread is in a namespace meanwhile: the sockets, programs and threads that it makes stay there."""
        with open("/proc/thread-self/ns/net") as back, open(f"/run/netns/{self.names[part]}") as there:
            _enter(there)
            try:
                yield
            finally:
                _enter(back)

    @property
    def outer(self):
        """The router that the provider sees."""
        return "cgn" if self.shared else "r1"

    # -- what goes wrong ---------------------------------------------------------------------------------------

    def restart_router(self):
        """It forgets what it translated, and takes other ports. A real one takes minutes to come back: `cable` does that."""
        self._any_port()
        # Only of this house: that of the watcher may be the same.
        self.inside(self.outer, "conntrack", *(("-D", "-s", "100.64.0.2") if self.shared else ("-F",)))

    def _any_port(self):
        self.inside(self.outer, "nft", "-f", "-", text="flush chain ip nat post\nadd rule ip nat post oifname wan masquerade fully-random\n")

    def readdress(self):
        """Another public address; what was translated to the old one is forgotten."""
        old, self.address = self.address, self.address + 1
        self._replace(self.outer, "wan", f"203.0.113.{old}", f"203.0.113.{self.address}", "203.0.113.1")
        self.inside(self.outer, "conntrack", "-F")

    def move_in(self):
        """The gateway's own machine gets another address; the router stays as it is."""
        old, self.own = self.own, f"192.168.77.{int(self.own.split('.')[3]) + 1}"
        self._replace("home", "eth0", old, self.own, "192.168.77.1")

    def _replace(self, part, link, old, new, way):
        where = self.names[part]
        run("ip", "-n", where, "addr", "add", f"{new}/24", "dev", link)
        run("ip", "-n", where, "addr", "del", f"{old}/24", "dev", link)
        if f"{new}/" not in run("ip", "-n", where, "addr", "show", "dev", link):
            run("ip", "-n", where, "addr", "add", f"{new}/24", "dev", link)
        run("ip", "-n", where, "route", "replace", "default", "via", way)

    def cable(self, there):
        wan = self.names["r1"]
        run("ip", "-n", wan, "link", "set", "wan", "up" if there else "down")
        if there:
            run("ip", "-n", wan, "route", "replace", "default", "via", "203.0.113.1")

    def lose(self, percent):
        self.inside("r1", "nft", "flush", "chain", "ip", "filter", "lossy")
        if percent:
            self.inside("r1", "nft", "add", "rule", "ip", "filter", "lossy", "numgen", "random", "mod", "100", "<", percent, "drop")

    def close(self):
        there = run("ip", "netns", "list").split()
        for part in self.names.values():
            if part in there:
                run("ip", "netns", "del", part)


PREFIX = "slnat"


def sweep():
    """Takes away what runs that were killed have left behind."""
    for name in run("ip", "netns", "list").split():
        pid = name.removeprefix(PREFIX).split("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            run("ip", "netns", "del", name)


def _enter(file):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
