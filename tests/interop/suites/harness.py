"""Proves the tools themselves, without the gateway: ua.py, sipp and baresip against Kamailio and each other."""

from lab import check, equal, until
from mqtt_plug import Plug
from peers import Baresip, Kamailio, Mosquitto, sipp

PASSWORD = "quiet-lamp-7"


def account(user, server, **more):
    extra = "".join(f";{key}={value}" for key, value in more.items())
    return (f"<sip:{user}@example.com>;auth_user={user};auth_pass={PASSWORD};regint=60;"
            f'outbound="sip:{server[0]}:{server[1]};transport=udp"{extra}')


def run(lab):
    kamailio = Kamailio(lab, PASSWORD)
    server = kamailio.address
    phone = {}
    for transport in ("udp", "tcp"):
        with lab.case(f"ua.py registers over {transport} with digest"):
            phone[transport] = lab.phone(server, f"{transport}phone", PASSWORD, "example.com", transport)
            equal(phone[transport].register().status, 200, "REGISTER")
    with lab.case("ua.py is refused with a wrong password"):
        wrong = lab.phone(server, "mallory", "not it", "example.com")
        equal(wrong.register().status, 401, "REGISTER")
    with lab.case("a MESSAGE goes from a UDP phone to a TCP phone and back"):
        exchange(phone["udp"], phone["tcp"])
        exchange(phone["tcp"], phone["udp"])
    with lab.case("sipp registers with digest"):
        sipp(lab, "register", server, "clerk", PASSWORD, domain="example.com")
    with lab.case("baresip registers with digest"):
        bell = Baresip(lab, "bell", account("bell", server), [("Udp", "sip:udpphone@example.com", "presence=none")])
        bell.see(r"200 OK.*?\[\d+ binding", 15)
    with lab.case("ua.py and baresip exchange MESSAGEs through Kamailio"):
        answer = phone["udp"].message("sip:bell@example.com", "ding")
        equal(answer.status, 200, "MESSAGE to baresip")
        bell.see("ding")
        bell.text("dong")
        equal(phone["udp"].reply_text(contains="dong"), "dong", "MESSAGE from baresip")
    with lab.case("ua.py watches the presence of baresip, refreshes and leaves"):
        bell.do("presence_online")
        watch_baresip(phone["udp"])
    with lab.case("baresip watches the presence of baresip"):
        eye = Baresip(lab, "eye", account("eye", server), [("Bell", "sip:bell@example.com", "presence=p2p")])
        eye.see("<basic>open</basic>", 20)      # baresip prints changes, not the first state
        mark = eye.mark()
        bell.do("presence_offline")
        eye.see(r"changed status from Online to \w+", 20, mark)
    with lab.case("baresip dials a phone that is busy"):
        phone["udp"].answer["INVITE"] = 486
        mark = eye.mark()
        eye.do("dial", "sip:udpphone@example.com")
        phone["udp"].wait("the INVITE", lambda: phone["udp"].received("ACK") or phone["udp"].received("INVITE"))
        eye.see(r"session closed: 486 Test", 10, mark)
    with lab.case("after Kamailio died and came back, phones register again"):
        kamailio.kill()
        kamailio.begin()
        equal(phone["udp"].message("sip:tcpphone@example.com", "anyone?").status, 404, "MESSAGE after the restart")
        equal(phone["udp"].register().status, 200, "REGISTER after the restart")
    played_plug(lab)


def exchange(one, other):
    """`one` cannot turn both cranks: the other's answer is given while it waits."""
    text = f"from {one.user}"
    request = one.build("MESSAGE", other.aor, [("Content-Type", "text/plain")], text, contact=False)
    one.wire.send(request.bytes())
    equal(other.reply_text(contains=text), text, "the text")
    one.wait("200", lambda: any(r.status == 200 for r in one.responses.get(request.key(), [])))


def watch_baresip(phone):
    watch = phone.subscribe("sip:bell@example.com", "presence", "application/pidf+xml", 600)
    check(watch.answer.status in (200, 202), f"SUBSCRIBE: {watch.answer.start}")
    first = watch.wait("the first document")
    check("<basic>open</basic>" in first.text, f"PIDF without open: {first.text}")
    count = len(watch.notifies)
    check(watch.refresh(600).status in (200, 202), f"refresh: {watch.answer.start}")
    watch.wait("the document after the refresh", since=count)
    check(watch.unsubscribe().status in (200, 202), f"unsubscribe: {watch.answer.start}")
    watch.wait("terminated", lambda n: n.get("Subscription-State").startswith("terminated"))


def played_plug(lab):
    lab.need("mosquitto_pub", "mosquitto_sub")
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    client = ["-h", broker.address[0], "-p", broker.address[1]]
    with lab.case("the played plug obeys mosquitto_pub and reports to mosquitto_sub"):
        check(plug.online.wait(10), "the plug did not connect")
        ear = lab.start("mosquitto_sub", ["mosquitto_sub", *client, "-v", "-t", "stat/#", "-t", "tele/#"])
        ear.see("tele/plug1/LWT Online")
        lab.start("mosquitto_pub", ["mosquitto_pub", *client, "-t", "cmnd/plug1/POWER", "-m", "ON"]).wait(10)
        ear.see("stat/plug1/POWER ON")
        equal([text for _, text in plug.orders()], ["ON"], "orders")
    with lab.case("the broker dies and forgets what was not delivered; the played plug comes back"):
        broker.kill()
        until("the plug to notice", lambda: not plug.online.is_set(), 5)
        broker.begin()
        check(plug.online.wait(10), "the plug did not come back")
        equal(len(plug.orders()), 1, "orders")
