"""Reads what was captured at the provider: keep-alives and their pace, and ladders of who sent what."""

import re
import subprocess

from net import EDGES, PROVIDER, SIX

MAGIC = bytes.fromhex("2112a442")
FIELDS = ("frame.time_epoch", "frame.interface_name", "ip.src", "ip.dst", "udp.srcport", "udp.dstport", "tcp.srcport", "tcp.dstport",
          "tcp.flags", "udp.payload", "tcp.payload", "ipv6.src", "ipv6.dst")
WIDE = 9
# What the provider sees of the house: its public address, and its prefixes.
HOUSE = ("203.0.113.", "2001:db8:77:")


class Packet:
    def __init__(self, line):
        at, self.link, source, target, *ports, flags, udp, tcp, source_six, target_six = line.split("\t")
        self.source, self.target = source or source_six, target or target_six
        self.at, self.over = float(at), "udp" if ports[0] else "tcp"
        self.ports = tuple(int(port) for port in ports if port)
        self.flags = int(flags, 16) if flags else 0
        self.bytes = bytes.fromhex((udp or tcp).replace(":", ""))

    def who(self):
        """Whose flow it belongs to, in this direction."""
        return self.source, self.target, self.over, self.ports


def read(capture, since=0.0, until=1e12):
    """The packets of a time, without what TCP repeated. tshark writes with a delay of a second or so."""
    wanted = f"(udp or tcp) and frame.time_epoch >= {since:.3f} and frame.time_epoch <= {until:.3f} and not tcp.analysis.retransmission"
    argv = ["tshark", "-r", str(capture), "-Y", wanted, "-T", "fields", *(word for name in FIELDS for word in ("-e", name))]
    # A capture that is still written to ends in half a packet, which tshark complains of.
    text = subprocess.run(argv, capture_output=True, text=True, timeout=120).stdout
    whole = [line for line in text.splitlines() if line.count("\t") == len(FIELDS) - 1]
    # An error of ICMP names the addresses of the packet that it is about as well.
    packets = [Packet(line) for line in whole if "," not in line]
    return [packet for packet in packets if packet.source]


# -- keep-alives -----------------------------------------------------------------------------------------------


def is_ping(packet, over):
    """Whether it is the keep-alive of a client over that transport (RFC 5626 §4.4, RFC 7118 §6)."""
    data = packet.bytes
    if over == "udp":
        return packet.over == "udp" and len(data) == 20 and data[:2] == b"\0\1" and data[4:8] == MAGIC
    if over == "ws":
        # A ping, masked and empty.
        return packet.over == "tcp" and len(data) == 6 and data[:2] == b"\x89\x80"
    return packet.over == "tcp" and data == b"\r\n\r\n"


def pace(packets, over):
    """Seconds between two keep-alives of one flow; a STUN request that was sent again counts once."""
    flows, known = {}, set()
    for packet in packets:
        if packet.link != "wan1" or not is_ping(packet, over) or not is_house(packet):
            continue
        if over == "udp" and packet.bytes in known:
            continue
        known.add(packet.bytes)
        flows.setdefault(packet.who(), []).append(packet.at)
    return sorted(round(b - a, 1) for times in flows.values() for a, b in zip(times, times[1:]))


def silences(packets):
    """Seconds of silence over QUIC between two packets of the house; what comes in a burst is one."""
    times = [packet.at for packet in packets if is_quic(packet) and packet.link == "wan1" and is_house(packet)]
    return sorted(round(b - a, 1) for a, b in zip(times, times[1:]) if b - a > 1)


def is_house(packet):
    return packet.source.startswith(HOUSE)


def headers(packets, name):
    """The values of a header field in what the house said as plain text; each as often as it was said."""
    found = re.compile(rf"(?im)^{name}:\s*(.*?)\r$")
    texts = (packet.bytes.decode("utf-8", "replace") for packet in packets if packet.link == "wan1" and is_house(packet))
    return [value for text in texts for value in found.findall(text)]


def is_quic(packet):
    return packet.over == "udp" and 5061 in packet.ports


def next_from_elsewhere(packets, at):
    """When the house's first packet over QUIC came from another address or port than before `at`."""
    ours = [packet for packet in packets if is_quic(packet) and packet.link == "wan1" and is_house(packet)]
    before = {packet.who() for packet in ours if packet.at < at}
    return min((packet.at for packet in ours if packet.at >= at and packet.who() not in before), default=None)


def registers(packets):
    """How many REGISTERs the registrar's side saw."""
    return sum(1 for packet in packets if packet.bytes.startswith(b"REGISTER "))


# -- ladders ---------------------------------------------------------------------------------------------------


def actor(address, near):
    """Who has an address. Edges are two hosts for one actor."""
    for nth, edge in enumerate(EDGES):
        if address in edge:
            return f"edge{nth + 1}" if near > 1 else "edge"
    if address in (PROVIDER, SIX):
        return "kamailio"
    return "house" if address.startswith(HOUSE) else "watcher" if address.startswith("203.0.114.") else address


def said(packet):
    """What a packet says, in a few words; `None` for what only acknowledges."""
    data = packet.bytes
    if packet.over == "tcp" and packet.flags & 0x12 == 0x02:
        return "connects by TCP"
    if packet.over == "tcp" and packet.flags & 0x04:
        return "TCP reset"
    if not data:
        return None
    if data[4:8] == MAGIC:
        return "STUN Binding request" if data[0] == 0 else "STUN Binding response"
    if not data.strip(b"\r\n"):
        return "CRLF CRLF" if len(data) == 4 else "CRLF"
    if is_quic(packet):
        return "QUIC handshake" if data[0] & 0x80 else "QUIC"
    return sip(data)


def sip(data):
    head = data.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    start, _, rest = head.partition("\r\n")
    method = re.search(r"(?im)^CSeq:\s*\d+\s+(\w+)", rest)
    if not method:
        return None
    flow = re.search(r"reg-id=(\d+)", rest)
    if start.startswith("SIP/2.0 "):
        return f"{start[8:]} ({method.group(1)})"
    return method.group(1) + (f" (reg-id {flow.group(1)})" if flow and method.group(1) == "REGISTER" else "")


def draw(packets, began, notes=(), edges=0, inner=False, leave=("OPTIONS",), most=40):
    """A ladder: seconds since `began`, who, what. `notes` are (time, words); `inner`: with what edge and registrar say to each other; `leave`: methods that are left out."""
    rows = [(at, "", f"· {words}") for at, words in notes]
    house = None
    for packet in packets:
        one, other = actor(packet.source, edges), actor(packet.target, edges)
        if packet.link == "lo" and one == other == "kamailio" and edges == 1:
            # A connection within one machine may have one address at both ends.
            one, other = ("kamailio" if port == 5060 else "edge" for port in packet.ports)
        if one == other or (packet.link == "lo" and not inner) or (packet.link == "lo" and "kamailio" not in (one, other)):
            continue
        words = said(packet)
        if not words or any(method in words for method in leave) or ("watcher" in (one, other) and "CRLF" in words):
            continue
        if one == "house" and packet.source != house:
            if house:
                rows.append((packet.at, "", f"· house has the address {packet.source} now"))
            house = packet.source
        if words == "QUIC":
            one, other, mutual = *sorted((one, other), key=lambda who: RANK.get(who.rstrip("12"), 9)), True
        else:
            mutual = False
        left, right, arrow = (other, one, "◀──") if RANK.get(other.rstrip("12"), 9) < RANK.get(one.rstrip("12"), 9) else (one, other, "──▶")
        arrow = "◀─▶" if mutual else arrow
        rows.append((packet.at, f"{left:>{WIDE}} {arrow} {right:<{WIDE}}", words))
    rows.sort(key=lambda row: row[0])
    return "\n".join(_folded(rows, began, most)) + "\n"


RANK = {"house": 0, "edge": 1, "kamailio": 2, "watcher": 3}


def _folded(rows, began, most):
    """What repeats is one line."""
    lines, last, count = [], None, 0
    for at, lane, words in rows:
        if (lane, words) == last and lane:
            count += 1
            lines[-1] = f"{lines[-1].split(' × ')[0]} × {count}"
            continue
        last, count = (lane, words), 1
        lines.append(f"{at - began:7.2f} s  {lane}  {words}" if lane else f"{at - began:7.2f} s  {words}")
    return lines if len(lines) <= most else [*lines[:most], "            …"]
