"""Two gateways: an appliance of Mum's house is a device of Ana's. Either is killed and started again."""

import json
import signal

import home
from certs import Authority
from lab import GATEWAY, PASSWORD, USER, Gateway, check, equal, free_port, until
from mqtt_plug import Plug
from peers import Mosquitto
from suites.presence import record

MUM = "mum.example"
SHARED = "over the garden fence"


def run(lab):
    lab.need("mosquitto")
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    for transport in ("tcp", "udp"):
        houses(lab, broker, plug, transport)
    houses(lab, broker, plug, "quic", Authority(lab))


def houses(lab, broker, plug, transport, ca=None):
    mum = mums(lab, broker, transport, ca)
    ana = anas(lab, mum.at, transport, ca)
    phone = ana.phone()
    over = f"over {transport}"
    # Proves: EV-1, EV-2
    with lab.case(f"Mum's plug is watched at Ana's, {over}"):
        watch = phone.subscribe(phone.uri("mums-plug"), "appliance", "application/senml+json", 600)
        watch.wait("the plug", lambda n: record(n, "power") == plug.on, timeout=15)
        count = len(watch.notifies)
        plug.press()
        watch.wait("the change", lambda n: record(n, "power") == plug.on, since=count)
    with lab.case(f"Mum's plug is switched at Ana's: once, and the answer is the state, {over}"):
        for word in ("on", "off", "off"):
            before = len(plug.orders())
            answer = command(phone, word)
            equal((answer.status, answer.text), (200, f"Mum's plug: {word}"), "DO")
            equal((plug.on, len(plug.orders()) - before), (word == "on", 1), "the plug")
    with lab.case(f"Mum's broker dies: the plug is offline at Ana's, and a command is refused, {over}"):
        count = len(watch.notifies)
        broker.kill()
        watch.wait("offline", lambda n: record(n, "health") == "offline", since=count)
        equal(command(phone, "on").status, 480, "DO to what is offline")
        broker.begin()
        watch.wait("online", lambda n: record(n, "power") == plug.on, since=count, timeout=30)
    with lab.case(f"Mum's gateway is killed: the plug has no connection at Ana's, and says why, {over}"):
        count = len(watch.notifies)
        mum.program.stop(signal.SIGKILL)
        # Over TCP its end is seen, over UDP the packet after the next keep-alive finds nobody, QUIC waits 28 s for a word.
        watch.wait("no connection", lambda n: record(n, "link") is False, since=count, timeout=5 if transport == "tcp" else 62)
        check(record(watch.notifies[-1], "power") is None, watch.notifies[-1].text)
        equal(command(phone, "on").status, 480, "DO without a connection")
        status = home.status(lab, lab.folder / f"ana-{transport}" / "control")["remotes"][0]
        equal((status["device"], status["state"]), ("mums-plug", "failed"), "status")
        check(MUM in status["words"], status["words"])
        plug.press()
    # Proves: EV-7
    with lab.case(f"Mum's gateway is there again: it is found, with the newest state, {over}"):
        count = len(watch.notifies)
        mum.begin()
        watch.wait("the newest state", lambda n: record(n, "power") == plug.on, since=count, timeout=50)
        equal(command(phone, "on").status, 200, "DO after the restart")
        equal(plug.on, True, "the plug")
    with lab.case(f"Ana's gateway is killed and started again: it knows the plug, {over}"):
        ana.program.stop(signal.SIGKILL)
        plug.press()
        ana.begin()
        phone = ana.phone()
        watch = phone.subscribe(phone.uri("mums-plug"), "appliance", "application/senml+json", 600)
        watch.wait("the plug", lambda n: record(n, "power") == plug.on, timeout=20)
        equal(command(phone, "on").status, 200, "DO")
        equal(plug.on, True, "the plug")
    with lab.case(f"a password that is wrong is told as what it is, {over}"):
        wrong = anas(lab, mum.at, transport, ca, password="not the right words")
        control = lab.folder / f"ana-{transport}" / "control"
        words = until("the reason", lambda: home.status(lab, control)["remotes"][0]["words"].replace("not asked yet", ""), 10)
        check("wrong user or password" in words, words)
        wrong.program.stop()
    ana.program.stop()
    mum.program.stop()


def command(phone, word):
    return phone.request("DO", phone.uri("mums-plug"), [("Content-Type", "text/plain")], word, contact=False)


def mums(lab, broker, transport, ca=None):
    home_file = {
        "format": 1, "house": {"user": "house", "domain": MUM}, "secrets": "secrets.yaml",
        "users": {"anas-house": {"password": {"secret": "fence"}}},
        "mqtt": {"main": {"host": broker.address[0], "port": broker.address[1], "client_id": f"mum-{transport}"}},
        "devices": {"plug": {"name": "Plug", "profile": "tasmota-plug", "params": {"topic": "plug1"},
                             "properties": {"watts": False, "energy": False}}},
        "access": [{"who": ["anas-house"], "see": ["plug"], "do": ["plug"]}],
    }
    quic = free_port() if ca else None
    if ca:
        certificate, key = ca.sign(MUM, f"DNS:{MUM}")
        home_file["tls"] = {"certificate": str(certificate), "key": str(key)}
    mum = gateway(lab, f"mum-{transport}", home_file, {"fence": SHARED}, quic)
    mum.at = ("127.0.0.1", quic) if quic else mum.listen
    return mum


def anas(lab, mum, transport, ca=None, password=SHARED):
    home_file = {
        "format": 1, "house": {"user": "house", "domain": "ana.example"}, "secrets": "secrets.yaml",
        "users": {USER: {"password": {"secret": USER}}},
        "peers": {"mum": {"server": f"{mum[0]}:{mum[1]}", "transport": transport, "domain": MUM, "user": "anas-house",
                          "password": {"secret": "fence"}}},
        "devices": {"mums-plug": {"name": "Mum's plug", "profile": "tasmota-plug", "remote": f"sip:plug@{MUM}",
                                  "properties": {"watts": False, "energy": False}}},
        "access": [{"who": [USER], "see": "*", "do": "*"}],
    }
    if ca:
        home_file["peers"]["mum"]["ca"] = str(ca.file)
    return gateway(lab, f"ana-{transport}", home_file, {"fence": password, USER: PASSWORD})


def gateway(lab, name, home_file, secrets, quic=None):
    listen = ("127.0.0.1", free_port())
    home_file["listen"] = [f"{transport}:{listen[0]}:{listen[1]}" for transport in ("udp", "tcp")]
    home_file["listen"] += [f"quic:{listen[0]}:{quic}"] if quic else []
    words = {user: {"password": word} for user, word in secrets.items()}
    lab.write(f"{name}/secrets.yaml", json.dumps(words) + "\n", 0o600)
    path = lab.write(f"{name}/home.yaml", json.dumps(home_file, indent=1) + "\n")
    return Gateway(lab, ["run", "--config", str(path), "--control", str(path.parent / "control")], listen, name)
