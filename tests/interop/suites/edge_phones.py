"""Other people's phones through edges to Kamailio: JsSIP over WebSockets, baresip that calls and gives up, and a registrar over TLS."""

import json
import re

import home
from certs import Authority
from lab import HERE, PASSWORD, USER, Skip, check, equal, free_port, until
from mqtt_plug import Plug
from peers import Baresip, Kamailio, Mosquitto
from suites.edge import DOMAIN, NAME, REGISTRAR, Edge
from suites.jssip import MODULES, step

PAGE = "https://phone.example"


def run(lab):
    lab.need("mosquitto", "kamailio", "openssl", "baresip", "node")
    lab.need_files("/usr/lib/*/kamailio/modules/tls.so")
    for module in ("jssip", "ws"):
        if not (MODULES / module).is_dir():
            raise Skip(f"{module} is not in target/ci-js: .ci/install brings it")
    authority = Authority(lab)
    certificate = authority.sign("edge", f"DNS:{NAME},IP:127.0.0.3,IP:127.0.0.5")
    own = authority.sign("registrar", "DNS:sip.example.com")
    kamailio = Kamailio(lab, PASSWORD, host=REGISTRAR, config="edge.cfg", arguments=("-m", "32", "-A", "WITH_TLS"), SECURE=free_port(REGISTRAR),
                        CERTIFICATE=own[0], KEY=own[1])
    # The one speaks to the registrar in the clear, the other over TLS; each understands what the other began.
    one = Edge(lab, "edge1", kamailio, "127.0.0.3", "127.0.0.4", ["127.0.0.5", "127.0.0.6"], certificate, web=PAGE)
    two = Edge(lab, "edge2", kamailio, "127.0.0.5", "127.0.0.6", ["127.0.0.3", "127.0.0.4"], certificate, web=PAGE,
               secure=authority.file)
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    over_tls(lab, kamailio, two, broker, plug, authority)
    web(lab, one, two, plug, authority)
    calls(lab, one, two)


def over_tls(lab, kamailio, edge, broker, plug, authority):
    account = {"user": "plug", "auth_user": "plug", "password": {"secret": "kam"}, "device": "plug"}
    upstream = {"kam": {"edges": [f"quic:{edge.quic[0]}:{edge.quic[1]}"], "name": NAME, "ca": str(authority.file), "domain": DOMAIN,
                        "expires": "120s", "accounts": [account]}}
    with lab.case("an edge reaches its registrar over TLS, and a gateway registers through it over QUIC"):
        check("tls" in [way["transport"] for way in edge.status()["registrars"]], edge.status())
        home.start(lab, DOMAIN, broker.address, upstream=upstream, secrets={"kam": PASSWORD})
        until("it to register", lambda: edge.status()["devices"] >= 1, 30)
    with lab.case("a phone at the registrar switches the plug behind that edge"):
        phone = lab.phone(kamailio.address, USER, PASSWORD, DOMAIN)
        word = "off" if plug.on else "on"
        check(phone.message(phone.uri("plug"), word).status in (200, 202), "the command")
        until(f"the plug to be {word}", lambda: plug.on == (word == "on"), 10)
    with lab.case("a registrar whose certificate is for another name is not spoken to, and the status says why"):
        settings = json.loads(edge.file.read_text())
        other = {**settings, "registrar_tls": {"ca": str(authority.file), "name": "other.example.com"}}
        edge.program.stop()
        edge.file.write_text(json.dumps(other))
        edge.begin(ready=False)
        until("the status", lambda: any("other.example.com" in way.get("words", "") for way in edge.status().get("registrars", [])), 15)
        edge.program.stop()
        edge.file.write_text(json.dumps(settings))
        edge.begin()
        until("the gateway to be back", lambda: edge.status()["devices"] >= 1, 60)


def web(lab, one, two, plug, authority):
    for way, edge in (("ws", one), ("wss", two)):
        at = edge.ws if way == "ws" else edge.wss
        env = {"NODE_PATH": str(MODULES), "NODE_EXTRA_CA_CERTS": str(authority.file), "ORIGIN": PAGE, "DOMAIN": DOMAIN}
        arguments = ["node", HERE / "js" / "phone.js", at[0], at[1], USER, PASSWORD, f"{way}://{at[0]}:{at[1]}/"]
        with lab.case(f"JsSIP behind an edge over {way} registers, watches, switches, hears of a press, and leaves"):
            # It switches as soon as it has read the state.
            before = plug.on
            phone = lab.start(f"jssip-{way}", arguments, env=env)
            step(phone, "registered")
            equal(step(phone, "watching")["power"], before, "the plug")
            step(phone, "switched")
            plug.press()
            equal((step(phone, "heard")["power"], plug.on), (before, before), "what it heard")
            equal(step(phone, "left")["reason"], "timeout", "the reason")
            equal(phone.wait(10), 0, "the exit code")
        with lab.case(f"a strange page stays out of the edge over {way}"):
            stranger = lab.start(f"page-{way}", arguments, env={**env, "ORIGIN": "https://evil.example"})
            step(stranger, "failed")
            check('"registered"' not in stranger.output(), "it registered")


def phone(lab, name, edge, transport, **more):
    at = f"{edge.tcp[0]}:{edge.tcp[1]};transport={transport}"
    account = f'<sip:{name}@{DOMAIN}>;auth_user={name};auth_pass={PASSWORD};regint=120;outbound="sip:{at}"' \
              + "".join(f";{key}={value}" for key, value in more.items())
    # Its tone comes in stereo at 48 kHz alone.
    made = Baresip(lab, f"baresip-{name}", account, settings=[f"au{way}_{key}" for way in ("src", "play") for key in ("srate 48000", "channels 2")])
    made.see(r"200 OK.*?\[\d+ binding", 15)
    return made


def calls(lab, one, two):
    """Between phones on both edges, and on both kinds of transport: the edges and Kamailio are between them."""
    with lab.case("baresip registers through an edge, by udp and by tcp"):
        ends = {"ada": phone(lab, "ada", one, "udp"), "bob": phone(lab, "bob", two, "tcp"), "cyd": phone(lab, "cyd", one, "tcp")}
    for who, whom in (("ada", "bob"), ("bob", "ada"), ("ada", "cyd"), ("cyd", "bob")):
        caller, callee = ends[who], ends[whom]
        with lab.case(f"{who} calls {whom}, who answers: both are in the call, and its end reaches the other"):
            mark, there = caller.mark(), callee.mark()
            caller.do("dial", f"sip:{whom}@{DOMAIN}")
            callee.see(r"Incoming call", 10, there)
            callee.do("accept")
            caller.see(r"Call established", 10, mark)
            callee.see(r"Call established", 10, there)
            caller.do("hangup")
            callee.see(r"(?i)session closed|call.*terminated", 10, there)
        with lab.case(f"{who} calls {whom} and gives up: it stops ringing there (CANCEL)"):
            mark, there = caller.mark(), callee.mark()
            caller.do("dial", f"sip:{whom}@{DOMAIN}")
            callee.see(r"Incoming call", 10, there)
            caller.do("hangup")
            callee.see(r"CANCEL sip:", 10, there)
            caller.see(r"SIP/2\.0 487", 10, mark)
            check(not re.search("Call established", callee.program.output()[there:]), "nobody is in a call")
