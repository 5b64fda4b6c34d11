"""A Tasmota plug over MQTT 3.1.1, played without a library: it answers commands and tells its last will."""

import socket
import struct
import threading
import time


def _string(text):
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("!H", len(raw)) + raw


def _packet(kind, body):
    length, size = b"", len(body)
    while True:
        size, digit = divmod(size, 128)
        length += bytes([digit | (128 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


class Plug:
    """Runs in a thread of its own and comes back when the broker does. `commands` is what it was told: (time, topic, text)."""

    def __init__(self, broker, topic):
        self.broker, self.topic = broker, topic
        self.on, self.mute, self.commands, self.online = False, False, [], threading.Event()
        self.ended, self.socket = threading.Event(), None
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def orders(self, since=0.0):
        """Commands that want to change the relay."""
        return [(at, text) for at, topic, text in self.commands if topic.endswith("/POWER") and text and at >= since]

    def press(self):
        """Somebody presses the button on the plug."""
        self.on = not self.on
        self._tell_power()

    def _live(self):
        while not self.ended.is_set():
            try:
                self._session()
            except OSError:
                pass
            self.online.clear()
            self.ended.wait(0.3)

    def _session(self):
        self.socket = socket.create_connection(self.broker, 2)
        will = _string(f"tele/{self.topic}/LWT") + _string("Offline")
        self._send(0x10, _string("MQTT") + bytes([4, 0x02 | 0x04 | 0x20]) + struct.pack("!H", 30) + _string(f"plug-{self.topic}") + will)
        self._read()
        self._send(0x82, b"\0\1" + _string(f"cmnd/{self.topic}/#") + b"\0")
        self._publish(f"tele/{self.topic}/LWT", "Online", retain=True)
        self._tell_power()
        self.online.set()
        while not self.ended.is_set():
            try:
                kind, body = self._read()
            except TimeoutError:
                self._send(0xC0, b"")
                continue
            if kind >> 4 == 3:
                size = struct.unpack("!H", body[:2])[0]
                self._command(body[2:2 + size].decode(), body[2 + size:].decode("utf-8", "replace"))

    def _command(self, topic, text):
        self.commands.append((time.time(), topic, text))
        if self.mute or not topic.endswith(("/POWER", "/STATUS")):
            return
        if topic.endswith("/STATUS"):
            self._publish(f"stat/{self.topic}/STATUS8", '{"StatusSNS":{"ENERGY":{"Total":41.872,"Power":%d}}}' % (63 if self.on else 0))
            return
        wanted = text.strip().upper()
        self.on = {"ON": True, "1": True, "OFF": False, "0": False, "TOGGLE": not self.on}.get(wanted, self.on)
        self._tell_power()

    def _tell_power(self):
        self._publish(f"stat/{self.topic}/POWER", "ON" if self.on else "OFF")

    def _publish(self, topic, text, retain=False):
        self._send(0x31 if retain else 0x30, _string(topic) + text.encode())

    def _send(self, kind, body):
        with self.lock:
            self.socket.sendall(_packet(kind, body))

    def _read(self):
        self.socket.settimeout(10)
        kind, = self._exactly(1)
        self.socket.settimeout(5)
        size, shift = 0, 0
        while True:
            digit, = self._exactly(1)
            size |= (digit & 127) << shift
            shift += 7
            if not digit & 128:
                return kind, self._exactly(size)

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            chunk = self.socket.recv(count - len(data))
            if not chunk:
                raise ConnectionError("the broker hung up")
            data += chunk
        return data

    def close(self):
        self.ended.set()
        if self.socket:
            self.socket.close()
        self.thread.join(3)
