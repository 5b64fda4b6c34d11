"""A serial cable of two pseudo terminals, and a relay board of the LCUS type at its far end."""

import contextlib
import errno
import os
import select
import threading
import time
import tty

from lab import until


class Cable:
    """socat joins two terminals; `ours` is a path that stays the same, as udev makes one, for the gateway."""

    def __init__(self, lab, name="bus"):
        lab.need("socat")
        self.lab, self.name = lab, name
        self.ours, self.theirs = lab.folder / f"{name}-ours", lab.folder / f"{name}-theirs"
        self.program = None
        self.plug()

    def plug(self):
        ends = [f"pty,raw,echo=0,link={end}" for end in (self.ours, self.theirs)]
        self.program = self.lab.start(f"socat-{self.name}", ["socat", *ends])
        until("both ends of the cable", lambda: self.ours.exists() and self.theirs.exists(), 10)

    def pull(self):
        """The adapter goes away without a word: the terminals hang up, and the path is gone."""
        self.program.kill()
        for end in (self.ours, self.theirs):
            end.unlink(missing_ok=True)


class Board:
    """Relays that are switched by `A0 relay state sum` and told when asked by `FF`. It keeps its power when the cable is pulled."""

    def __init__(self, path, relays=2):
        self.path, self.relays = path, [False] * relays
        self.commands, self.asked, self.mute = [], 0, False
        self.ended, self.file, self.lock = threading.Event(), None, threading.Lock()
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def orders(self, since=0.0):
        return [order for at, *order in self.commands if at >= since]

    def say(self, raw):
        """Sends bytes that nobody asked for; waits where the line is full."""
        for start in range(0, len(raw), 512):
            rest = raw[start:start + 512]
            while rest and not self.ended.is_set():
                with self.lock:
                    try:
                        rest = rest[os.write(self.file, rest):]
                        continue
                    except BlockingIOError:
                        pass
                time.sleep(0.002)

    def _live(self):
        while not self.ended.is_set():
            try:
                self._session()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EIO, errno.ENXIO, errno.EBADF):
                    raise
            finally:
                if self.file is not None:
                    os.close(self.file)
                self.file = None
            self.ended.wait(0.1)

    def _session(self):
        self.file = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.file)
        held = b""
        while not self.ended.is_set():
            if not select.select([self.file], [], [], 0.2)[0]:
                held = b""
                continue
            chunk = os.read(self.file, 256)
            if not chunk:
                return
            held = self._hear(held + chunk)

    def _hear(self, held):
        while held:
            if held[0] == 0xFF:
                self.asked += 1
                held = held[1:]
                self._tell()
            elif held[0] == 0xA0 and len(held) >= 4:
                _, relay, state, total = held[:4]
                if total == (0xA0 + relay + state) & 0xFF and 1 <= relay <= len(self.relays):
                    self.commands.append((time.time(), relay, state))
                    if not self.mute:
                        self.relays[relay - 1] = bool(state)
                held = held[4:]
            elif held[0] == 0xA0:
                return held
            else:
                held = held[1:]
        return held

    def _tell(self):
        if self.mute:
            return
        lines = "".join(f"CH{n}: {'ON ' if on else 'OFF'}\r\n" for n, on in enumerate(self.relays, 1))
        with self.lock, contextlib.suppress(BlockingIOError):
            os.write(self.file, lines.encode())

    def close(self):
        self.ended.set()
        self.thread.join(3)


class Meter:
    """A meter with an optical port (IEC 62056-21, mode C): sign-on, identification, acknowledge, block with its check character.

    `damaged` blocks come with a wrong check character first.
    """

    def __init__(self, path, values):
        self.path, self.values, self.damaged, self.told = path, values, 0, []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def _block(self):
        data = "".join(f"{code}({value})\r\n" for code, value in self.values.items()).encode() + b"!\r\n\x03"
        check = 0
        for byte in data:
            check ^= byte
        if self.damaged:
            self.damaged -= 1
            check ^= 1
        return b"\x02" + data + bytes([check])

    def _live(self):
        while not self.ended.is_set():
            with contextlib.suppress(OSError):
                file = os.open(self.path, os.O_RDWR | os.O_NOCTTY)
                try:
                    tty.setraw(file)
                    self._talk(file)
                finally:
                    os.close(file)
            self.ended.wait(0.1)

    def _talk(self, file):
        held = b""
        while not self.ended.is_set():
            if not select.select([file], [], [], 0.2)[0]:
                continue
            chunk = os.read(file, 64)
            if not chunk:
                return
            os.write(file, chunk)       # the head echoes
            held += chunk
            answers = {b"/?!\r\n": b"/TST5METER\r\n", b"\x06050\r\n": None, b"\x15": None}
            for word, answer in answers.items():
                if held.endswith(word):
                    self.told.append(word)
                    held = b""
                    time.sleep(0.2)
                    os.write(file, answer or self._block())

    def close(self):
        self.ended.set()
        self.thread.join(3)
