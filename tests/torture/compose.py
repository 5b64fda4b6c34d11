#!/usr/bin/env python3
"""Writes the torture messages of this folder: one file per point that RFC 4475 and RFC 5118 test.

The messages are this project's own. They bear the RFC's short names, so that one table (dues.tsv) serves them and
the RFC's archive alike. `compose.py --check` only says whether the files are what this script would write.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
SDP = ["v=0", "o=porch 51 7 IN IP4 198.51.100.9", "s=-", "c=IN IP4 198.51.100.9", "t=0 0", "m=audio 41000 RTP/AVP 8 0"]
RUSSIAN = "дверь закрыта"


def wire(lines, body=b"", length=None):
    """CRLF line ends and, unless the lines bring their own, a Content-Length; `length` may lie."""
    if isinstance(body, list):
        body = "".join(line + "\r\n" for line in body).encode()
    if length is not False:
        lines = lines + [f"Content-Length: {len(body) if length is None else length}"]
    return "".join(line + "\r\n" for line in lines).encode("utf-8", "surrogateescape") + b"\r\n" + body


def request(name, start, *more, via="SIP/2.0/UDP gate.example.net", branch=None, body=b"", length=None, cseq=None,
            to="<sip:kettle@house.example>", sender="<sip:mia@example.net>;tag=t-{name}", forwards="70"):
    """A well-formed request around the lines that matter; None leaves a header out."""
    method = start.split(" ")[0]
    lines = [start]
    fixed = [("Via", via and f"{via};branch={branch or 'z9hG4bK-' + name}"), ("Max-Forwards", forwards), ("To", to),
             ("From", sender and sender.format(name=name)), ("Call-ID", f"{name}.7c1e@gate.example.net"), ("CSeq", cseq or f"31 {method}")]
    taken = {line.split(":")[0].strip().lower() for line in more}
    lines += [f"{h}: {v}" for h, v in fixed if v is not None and h.lower() not in taken]
    if body == SDP:
        lines.append("Content-Type: application/sdp")
    return wire(lines + list(more), body, length)


def invite(name, *more, start=None, **other):
    if not any(line.lower().startswith(("contact", "m:")) for line in more):
        more = (*more, "Contact: <sip:mia@gate.example.net>")
    return request(name, start or "INVITE sip:kettle@house.example SIP/2.0", *more, **{"body": SDP, **other})


def options(name, *more, start="OPTIONS sip:kettle@house.example SIP/2.0", **other):
    return request(name, start, *more, **other)


def register(name, *more, start="REGISTER sip:house.example SIP/2.0", **other):
    return request(name, start, *more, **{"to": "<sip:mia@example.net>", **other})


def response(name, start, *more, vias=("SIP/2.0/UDP gate.example.net;branch=z9hG4bK-{name}",), cseq="31 INVITE", **other):
    lines = [start] + [f"Via: {via.format(name=name)}" for via in vias]
    lines += [f"Call-ID: {name}.7c1e@gate.example.net", f"CSeq: {cseq}", f"From: <sip:mia@example.net>;tag=t-{name}",
              "To: <sip:kettle@house.example>;tag=u1", "Contact: <sip:kettle@house.example>"]
    return wire(lines + list(more), **other)


def syntax_that_is_allowed():
    """RFC 4475 section 3.1.1"""
    yield "wsinv", invite(
        "wsinv", "TO :", " sip:kettle@house.example  ;   tag   = q77", "fRoM  : \"Mia \\\\\\\"\"      <sip:mia@example.net>", "  ;", "  tag = w5",
        "mAx-FORwards: 0041", "cSEQ: 0031", "   INVITE", "Call-ID:", " wsinv.7c1e@gate.example.net", "Via   : SIP  /  2.0", "  /UDP",
        "   198.51.100.9;branch=z9hG4bK-wsinv-top", "s :", "OddHeader:  first line", "   second line", "ValueOfSeparators: ;;,,;,;;",
        "Route:", " <sip:edge.example.net;lr;with=value;without>", "v:  SIP  / 2.0 / TCP    porch.example   ;", "  branch =  z9hG4bK-w2 ,",
        "   SIP /  2.0  / UDP  10.9.8.7  ; branch=", " z9hG4bK-w3", "m:\"Quoted \\\"\\\"\" <sip:mia@gate.example.net> ; strange =", "    value ;", "  other ; q = 0.41",
        start="INVITE sip:kettle@house.example;odd SIP/2.0")
    method = "~Strange.Method_7`+*'%!-"
    yield "intmeth", request(
        "intmeth", f"{method} sip:lamp.2~(in&out)$/;now?,*:pass+$word~1@house.example SIP/2.0",
        "To: \"BELL:\\\a NULL:\\\0 RUBOUT:\\\x7f\" <sip:lamp.2~(in&out)$/;now?,*@house.example>",
        f"From: tok1~` tok2'+_ tok3*%!.- <sip:mia@example.net>;par''~+*_!.-%=\"{RUSSIAN}\";tag=_t~1'+`*%!-.",
        "Call-ID: word%ZX-!.*_+'@word`~)(><:\\/\"][?}{", "extra-!.%*+_`'~:\ufeff\u95e8", via="SIP/2.0/UDP gate.example.net",
        branch="z9hG4bK-~.!%66*_+`'", forwards="255")
    yield "esc01", invite(
        "esc01", "To: sip:%6bett%6Ce@house.example", "From: <sip:two%20words@example.net>;tag=esc", "Contact:",
        "  <sip:m%69a@gate.example.net;%6C%72;na%6De=v%61l%25%34%32>", start="INVITE sip:sips%3Akettle%40house.example@edge.example SIP/2.0")
    yield "escnull", register("escnull", "From: <sip:a-%00-b@house.example>;tag=nul", "Contact: <sip:%00@gate.example.net>",
                              "Contact: <sip:%00%00@gate.example.net>", to="<sip:a-%00-b@house.example>")
    yield "esc02", request("esc02", "SUB%53CRIB%45 sip:house.example SIP/2.0", "To: \"%Q%41\" <sip:kettle@house.example>",
                           "From: \"%Q%41\" <sip:mia@example.net>;tag=pc", "Contact: <sip:one@gate.example.net>",
                           "C%6Fntact: <sip:two@gate.example.net>", "Contact: <sip:three@gate.example.net>", branch="z9hG4bK8%zesc02")
    yield "lwsdisp", options("lwsdisp", sender="Mia<sip:mia@example.net>;tag=nospace")
    yield "longreq", long_request()
    first = register("dblreq", "Contact: <sip:mia@gate.example.net>")
    yield "dblreq", first + b"\r\n" + invite("dblreq2")
    yield "semiuri", options("semiuri", "Accept: application/sdp,", "   application/senml+json, text/plain",
                             start="OPTIONS sip:kettle;room=k%40upper.example@house.example SIP/2.0")
    yield "transports", options(
        "transports", "Via: SIP/2.0/UDP a.example;branch=z9hG4bK-tr1", "Via: SIP/2.0/SCTP b.example;branch=z9hG4bK-tr2",
        "Via: SIP/2.0/TLS c.example;branch=z9hG4bK-tr3", "Via: SIP/2.0/PIGEON d.example;branch=z9hG4bK-tr4",
        "Via: SIP/2.0/TCP e.example;branch=z9hG4bK-tr5")
    binary = bytes([0x30, 0x82, 0, 0xff, 0x0d, 0x0a, 0x0d, 0x0a, 0x80, 0xfe, 0x1b, 0x7f]) * 9
    parts = (b"--cut-here\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nGood morning\r\n--cut-here\r\n"
             b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + binary + b"\r\n--cut-here--\r\n")
    yield "mpart01", request("mpart01", "MESSAGE sip:kettle@house.example SIP/2.0", "Contact: <sip:mia@gate.example.net>",
                             "Content-Type: multipart/mixed;boundary=cut-here", body=parts)
    yield "unreason", response("unreason", f"SIP/2.0 200 = 3 + 4 {RUSSIAN}")
    yield "noreason", response("noreason", "SIP/2.0 100 ")


def long_request():
    long = "very" + "long" * 24
    vias = [f"{('Via', 'v', 'V', 'v  ', 'Via ')[n % 5]}: SIP/2.0/TCP hop{n}.example.net" for n in range(33, 0, -1)]
    return invite(
        "longreq", f"To: \"The {'kettle ' * 14}upstairs\" <sip:kettle@house.example:5099;{long}={long};{long}2>",
        f"F: sip:{'mia' * 40}@example.net;tag=1{'98' * 70};{long}={long};{long}x", f"Call-ID: longreq.{'really' * 25}long",
        f"Unknown-{'Long' * 20}-Name: a-{'long' * 18}-value; a-{'long' * 16}-name = {long}", *vias,
        f"Via: SIP/2.0/TCP gate.example.net;received=198.51.100.9;branch={long}branch", f"Contact: <sip:{'mia' * 40}@gate.example.net>",
        sender=None)


def syntax_that_is_not():
    """RFC 4475 section 3.1.2"""
    yield "badinv01", invite("badinv01", "Via: SIP/2.0/UDP 198.51.100.9;;,;,,", "Contact: \"Mia\" <sip:mia@example.net>;;;;")
    yield "clerr", invite("clerr", length=8888)
    yield "ncl", invite("ncl", length=-321)
    yield "scalar02", register("scalar02", "CSeq: 55340232221128654848 REGISTER", "Expires: 1" + "0" * 80,
                               "Contact: <sip:mia@gate.example.net>", "  ;expires=281474976710656000", forwards="300")
    yield "scalarlg", response("scalarlg", "SIP/2.0 503 Service Unavailable", "Retry-After: 77777777777777777777777",
                               "Warning: 1999 porch \"Too much\"", cseq="9999999999999999999999 OPTIONS")
    yield "quotbal", invite("quotbal", to="\"Kettle <sip:kettle@house.example>")
    yield "ltgtruri", invite("ltgtruri", start="INVITE <sip:kettle@house.example> SIP/2.0")
    yield "lwsruri", invite("lwsruri", start="INVITE sip:kettle@house.example; lr SIP/2.0")
    yield "lwsstart", invite("lwsstart", start="INVITE  sip:kettle@house.example  SIP/2.0", cseq="31 INVITE")
    yield "trws", options("trws", start="OPTIONS sip:kettle@house.example SIP/2.0  ", cseq="31 OPTIONS")
    yield "escruri", invite("escruri", start="INVITE sip:kettle@house.example?Route=%3Csip:edge.example.net%3E SIP/2.0")
    yield "baddate", invite("baddate", "Date: Mon, 02 Mar 2026 07:30:00 CET")
    yield "regbadct", register("regbadct", "Contact: sip:mia@gate.example.net?Route=%3Csip:edge.example.net%3E")
    yield "badaspec", options("badaspec", to="\"Kettle, Kitchen\" < sip:kettle@house.example >")
    yield "baddn", options("baddn", to="Kettle, Kitchen <sip:kettle@house.example>", sender="Mia, Ms. <sip:mia@example.net>;tag=dn")
    yield "badvers", options("badvers", start="OPTIONS sip:kettle@house.example SIP/7.3", via="SIP/7.3/UDP gate.example.net")
    yield "mismatch01", options("mismatch01", cseq="31 INVITE")
    yield "mismatch02", request("mismatch02", "BREW sip:kettle@house.example SIP/2.0", "Contact: <sip:mia@gate.example.net>",
                                cseq="31 INVITE", body=SDP)
    yield "bigcode", response("bigcode", "SIP/2.0 8589934792 far too many")


def transactions_and_meaning():
    """RFC 4475 sections 3.2 to 3.4"""
    yield "badbranch", options("badbranch", branch="z9hG4bK", forwards="5")
    yield "insuf", wire(["INVITE sip:kettle@house.example SIP/2.0", "CSeq: 31 INVITE", "Via: SIP/2.0/UDP gate.example.net;branch=z9hG4bK-insuf",
                         "Content-Type: application/sdp"], SDP)
    yield "unkscm", options("unkscm", start="OPTIONS ofNoScheme:whatever_this_is SIP/2.0")
    yield "novelsc", options("novelsc", start="OPTIONS mqtt.tls://198.51.100.9:8883 SIP/2.0")
    yield "unksm2", register("unksm2", "From: <https://www.example.net>;tag=web", "Contact: <room:Kitchen_Upstairs>", to="ean:4006381333931")
    yield "bext01", options("bext01", "Require: teleport, telepathy", "Proxy-Require: clairvoyance")
    yield "invut", request("invut", "INVITE sip:kettle@house.example SIP/2.0", "Contact: <sip:mia@gate.example.net>",
                           "Content-Type: application/tea-menu", body=b"<tea>\r\n <green minutes=\"3\"/>\r\n</tea>\r\n")
    yield "regaut01", register("regaut01", "Authorization: SecretHandshake grip=firm")
    yield "multi01", wire(["INVITE sip:kettle@house.example SIP/2.0", "Contact: <sip:mia@gate.example.net>",
                           "Via: SIP/2.0/UDP gate.example.net;branch=z9hG4bK-multi01", "Max-Forwards: 70", "CSeq: 31 INVITE",
                           "Call-ID: multi01.a@gate.example.net", "CSeq: 32 INVITE", "Call-ID: multi01.b@gate.example.net",
                           "From: <sip:mia@example.net>;tag=a", "To: <sip:kettle@house.example>", "To: <sip:lamp@house.example>",
                           "From: <sip:ben@example.net>;tag=b", "Content-Type: application/sdp", "Contact: <sip:ben@gate.example.net>",
                           "Max-Forwards: 4"], SDP)
    yield "mcl01", options("mcl01", "Content-Length: 17", "Content-Type: text/plain", "Content-Length: 6", length=False,
                           body=b"Nobody can say where this text ends.\r\n")
    yield "bcast", response("bcast", "SIP/2.0 200 OK", vias=("SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK-bc1",
                                                              "SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK-bc2"))
    yield "zeromf", options("zeromf", forwards="0")
    yield "cparam01", register("cparam01", "Contact: sip:+4930555123@gate.example.net;odd")
    yield "cparam02", register("cparam02", "Contact: <sip:+4930555123@gate.example.net;odd>")
    yield "regescrt", register("regescrt", "Contact: <sip:mia@gate.example.net?Route=%3Csip:edge.example.net%3E>")
    yield "sdp01", invite("sdp01", "Accept: text/of-another-world")
    yield "inv2543", wire(["INVITE sip:kettle@house.example SIP/2.0", "Via: SIP/2.0/UDP old.example.net",
                           "From: <sip:+4930555123@old.example.net;user=phone>", "Record-Route: <sip:kettle@house.example;maddr=edge.example.net>",
                           "To: sip:+4930555456@house.example;user=phone", "Call-ID: inv2543.7c1e@old.example.net", "CSeq: 31 INVITE",
                           "Content-Type: application/sdp"], SDP[:-1] + ["m=audio 41000 RTP/AVP 0"], length=False)


def ipv6():
    """RFC 5118 section 4"""
    v6 = "SIP/2.0/UDP [2001:db8::6:1]"
    contact = "Contact: \"Mia\" <sip:mia@[2001:db8::7]>"
    session = ["v=0", "o=porch 51 7 IN IP6 2001:db8::7", "s=-", "c=IN IP6 2001:db8::7", "t=0 0", "m=audio 41000 RTP/AVP 8"]
    sdp = "Content-Type: application/sdp"
    yield "ipv6-good", register("ipv6-good", contact, start="REGISTER sip:[2001:db8::20] SIP/2.0", via=v6)
    yield "ipv6-bad", register("ipv6-bad", contact, start="REGISTER sip:2001:db8::20 SIP/2.0", via=v6)
    yield "port-ambiguous", register("port-ambiguous", contact, start="REGISTER sip:[2001:db8::20:5080] SIP/2.0", via=v6)
    yield "port-unambiguous", register("port-unambiguous", contact, start="REGISTER sip:[2001:db8::20]:5080 SIP/2.0", via=v6)
    yield "via-received-param-with-delim", request(
        "received-with", "BYE sip:[2001:db8::20] SIP/2.0", to="<sip:kettle@house.example>;tag=u1", via=v6 + ";received=[2001:db8::6:99]")
    yield "via-received-param-no-delim", options("received-no", contact, start="OPTIONS sip:[2001:db8::20] SIP/2.0", via=v6 + ";received=2001:db8::6:99")
    yield "ipv6-in-sdp", invite("ipv6-in-sdp", contact, sdp, start="INVITE sip:kettle@[2001:db8::20] SIP/2.0", via="SIP/2.0/UDP [2001:db8::7]", body=session)
    yield "mult-ip-in-header", request(
        "mult-ip-in-header", "BYE sip:kettle@house.example SIP/2.0", "Via: SIP/2.0/UDP [2001:db8::6:1]:6070;branch=z9hG4bK-mi1",
        "Via: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bK-mi2", "Via: SIP/2.0/TCP [2001:db8::6:77];branch=z9hG4bK-mi3;received=198.51.100.77",
        to="<sip:kettle@house.example>;tag=u1")
    both = ["v=0", "o=porch 51 7 IN IP4 porch.example", "s=", "t=0 0", "m=audio 41000 RTP/AVP 0", "c=IN IP4 198.51.100.9",
            "m=video 41002 RTP/AVP 101", "c=IN IP6 2001:db8::7", "a=rtpmap:101 H263-1998/90000"]
    yield "mult-ip-in-sdp", invite("mult-ip-in-sdp", contact, sdp, start="INVITE sip:kettle@[2001:db8::20] SIP/2.0", via=v6, body=both)
    mapped = ["v=0", "o=porch 51 7 IN IP6 ::ffff:198.51.100.9", "s=-", "c=IN IP6 ::ffff:198.51.100.9", "t=0 0", "m=audio 41000 RTP/AVP 8"]
    yield "ipv4-mapped-ipv6", invite(
        "ipv4-mapped-ipv6", "Via: SIP/2.0/UDP [::ffff:198.51.100.10]:21000;branch=z9hG4bK-mp1", "Via: SIP/2.0/UDP [::ffff:198.51.100.9];branch=z9hG4bK-mp2",
        "Contact: \"Mia\" <sip:mia@[::ffff:198.51.100.9]>", sdp, body=mapped)
    yield "ipv6-bug-abnf-3-colons", options("ipv6-3-colons", start="OPTIONS sip:kettle@[2001:db8:::198.51.100.9] SIP/2.0", to="<sip:kettle@[2001:db8:::198.51.100.9]>")
    yield "ipv6-correct-abnf-2-colons", options("ipv6-2-colons", start="OPTIONS sip:kettle@[2001:db8::198.51.100.9] SIP/2.0", to="<sip:kettle@[2001:db8::198.51.100.9]>")


def main(check):
    wrong = []
    messages = [pair for section in (syntax_that_is_allowed, syntax_that_is_not, transactions_and_meaning, ipv6) for pair in section()]
    for name, raw in messages:
        path = HERE / f"{name}.sip"
        if check and (not path.exists() or path.read_bytes() != raw):
            wrong.append(path.name)
        elif not check:
            path.write_bytes(raw)
    strangers = {p.name for p in HERE.glob("*.sip")} - {f"{name}.sip" for name, _ in messages}
    for name in sorted(strangers) + wrong:
        print(f"{name}: not what compose.py writes", file=sys.stderr)
    return 1 if strangers or wrong else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
