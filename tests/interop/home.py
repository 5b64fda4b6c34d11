"""Home files for the suites that run a real house."""

import json
import subprocess

from lab import GATEWAY, PASSWORD, USER, Gateway, free_port


def write(lab, domain, broker, upstream=None, secrets=None, others=None, devices=None, name="home", **keys):
    """A house with one Tasmota plug at the broker, where there is one, and more devices where they are given; returns the address it listens on and the arguments for the gateway.

    `others` are more users with their passwords; `keys` replace whole keys of the home file.
    """
    listen = ("127.0.0.1", free_port())
    where = f"{listen[0]}:{listen[1]}"
    home = {
        "format": 1,
        "house": {"user": "house", "domain": domain},
        "listen": [f"udp:{where}", f"tcp:{where}"],
        "secrets": f"{name}-secrets.yaml",
        "users": {USER: {"password": {"secret": USER}}},
        "devices": {},
        "access": [{"who": [USER], "see": "*", "do": "*"}],
    }
    if broker:
        home["mqtt"] = {"main": {"host": broker[0], "port": broker[1]}}
        home["devices"]["plug"] = {"name": "Plug", "profile": "tasmota-plug", "params": {"topic": "plug1"}, "numbers": "21"}
    home["devices"].update(devices or {})
    for user, word in (others or {}).items():
        home["users"][user] = {"password": {"secret": user}}
        secrets = {**(secrets or {}), user: word}
    home.update(keys)
    if upstream:
        home["upstream"] = upstream
    words = {USER: {"password": PASSWORD}, **{name: {"password": word} for name, word in (secrets or {}).items()}}
    # JSON is YAML, and needs no library.
    lab.write(f"{name}-secrets.yaml", json.dumps(words, indent=1) + "\n", 0o600)
    path = lab.write(f"{name}.yaml", json.dumps(home, indent=1) + "\n")
    return listen, ["run", "--config", str(path)]


def start(lab, domain, broker, name="home", control=None, **more):
    listen, arguments = write(lab, domain, broker, name=name, **more)
    if control:
        arguments += ["--control", str(control)]
    return Gateway(lab, arguments, listen, name=f"gateway-{name}")


def status(lab, control):
    """What `sipliance status` says, as a tree."""
    run = subprocess.run([GATEWAY, "status", "--json", "--control", str(control)], capture_output=True, text=True, timeout=10)
    return json.loads(run.stdout)
