"""TLS and WebSockets: phones and programs that come in, servers that are gone to, and those who only knock."""

import os
import re
import select
import signal
import socket
import ssl
import subprocess
import time

import home
import ua as sip
from certs import Authority, openssl
from lab import GATEWAY, PASSWORD, USER, Gateway, answers_options, check, equal, free_port, power, until
from mqtt_plug import Plug
from peers import Baresip, Kamailio, Mosquitto

DOMAIN = "example.com"
HOST = "127.0.0.1"


def run(lab):
    lab.need("openssl", "mosquitto")
    broker = Mosquitto(lab)
    plug = Plug(broker.address, "plug1")
    lab.closers.append(plug.close)
    check(plug.online.wait(10), "the plug did not connect")
    ca, other = Authority(lab), Authority(lab, "other")
    ca.sign("gateway", f"IP:{HOST}", f"DNS:{DOMAIN}")
    house, secure, web, https = start(lab, broker)
    come_in(lab, house, secure, web, ca, other)
    documents(lab, house, ca, https)
    knock(lab, house, secure)
    renew(lab, house, secure, ca)
    go_out(lab, broker, ca, other)
    between_houses(lab, house, secure, web, broker, ca)
    with lab.case("the gateway still runs"):
        house.alive()


def start(lab, broker):
    """A house on every transport; its ports for TLS, for WebSockets without and with TLS, and for HTTPS."""
    secure, web, https = free_port(), (free_port(), free_port()), free_port()
    ports = free_port()
    listen = [f"udp:{HOST}:{ports}", f"tcp:{HOST}:{ports}", f"tls:{HOST}:{secure}", f"ws:{HOST}:{web[0]}", f"wss:{HOST}:{web[1]}"]
    _, arguments = home.write(lab, DOMAIN, broker.address, listen=listen, tls={"certificate": "gateway.pem", "key": "gateway.key"},
                              http={"listen": [f"{HOST}:{https}"], "tls": True})
    return Gateway(lab, arguments, (HOST, ports), name="gateway-home"), secure, web, https


def documents(lab, house, ca, port):
    with lab.case("documents are read and written over HTTPS"):
        lab.need("curl")
        url = f"https://{HOST}:{port}/xcap-root/resource-lists/users/{USER}/index"
        curl = ["curl", "-sS", "--digest", "-u", f"{USER}:{PASSWORD}", "--cacert", str(ca.file), "-o", "/dev/null", "-w", "%{http_code}"]
        text = '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="a"/></resource-lists>'
        put = [*curl, "-X", "PUT", "-H", "Content-Type: application/resource-lists+xml", "-d", text, url]
        for arguments, due in ((put, "201"), ([*curl, url], "200")):
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=20)
            equal(done.stdout, due, f"curl: {done.stderr}")
        done = subprocess.run([*curl, url.replace("https", "http")], capture_output=True, text=True, timeout=20)
        check(done.stdout not in ("200", "401"), f"plain HTTP was answered {done.stdout}")


def link(broker, name):
    """Each house has a name of its own at the broker."""
    return {"main": {"host": broker.address[0], "port": broker.address[1], "client_id": name}}


def come_in(lab, house, secure, web, ca, other):
    # Proves: SEC-2, SEC-5
    for version in ("-tls1_2", "-tls1_3"):
        with lab.case(f"openssl s_client {version} believes the gateway and is answered"):
            said = s_client(secure, ca, version)
            check("Verify return code: 0 (ok)" in said, said[-400:])
            check("SIP/2.0 200" in said, said[-400:])
    with lab.case("openssl s_client -tls1_1 does not come in"):
        check("SIP/2.0" not in s_client(secure, ca, "-tls1_1"), "TLS 1.1 was spoken")
    with lab.case("a phone over TLS registers, reads and switches"):
        phone = lab.phone((HOST, secure), USER, PASSWORD, DOMAIN, "tls", ca=ca.file)
        equal(phone.register().status, 200, "REGISTER")
        before = power(phone)
        equal(phone.message(phone.uri("plug"), "off" if before else "on").status, 200, "MESSAGE")
        until("the plug to have switched", lambda: power(phone) != before)
    with lab.case("over TLS, too, a stranger is asked who he is"):
        stranger = lab.phone((HOST, secure), "mallory", "guess", DOMAIN, "tls", ca=ca.file)
        equal(stranger.message(stranger.uri("plug"), "on").status, 401, "MESSAGE")
    with lab.case("a phone that knows another authority stays away"):
        try:
            lab.phone((HOST, secure), USER, PASSWORD, DOMAIN, "tls", ca=other.file)
            raise AssertionError("it came in")
        except ssl.SSLCertVerificationError:
            pass
    with lab.case("a sips request over TCP is refused"):
        plain = lab.phone(house.listen, USER, PASSWORD, DOMAIN, "tcp")
        equal(plain.message(f"sips:plug@{DOMAIN}", "on").status, 416, "MESSAGE")
    with lab.case("the program itself switches over tls, ws and wss"):
        for way, port, ca_file in (("tls", secure, ca), ("ws", web[0], None), ("wss", web[1], ca)):
            code, said = send(port, way, ca_file, "on")
            equal((code, bool(re.search(r"\bon\b", said))), (0, True), f"{way}: {said}")
    with lab.case("the program says why it does not believe a server"):
        code, said = send(secure, "tls", other, "on")
        check(code == 3 and "signed by somebody unknown" in said, said)
    with lab.case("baresip registers, watches and switches over TLS"):
        where = f"{HOST}:{secure}"
        account = f'<sip:{USER}@{DOMAIN};transport=tls>;auth_user={USER};auth_pass={PASSWORD};regint=120;outbound="sip:{where};transport=tls"'
        soft = Baresip(lab, "baresip-tls", account, [("Plug", f"sip:plug@{DOMAIN};transport=tls", "presence=p2p")],
                       settings=[f"sip_cafile {ca.file}"])
        soft.see(r"200 OK.*?\[\d+ binding", 15)
        soft.see(r"NOTIFY sip:\S*.*?Event: presence.*?<basic>open</basic>", 15)
        mark = soft.mark()
        soft.text("off")
        soft.see(r"\n\n[^\n]*\boff\b", 15, mark)


def s_client(port, ca, version):
    request = (f"OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TLS {HOST}:9;branch=z9hG4bK{sip.token()}\r\nMax-Forwards: 70\r\nFrom: <sip:x@{HOST}>;tag=1\r\n"
               f"To: <sip:{DOMAIN}>\r\nCall-ID: {sip.token()}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")
    program = subprocess.Popen(["openssl", "s_client", "-connect", f"{HOST}:{port}", "-CAfile", str(ca.file), version, "-verify_ip", HOST],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        program.stdin.write(request)
        program.stdin.flush()
        # Its input may end when there is an answer, or when it has ended itself.
        said, end = b"", time.monotonic() + 15
        while b"\nSIP/2.0 " not in said and time.monotonic() < end:
            if select.select([program.stdout], [], [], 0.2)[0]:
                more = os.read(program.stdout.fileno(), 65536)
                if not more:
                    break
                said += more
        return said.decode("utf-8", "replace") + program.communicate(timeout=10)[0]
    except (BrokenPipeError, subprocess.TimeoutExpired):
        program.kill()
        return program.communicate()[0]


def send(port, way, ca, word):
    more = ["--ca", str(ca.file)] if ca else []
    done = subprocess.run([GATEWAY, "send", f"sip:plug@{DOMAIN}", word, "--server", f"{HOST}:{port}", "--transport", way, "--user", USER,
                           "--password", PASSWORD, *more], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def knock(lab, house, secure):
    with lab.case("200 handshakes that stall keep nobody out and are closed within 10 s"):
        stalled = [stall(secure, f"127.0.1.{nth % 20 + 1}") for nth in range(200)]
        began = time.monotonic()    # the last one has its time from now on
        phone = lab.phone((HOST, secure), USER, PASSWORD, DOMAIN, "tls", ca=lab.folder / "ca.pem")
        equal(phone.register().status, 200, "REGISTER while they stall")
        check(answers_options(house.listen), "OPTIONS over UDP while they stall")
        for one in stalled:
            one.settimeout(max(0.1, began + 10.5 - time.monotonic()))
            check(ended(one), "a stalled handshake is still there")
        check(time.monotonic() - began <= 11, "they were closed late")
    with lab.case("one address has 16 handshakes at once and no more"):
        stalled = [stall(secure, "127.0.2.1") for _ in range(40)]
        left = lambda: sum(not ended(one, 0.01) for one in stalled)  # noqa: E731
        until("the others to be closed, before those that wait are", lambda: left() <= 16, 6)
        time.sleep(0.3)
        equal(left(), 16, "handshakes that wait")
        for one in stalled:
            one.close()


def stall(port, host):
    """A connection that sends the first bytes of a TLS record and no more."""
    one = socket.socket()
    one.bind((host, 0))
    one.settimeout(5)
    one.connect((HOST, port))
    one.sendall(b"\x16\x03\x01")
    return one


def ended(one, timeout=None):
    if timeout is not None:
        one.settimeout(timeout)
    try:
        return one.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def renew(lab, house, secure, ca):
    with lab.case("SIGHUP takes over a renewed certificate, and connections that stand are kept"):
        phone = lab.phone((HOST, secure), USER, PASSWORD, DOMAIN, "tls", ca=ca.file)
        equal(phone.register().status, 200, "REGISTER")
        old = serial(secure)
        ca.sign("gateway", f"IP:{HOST}", f"DNS:{DOMAIN}")
        house.program.tell(signal.SIGHUP)
        until("the new certificate to be shown", lambda: serial(secure) != old)
        equal(phone.register().status, 200, "REGISTER over the old connection")
    with lab.case("SIGHUP with a key that does not fit changes nothing and says so"):
        shown, mark = serial(secure), len(house.program.output())
        key = lab.folder / "gateway.key"
        good = key.read_text()
        key.write_text((lab.folder / "ca.key").read_text())
        house.program.tell(signal.SIGHUP)
        house.program.see(r"is the key of another certificate than", 10, mark)
        equal(serial(secure), shown, "the certificate")
        key.write_text(good)


def serial(port):
    return ssl.get_server_certificate((HOST, port))


def go_out(lab, broker, ca, other):
    """Kamailio over TLS and WebSockets as the registrar of a house."""
    lab.need("kamailio")
    lab.need_files("/usr/lib/*/kamailio/modules/tls.so", "/usr/lib/*/kamailio/modules/websocket.so")
    certificates = {"good": ca.sign("kamailio", f"DNS:{DOMAIN}", f"URI:sip:{DOMAIN}"), "wrong": ca.sign("wrong", "DNS:example.net"),
                    "expired": ca.sign("expired", f"DNS:{DOMAIN}", days=-1)}

    def kamailio(which):
        certificate, key = certificates[which]
        return Kamailio(lab, PASSWORD, config="secure.cfg", SECURE=free_port(), WEB=free_port(), CERTIFICATE=certificate, KEY=key)

    def gateway(name, server, **more):
        account = {"user": "plug", "password": {"secret": "kam"}, "device": "plug"}
        upstream = {"kam": {"server": server, "domain": DOMAIN, "expires": "30s", "accounts": [account], **more}}
        return home.start(lab, f"{name}.example.com", broker.address, name=name, mqtt=link(broker, name), upstream=upstream, secrets={"kam": PASSWORD},
                          control=lab.folder / f"{name}.sock")

    good = kamailio("good")
    server = f"{HOST}:{good.more['SECURE']}"
    with lab.case("the gateway registers at Kamailio over TLS and is asked through it"):
        house = gateway("out-tls", server, transport="tls", ca="ca.pem")
        house.program.see(rf"plug@{DOMAIN}: registered", 20)
        stranger = lab.phone(good.address, "mallory", "guess", DOMAIN)
        equal(stranger.message(f"sip:plug@{DOMAIN}", "on").status, 401, "MESSAGE through Kamailio")
        house.program.stop()
    with lab.case("the gateway registers at Kamailio over a WebSocket and is asked through it"):
        house = gateway("out-ws", f"{HOST}:{good.more['WEB']}", transport="ws", path="/ws")
        house.program.see(rf"plug@{DOMAIN}: registered", 20)
        stranger = lab.phone(good.address, "mallory", "guess", DOMAIN)
        equal(stranger.message(f"sip:plug@{DOMAIN}", "on").status, 401, "MESSAGE through Kamailio")
        house.program.stop()
    with lab.case("a path where no WebSocket is is told"):
        house = gateway("out-path", f"{HOST}:{good.more['WEB']}", transport="ws", path="/other")
        house.program.see(r"no way to it: \S+ no WebSocket: it answers 404", 15)
        house.program.stop()
    with lab.case("a pin needs no authority"):
        pin = openssl("x509", "-in", certificates["good"][0], "-noout", "-fingerprint", "-sha256").strip().split("=")[1]
        house = gateway("out-pin", server, transport="tls", pin=pin)
        house.program.see(rf"plug@{DOMAIN}: registered", 20)
        house.program.stop()
    # Proves: SEC-3
    for name, which, more, why in [
        ("another authority", "good", {"ca": "other.pem"}, "the certificate is signed by somebody unknown – give `ca:`"),
        ("another name", "wrong", {"ca": "ca.pem"}, f"the certificate is for example.net, not for {HOST}"),
        ("a certificate that has ended", "expired", {"ca": "ca.pem"}, "the certificate has expired, on 2021-02-03 – renew it there"),
        ("another pin", "good", {"pin": "00" * 32}, "the certificate is another one than that of `pin:`"),
    ]:
        with lab.case(f"{name}: the gateway says so, tries again and sends nothing"):
            peer = good if which == "good" else kamailio(which)
            house = gateway(f"out-{which}-{len(why)}", f"{HOST}:{peer.more['SECURE']}", transport="tls", **more)
            house.program.see(re.escape(f"no way to it: {HOST}:{peer.more['SECURE']}: {why}"), 15)
            check("registered" not in house.program.output(), "it registered")
            words = home.status(lab, lab.folder / f"out-{which}-{len(why)}.sock")["registrations"][0]["words"]
            check(words.startswith("no way to it: ") and why in words and "again" in words, f"the status says {words!r}")
            house.program.stop()
            if peer is not good:
                peer.kill()
    with lab.case("a server that speaks no TLS gets none of it in the clear"):
        with socket.create_server((HOST, 0)) as plain:
            house = gateway("out-plain", f"{HOST}:{plain.getsockname()[1]}", transport="tls", ca="ca.pem")
            plain.settimeout(10)
            came, _ = plain.accept()
            came.settimeout(5)
            said = came.recv(4096)
            came.sendall(b"SIP/2.0 400 Speak plainly\r\nContent-Length: 0\r\n\r\n")
            house.program.see(r"no way to it: \S+ what answers there speaks no TLS", 15)
            came.settimeout(2)
            said += came.recv(4096)
        equal(said[:1], b"\x16", "the first byte: the record of a handshake")
        check(b"REGISTER" not in said and b"plug" not in said, "it spoke in the clear")
        house.program.stop()
    good.kill()


def between_houses(lab, house, secure, web, broker, ca):
    for way, port in (("tls", secure), ("wss", web[1])):
        with lab.case(f"an appliance of a house is a device of another one over {way}"):
            peers = {"one": {"server": f"{HOST}:{port}", "transport": way, "domain": DOMAIN, "user": USER, "password": {"secret": "one"}, "ca": "ca.pem"}}
            devices = {"far": {"name": "Far", "profile": "tasmota-plug", "remote": f"sip:plug@{DOMAIN}", "via": "one"}}
            second = home.start(lab, f"{way}.example.com", broker.address, name=f"peer-{way}", mqtt=link(broker, way), peers=peers, devices=devices, secrets={"one": PASSWORD})
            phone = second.phone(domain=f"{way}.example.com")
            until("its state to be known", lambda: power(phone, "far") is not None, 20)
            before = power(phone, "far")
            equal(phone.message(phone.uri("far"), "off" if before else "on").status, 200, "MESSAGE")
            until("it to have switched", lambda: power(phone, "far") != before)
            second.program.stop()
