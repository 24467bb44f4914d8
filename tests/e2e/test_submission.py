#!/usr/bin/env python3
"""Reception: who may send what, by which clients, and what is refused how."""

import os
import smtplib
import ssl
import time

from harness import *

USER, PASSWORD = "ann@sender.test", "s3cret pass:word"


def relay(w, **settings):
    """A daemon with a clear, a STARTTLS and an implicit-TLS port, one user, and a peer that takes everything."""
    peer = w.peer()
    ports = {kind: free_port() for kind in ("starttls", "implicit")}
    settings = merge(
        {
            "tls_name": "relay.test",
            "submission": {"trusted_networks": ["127.0.0.9/32"]},
            "routes": [{"domain": "*", "mx": [peer.address]}],
        },
        settings,
    )
    d = w.daemon(start=False, **settings)
    listen = d.config["listen"]
    for kind, port in ports.items():
        listen.append({"address": f"127.0.0.1:{port}", "tls": kind})
    d.write_config(listen=listen)
    d.add_user(USER, PASSWORD)
    d.start()
    d.starttls, d.implicit, d.peer = ports["starttls"], ports["implicit"], peer
    return d


def logged_in(d):
    c = d.client(d.implicit, implicit_tls=True)
    c.ehlo()
    c.auth_plain(USER, PASSWORD)
    return c


# --- other people's senders --------------------------------------------------------


def by_swaks(w, d, port, implicit, mechanism, to):
    need("swaks")
    args = ["swaks", "--server", "127.0.0.1", "--port", str(port), "--from", USER, "--to", to]
    args += ["--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD, "--pipeline"]
    args += ["--tls-on-connect" if implicit else "--tls", "--header", "Subject: swaks", "--body", "by swaks"]
    status, out, err = run_command(args)
    equal(status, 0, "swaks: " + out + err)
    return out


def by_curl(w, d, port, implicit, mechanism, to):
    need("curl")
    file = w.write("curl.eml", message("curl", "by curl\r\n"))
    args = ["curl", "-sS", "-k", "--mail-from", USER, "--mail-rcpt", to, "--upload-file", file]
    args += ["--user", f"{USER}:{PASSWORD}", "--login-options", "AUTH=" + mechanism]
    args += [f"smtps://127.0.0.1:{port}"] if implicit else ["--ssl-reqd", f"smtp://127.0.0.1:{port}"]
    status, _, err = run_command(args)
    equal(status, 0, "curl: " + err)


def by_msmtp(w, d, port, implicit, mechanism, to):
    need("msmtp")
    crt, _ = w.certificate("relay.test")
    conf = w.write(
        "msmtprc",
        f"account default\nhost 127.0.0.1\nport {port}\nfrom {USER}\nauth {mechanism.lower()}\nuser {USER}\n"
        f"password {PASSWORD}\ntls on\ntls_starttls {'off' if implicit else 'on'}\n"
        f"tls_trust_file {crt}\ntls_host_override relay.test\n",
        0o600,
    )
    status, out, err = run_command(["msmtp", "-C", conf, to], message("msmtp", "by msmtp\n").replace(b"\r\n", b"\n"))
    equal(status, 0, "msmtp: " + out + err)


def by_smtplib(w, d, port, implicit, mechanism, to):
    context = ssl.create_default_context(cafile=w.certificate("relay.test")[0])
    context.check_hostname = False
    if implicit:
        c = smtplib.SMTP_SSL("127.0.0.1", port, context=context)
    else:
        c = smtplib.SMTP("127.0.0.1", port)
        c.starttls(context=context)
    with c:
        c.user, c.password = USER, PASSWORD
        c.ehlo()
        c.auth(mechanism, getattr(c, "auth_" + mechanism.lower()))
        c.sendmail(USER, [to], message("smtplib", "by smtplib\r\n"))


def try_sender(name, send):
    shown = []
    with World() as w:
        d = relay(w)
        for implicit in (False, True):
            for mechanism in ("PLAIN", "LOGIN"):
                how = f"{'implicit' if implicit else 'starttls'}-{mechanism.lower()}"
                to = f"{name}.{how}@example.test"
                out = send(w, d, d.implicit if implicit else d.starttls, implicit, mechanism, to)
                equal(d.wait_fate(to)["event"], "delivered", "fate")
                mail = next(m for m in d.peer.mails if m.rcpts == [to])
                check(b"by " + name.encode() in mail.body(), f"the text is there: {mail.data!r}")
                matches(r"with ESMTPSA \(TLSv1\.[23] \S+\) id", mail.header("Received")[0], "Received")
                check(USER in [e["user"] for e in d.events(event="received", recipient=to)], "login in the event")
                if out:
                    matches(r" ~> MAIL.*\n ~> RCPT.*\n ~> DATA", out, "pipelined commands")
                shown.append(how)
        equal(d.peer.faults, [], "bare CR or LF")
        say(f"{name} delivered by {', '.join(shown)}")


@case("swaks: STARTTLS and TLS on connect, AUTH PLAIN and LOGIN, pipelining")
def _():
    try_sender("swaks", by_swaks)


@case("curl: smtp:// with STARTTLS and smtps://, AUTH PLAIN and LOGIN")
def _():
    try_sender("curl", by_curl)


@case("msmtp: STARTTLS and implicit TLS, AUTH PLAIN and LOGIN, certificate verified")
def _():
    try_sender("msmtp", by_msmtp)


@case("Python's smtplib: STARTTLS and implicit TLS, AUTH PLAIN and LOGIN")
def _():
    try_sender("smtplib", by_smtplib)


# --- authentication -----------------------------------------------------------------


@case("a wrong password is 535, three of them end the session, and no password is in log, events or spool")
def _():
    with World() as w:
        d = relay(w)
        with d.client(d.implicit, implicit_tls=True) as c:
            c.ehlo()
            c.auth_plain(USER, "wrong-Pa55", code=535)
            c.auth_login("nobody@sender.test", "wrong-Pa55", code=535)
            c.auth_plain(USER, PASSWORD)
            c.want(503, "AUTH PLAIN AGEAYg==")
        with d.client(d.implicit, implicit_tls=True) as c:
            c.ehlo()
            for _ in range(3):
                c.auth_plain(USER, "wrong-Pa55", code=535)
            equal(c.reply()[0], 421, "after three failures")
            check(c.at_eof(), "session ended")
        with logged_in(d) as c:
            c.want(250, f"MAIL FROM:<{USER}>")
            c.want(250, "RCPT TO:<x@example.test>")
            c.data(message())
        d.wait_fate("x@example.test")
        d.stop()
        seen = 0
        for folder, _, files in os.walk(w.dir):
            for file in files:
                with open(os.path.join(folder, file), "rb") as f:
                    text = f.read()
                seen += 1
                check(b"wrong-Pa55" not in text and PASSWORD.encode() not in text, f"password in {file}")
        say(f"no password in {seen} files of daemon and spool; log level was debug")


@case("AUTH: not offered in clear (538), cancelled (501), malformed (501), unknown mechanism (504), before EHLO (503)")
def _():
    with World() as w:
        d = relay(w)
        with d.client(d.starttls) as c:
            words = c.ehlo()
            check("STARTTLS" in words, f"STARTTLS offered: {words}")
            check(not any(x.startswith("AUTH") for x in words), f"no AUTH in clear: {words}")
            c.want(538, "AUTH PLAIN AGEAYg==")
            c.want(530, "MAIL FROM:<x@y.test>", "STARTTLS")
            words = c.starttls()
            check(any(x.startswith("AUTH ") and "PLAIN" in x and "LOGIN" in x for x in words), f"AUTH: {words}")
            check("STARTTLS" not in words, "not offered twice")
            c.want(503, "STARTTLS")
            c.want(530, "MAIL FROM:<x@y.test>", "Authentication required")
            c.want(334, "AUTH LOGIN")
            c.want(501, "*")
            c.want(501, "AUTH PLAIN !!!")
            c.want(504, "AUTH CRAM-MD5")
            c.want(334, "AUTH PLAIN")
            c.want(535, "AGEAYg==")
        with d.client(d.implicit, implicit_tls=True) as c:
            c.want(503, "AUTH PLAIN AGEAYg==")


@case("in clear with require_tls = false: AUTH is offered and works")
def _():
    with World() as w:
        d = relay(w, submission={"require_tls": False})
        with d.client(d.port) as c:
            check("AUTH PLAIN LOGIN" in c.ehlo(), "AUTH offered")
            c.auth_login(USER, PASSWORD)
            c.want(250, f"MAIL FROM:<{USER}>")


@case("a trusted network sends without AUTH; others are refused; auth = \"required\" asks them too")
def _():
    with World() as w:
        d = relay(w)
        with d.client(source="127.0.0.9") as c:
            c.ehlo()
            c.want(250, "MAIL FROM:<x@y.test>")
            c.want(250, "RCPT TO:<x@example.test>")
            c.data(message())
        with d.client() as c:
            c.ehlo()
            c.want(554, "MAIL FROM:<x@y.test>")
        d.stop()
        d.config["listen"][0]["auth"] = "required"
        d.write_config(submission={"require_tls": False})
        d.start()
        with d.client(source="127.0.0.9") as c:
            c.ehlo()
            c.want(530, "MAIL FROM:<x@y.test>")


@case("sender_check: login, domain, none")
def _():
    other = {"login": ["bob@sender.test", "x@other.test"], "domain": ["x@other.test"], "none": []}
    good = {"login": [USER], "domain": [USER, "bob@sender.test"], "none": [USER, "bob@sender.test", "x@other.test"]}
    for mode in ("login", "domain", "none"):
        with World() as w:
            d = relay(w, submission={"sender_check": mode})
            with logged_in(d) as c:
                for sender in other[mode]:
                    c.want(550, f"MAIL FROM:<{sender}>", "5.7.1")
                for sender in good[mode]:
                    c.want(250, f"MAIL FROM:<{sender}>")
                    c.want(250, "RSET")
            say(f"{mode}: refused {other[mode]}, allowed {good[mode]}")


# --- commands ------------------------------------------------------------------------


@case("commands: unknown, VRFY, HELP, NOOP, EXPN, RSET, wrong order, wrong syntax")
def _():
    with World() as w:
        d = w.daemon()
        with d.client() as c:
            c.want(503, "MAIL FROM:<x@y.test>")
            words = c.ehlo()
            for word in ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"):
                check(word in words, f"{word} in {words}")
            check(any(x.startswith("SIZE 26214400") for x in words), f"SIZE in {words}")
            c.want(500, "FROBNICATE", "5.5.1")
            c.want(252, "VRFY joe")
            c.want(214, "HELP")
            c.want(250, "NOOP")
            c.want(250, "NOOP with text")
            c.want(502, "EXPN list")
            c.want(503, "RCPT TO:<x@y.test>")
            c.want(503, "DATA")
            c.want(501, "MAIL FROM x@y.test")
            c.want(501, "MAIL FROM:<x@y.test")
            c.want(555, "MAIL FROM:<x@y.test> FOO=BAR")
            c.want(250, "mail from:<x@y.test> size=10 body=8bitmime ret=hdrs envid=abc")
            c.want(503, "MAIL FROM:<x@y.test>")
            c.want(501, "RCPT TO:<>")
            c.want(501, "RCPT TO:<x@y.test> NOTIFY=NEVER,FAILURE")
            c.want(250, "rcpt to:<x@y.test> notify=success,failure orcpt=rfc822;x@y.test")
            c.want(250, "RSET")
            c.want(503, "DATA")
            c.want(250, "EHLO again")
            c.want(221, "QUIT")
            check(c.at_eof(), "closed after QUIT")


@case("a bare LF does not end a command; a NUL, a CR, an endless line are refused; too many errors end it")
def _():
    with World() as w:
        d = w.daemon()
        with d.client() as c:
            c.ehlo()
            c.send("MAIL FROM:<a@b.test>\nRCPT TO:<x@example.test>\r\n")
            equal([c.reply()[0], c.reply()[0]], [500, 503], "bare LF: no command, and what follows is one of its own")
            c.send("NO\0OP\r\n")
            equal(c.reply()[0], 500, "NUL")
            c.send("NO\rOP\r\n")
            equal(c.reply()[0], 500, "CR")
            c.send("NOOP " + "x" * 100000 + "\r\n")
            equal(c.reply()[0], 500, "long line")
            c.want(250, "NOOP")
            c.send("BAD\r\n" * 30)
            codes = [500]
            while codes[-1] == 500:
                codes.append(c.reply()[0])
            equal(codes[-1], 421, "after many errors")
            check(len(codes) < 30 and c.at_eof(), f"closed after {len(codes)} errors")


@case("pipelined commands in one segment, with QUIT behind, are all answered in order")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        with d.client() as c:
            c.send(
                "EHLO a\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<x@example.test>\r\nRCPT TO:<bad\r\n"
                "RCPT TO:<y@example.test>\r\nDATA\r\nSubject: hi\r\n\r\nhello\r\n.\r\nNOOP\r\nQUIT\r\n"
            )
            equal([c.reply()[0] for _ in range(9)], [250, 250, 250, 501, 250, 354, 250, 250, 221], "replies")
            check(c.at_eof(), "closed")
        equal(sorted(peer.wait_mail().rcpts), ["x@example.test", "y@example.test"])


@case("plaintext behind STARTTLS, in the same segment or later, ends the session and is never obeyed")
def _():
    with World() as w:
        d = relay(w)
        for first in ("STARTTLS\r\nEHLO evil\r\n", "STARTTLS\r\nMAIL FROM:<evil@evil.test>\r\n"):
            with d.client(d.starttls) as c:
                c.ehlo()
                c.send(first)
                try:
                    code = c.reply()[0]
                except (EOFError, ConnectionError):
                    code = 0
                check(code in (0, 554), f"reply {code}")
                check(c.at_eof(), "closed")
        with d.client(d.starttls) as c:
            c.ehlo()
            c.want(220, "STARTTLS")
            c.send("EHLO evil\r\nMAIL FROM:<evil@evil.test>\r\n")
            check(c.at_eof(), "plaintext in place of a handshake: closed")
        with d.client(d.starttls) as c:
            c.want(250, "EHLO before.test")
            c.starttls()
            c.auth_plain(USER, PASSWORD)
            c.want(250, f"MAIL FROM:<{USER}>")
            c.want(250, "RCPT TO:<x@example.test>")
            c.data(message())
        matches("from client.test ", d.peer.wait_mail().header("Received")[0], "EHLO name after TLS")
        equal(d.events(sender="evil@evil.test"), [], "events of the injected sender")


# --- limits --------------------------------------------------------------------------


@case("max_recipients: 452 4.5.3, and the accepted ones are delivered")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}], submission={"max_recipients": 3})
        with d.client() as c:
            c.ehlo()
            c.want(250, "MAIL FROM:<a@b.test>")
            for i in range(3):
                c.want(250, f"RCPT TO:<r{i}@example.test>")
            c.want(452, "RCPT TO:<r3@example.test>", "4.5.3")
            c.data(message())
        equal(sorted(peer.wait_mail().rcpts), [f"r{i}@example.test" for i in range(3)])


@case("max_message_size: 552 at MAIL by SIZE, 552 at the dot without it; the session goes on")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(
            routes=[{"domain": "*", "mx": [peer.address]}], submission={"max_message_size": 20000}
        )
        with d.client() as c:
            check("SIZE 20000" in c.ehlo(), "SIZE")
            c.want(552, "MAIL FROM:<a@b.test> SIZE=20001", "5.3.4")
            c.want(250, "MAIL FROM:<a@b.test>")
            c.want(250, "RCPT TO:<big@example.test>")
            c.data(message(body="x" * 70 + "\r\n" * 30000), code=552, text="5.3.4")
            c.want(250, "MAIL FROM:<a@b.test> SIZE=20000")
            c.want(250, "RCPT TO:<small@example.test>")
            c.data(message())
        equal(peer.wait_mail().rcpts, ["small@example.test"])
        time.sleep(0.2)
        equal(len(peer.mails), 1, "mails")
        equal(d.events(event="received", recipient="big@example.test"), [])


@case("rate: recipients of a login beyond it get 450 4.7.1; another login is not touched")
def _():
    with World() as w:
        d = relay(w, submission={"rate": "3/1h"})
        d.add_user("bob@sender.test", "b0b")
        with logged_in(d) as c:
            c.want(250, f"MAIL FROM:<{USER}>")
            for i in range(3):
                c.want(250, f"RCPT TO:<r{i}@example.test>")
            c.want(450, "RCPT TO:<r3@example.test>", "4.7.1")
            c.data(message())
        matches("rate", d.wait_event(event="rejected", recipient="r3@example.test")["response"])
        with d.client(d.implicit, implicit_tls=True) as c:
            c.ehlo()
            c.auth_plain("bob@sender.test", "b0b")
            c.want(250, "MAIL FROM:<bob@sender.test>")
            c.want(250, "RCPT TO:<r4@example.test>")


@case("max_connections_per_ip and max_connections: 421 4.7.0 and closed; room again when one leaves")
def _():
    with World() as w:
        d = w.daemon(submission={"max_connections_per_ip": 2, "max_connections": 3})
        one, two = d.client(), d.client()
        with d.client(greeting=421) as c:
            check(c.at_eof(), "closed")
        three = d.client(source="127.0.0.2")
        with d.client(source="127.0.0.3", greeting=421) as c:
            check(c.at_eof(), "closed")
        one.want(221, "QUIT")
        one.close()

        def room():
            try:
                return d.client()
            except AssertionError:
                return None

        c = wait_for(room, "room for another connection")
        c.want(250, "EHLO x")
        two.want(250, "EHLO x")
        three.want(250, "EHLO x")


def resident_kb(d):
    with open(f"/proc/{d.pid()}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Rss:"))


@case("a client that is silent costs at most 8 KB of memory in clear, 40 KB with TLS")
def _():
    if SLOW > 1:
        raise Skip("memory is counted without sanitizers only")
    for tls, limit in ((False, 8), (True, 40)):
        with World() as w:
            d = relay(w, submission={"max_connections_per_ip": 1000})
            context = ssl.create_default_context(cafile=w.certificate("relay.test")[0])
            sockets = []

            def come(count):
                while len(sockets) < count:
                    c = d.client(d.starttls)
                    c.ehlo()
                    if tls:
                        c.want(220, "STARTTLS")
                        c.sock = context.wrap_socket(c.sock, server_hostname="relay.test")
                        c.ehlo()
                    sockets.append(c.sock.detach())
                time.sleep(1.5)  # after a second of silence memory is given back
                return resident_kb(d)

            before = come(100)
            each = (come(600) - before) / 500
            say(f"{'with TLS' if tls else 'in clear'}: {each:.1f} KB each")
            for fd in sockets:
                os.close(fd)
            check(each <= limit, f"{each:.1f} KB, more than {limit}")


@case("max_received: 554 5.4.6 for a message that has gone round")
def _():
    with World() as w:
        d = w.daemon(submission={"max_received": 5})
        lines = b"".join(b"Received: from a by b; Mon, 6 Jan 2025 10:00:00 +0000\r\n" for _ in range(6))
        with d.client() as c:
            c.ehlo()
            c.want(250, "MAIL FROM:<a@b.test>")
            c.want(250, "RCPT TO:<x@example.test>")
            c.data(lines + message(), code=554, text="5.4.6")
            c.want(250, "MAIL FROM:<a@b.test>")
            c.want(250, "RCPT TO:<x@example.test>")
            c.data(lines[: len(lines) // 6 * 5] + message())


# --- the message ------------------------------------------------------------------------


def send_raw(d, raw, code=250, text=""):
    """Everything up to the dot given as it is."""
    with d.client() as c:
        c.ehlo()
        c.begin()
        c.send(raw + b"\r\n.\r\n")
        got, texts = c.reply()
        equal(got, code, f"reply to the dot {texts}")
        matches(text, texts[0])
        c.want(250, "NOOP")


@case("a NUL in the message is refused: 550 5.6.0; nothing is stored")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        send_raw(d, b"Subject: x\r\n\r\na\0b", 550, "5.6.0")
        send_raw(d, b"Subj\0ect: x\r\n\r\nab", 550, "5.6.0")
        d.wait_empty(0)
        equal(peer.mails, [])


@case('bare_newlines = "fix": a bare CR or LF arrives as CRLF')
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        send_raw(d, b"Subject: x\nX-A: b\r\n\r\none\ntwo\rthree\r\n\rfour\n\nfive")
        m = peer.wait_mail()
        equal(m.body(), b"one\r\ntwo\r\nthree\r\n\r\nfour\r\n\r\nfive\r\n", "body")
        equal(m.header("X-A"), ["b"])
        equal(peer.faults, [])


@case('bare_newlines = "reject": 550 5.6.11')
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}], submission={"bare_newlines": "reject"})
        for raw in (b"Subject: x\n\r\nhello", b"Subject: x\r\n\r\none\ntwo", b"Subject: x\r\n\r\none\rtwo"):
            send_raw(d, raw, 550, "5.6.11")
        send_raw(d, b"Subject: x\r\n\r\none\r\ntwo")
        equal(peer.wait_mail().body(), b"one\r\ntwo\r\n")
        equal(len(peer.mails), 1)


@case("Received, Date and Message-ID are added when missing and left alone when there; Bcc is gone; the rest is as sent")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        fields = b"From: <a@b.test>\r\nbCC: <secret@x.test>,\r\n <more@x.test>\r\nTo: <x@example.test>\r\nSubject:  odd  spacing \r\n"
        d.submit("a@b.test", "x@example.test", fields + b"\r\nBcc: in the body stays\r\n")
        m = peer.wait_mail()
        check(b"secret" not in m.data and b"more@x" not in m.data, "Bcc in what arrived")
        check(m.data.endswith(b"\r\n\r\nBcc: in the body stays\r\n"), "body")
        check(b"Subject:  odd  spacing \r\n" in m.data, "the Subject as it was")
        equal(len(m.header("Received")), 1)
        received = m.header("Received")[0]
        matches(r"^from client\.test \(\[127\.0\.0\.1\]\) by relay\.test \(Postrider outbound\) with ESMTP id \w+ for <x@example\.test>; ", received)
        matches(r"^\w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d \+0000$", m.header("Date")[0])
        matches(r"^<[^<>@ ]+@relay\.test>$", m.header("Message-ID")[0])
        check(m.data.startswith(b"Received:"), "Received comes first")

        whole = message(Message_ID="<kept@b.test>")
        d.submit("a@b.test", ["x@example.test", "y@example.test"], b"Received: from old by older; date\r\n" + whole)
        m = peer.wait_mail(2)
        equal(m.header("Message-ID"), ["<kept@b.test>"])
        equal(m.header("Date"), ["Mon, 6 Jan 2025 10:00:00 +0000"])
        equal(len(m.header("Received")), 2)
        equal(m.header("Received")[1], "from old by older; date")
        check(" for " not in m.header("Received")[0], "no recipient is named when there are several")
        check(m.data.endswith(whole), "all else as it was")


@case('outbound.received_header: its own text, and none when "disabled"')
def _():
    for text, wanted in (("Acme relay", 1), ("disabled", 0)):
        with World() as w:
            peer = w.peer()
            d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}], outbound={"received_header": text})
            d.submit("a@b.test", "x@example.test")
            got = peer.wait_mail().header("Received")
            equal(len(got), wanted, "Received fields")
            check(not wanted or "(Acme relay)" in got[0], f"comment in {got}")


@case("a session that breaks off before the dot leaves nothing behind")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        for tail in (b"", b"\r\n.", b"\r\n.\r"):
            c = d.client()
            c.ehlo()
            c.begin()
            c.send(b"Subject: x\r\n\r\nhello" + tail)
            c.close()
        wait_for(lambda: "sessions: 0" in d.cli_ok("status"), "the sessions to end")
        d.wait_empty(0)
        equal(d.tmp_files(), [])
        equal(d.events(), [])
        equal(peer.mails, [])


run()
