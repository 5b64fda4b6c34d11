"""The gateway as a client of somebody's SIP server, the phone at the same server: everything goes through Kamailio."""

import time

import home
import ua as sip
from lab import PASSWORD, USER, check, equal, until
from mqtt_plug import Plug
from peers import Baresip, Kamailio, Mosquitto

DOMAIN = "example.com"
BACK = 45       # how long the gateway may take to register again, in seconds


def run(lab):
    lab.need("baresip", "mosquitto")
    kamailio = Kamailio(lab, PASSWORD)
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    server = f"{kamailio.address[0]}:{kamailio.address[1]}"
    account = {"user": "plug", "auth_user": "plug", "password": {"secret": "kam"}, "device": "plug"}
    upstream = {"kam": {"server": server, "transport": "udp", "domain": DOMAIN, "expires": "30s", "accounts": [account]}}
    house = home.start(lab, DOMAIN, broker.address, upstream=upstream, secrets={"kam": PASSWORD})
    ua = lab.phone(kamailio.address, USER, PASSWORD, DOMAIN)
    # Proves: SEC-5, DG-2
    with lab.case("the gateway registers the plug at Kamailio with digest"):
        until("plug@example.com to be registered", lambda: registered(kamailio), 20)
    phone = Baresip(lab, "baresip", f'<sip:{USER}@{DOMAIN}>;auth_user={USER};auth_pass={PASSWORD};regint=20;outbound="sip:{server};transport=udp"',
                    [("Plug", f"sip:plug@{DOMAIN}", "presence=p2p")])
    with lab.case("baresip at Kamailio watches the plug's presence"):
        phone.see(r"200 OK.*?\[\d+ binding", 15)
        phone.see(r"NOTIFY sip:.*?Event: presence.*?<basic>open</basic>", 20)
    with lab.case("baresip switches through Kamailio: the plug obeys, presence changes"):
        switch(phone, plug, "on")
        switch(phone, plug, "off")
    with lab.case("baresip calls the plug through Kamailio: 486 with the state"):
        call(phone, plug)
    # Proves: SEC-1
    with lab.case("a stranger behind Kamailio moves nothing"):
        stranger = lab.phone(kamailio.address, "mallory", "guess", DOMAIN)
        before = plug.on
        for answer in (stranger.message(ua.uri("plug"), "off" if before else "on"), stranger.invite(ua.uri("plug"))):
            check(answer.status in (401, 403), answer.start)
        equal(plug.on, before, "the plug")
    with lab.case(f"Kamailio dies and forgets: the gateway registers again within {BACK} s"):
        kamailio.kill()
        time.sleep(3)
        kamailio.begin()
        # Its memory died with it: what it knows now it was told since, maybe before it could be asked.
        until("plug@example.com to be registered again", lambda: registered(kamailio), BACK, 0.5)
    with lab.case("calls and commands work again"):
        mark = phone.mark()
        # It registers anew by itself, before the minute is over that Kamailio grants at least.
        phone.see(r"REGISTER_OK", 65, mark)
        switch(phone, plug, "on" if not plug.on else "off", presence=False)
        call(phone, plug)
    with lab.case("a clean stop takes the registration back"):
        house.program.stop()
        until("plug@example.com to be gone", lambda: not registered(kamailio), 5)


def registered(kamailio):
    """Asks Kamailio by a stranger's OPTIONS for the plug: 404 without a binding."""
    probe = sip.Ua(kamailio.address, "probe", None, DOMAIN)
    try:
        return probe.send(probe.build("OPTIONS", f"sip:plug@{DOMAIN}")).status not in (404, 408)
    finally:
        probe.close()
        sip.Ua.made.remove(probe)


def switch(phone, plug, word, presence=True):
    mark = phone.mark()
    phone.text(word)
    phone.see(rf"MESSAGE sip:{USER}[^\n]* SIP/2\.0.*?\n\n[^\n]*\b{word}\b", 15, mark)
    equal(plug.on, word == "on", "the plug")
    if presence:
        phone.see(rf"NOTIFY sip:.*?Event: presence.*?<note[^>]*>[^<]*\b{word}\b", 15, mark)


def call(phone, plug):
    before, mark = plug.on, phone.mark()
    phone.do("dial", f"sip:plug@{DOMAIN}")
    phone.see(r"session closed: 486 [^\n]*\b%s\b" % ("off" if before else "on"), 15, mark)
    equal(plug.on, not before, "the plug after the call")
