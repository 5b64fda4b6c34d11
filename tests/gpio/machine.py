"""The virtual machine: its memory disk, its start, and what it says."""

import json
import os
import pathlib
import re
import selectors
import shlex
import stat
import subprocess
import tempfile
import time

from kernel import CACHE, ROOT

HERE = pathlib.Path(__file__).resolve().parent
CASE = 90  # seconds for one case
WHOLE = 600  # seconds for all
BUILD = 1200


def build(suites):
    """The test programs of these names, and the gateway: {name: path}."""
    # The whole workspace, so that what `cargo test --workspace` built is not built again with other features.
    argv = ["cargo", "test", "--locked", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]
    for suite in suites:
        argv += ["--test", suite]
    said = subprocess.run(argv, cwd=ROOT, check=True, timeout=BUILD, stdout=subprocess.PIPE, text=True).stdout
    programs = {}
    for line in said.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            programs[message["target"]["name"]] = pathlib.Path(message["executable"])
    return {name: stripped(path) for name, path in programs.items() if name in (*suites, "sipliance")}


def stripped(program):
    """A copy without debug information, which would fill the memory of the machine."""
    copy = ROOT / "target/gpio" / program.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["strip", "--strip-debug", "-o", copy, program], check=True)
    return copy


def libraries(program):
    """The shared libraries of a program, with its loader."""
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return {pathlib.Path(path) for path in re.findall(r"(/\S+) \(0x", said)}


class Disk:
    """A memory disk in the `newc` form of cpio."""

    def __init__(self):
        self.parts, self.folders, self.count = [], set(), 0

    def _entry(self, name, mode, data=b""):
        self.count += 1
        name = name.encode() + b"\0"
        fields = [self.count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def folder(self, name):
        parent = str(pathlib.PurePosixPath(name).parent)
        if parent != ".":
            self.folder(parent)
        if name not in self.folders:
            self.folders.add(name)
            self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o755):
        name = name.lstrip("/")
        self.folder(str(pathlib.PurePosixPath(name).parent)) if "/" in name else None
        self._entry(name, stat.S_IFREG | mode, data)

    def write(self, path):
        self._entry("TRAILER!!!", 0)
        path.write_bytes(b"".join(self.parts))


class Case:
    """One case as the machine told it."""

    def __init__(self, name, began):
        self.name, self.began, self.seconds = name, began, 0.0
        self.output, self.why = [], "the machine ended in it"

    def end(self, code, now):
        self.seconds = now - self.began
        ran = any(line.startswith("test result: ok. 1 passed") for line in self.output)
        if code == 0 and ran:
            self.why = None
        elif code in (124, 137, 143):
            self.why = f"took longer than {CASE} s"
        else:
            self.why = next((line for line in self.output if "panicked at" in line), f"ended with {code}")

    @property
    def notes(self):
        """What a case wants to be read even when it passes."""
        # The first one stands behind what the test harness has written already.
        found = (re.match(r"(?:test \S+ \.\.\. )?note: (.*)", line) for line in self.output)
        return [note.group(1) for note in found if note]


class Machine:
    """A machine that boots, runs all cases and switches itself off."""

    def __init__(self, files, programs):
        self.files, self.programs = files, programs
        self.console = CACHE / "console.log"
        self.fault = None
        self.work = tempfile.TemporaryDirectory(dir=CACHE)
        self.qemu = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
            self.qemu.stdout.close()
        self.work.cleanup()

    def _disk(self, pattern):
        disk = Disk()
        for name in ("proc", "sys", "dev", "tmp"):
            disk.folder(name)
        disk.file("bin/busybox", (self.files / "busybox").read_bytes())
        for module in self.files.glob("*.ko"):
            disk.file(f"modules/{module.name}", module.read_bytes(), 0o644)
        shared = set()
        for name, path in self.programs.items():
            disk.file(f"tests/{name}", path.read_bytes())
            shared |= libraries(path)
        for path in sorted(shared):
            disk.file(str(path), path.read_bytes())
        suites = " ".join(name for name in self.programs if name != "sipliance")
        settings = {"SUITES": suites, "PATTERN": pattern, "LIMIT": str(CASE)}
        lines = [f"{key}={shlex.quote(value)}\n" for key, value in settings.items()]
        disk.file("settings", "".join([*lines, "export SIPLIANCE=/tests/sipliance\n"]).encode(), 0o644)
        disk.file("init", (HERE / "init").read_bytes())
        path = pathlib.Path(self.work.name) / "disk"
        disk.write(path)
        return path

    def _start(self, pattern):
        argv = ["qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-accel", "tcg", "-smp", "1", "-m", "768", "-nodefaults",
                "-no-reboot", "-display", "none", "-serial", f"file:{self.console}", "-serial", "stdio",
                "-kernel", self.files / "vmlinuz", "-initrd", self._disk(pattern),
                "-append", "console=ttyS0 panic=-1 quiet mitigations=off tsc=reliable"]
        self.qemu = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def _lines(self):
        """What comes out of the second serial line, until its end or until it took too long."""
        os.set_blocking(self.qemu.stdout.fileno(), False)
        waiting, until = selectors.DefaultSelector(), time.monotonic() + WHOLE
        waiting.register(self.qemu.stdout, selectors.EVENT_READ)
        rest = b""
        while time.monotonic() < until:
            if not waiting.select(1.0):
                continue
            piece = self.qemu.stdout.read(65536)
            if not piece:
                return
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.decode("utf-8", "replace").rstrip("\r") for line in whole)
        self.fault = f"it ran longer than {WHOLE} s"

    def cases(self, pattern):
        """The cases as they end."""
        self._start(pattern)
        case, done = None, False
        for line in self._lines():
            word, _, rest = line.partition(" ")
            if word == "@up":
                print(f"up after {rest.split()[0]} s, kernel {rest.split()[1]}", flush=True)
            elif word == "@fault":
                self.fault = rest
            elif word == "@case":
                name, began = rest.rsplit(" ", 1)
                case = Case(name, float(began))
            elif word == "@end" and case:
                code, now = rest.split()
                case.end(int(code), float(now))
                yield case
                case = None
            elif word == "@done":
                done = True
            elif case:
                case.output.append(line)
        if case:
            yield case
        if not done and not self.fault:
            self.fault = "it ended before its tests did"
