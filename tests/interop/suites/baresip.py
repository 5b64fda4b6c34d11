"""Debian's baresip as the phone of the demo house."""

from lab import PASSWORD, USER, Gateway, equal, power
from peers import Baresip


def run(lab):
    lab.need("baresip")
    house = Gateway.demo(lab)
    owner = house.phone()
    for transport in ("udp", "tcp"):
        with lab.case(f"baresip registers over {transport}"):
            phone = start(lab, house, transport)
            phone.see(r"200 OK.*?\[\d+ binding", 15)
        with lab.case(f"baresip watches the plug's presence over {transport}"):
            phone.see(r"NOTIFY sip:\S*.*?Event: presence.*?<basic>open</basic>", 15)
        # It looks for its mailbox at its own address. Over UDP its 1.0 sends SUBSCRIBE after SUBSCRIBE and reads no answer.
        if transport == "tcp":
            with lab.case("baresip watches its mailbox"):
                phone.see(r"NOTIFY sip:\S*.*?Event: message-summary.*?Messages-Waiting: (yes|no)", 15)
        with lab.case(f"baresip switches by MESSAGE over {transport}: reply and presence change"):
            use(phone, owner)
        with lab.case(f"baresip dials 21 over {transport}: 486 with the state"):
            before, mark = power(owner), phone.mark()
            phone.do("dial", owner.uri("21"))
            phone.see(r"session closed: 486 [^\n]*\b%s\b" % ("off" if before else "on"), 10, mark)
            equal(power(owner), not before, "the plug after the call")
        with lab.case(f"baresip over {transport} leaves in order"):
            mark = phone.mark()
            phone.do("quit")
            phone.see(r"CSeq: \d+ SUBSCRIBE.*?Expires: 0|Expires: 0.*?CSeq: \d+ SUBSCRIBE", 10, mark)
            phone.program.wait(15)
    with lab.case("baresip with a wrong password stays out"):
        stranger = start(lab, house, "udp", "wrong")
        stranger.see(r"401 Unauthorized|403 Forbidden", 15)
        before, mark = power(owner), stranger.mark()
        stranger.text("off" if before else "on")
        stranger.see(r"SIP/2\.0 40[13]", 10, mark)
        equal(power(owner), before, "the plug")
    with lab.case("the gateway still runs"):
        house.alive()


def start(lab, house, transport, password=PASSWORD):
    where = f"{house.listen[0]}:{house.listen[1]}"
    account = f"<sip:{USER}@{where};transport={transport}>;auth_user={USER};auth_pass={password};regint=120"
    name = f"baresip-{transport}" + ("" if password == PASSWORD else "-stranger")
    return Baresip(lab, name, account, [("Plug", f"sip:plug@{where};transport={transport}", "presence=p2p")],
                   ["mwi"] if transport == "tcp" else [])


def use(phone, owner):
    now = power(owner)
    for word in ("off", "on") if now else ("on", "off"):
        mark = phone.mark()
        phone.text(word)
        phone.see(rf"MESSAGE sip:{USER}[^\n]* SIP/2\.0.*?\n\n[^\n]*\b{word}\b", 10, mark)
        phone.see(rf"NOTIFY sip:.*?Event: presence.*?<note[^>]*>[^<]*\b{word}\b", 10, mark)
        equal(power(owner), word == "on", "the plug")
