"""JsSIP, the SIP library of web pages, as a phone in node: over a TCP connection, and over WebSockets as in a browser."""

import json

import home
from certs import Authority
from lab import HERE, PASSWORD, ROOT, USER, Gateway, Skip, check, equal, free_port, power
from mqtt_plug import Plug
from peers import Mosquitto

MODULES = ROOT / "target" / "ci-js" / "node_modules"


def run(lab):
    lab.need("node")
    for module in ("jssip", "ws"):
        if not (MODULES / module).is_dir():
            raise Skip(f"{module} is not in target/ci-js: .ci/install brings it")
    house = Gateway.demo(lab)
    visit(lab, house, "a stream", lambda password, name: start(lab, house, password, name))
    over_websockets(lab)
    with lab.case("the gateway still runs"):
        house.alive()


def visit(lab, house, way, begin):
    owner = house.phone()
    # Asked before the phone starts: it goes on to switch the plug as soon as it has read the state.
    at_first = power(owner)
    phone = begin(PASSWORD, f"jssip-{way[-3:].strip()}")
    with lab.case(f"JsSIP registers over {way} with the digest that it knows"):
        step(phone, "registered")
    # Proves: EV-16, REQ-6.4a
    with lab.case(f"JsSIP subscribes to appliance over {way} and reads the state in SenML"):
        before = step(phone, "watching")["power"]
        equal(before, at_first, "the plug")
    # Proves: IM-1, IM-3
    with lab.case(f"JsSIP switches by MESSAGE over {way}: 200, a reply, and a NOTIFY with the change"):
        switched = step(phone, "switched")
        equal(power(owner), not before, "the plug")
        check(("off" if before else "on") in switched["reply"], f"the reply: {switched['reply']!r}")
    with lab.case(f"JsSIP hears over {way} what another phone did"):
        equal(owner.message(owner.uri("plug"), "on" if before else "off").status, 200, "MESSAGE")
        equal(step(phone, "heard")["power"], before, "what it heard")
    # Proves: EV-18
    with lab.case(f"JsSIP leaves over {way}: the last NOTIFY ends the subscription"):
        equal(step(phone, "left")["reason"], "timeout", "the reason")
        equal(phone.wait(10), 0, "the exit code")
    with lab.case(f"JsSIP over {way} with a wrong password stays out"):
        stranger = begin("wrong", f"stranger-{way[-3:].strip()}")
        step(stranger, "failed")
        check('"registered"' not in stranger.output(), "it registered")


def over_websockets(lab):
    """A house that a web page reaches: the demo house opens no WebSocket."""
    lab.need("openssl", "mosquitto")
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    ca = Authority(lab)
    ca.sign("gateway", "IP:127.0.0.1")
    plain, ports = free_port(), {"ws": free_port(), "wss": free_port()}
    listen = [f"{way}:127.0.0.1:{port}" for way, port in {"udp": plain, **ports}.items()]
    _, arguments = home.write(lab, "127.0.0.1", broker.address, listen=listen, tls={"certificate": "gateway.pem", "key": "gateway.key"},
                              websocket={"origins": ["https://phone.example"]})
    house = Gateway(lab, arguments, ("127.0.0.1", plain))
    for way, port in ports.items():
        url = f"{way}://127.0.0.1:{port}/"
        env = {"NODE_EXTRA_CA_CERTS": str(ca.file), "ORIGIN": "https://phone.example"}
        visit(lab, house, way, lambda password, name: start(lab, house, password, name, url, env))
    with lab.case("a strange page stays out of the WebSocket"):
        stranger = start(lab, house, PASSWORD, "page", f"ws://127.0.0.1:{ports['ws']}/", {"ORIGIN": "https://evil.example"})
        step(stranger, "failed")
        check('"registered"' not in stranger.output(), "it registered")


def start(lab, house, password, name="jssip", url=None, env=None):
    host, port = house.listen
    arguments = ["node", HERE / "js" / "phone.js", host, port, USER, password] + ([url] if url else [])
    return lab.start(name, arguments, env={"NODE_PATH": str(MODULES), **(env or {})})


def step(phone, name):
    """Waits until the phone has printed that step; what it said with it."""
    line = phone.see(r'(\{"step":"%s"[^\n]*\})\n' % name, 25).group(1)
    return json.loads(line)
