"""A kernel with gpio-sim, and busybox: fetched once as Debian packages, unpacked, never installed."""

import fcntl
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = ROOT / "target" / "gpio"
# Debian builds gpio-sim from Linux 7.1 on, and not for its cloud flavour. The first suite that has it is taken.
SUITES = ["trixie-backports", "forky", "sid"]
MODULES = ["configfs", "gpio-sim"]
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PATIENCE = 300


class Absent(Exception):
    """What this machine lacks, and what to do about it."""


def run(argv, **more):
    return subprocess.run([str(a) for a in argv], check=True, timeout=PATIENCE, capture_output=True, **more)


def text(argv):
    return run(argv, text=True).stdout


def check_host():
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Absent(f"the machine is for Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    if not shutil.which("qemu-system-x86_64"):
        raise Absent("qemu-system-x86_64 is not installed (.ci/install does it, or: apt install qemu-system-x86)")


class Apt:
    """apt with a state of its own: the machine's sources and packages stay as they are."""

    def __init__(self, folder, suite):
        (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        source = folder / "suite.sources"
        source.write_text(f"Types: deb\nURIs: {mirror()}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n")
        self.options = ["-q", "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::Etc::sourcelist={source}",
                        "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::State::status={folder}/status",
                        "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "Acquire::Languages=none",
                        "-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false", "-o", "Acquire::Retries=3",
                        "-o", "APT::Sandbox::User=root", "-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64"]

    def update(self):
        run(["apt-get", *self.options, "update"])

    def names(self, prefix):
        return text(["apt-cache", *self.options, "pkgnames", prefix]).split()

    def download(self, folder, *packages):
        run(["apt-get", *self.options, "download", *packages], cwd=folder)
        return sorted(folder.glob("*.deb"))


def mirror():
    """The Debian mirror that this machine uses."""
    if not shutil.which("apt-get") or not KEYRING.exists():
        raise Absent("the kernel comes as a Debian package; this machine has no apt with Debian's keys")
    listed = text(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian"]).split()
    archives = [uri for uri in listed if "security" not in uri]
    if not archives:
        raise Absent("apt knows no Debian mirror; is this Debian, and did `apt-get update` run?")
    return archives[0]


def newest(names):
    """The newest version among `linux-modules-VERSION-amd64`."""
    found = [m.group(1) for m in (re.fullmatch(r"linux-modules-(\d[\w.+~]*-amd64)", name) for name in names) if m]
    return max(found, key=lambda v: [int(n) for n in re.findall(r"\d+", v)], default=None)


def unpack(package, folder, *patterns):
    """The files of a package that match; none is no fault."""
    archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", folder, "--wildcards", *patterns], stdin=archive.stdout,
                   stderr=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    archive.stdout.close()
    archive.wait()


def fetch(suite, work):
    """The files of the newest kernel of a suite, or why not."""
    apt = Apt(work / suite, suite)
    apt.update()
    version = newest(apt.names("linux-modules-"))
    if not version:
        return f"{suite} has no package linux-modules-…-amd64"
    folder = work / version
    folder.mkdir()
    for package in apt.download(folder, f"linux-binary-{version}", f"linux-modules-{version}"):
        unpack(package, folder, "*/vmlinuz*", *(f"*/{module}.ko*" for module in MODULES))
    for module in MODULES:
        found = next(folder.rglob(f"{module}.ko*"), None)
        if not found:
            return f"{version} of {suite} has no module {module}"
        reader = {".xz": ["xz", "-dc"], ".zst": ["zstd", "-dcq"]}.get(found.suffix, ["cat"])
        (work / f"{module}.ko").write_bytes(run([*reader, found]).stdout)
    shutil.copy(next(folder.rglob("vmlinuz*")), work / "vmlinuz")
    shutil.rmtree(folder)
    (work / "version").write_text(version)
    return None


def busybox(work):
    """A shell for the machine: the host's own static one, or the package of any suite that is at hand."""
    folder = work / "busybox.d"
    folder.mkdir()
    run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", "busybox-static"], cwd=folder)
    for package in folder.glob("*.deb"):
        unpack(package, folder, "*bin/busybox")
    shutil.copy(next(path for path in folder.rglob("busybox") if path.is_file()), work / "busybox")
    shutil.rmtree(folder)


def fill(work):
    reasons = []
    for suite in SUITES:
        why = fetch(suite, work)
        if why is None:
            busybox(work)
            return
        reasons.append(why)
    raise Absent("no kernel with gpio-sim: " + "; ".join(reasons))


def prepare():
    """The folder with `vmlinuz`, modules and `busybox`; fetched where it is not there yet."""
    check_host()
    files = CACHE / "files"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once fetch once
        if (files / "busybox").exists():
            return files
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            work = pathlib.Path(name)
            try:
                fill(work)
            except subprocess.CalledProcessError as error:
                said = error.stderr if isinstance(error.stderr, str) else error.stderr.decode("utf-8", "replace")
                raise Absent(f"a package cannot be fetched: {' '.join(error.cmd[-2:])}: {said.strip()[-300:]}") from error
            except subprocess.TimeoutExpired as error:
                raise Absent(f"a package took longer than {PATIENCE} s: {error.cmd[0]}") from error
            shutil.rmtree(files, ignore_errors=True)
            files.mkdir()
            for path in work.iterdir():
                if path.is_file():
                    shutil.move(path, files / path.name)
    print(f"kernel {(files / 'version').read_text()} fetched", flush=True)
    return files
