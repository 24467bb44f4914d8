#!/usr/bin/env python3
"""Delivery: what arrives at the far end, and what becomes of recipients when it does not."""

import re

from harness import *
from others import *
from peer import CLOSE


def to_peer(*peers, **more):
    return [merge({"domain": "*", "mx": [p.address for p in peers]}, more)]


def fates(d, *recipients):
    return {r: d.wait_fate(r)["event"] for r in recipients}


def report_at(peer, sender="joe@sender.test"):
    """The first report sent to sender, which must come from <>."""
    m = wait_for(
        lambda: next((m for m in peer.mails if m.rcpts == [sender]), None), f"a report to {sender}"
    )
    equal(m.sender, "", "reverse-path of the report")
    matches("multipart/report", m.header("Content-Type")[0])
    return m


# --- Postfix --------------------------------------------------------------------------


def hard_message():
    """Dots, long lines, trailing blanks, 8-bit text, 2 MB."""
    lines = [b".", b"..", b".leading dot", b"..leading dots", b"", b" ", b"trailing blanks  \t", b"From here"]
    lines += [b"x" * 990, b"." * 990, "Grüße aus Köln, 8-bit: ".encode() + bytes(range(0xA0, 0xFF))]
    lines += [b"%07d " % i + b"0123456789abcdef" * 4 for i in range(28000)] + [b".", b"", b"."]
    return message("hard", b"\r\n".join(lines) + b"\r\n", Content_Transfer_Encoding="8bit")


@case("Postfix over STARTTLS: a 2 MB message with dots, long lines and 8-bit text is the same at the far end")
def _():
    with World() as w:
        postfix = Postfix(w)
        d = w.daemon(routes=[{"domain": "far.test", "mx": [postfix.address]}])
        sent = hard_message()
        d.submit("joe@sender.test", "ann@far.test", sent, mail=" BODY=8BITMIME")
        e = d.wait_fate("ann@far.test")
        equal(e["event"], "delivered")
        check(e["tls"]["version"] in ("TLSv1.2", "TLSv1.3"), f"TLS: {e.get('tls')}")
        got = postfix.wait_mails(1)[0]
        far = got[got.index(b"From: <joe@sender.test>") :]
        equal(len(far), len(sent.replace(b"\r\n", b"\n")), "bytes")
        check(far == sent.replace(b"\r\n", b"\n"), "every byte of it")
        matches(r"with ESMTPS id", got.split(b"From: ")[0].decode().replace("\n", " "), "Postfix's Received")
        say(f"{len(sent)} bytes, {e['tls']['version']} {e['tls']['cipher']}, byte for byte the same in the maildir")


@case("Postfix: a bounce of its RCPT, a deferral of a full mailbox system, several recipients at once")
def _():
    with World() as w:
        access = w.write(
            "rcpt", "/^bad@/ 550 5.1.1 no such user\n/^later@/ 450 4.2.0 come back\n"
        )
        postfix = Postfix(
            w,
            extra=f"smtpd_recipient_restrictions = check_recipient_access regexp:{access}, permit_mynetworks, reject",
        )
        peer = w.peer()
        d = w.daemon(
            routes=[{"domain": "far.test", "mx": [postfix.address]}, {"domain": "*", "mx": [peer.address]}]
        )
        to = ["good@far.test", "bad@far.test", "later@far.test"]
        d.submit("joe@sender.test", to)
        equal(d.wait_fate(to[0])["event"], "delivered")
        e = d.wait_fate(to[1])
        equal((e["event"], e["code"], e["enhanced"], e["stage"]), ("bounced", 550, "5.1.1", "rcpt"))
        e = d.wait_event(event="deferred", recipient=to[2])
        equal((e["code"], e["enhanced"]), (450, "4.2.0"))
        got = postfix.wait_mails(1)
        check(b"good@far.test" in got[0] and b"later@far.test" not in got[0], "only the good one is delivered")
        text = report_at(peer).data.decode()
        matches(r"Final-Recipient: rfc822; ?bad@far\.test", text)
        check("later@far.test" not in text and "good@far.test" not in text, "the report names only who failed")


@case("smtp-sink takes 200 messages; every one is whole")
def _():
    with World() as w:
        sink = Sink(w, dump=True)
        d = w.daemon(routes=[{"domain": "*", "mx": [sink.address]}])
        with d.client() as c:
            c.ehlo()
            for i in range(200):
                c.want(250, "MAIL FROM:<joe@sender.test>")
                c.want(250, f"RCPT TO:<r{i}@example.test>")
                c.data(message(body=checked_body(f"k{i}", 3000)))
        d.wait_empty()
        # smtp-sink says 250 before its file is complete
        wait_for(lambda: sum(verify_body(m)[1] for m in sink.mails()) >= 200, "the files of smtp-sink", poll=0.2)
        found = [verify_body(m) for m in sink.mails()]
        equal(sorted(found), sorted((f"k{i}", True) for i in range(200)))


# --- partial success --------------------------------------------------------------------


def mixed(stage):
    answers = {"bad": "550 5.1.1 no such user", "later": "451 4.2.1 try later"}

    def script(conn, line):
        word = conn.rcpt_now if stage == "DOT" else line[line.index("<") + 1 :]
        return answers.get(word.split("@")[0])

    return {stage: script}


@case("2xx, 4xx and 5xx in one transaction: one delivered, one deferred, one bounced with its report; then only the rest is tried")
def _():
    with World() as w:
        peer = w.peer(script=mixed("RCPT"))
        d = w.daemon(routes=to_peer(peer))
        to = ["good@example.test", "later@example.test", "bad@example.test", "fine@example.test"]
        d.submit("joe@sender.test", to)
        equal(fates(d, to[0], to[2], to[3]), {to[0]: "delivered", to[2]: "bounced", to[3]: "delivered"})
        e = d.wait_event(event="deferred", recipient=to[1])
        equal((e["code"], e["enhanced"], e["attempt"], e["stage"]), (451, "4.2.1", 1, "rcpt"))
        equal(peer.wait_mail().rcpts, [to[0], to[3]], "one transaction for the accepted")
        m = report_at(peer)
        text = m.data.decode()
        matches(r"Final-Recipient: rfc822; ?bad@example\.test", text)
        matches(r"Action: failed", text)
        matches(r"Status: 5\.1\.1", text)
        matches(r"Diagnostic-Code: smtp; ?550 5\.1\.1 no such user", text)
        check("later@" not in text.split("message/rfc822")[0], "nobody else in the report")
        peer.script = {}
        d.signal(1)
        equal(d.wait_fate(to[1])["event"], "delivered")
        equal(peer.mails[-1].rcpts, [to[1]], "the second attempt is for who is left")
        d.wait_empty()


@case("a refused MAIL or dot is for everybody; DATA refused too; 552 to a later RCPT only defers it")
def _():
    for stage, reply, fate in (
        ("MAIL", "550 5.7.1 not you", "bounced"),
        ("DATA", "554 5.7.1 not this", "bounced"),
        ("DOT", "554 5.7.1 spam", "bounced"),
        ("MAIL", "421 4.3.2 closing", "deferred"),
        ("DOT", "452 4.3.1 disk full", "deferred"),
        ("MAIL", "530 5.7.0 log in first", "deferred"),
    ):
        with World() as w:
            peer = w.peer(script={stage: lambda c, line, r=reply: None if "<>" in c.mail_line or "<>" in line else r})
            d = w.daemon(routes=to_peer(peer))
            to = ["a@example.test", "b@example.test"]
            d.submit("joe@sender.test", to)
            for r in to:
                e = d.wait_event(event=fate, recipient=r)
                equal((e["code"], e["stage"]), (int(reply[:3]), stage.lower()))
            if fate == "bounced":
                text = report_at(peer).data.decode()
                check(all(r in text for r in to), "both in one report")
        say(f"{stage} {reply[:3]}: {fate}")
    with World() as w:
        script = {"RCPT": lambda c, line: "552 5.2.2 too many recipients" if c.rcpts else None}
        peer = w.peer(script=script)
        d = w.daemon(routes=to_peer(peer))
        d.submit("joe@sender.test", ["a@example.test", "b@example.test"])
        equal(d.wait_fate("a@example.test")["event"], "delivered")
        equal(d.wait_event(event="deferred", recipient="b@example.test")["code"], 552)
        d.signal(1)
        equal(d.wait_fate("b@example.test")["event"], "delivered")


@case("all recipients refused, yet DATA gets 354: nothing but the dot is sent, nothing is delivered")
def _():
    with World() as w:
        peer = w.peer(script={"RCPT": "550 5.1.1 no", "DATA": "354 go on all the same"})
        other = w.peer()
        d = w.daemon(routes=[{"domain": "sender.test", "mx": [other.address]}] + to_peer(peer))
        d.submit("joe@sender.test", "a@example.test", message(body="secret text\r\n"))
        equal(d.wait_fate("a@example.test")["event"], "bounced")
        check(not any(b"secret text" in c.received for c in peer.conns), "the text did not go out")


@case("the connection is lost after the dot: deferred, never another host; before the dot: the next host takes it")
def _():
    with World() as w:
        one, two = w.peer(script={"DOT": CLOSE}), w.peer()
        d = w.daemon(routes=to_peer(one, two))
        d.submit("joe@sender.test", "a@example.test")
        equal(d.wait_event(event="deferred", recipient="a@example.test")["stage"], "dot")
        equal(len(two.conns), 0, "connections to the second host")
    for stage in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA"):
        with World() as w:
            one, two = w.peer(script={stage: CLOSE}), w.peer()
            d = w.daemon(routes=to_peer(one, two))
            d.submit("joe@sender.test", "a@example.test")
            equal(d.wait_fate("a@example.test")["event"], "delivered")
            equal(two.wait_mail().rcpts, ["a@example.test"])
            say(f"closed at {stage}: the second host took it")


@case("odd replies (junk, mixed codes, an extra one, 250 to DATA) never lose mail and never bounce it")
def _():
    for stage, reply in (
        ("CONNECT", b"hello\r\n"),
        ("RCPT", b"250-a\r\n550 b\r\n"),
        ("RCPT", b"55\r\n"),
        ("MAIL", b"250 ok\r\n250 ok again\r\n"),
        ("DATA", b"250 ok\r\n"),
        ("DOT", b"599\r\nfoo\r\n"),
        ("EHLO", b"250-" + b"x" * 200000),
    ):
        with World() as w:
            peer = w.peer(script={stage: reply})
            d = w.daemon(routes=to_peer(peer))
            d.submit("joe@sender.test", "a@example.test")
            e = wait_for(lambda: d.events(recipient="a@example.test")[1:2], "an event")[0]
            if stage == "DOT":
                check(e["event"] in ("deferred", "bounced"), e["event"])
            else:
                equal(e["event"], "deferred", f"{stage} {reply[:20]!r}")
            say(f"{stage} {reply[:20]!r}: {e['event']}: {e['code']} {e['response'][:60]}")
            peer.script = {}
            if e["event"] == "deferred":
                d.signal(1)
                equal(d.wait_fate("a@example.test")["event"], "delivered")


# --- EHLO, TLS ------------------------------------------------------------------------


@case("EHLO refused: HELO, without extensions; an 8-bit message goes nowhere that can't take it")
def _():
    with World() as w:
        peer = w.peer(script={"EHLO": "502 5.5.1 what?"})
        d = w.daemon(routes=to_peer(peer))
        d.submit("joe@sender.test", "a@example.test")
        equal(d.wait_fate("a@example.test")["event"], "delivered")
        check("HELO relay.test" in peer.commands(), f"{peer.commands()}")
        equal(peer.mails[0].mail_line, "MAIL FROM:<joe@sender.test>", "no parameters")


def alert(conn, _line):
    """Agrees to STARTTLS, then sends the alert handshake_failure."""
    conn.send("220 go")
    conn.more()
    conn.send(b"\x15\x03\x03\x00\x02\x02\x28")
    return CLOSE


def close_in_handshake(conn, _line):
    conn.send("220 go")
    conn.more()
    return CLOSE


@case("opportunistic STARTTLS: used when offered; a broken handshake, then the same host in clear; a refused STARTTLS too")
def _():
    with World() as w:
        peer = w.peer(tls="peer.test")
        d = w.daemon(routes=to_peer(peer))
        d.submit("joe@sender.test", "a@example.test")
        check(d.wait_fate("a@example.test")["tls"]["version"].startswith("TLS"), "TLS")
        equal(peer.wait_mail().tls[:4], "TLSv")
    for name, script in (
        ("an alert in the handshake", {"STARTTLS": alert}),
        ("closing in the handshake", {"STARTTLS": close_in_handshake}),
        ("454", {"STARTTLS": "454 4.7.0 no TLS now"}),
    ):
        with World() as w:
            peer = w.peer(tls="peer.test", script=script)
            d = w.daemon(routes=to_peer(peer))
            d.submit("joe@sender.test", "a@example.test")
            e = d.wait_fate("a@example.test")
            equal(e["event"], "delivered", name)
            check("tls" not in e and peer.mails[0].tls is None, "in clear")
            say(f"STARTTLS fails by {name}: delivered in clear over {len(peer.conns)} connection(s)")


@case("plaintext behind the 220 of STARTTLS (response injection) is never used")
def _():
    with World() as w:
        evil = b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"
        peer = w.peer(tls="peer.test", script={"STARTTLS": evil})
        d = w.daemon(routes=to_peer(peer, tls="encrypt"))
        d.submit("joe@sender.test", "a@example.test")
        e = d.wait_event(event="deferred", recipient="a@example.test")
        say(f"deferred: {e['response']}")
        check(not any(x.startswith(("MAIL", "AUTH")) for x in peer.commands()), "no command after it")


@case("tls_policy encrypt: a host without STARTTLS, or whose handshake fails, never gets the mail in clear")
def _():
    for script, tls in (
        ({}, None),
        ({"STARTTLS": "454 4.7.0 no"}, "peer.test"),
        ({"STARTTLS": alert}, "peer.test"),
        ({"STARTTLS": close_in_handshake}, "peer.test"),
    ):
        with World() as w:
            peer = w.peer(script=script, tls=tls)
            d = w.daemon(routes=to_peer(peer), tls_policy=[{"domain": "example.test", "level": "encrypt"}])
            d.submit("joe@sender.test", "a@example.test")
            e = d.wait_event(event="deferred", recipient="a@example.test")
            equal(e["stage"], "starttls")
            equal(e["enhanced"][:4], "4.7.")
            say(f"deferred: {e['code']} {e['enhanced']} {e['response']}")
            check(not any(x.startswith("MAIL") for x in peer.commands()), "MAIL was not sent")


@case("tls_policy verify: a certificate of the right authority and name passes, another name or authority does not; none: never TLS")
def _():
    with World() as w:
        good, wrong = w.peer(tls="localhost"), w.peer(tls="other.test")
        ca, _ = w.certificate("localhost")
        d = w.daemon(
            routes=[
                {"domain": "good.test", "mx": [f"localhost:{good.port}"]},
                {"domain": "wrong.test", "mx": [f"localhost:{wrong.port}"]},
                {"domain": "none.test", "mx": [good.address], "tls": "none"},
            ],
            tls_policy=[{"domain": "*", "level": "verify"}],
            outbound={"tls": {"ca_file": ca}},
            dns={"servers": [Knot(w, {"localhost": "@ A 127.0.0.1"}).server]},
        )
        d.submit("joe@sender.test", ["a@good.test", "b@wrong.test", "c@none.test"])
        e = d.wait_fate("a@good.test")
        equal((e["event"], e["tls"]["verified"]), ("delivered", True))
        e = d.wait_event(event="deferred", recipient="b@wrong.test")
        say(f"wrong certificate: {e['response']}")
        check(not any(x.startswith("MAIL") for x in wrong.commands()), "MAIL was not sent")
        check("tls" not in d.wait_fate("c@none.test"), "none: in clear")


# --- routes -----------------------------------------------------------------------------


@case("a smarthost that asks for AUTH (another postriderd): PLAIN and LOGIN, over STARTTLS and implicit TLS")
def _():
    for mechanism in ("PLAIN", "LOGIN"):
        with World() as w:
            peer = w.peer()
            ports = {"starttls": free_port(), "implicit": free_port()}
            smart = w.daemon(
                start=False,
                name="smarthost",
                me="smart.test",
                tls_name="smart.test",
                listen=[{"address": f"127.0.0.1:{p}", "tls": t, "auth": "required"} for t, p in ports.items()],
                submission={"mechanisms": [mechanism], "trusted_networks": None},
                routes=to_peer(peer),
            )
            smart.add_user("relay", "p@ss:w/rd")
            smart.start()
            login = "relay:p%40ss%3Aw%2Frd@127.0.0.1"
            d = w.daemon(
                routes=[
                    {"domain": "a.test", "mx": [f"smtp://{login}:{ports['starttls']}"]},
                    {"domain": "b.test", "mx": [f"smtps://{login}:{ports['implicit']}"]},
                    {"domain": "c.test", "mx": [f"smtp://relay:wrong@127.0.0.1:{ports['starttls']}"]},
                ]
            )
            d.submit("joe@sender.test", ["x@a.test", "y@b.test", "z@c.test"])
            for r in ("x@a.test", "y@b.test"):
                e = d.wait_fate(r)
                equal((e["event"], e["authenticated"]), ("delivered", True))
                check(e["tls"]["version"].startswith("TLS"), "over TLS")
            e = d.wait_event(event="deferred", recipient="z@c.test")
            equal((e["code"], e["stage"]), (535, "auth"))
            peer.wait_mail(2)
            equal({e["user"] for e in smart.events(event="received")}, {"relay"})
            check("p@ss" not in d.log_text() and "p%40ss" not in d.log_text(), "no password in the log")
            say(f"{mechanism}: delivered through the smarthost; a wrong password defers (535)")


@case("a smarthost that offers AUTH in clear only to those asked: tls = encrypt never sends the password in clear")
def _():
    with World() as w:
        peer = w.peer(auth="PLAIN LOGIN", credentials=("u", "p"))
        d = w.daemon(routes=[{"domain": "*", "mx": [f"smtp://u:p@{peer.address}"], "tls": "encrypt"}])
        d.submit("joe@sender.test", "a@example.test")
        d.wait_event(event="deferred", recipient="a@example.test")
        check(not any(x.startswith("AUTH") for x in peer.commands()), "AUTH was not sent")


@case("several hosts of a route in order; bind and helo of the route")
def _():
    with World() as w:
        dead, two, three = f"127.0.0.1:{free_port()}", w.peer(), w.peer()
        route = {"domain": "*", "mx": [dead, two.address, three.address], "bind": "127.0.0.77", "helo": "out1.test"}
        d = w.daemon(routes=[route])
        d.submit("joe@sender.test", "a@example.test")
        e = d.wait_fate("a@example.test")
        equal((e["event"], e["port"]), ("delivered", two.port))
        equal(two.mails[0].helo, "out1.test")
        equal(len(three.conns), 0)


@case("LMTP over TCP and over a unix socket: LHLO, a reply for each recipient, its own fate each")
def _():
    with World() as w:
        peer = w.peer(lmtp=True, script=mixed("DOT"))
        back = w.peer()
        local = w.peer(lmtp=True, unix=w.path("lmtp.sock"))
        d = w.daemon(
            routes=[
                {"domain": "tcp.test", "mx": [f"lmtp://{peer.address}"]},
                {"domain": "unix.test", "mx": ["unix:" + w.path("lmtp.sock")]},
                {"domain": "*", "mx": [back.address]},
            ]
        )
        d.submit("joe@sender.test", ["good@tcp.test", "later@tcp.test", "bad@tcp.test", "x@unix.test"])
        e = d.wait_fate("good@tcp.test")
        equal((e["event"], e["mode"]), ("delivered", "lmtp"))
        equal(d.wait_fate("bad@tcp.test")["event"], "bounced")
        equal(d.wait_event(event="deferred", recipient="later@tcp.test")["code"], 451)
        equal(d.wait_fate("x@unix.test")["mode"], "lmtp")
        check(peer.commands()[0].startswith("LHLO") and local.commands()[0].startswith("LHLO"), "LHLO")
        report_at(back)


# --- needs of a message -----------------------------------------------------------------


@case("SMTPUTF8 needed but not offered: the next host takes it, else 5.6.7; needless SMTPUTF8 is no need")
def _():
    utf8 = ("PIPELINING", "8BITMIME", "SMTPUTF8")
    with World() as w:
        plain, able, back = w.peer(), w.peer(extensions=utf8), w.peer()
        d = w.daemon(
            routes=[
                {"domain": "both.test", "mx": [plain.address, able.address]},
                {"domain": "plain.test", "mx": [plain.address]},
                {"domain": "*", "mx": [back.address]},
            ]
        )
        for r in ("jörg@both.test", "jörg@plain.test"):
            d.submit("joe@sender.test", r, message(Subject="Grüße"), mail=" SMTPUTF8 BODY=8BITMIME")
        equal(d.wait_fate("jörg@both.test")["event"], "delivered")
        m = able.wait_mail()
        check("SMTPUTF8" in m.mail_line, m.mail_line)
        e = d.wait_fate("jörg@plain.test")
        equal((e["event"], e["enhanced"]), ("bounced", "5.6.7"))
        d.submit("joe@sender.test", "ann@plain.test", mail=" SMTPUTF8")
        equal(d.wait_fate("ann@plain.test")["event"], "delivered", "an ASCII message needs no SMTPUTF8")


@case("BODY=8BITMIME is passed on for an 8-bit message; SIZE is announced; a host's SIZE limit bounces 5.3.4")
def _():
    with World() as w:
        peer = w.peer()
        small = w.peer(extensions=("SIZE 1000",))
        d = w.daemon(routes=[{"domain": "small.test", "mx": [small.address]}] + to_peer(peer))
        d.submit("joe@sender.test", "a@example.test", message(body="Grüße\r\n"), mail=" BODY=8BITMIME")
        m = peer.wait_mail()
        matches(r" BODY=8BITMIME\b", m.mail_line)
        equal(int(re.search(r"SIZE=(\d+)", m.mail_line).group(1)), len(m.data))
        d.submit("joe@sender.test", "a@small.test", message(body="x" * 70 + "\r\n" * 2000))
        e = d.wait_fate("a@small.test")
        equal((e["event"], e["enhanced"]), ("bounced", "5.3.4"))


@case("greylisting: deferred, tried again in its time, delivered at the second attempt")
def _():
    with World() as w:
        sandbox = Sandbox(w)
        d = w.daemon(
            dns={"servers": [sandbox.server], "timeout": "5s"},
            outbound={"port": sandbox.port, "temp_fail_intervals": "5s*3"},
        )
        d.submit("joe@sender.test", "a@greylist.test")
        e = d.wait_event(event="deferred", recipient="a@greylist.test")
        equal(e["code"] // 100, 4)
        e = d.wait_fate("a@greylist.test")
        equal((e["event"], e["attempt"]), ("delivered", 2))
        check(5 <= e["delay"] < 8 * SLOW, f"delay {e['delay']}")


# --- reports ----------------------------------------------------------------------------


def bounce(w, mail="", rcpt="", data=None, **settings):
    peer = w.peer(script={"RCPT": lambda c, line: "550 5.1.1 no such user" if "bad" in line else None})
    d = w.daemon(routes=to_peer(peer), **settings)
    d.submit("joe@sender.test", "bad@example.test", data, mail=mail, rcpt=rcpt)
    equal(d.wait_fate("bad@example.test")["event"], "bounced")
    return d, peer


@case("the report: RFC 3464 parts, from <>, whole original by default; parsed by Python's email")
def _():
    import email

    with World() as w:
        original = message("the lost one", "Some text.\r\n", X_Mark="kept")
        d, peer = bounce(w, data=original)
        m = report_at(peer)
        parsed = email.message_from_bytes(m.data)
        equal(parsed.get_content_type(), "multipart/report")
        equal(parsed.get_param("report-type"), "delivery-status")
        text, status, third = parsed.get_payload()
        equal(status.get_content_type(), "message/delivery-status")
        per_message, per_rcpt = status.get_payload()
        matches(r"dns; ?relay\.test", per_message["Reporting-MTA"])
        equal(per_rcpt["Action"], "failed")
        equal(per_rcpt["Status"], "5.1.1")
        matches(r"rfc822; ?bad@example\.test", per_rcpt["Final-Recipient"])
        matches(r"smtp; ?550 5\.1\.1 no such user", per_rcpt["Diagnostic-Code"])
        equal(third.get_content_type(), "message/rfc822")
        inner = third.get_payload()[0]
        equal((inner["Subject"], inner["X-Mark"]), ("the lost one", "kept"))
        equal(inner.get_payload(), "Some text.\n" if "\r" not in inner.get_payload() else "Some text.\r\n")
        check(parsed["To"] and "joe@sender.test" in parsed["To"], "To")
        check(parsed["Auto-Submitted"], "Auto-Submitted")
        check(parsed["Date"] and parsed["Message-ID"], "Date and Message-ID")
        matches("bad@example.test", text.get_payload(decode=True).decode())
        matches("550 5.1.1 no such user", text.get_payload(decode=True).decode())
        d.wait_empty()
        equal(len([m for m in peer.mails if m.sender == ""]), 1, "reports")


@case("NOTIFY=NEVER: no report; RET=HDRS: header only; RET=FULL: all; ENVID and ORCPT stand in the report")
def _():
    with World() as w:
        d, peer = bounce(w, rcpt=" NOTIFY=NEVER")
        d.wait_empty()
        equal(peer.mails, [], "NOTIFY=NEVER")
    with World() as w:
        d, peer = bounce(w, rcpt=" NOTIFY=SUCCESS")
        d.wait_empty()
        equal(peer.mails, [], "NOTIFY=SUCCESS")
    with World() as w:
        body = message(body="the whole secret text\r\n")
        _, peer = bounce(w, mail=" RET=HDRS ENVID=QQ+2B314", rcpt=" NOTIFY=FAILURE ORCPT=rfc822;Orig+2Bbad@example.test", data=body)
        text = report_at(peer).data.decode()
        check("secret text" not in text, "RET=HDRS: no body")
        matches(r"text/rfc822-headers", text)
        matches(r"Original-Envelope-Id: QQ\+314", text)
        matches(r"Original-Recipient: rfc822; ?Orig\+bad@example\.test", text)
    with World() as w:
        _, peer = bounce(w, mail=" RET=FULL", data=body)
        check("secret text" in report_at(peer).data.decode(), "RET=FULL")


@case("no report about a report: mail from <> that bounces is gone, with its event")
def _():
    with World() as w:
        peer = w.peer(script={"RCPT": "550 5.1.1 nobody here"})
        d = w.daemon(routes=to_peer(peer))
        d.submit("", "bad@example.test")
        equal(d.wait_fate("bad@example.test")["event"], "bounced")
        d.submit("joe@sender.test", "worse@example.test")
        equal(d.wait_fate("worse@example.test")["event"], "bounced")
        equal(d.wait_fate("joe@sender.test")["event"], "bounced", "the report itself")
        d.wait_empty()
        time.sleep(0.3)
        equal(len(d.events(event="bounced")), 3, "bounces in all")


@case("the operator's template: all variables filled in")
def _():
    with World() as w:
        os.mkdir(w.path("bounce"))
        w.write(
            "bounce/failed.txt",
            "From: Mail at {me} <MAILER-DAEMON@{me}>\nTo: {from}\nSubject: It failed\nDate: {date}\n\n"
            "pid {pid} id {msgid} to {to} because {reason}\n",
        )
        d, peer = bounce(w, bounce={"directory": w.path("bounce")})
        text = report_at(peer).data.decode()
        matches(r"From: Mail at relay\.test <MAILER-DAEMON@relay\.test>", text)
        matches(r"pid \d+ id \S+ to bad@example\.test because .*550 5\.1\.1 no such user", text)


run()
