"""JsSIP, the SIP library of web pages, as a phone of the demo house: in node, over a TCP connection."""

import json

from lab import HERE, PASSWORD, ROOT, USER, Gateway, Skip, check, equal, power

MODULES = ROOT / "target" / "ci-js" / "node_modules"


def run(lab):
    lab.need("node")
    if not (MODULES / "jssip").is_dir():
        raise Skip("JsSIP is not in target/ci-js: .ci/install brings it")
    house = Gateway.demo(lab)
    owner = house.phone()
    # Asked before the phone starts: it goes on to switch the plug as soon as it has read the state.
    at_first = power(owner)
    phone = start(lab, house, PASSWORD)
    with lab.case("JsSIP registers over a stream with the digest that it knows"):
        step(phone, "registered")
    # Proves: EV-16, REQ-6.4a
    with lab.case("JsSIP subscribes to appliance and reads the state in SenML"):
        before = step(phone, "watching")["power"]
        equal(before, at_first, "the plug")
    # Proves: IM-1, IM-3
    with lab.case("JsSIP switches by MESSAGE: 200, a reply, and a NOTIFY with the change"):
        switched = step(phone, "switched")
        equal(power(owner), not before, "the plug")
        check(("off" if before else "on") in switched["reply"], f"the reply: {switched['reply']!r}")
    with lab.case("JsSIP hears what another phone did"):
        equal(owner.message(owner.uri("plug"), "on" if before else "off").status, 200, "MESSAGE")
        equal(step(phone, "heard")["power"], before, "what it heard")
    # Proves: EV-18
    with lab.case("JsSIP leaves: the last NOTIFY ends the subscription"):
        equal(step(phone, "left")["reason"], "timeout", "the reason")
        equal(phone.wait(10), 0, "the exit code")
    with lab.case("JsSIP with a wrong password stays out"):
        stranger = start(lab, house, "wrong", "stranger")
        step(stranger, "failed")
        check('"registered"' not in stranger.output(), "it registered")
    with lab.case("the gateway still runs"):
        house.alive()


def start(lab, house, password, name="jssip"):
    host, port = house.listen
    return lab.start(name, ["node", HERE / "js" / "phone.js", host, port, USER, password], env={"NODE_PATH": str(MODULES)})


def step(phone, name):
    """Waits until the phone has printed that step; what it said with it."""
    line = phone.see(r'(\{"step":"%s"[^\n]*\})\n' % name, 25).group(1)
    return json.loads(line)
