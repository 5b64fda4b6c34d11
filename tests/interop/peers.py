"""The real peers: Kamailio, baresip, sipp, mosquitto. Each is started for one suite, on loopback, with its own files."""

import glob
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile

import lab as laboratory
from lab import HERE, check, free_port, until


class Kamailio:
    """Registrar (digest) and proxy of example.com; with another configuration its presence server."""

    def __init__(self, lab, password, host="127.0.0.1", algorithm="MD5", config="kamailio.cfg", arguments=("-m", "32"), port=None, **more):
        lab.need("kamailio")
        self.lab, self.password, self.algorithm = lab, password, algorithm
        self.config, self.arguments, self.more = config, arguments, more
        self.address = (host, port or free_port(host))
        self.program = None
        self.begin()

    def begin(self):
        host, port = self.address
        # There may be several of them at once.
        folder = self.lab.folder / f"kamailio-{port}"
        folder.mkdir(exist_ok=True)
        filled = {"HOST": host, "PORT": port, "PASSWORD": self.password, "ALGORITHM": self.algorithm, "TABLES": folder / "tables", **self.more}
        words = [f"--substdef=!{name}!{value}!g" for name, value in filled.items()]
        self.program = self.lab.start("kamailio", ["kamailio", "-DD", "-E", "-f", HERE / "kamailio" / self.config,
                                                   "-Y", folder, "-P", folder / "pid", "-M", "8", *self.arguments, *words],
                                      env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        def up():
            check(self.program.alive(), f"kamailio ended: {self.program.tail()}")
            return laboratory.answers_options(self.address, timeout=0.3)
        until("kamailio to answer", up, 15)

    def kill(self):
        self.program.kill()


class Postgres:
    """A database server of our own, which keeps nothing beyond the suite."""

    def __init__(self, lab, host="127.0.0.1", settings=("fsync=off", "full_page_writes=off")):
        lab.need("psql")
        tools = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not tools:
            raise laboratory.Skip("postgresql is not installed")
        self.address = (host, free_port(host))
        # It does not run as root, and others must reach its folder.
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        folder = tempfile.mkdtemp(prefix="sipliance-pg-")
        self.folder, self.program = folder, None
        lab.closers.append(self.close)
        if user:
            shutil.chown(folder, "postgres")
        made = subprocess.run([*user, f"{tools[-1]}/initdb", "-D", folder, "-U", "kamailio", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
                              capture_output=True, text=True, cwd="/", timeout=60)
        check(made.returncode == 0, f"initdb: {made.stderr}")
        more = [word for setting in settings for word in ("-c", setting)]
        self.program = lab.start("postgres", [*user, f"{tools[-1]}/postgres", "-D", folder, "-h", host, "-p", str(self.address[1]), "-k", "",
                                              "-c", "max_connections=300", *more], cwd="/")
        until("postgres to answer", lambda: self.ask("SELECT 1") == "1", 20)

    def close(self):
        if self.program:
            self.program.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self):
        return f"postgres://kamailio:trusted@{self.address[0]}:{self.address[1]}/postgres"

    def _psql(self, text):
        host, port = self.address
        return subprocess.run(["psql", "-h", host, "-p", str(port), "-U", "kamailio", "-d", "postgres", "-qAt", "-v", "ON_ERROR_STOP=1"], input=text,
                              capture_output=True, text=True, timeout=60)

    def ask(self, text):
        return self._psql(text).stdout.strip()

    def run(self, text):
        done = self._psql(text)
        check(done.returncode == 0, f"psql: {done.stderr}")


class Baresip:
    """A headless baresip: an account, contacts, commands over its control port, its output to read.

    A contact is (name, URI, parameters): `presence=p2p` has it watched. Texts go to the first contact.
    """

    def __init__(self, lab, name, account, contacts=(), modules=(), settings=(), host="127.0.0.1"):
        lab.need("baresip")
        self.control_port = free_port()
        folder = lab.folder / name
        lines = ["poll_method epoll", f"sip_listen {host}:0", "call_max_calls 4", "audio_path /nonexistent",
                 "audio_player aufile,/dev/null", "audio_source ausine,440", "audio_alert aufile,/dev/null",
                 "module_path /usr/lib/baresip/modules", "module g711.so", "module ausine.so", "module aufile.so",
                 "module_tmp account.so", "module_app contact.so", "module_app menu.so", "module_app presence.so", *[f"module_app {name}.so" for name in modules],
                 "module ctrl_tcp.so", f"ctrl_tcp_listen 127.0.0.1:{self.control_port}", "ringback_disabled yes", *settings]
        lab.write(f"{name}/config", "\n".join(lines) + "\n")
        lab.write(f"{name}/accounts", account + "\n")
        lab.write(f"{name}/contacts", "".join(f'"{who}" <{uri}>;{more}\n' for who, uri, more in contacts))
        if contacts:
            lab.write(f"{name}/current_contact", contacts[0][1])
        self.program = lab.start(name, ["baresip", "-4", "-s", "-v", "-f", folder])
        self.control = until(f"{name} to open its control port", self._connect, 15)
        lab.closers.append(self.control.close)
        self.tokens, self.buffer = 0, b""

    def _connect(self):
        check(self.program.alive(), f"baresip ended: {self.program.tail()}")
        try:
            return socket.create_connection(("127.0.0.1", self.control_port), 2)
        except OSError:
            return None

    def mark(self):
        """A place in the output: pass it to `see` to look only at what comes later."""
        return len(self.program.output())

    def see(self, pattern, timeout=10.0, since=0):
        return self.program.see(pattern, timeout, since)

    def do(self, command, params=""):
        """Runs one command of baresip and returns what it answered."""
        self.tokens += 1
        name = f"t{self.tokens}"
        body = json.dumps({"command": command, "params": params, "token": name}).encode()
        self.control.sendall(b"%d:%s," % (len(body), body))
        return until(f"baresip to answer {command}", lambda: self._answer(name), 10)

    def text(self, words):
        return self.do("message", words)

    def _answer(self, name):
        self.control.settimeout(1)
        try:
            chunk = self.control.recv(65535)
        except TimeoutError:
            chunk = b""
        self.buffer += chunk
        while match := re.match(rb"(\d+):", self.buffer):
            start, size = match.end(), int(match.group(1))
            if len(self.buffer) < start + size + 1:
                return None
            event = json.loads(self.buffer[start:start + size])
            self.buffer = self.buffer[start + size + 1:]
            if event.get("response") and event.get("token") == name:
                return event
        return None


def sipp(lab, scenario, server, user, password, name=None, transport="u1", timeout=40, port=None, host="127.0.0.1", auth_uri=None, **keys):
    """Runs a sipp scenario once; a failure carries sipp's own words.

    A key is `[key]` in a message; in a regular expression, where sipp does not look for keys, it is `%key%`.
    `auth_uri`: what its digest covers, without `sip:`, where that is not the server.
    """
    lab.need("sipp")
    name = name or scenario
    text = (HERE / "sipp" / f"{scenario}.xml").read_text()
    for key, value in keys.items():
        text = text.replace(f"%{key}%", re.escape(value) if key in ("event", "accept") else value)
    local = port or free_port(host)
    argv = ["sipp", f"{server[0]}:{server[1]}", "-sf", lab.write(f"sipp-{name}.xml", text), "-i", host, "-p", local,
            "-t", transport, "-m", "1", "-l", "1", "-nostdin", "-timeout", f"{timeout}s", "-timeout_error", "-recv_timeout", "10000",
            "-trace_msg", "-message_file", lab.folder / f"sipp-{name}.messages", "-trace_err", "-error_file",
            lab.folder / f"sipp-{name}.errors", "-s", user, "-au", user, "-ap", password]
    for key, value in {"domain": f"{server[0]}:{server[1]}", **keys}.items():
        argv += ["-key", key, str(value)]
    if auth_uri:
        argv += ["-auth_uri", auth_uri]
    program = lab.start(f"sipp-{name}", argv, cwd=lab.folder, env={"TERM": "dumb"})
    code = program.wait(timeout + 10)
    errors = lab.folder / f"sipp-{name}.errors"
    words = errors.read_text(errors="replace")[:600] if errors.exists() else program.tail(6)
    check(code == 0, f"sipp {scenario} ended with {code}: {words.strip()}")


class Mosquitto:
    """A broker without persistence: what it did not deliver before its death, it never will."""

    def __init__(self, lab, name="mosquitto", more=""):
        lab.need("mosquitto")
        self.lab, self.name, self.address = lab, name, ("127.0.0.1", free_port())
        self.config = lab.write(f"{name}.conf", f"listener {self.address[1]} 127.0.0.1\nallow_anonymous true\npersistence false\n{more}")
        self.program = None
        self.begin()

    def begin(self):
        self.program = self.lab.start(self.name, ["mosquitto", "-c", self.config], env={"PATH": "/usr/sbin:/usr/bin:/bin"})
        until("mosquitto to listen", self._listens, 10)

    def connects(self, client):
        """How often a client of that name has connected."""
        return self.program.output().count(f" as {client} ")

    def _listens(self):
        check(self.program.alive(), f"mosquitto ended: {self.program.tail()}")
        try:
            socket.create_connection(self.address, 1).close()
            return True
        except OSError:
            return False

    def kill(self):
        self.program.kill()
