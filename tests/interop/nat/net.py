"""A home and a watcher behind a router each, and a provider between them: network namespaces, all of it our own.

    home 192.168.77.10 ── r1 ── 203.0.113.0/24 ── prov 198.51.100.10 ── 203.0.114.0/24 ── r2 ── far 192.168.88.10

A router translates addresses, forgets a flow over UDP that is silent for 30 s, and lets nothing in that it does not know.
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


class Net:
    def __init__(self, name):
        self.names = {part: f"{PREFIX}{os.getpid()}-{name}-{part}" for part in ("home", "r1", "prov", "r2", "far")}
        self.address, self.own = 2, HOME
        for part in self.names.values():
            run("ip", "netns", "add", part)
            run("ip", "-n", part, "link", "set", "lo", "up")
        self._line("home", HOME, "r1", "192.168.77.1", "lan")
        self._line("r1", "203.0.113.2", "prov", "203.0.113.1", "wan")
        self._line("r2", "203.0.114.2", "prov", "203.0.114.1", "wan", at="wan2")
        self._line("far", FAR, "r2", "192.168.88.1", "lan")
        for address in (PROVIDER, *(address for edge in EDGES for address in edge)):
            run("ip", "-n", self.names["prov"], "addr", "add", f"{address}/32", "dev", "lo")
        for part, way in (("home", "192.168.77.1"), ("r1", "203.0.113.1"), ("r2", "203.0.114.1"), ("far", "192.168.88.1")):
            run("ip", "-n", self.names[part], "route", "add", "default", "via", way)
        for part in ("r1", "r2"):
            self.inside(part, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.netfilter.nf_conntrack_tcp_loose=0",
                        f"net.netfilter.nf_conntrack_udp_timeout={UDP_IDLE}", f"net.netfilter.nf_conntrack_udp_timeout_stream={UDP_IDLE}")
            self.inside(part, "nft", "-f", "-", text=RULES.format(wan="wan"))

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

    # -- what goes wrong ---------------------------------------------------------------------------------------

    def restart_router(self):
        """It forgets what it translated, and takes other ports. A real one takes minutes to come back: `cable` does that."""
        self.inside("r1", "nft", "-f", "-", text="flush chain ip nat post\nadd rule ip nat post oifname wan masquerade fully-random\n")
        self.inside("r1", "conntrack", "-F")

    def readdress(self):
        """Another public address; what was translated to the old one is forgotten."""
        old, self.address = self.address, self.address + 1
        self._replace("r1", "wan", f"203.0.113.{old}", f"203.0.113.{self.address}", "203.0.113.1")
        self.inside("r1", "conntrack", "-F")

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
