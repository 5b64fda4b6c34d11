"""What the suites share: cases and their report, programs and their end, free ports, the gateway under test."""

import contextlib
import ctypes
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import traceback

import ua as sip

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GATEWAY = os.environ.get("SIPLIANCE") or str(ROOT / "target" / "debug" / "sipliance")
WORK = ROOT / "target" / "interop"
USER, PASSWORD = "anna", "tulip-42-harbour"
PR_SET_PDEATHSIG = 1


class Skip(Exception):
    """A program that this suite needs is absent."""


class SuiteTimeout(BaseException):
    """The whole suite ran longer than it may."""


def check(condition, why):
    if not condition:
        raise AssertionError(why)


def equal(got, due, what):
    check(got == due, f"{what}: got {got!r}, due {due!r}")


def family(pid):
    """A program and what it started."""
    with contextlib.suppress(OSError):
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(one for child in children for one in family(int(child)))]
    return [pid]


def lost(programs):
    """For how long each thread of this runner and of the programs was ready to run while the machine had other things to do, in seconds."""
    waited = {}
    for pid in [os.getpid(), *(pid for program in programs for pid in family(program.pid))]:
        for task in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with contextlib.suppress(OSError, IndexError):
                waited[task] = int(pathlib.Path(task).read_text().split()[1]) / 1e9
    return waited


class Stopwatch:
    """Time as this runner and the programs had it: what they waited for a CPU is the machine's doing, not theirs.
    Where nothing else runs that is the time of the clock."""

    def __init__(self, *programs):
        self.programs = programs
        self.lost, self.began = lost(programs), time.monotonic()

    def clock(self):
        return time.monotonic() - self.began

    def passed(self):
        clock = self.clock()
        return max(0.0, clock - sum(now - self.lost.get(task, 0.0) for task, now in lost(self.programs).items()))

    def within(self, seconds, what):
        """That it did not take longer."""
        clock, passed = self.clock(), self.passed()
        check(passed < seconds, f"{what} took {passed:.1f} s ({clock:.1f} s on the clock)")


class Patience(Stopwatch):
    """A wait of so many seconds, in the time that the programs of the lab had; on the clock no more than four times that."""

    def __init__(self, timeout):
        super().__init__(*(program for program in Lab.programs_now if program.alive()))
        self.timeout = timeout

    def left(self):
        """How many more seconds; none or less when it is over."""
        left = self.timeout - self.clock()
        return left if left > 0 else min(self.timeout - self.passed(), 4 * self.timeout - self.clock())


def until(what, condition, timeout=10.0, step=0.05):
    """Waits for a condition that is not a SIP message; returns its value."""
    patience = Patience(timeout)
    while patience.left() > 0:
        value = condition()
        if value:
            return value
        time.sleep(step)
    raise sip.Timeout(f"waited {timeout:g} s for {what}")


def free_port(host="127.0.0.1"):
    """A port that is free for UDP and TCP on this address."""
    for _ in range(50):
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            port = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind((host, port))
                return port
    raise RuntimeError("no port is free for both UDP and TCP")


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Program:
    """A child process in its own group; its output goes to a file that stays when the suite fails."""

    def __init__(self, name, argv, log, env=None, cwd=None, stdin=subprocess.DEVNULL):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.process = subprocess.Popen([str(a) for a in argv], stdout=out, stderr=subprocess.STDOUT, stdin=stdin,
                                            cwd=cwd, env={**os.environ, **(env or {})}, start_new_session=True,
                                            preexec_fn=_die_with_parent)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def output(self):
        """What the program has printed so far, without the colours."""
        return re.sub(r"\x1b\[[\d;]*m", "", self.log.read_text("utf-8", "replace"))

    def rss_kb(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))

    def see(self, pattern, timeout=10.0, since=0):
        """Waits until the output after `since` characters matches; returns the match."""
        def found():
            match = re.search(pattern, self.output()[since:], re.S)
            if not match and not self.alive():
                raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.tail()}")
            return match
        return until(f"{pattern!r} in the output of {self.name}", found, timeout)

    def tail(self, lines=12):
        return "\n".join(self.output().splitlines()[-lines:])

    def wait(self, timeout):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise sip.Timeout(f"{self.name} did not end within {timeout:g} s") from None

    def tell(self, number):
        """To the program and everything it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, how=signal.SIGTERM, patience=5.0):
        """Ends the program and everything it started."""
        self.tell(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
        self.tell(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)

    def kill(self):
        self.stop(signal.SIGKILL)


class Lab:
    """One suite's run: its folder, its programs, its cases."""

    programs_now = []       # those of the suite that runs

    def __init__(self, suite, report):
        self.suite, self.report = suite, report
        self.folder = WORK / suite
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.programs, self.closers, self.failed = [], [], 0
        Lab.programs_now = self.programs
        sip.Ua.made.clear()

    def need(self, *programs):
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        for program in programs:
            if not shutil.which(program, path=path):
                raise Skip(f"{program} is not installed")

    def need_files(self, *patterns):
        for pattern in patterns:
            if not glob.glob(pattern):
                raise Skip(f"there is no {pattern}")

    def need_gateway(self):
        if not shutil.which(GATEWAY):
            raise Skip(f"the gateway is not built: {GATEWAY}")

    def start(self, name, argv, **more):
        program = Program(name, argv, self.folder / f"{name}.log", **more)
        self.programs.append(program)
        return program

    def phone(self, *args, **more):
        phone = sip.Ua(*args, **more)
        self.closers.append(phone.close)
        return phone

    def write(self, name, text, mode=0o644):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    @contextlib.contextmanager
    def case(self, name):
        """One line of the report. A failure is recorded and the suite goes on."""
        began = time.monotonic()
        try:
            yield
        except (KeyboardInterrupt, SuiteTimeout):
            raise
        except Exception as error:
            self.failed += 1
            why = str(error) or type(error).__name__
            self.report.failed(f"{self.suite}: {name}", why, self._evidence(name))
        else:
            self.report.ok(f"{self.suite}: {name}", time.monotonic() - began)

    def _evidence(self, name):
        """Writes the traceback, every phone's transcript and each program's last words to a file."""
        parts = [traceback.format_exc()]
        parts += [f"--- phone {phone.user}\n{phone.wire.story()}" for phone in sip.Ua.made]
        parts += [f"--- {p.name} ({'runs' if p.alive() else p.process.returncode})\n{p.tail(40)}" for p in self.programs]
        path = self.folder / (re.sub(r"\W+", "-", name)[:60] + ".failure.txt")
        path.write_text("\n".join(parts))
        return path

    def close(self):
        for closer in self.closers:
            with contextlib.suppress(Exception):
                closer()
        for program in self.programs:
            program.tell(signal.SIGTERM)
        end = time.monotonic() + 3
        for program in self.programs:
            program.stop(patience=max(0.1, end - time.monotonic()))
        sip.Ua.made.clear()


sip.patience = Patience


class Gateway:
    """The program under test, as a demo house or with a home file."""

    def __init__(self, lab, arguments, listen, name="gateway"):
        lab.need_gateway()
        self.lab, self.listen, self.arguments, self.name = lab, listen, arguments, name
        self.program = None
        self.begin()

    @classmethod
    def demo(cls, lab, user=USER, password=PASSWORD, host="127.0.0.1"):
        listen = (host, free_port(host))
        arguments = ["demo", "--listen", f"{host}:{listen[1]}", "--user", user, "--password", password]
        return cls(lab, arguments, listen)

    def begin(self):
        self.program = self.lab.start(self.name, [GATEWAY, *self.arguments])
        probe = sip.Wire(self.listen)
        try:
            until("the gateway to answer OPTIONS", lambda: self.alive() and answers_options(self.listen, probe, 0.2), 20)
        finally:
            probe.close()

    def alive(self):
        if not self.program.alive():
            raise AssertionError(f"the gateway ended with {self.program.process.returncode}: {self.program.tail()}")
        return True

    def phone(self, user=USER, password=PASSWORD, registered=True, **more):
        phone = self.lab.phone(self.listen, user, password, **more)
        if registered:
            equal(phone.register().status, 200, f"REGISTER by {user}")
        return phone


def answers_options(server, wire=None, timeout=3.0):
    """True when the server answers an OPTIONS of a stranger in whatever way."""
    own = wire or sip.Wire(server)
    ip, port = own.local
    branch = sip.token(16)
    own.send(sip.Message(f"OPTIONS sip:{server[0]}:{server[1]} SIP/2.0", [
        ("Via", f"SIP/2.0/{own.transport.upper()} {ip}:{port};rport;branch=z9hG4bK{branch}"), ("Max-Forwards", "70"),
        ("From", f"<sip:probe@{ip}>;tag={sip.token()}"), ("To", f"<sip:{server[0]}>"), ("Call-ID", sip.token(20)),
        ("CSeq", "1 OPTIONS")]).bytes())
    try:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            got = own.receive(end - time.monotonic())
            if got and branch.encode() in got[0]:
                return True
        return False
    finally:
        if wire is None:
            own.close()


def power(phone, appliance="plug"):
    """What the gateway says of an appliance's power right now: a SUBSCRIBE with Expires 0 and its one NOTIFY."""
    fetch = phone.subscribe(phone.uri(appliance), "appliance", "application/senml+json", expires=0)
    check(fetch.answer.status in (200, 202), f"the fetch was answered {fetch.answer.start}")
    return record(fetch.wait("the fetched state"), "power")


def record(notify, name):
    """The value of one property in a SenML document; None when the document does not hold it."""
    base = ""
    for entry in json.loads(notify.text):
        base = entry.get("bn", base)
        if re.split(r"[/:.]", base + entry.get("n", ""))[-1] == name:
            return next((entry[key] for key in ("vb", "v", "vs") if key in entry), None)
    return None
