"""A line between two programs that can be made worse while they talk: lost, late, doubled, overtaken and damaged packets, silence, resets.

One thread moves datagrams and the bytes of connections. A seed decides what happens to which packet.
"""

import contextlib
import heapq
import random
import selectors
import socket
import struct
import threading
import time

from lab import free_port


class Relay:
    """Listens on loopback, UDP and TCP, and passes everything on to `server`. The attributes may be changed at any time:

    `loss`, `double` and `overtaken` are shares of the datagrams, `damaged` of those to the server; `late` is seconds, and `silent` lets nothing
    through and closes nothing.
    """

    def __init__(self, server, seed=1):
        self.server, self.random = server, random.Random(seed)
        self.loss = self.double = self.overtaken = self.damaged = self.late = 0.0
        self.silent = self.held = False
        self.lost = self.passed = self.opened = 0
        self.address = ("127.0.0.1", free_port())
        self.ends, self.partner, self.due, self.nth = {}, {}, [], 0
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.select = selectors.DefaultSelector()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(self.address)
        self.tcp = socket.create_server(self.address, backlog=32)
        self.select.register(self.udp, selectors.EVENT_READ, self._from_client)
        self.select.register(self.tcp, selectors.EVENT_READ, self._accept)
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def well(self):
        """From now on nothing is wrong."""
        self.loss = self.double = self.overtaken = self.damaged = self.late = 0.0
        self.silent = False

    def reset(self):
        """Every connection ends with a reset; how many there were."""
        with self.lock:
            streams = list(self.partner)
            for stream in streams:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for stream in streams:
                self._drop(stream)
        return len(streams) // 2

    def _live(self):
        while not self.ended.is_set():
            wait = min(0.05, max(0.0, self.due[0][0] - time.monotonic())) if self.due else 0.05
            ready = self.select.select(wait)
            with self.lock:
                for key, _ in ready:
                    with contextlib.suppress(OSError):
                        if key.fileobj.fileno() >= 0:
                            key.data(key.fileobj)
                while self.due and self.due[0][0] <= time.monotonic():
                    with contextlib.suppress(OSError):
                        heapq.heappop(self.due)[2]()

    def _pass(self, raw, send, damaged=0.0):
        if self.silent or self.random.random() < self.loss:
            self.lost += 1
            return
        for _ in range(2 if self.random.random() < self.double else 1):
            late = self.late + (0.05 + self.random.random() * max(0.1, self.late) if self.random.random() < self.overtaken else 0)
            whole = bytearray(raw)
            if whole and self.random.random() < damaged:
                whole[self.random.randrange(len(whole))] ^= 1 << self.random.randrange(8)
            self.nth, self.passed = self.nth + 1, self.passed + 1
            heapq.heappush(self.due, (time.monotonic() + late, self.nth, lambda whole=bytes(whole): send(whole)))

    def _from_client(self, _):
        raw, client = self.udp.recvfrom(65535)
        if client not in self.ends:
            end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.connect(self.server)
            self.ends[client] = end
            back = lambda end, client=client: self._pass(end.recv(65535), lambda raw: self.udp.sendto(raw, client))
            self.select.register(end, selectors.EVENT_READ, back)
        end = self.ends[client]
        self._pass(raw, end.send, self.damaged)

    def _accept(self, _):
        client, _ = self.tcp.accept()
        try:
            server = socket.create_connection(self.server, 1)
        except OSError:
            client.close()
            return
        self.opened += 1
        for one, other in ((client, server), (server, client)):
            self.partner[one] = other
            self.select.register(one, selectors.EVENT_READ, self._stream)

    def _stream(self, one):
        if self.silent:
            # What is not read stays where it is: the connection is open, and dead.
            self.held = True
            time.sleep(0.005)
            return
        try:
            raw = one.recv(65535)
        except OSError:
            raw = b""
        if not raw:
            return self._drop(one)
        self.partner[one].sendall(raw)

    def _drop(self, one):
        other = self.partner.pop(one, None)
        if other is None:
            return
        for stream in (one, other):
            self.partner.pop(stream, None)
            with contextlib.suppress(KeyError, ValueError):
                self.select.unregister(stream)
            stream.close()

    def close(self):
        self.ended.set()
        self.thread.join(3)
        for key in list(self.select.get_map().values()):
            key.fileobj.close()
