#!/usr/bin/env python3
"""TLS sessions: what is resumed, with whom, and what a resumed session may never hide."""

import re
import ssl

from harness import *
from others import *

SENDER = "joe@sender.test"


def deliver(d, peer, recipient):
    """Over a connection of its own: the event, and whether its session was resumed."""
    peer.hang_up()
    d.submit(SENDER, recipient)
    e = d.wait_fate(recipient)
    equal(e["event"], "delivered", recipient)
    mail = next(m for m in peer.mails if recipient in m.rcpts)
    return e, mail.conn.resumed


def named(w, **settings):
    """A daemon that finds localhost by name, and so can verify a certificate for it."""
    return w.daemon(
        **merge(
            {
                "outbound": {"tls": {"ca_file": w.certificate("localhost")[0]}},
                "dns": {"servers": [Knot(w, {"localhost": "@ A 127.0.0.1"}).server]},
            },
            settings,
        )
    )


def to_localhost(peer, *domains):
    return [{"domain": x, "mx": [f"localhost:{peer.port}"]} for x in domains]


# --- as a client ------------------------------------------------------------------------


@case("the second connection to a host is resumed, TLS 1.3 and 1.2; after a reload the first one is not")
def _():
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        with World() as w:
            peer = w.peer(tls="peer.test")
            peer.tls.maximum_version = version
            d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
            seen = [deliver(d, peer, f"r{i}@example.test") for i in range(4)]
            equal([resumed for _, resumed in seen], [False, True, True, True], str(version))
            check(len({str(e["tls"]) for e, _ in seen}) == 1, "the events say the same of each")
            d.cli_ok("reload")
            equal(deliver(d, peer, "a@example.test")[1], False, "after a reload")
            equal(deliver(d, peer, "b@example.test")[1], True, "and then")
            say(f"{peer.mails[0].tls}: {len(peer.conns)} connections, {peer.handshakes} handshakes")


@case("a session is resumed at its own TLS level only; one made unverified never serves level verify")
def _():
    with World() as w:
        peer = w.peer(tls="localhost")
        d = named(
            w,
            routes=to_localhost(peer, "may.test", "encrypt.test", "verify.test"),
            tls_policy=[
                {"domain": "encrypt.test", "level": "encrypt"},
                {"domain": "verify.test", "level": "verify"},
            ],
        )
        for level in ("may", "encrypt", "verify"):
            for i in range(2):
                e, resumed = deliver(d, peer, f"r{i}@{level}.test")
                equal((resumed, e["tls"]["verified"]), (i > 0, True), f"{level}, connection {i}")

        # A host nobody vouches for: a session with it, made because anything goes, is at hand.
        peer.show("other.test")
        for i in range(2):
            e, resumed = deliver(d, peer, f"s{i}@may.test")
            equal((resumed, e["tls"]["verified"]), (i > 0, False), f"may, a stranger, connection {i}")
        peer.hang_up()
        d.submit(SENDER, "s@verify.test")
        e = d.wait_event(event="deferred", recipient="s@verify.test")
        say(f"verify: {e['response']}")
        matches("certificate", e["response"])
        check(not any("s@verify.test" in x for x in peer.commands()), "RCPT was not sent")


@case("verified once, another certificate later: looked at, refused; and again the right one: verified anew")
def _():
    with World() as w:
        peer = w.peer(tls="localhost")
        d = named(w, routes=to_localhost(peer, "*"), tls_policy=[{"domain": "*", "level": "verify"}])
        for i in range(2):
            e, resumed = deliver(d, peer, f"r{i}@a.test")
            equal((resumed, e["tls"]["verified"]), (i > 0, True), f"connection {i}")
        peer.show("other.test")
        for i in range(2):
            peer.hang_up()
            d.submit(SENDER, f"bad{i}@b{i}.test")
            e = d.wait_event(event="deferred", recipient=f"bad{i}@b{i}.test")
            equal((e["stage"], "tls" in e), ("starttls", False))
            matches("certificate", e["response"])
        check(not any("bad" in x for x in peer.commands()), "RCPT was not sent")
        peer.show("localhost")
        d.cli_ok("flush")
        for i in range(2):
            equal(d.wait_fate(f"bad{i}@b{i}.test")["event"], "delivered")
        e, resumed = deliver(d, peer, "r@c.test")
        equal((resumed, e["tls"]["verified"]), (True, True))


@case("Postfix, which gives one ticket and means it to be used again: every connection but the first is resumed")
def _():
    with World() as w:
        # It hangs up on an idle client soon, so each mail comes over a connection of its own.
        postfix = Postfix(w, "smtpd_timeout = 1s\nsmtpd_tls_loglevel = 2")
        d = w.daemon(routes=[{"domain": "far.test", "mx": [postfix.address]}])
        ended = postfix.log().count("disconnect from")
        for i in range(4):
            d.submit(SENDER, f"r{i}@far.test")
            equal(d.wait_fate(f"r{i}@far.test")["event"], "delivered")
            wait_for(lambda n=i: postfix.log().count("disconnect from") > ended + n, "Postfix to see the end")
        log = postfix.log()
        equal(log.count("TLS connection established"), 4, "handshakes")
        equal(log.count("Reusing old session"), 3, "of them resumed")


# --- as a server ------------------------------------------------------------------------


def tls_daemon(w):
    port = free_port()
    d = w.daemon(start=False, tls_name="relay.test", outbound={"disabled": True})
    d.write_config(listen=d.config["listen"] + [{"address": f"127.0.0.1:{port}", "tls": "starttls"}])
    d.start()
    d.starttls = port
    return d


def s_client(w, d, *options):
    """What openssl s_client has to say about one connection: "New" or "Reused"."""
    need("openssl")
    args = ["openssl", "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{d.starttls}"]
    args += ["-crlf", "-ign_eof", *options]
    status, out, err = run_command(args, "EHLO client.test\nNOOP\nQUIT\n")
    equal(status, 0, err)
    matches("250 2.0.0", out, "the reply to NOOP")
    return re.search(r"^(New|Reused), TLSv1\.[23]", out, re.M).group(1)


@case("openssl s_client comes back with its ticket, TLS 1.3 and 1.2: resumed; after a reload of the certificate: not")
def _():
    with World() as w:
        d = tls_daemon(w)
        for version in ("-tls1_3", "-tls1_2"):
            kept = w.path(version)
            equal(s_client(w, d, version, "-sess_out", kept), "New", version)
            for i in range(3):
                equal(s_client(w, d, version, "-sess_in", kept, "-sess_out", kept), "Reused", f"{version}, {i}")
            d.cli_ok("reload")
            equal(s_client(w, d, version, "-sess_in", kept, "-sess_out", kept), "New", f"{version}, reloaded")
            equal(s_client(w, d, version, "-sess_in", kept), "Reused", f"{version}, and then")


@case("Python comes back with its session: resumed, and mail goes in over it")
def _():
    with World() as w:
        d = tls_daemon(w)
        context = ssl.create_default_context(cafile=w.certificate("relay.test")[0])
        session = None
        for i in range(3):
            with d.client(d.starttls) as c:
                c.ehlo()
                c.want(220, "STARTTLS")
                c.sock = context.wrap_socket(c.sock, server_hostname="relay.test", session=session)
                c.ehlo()
                equal(c.sock.session_reused, i > 0, f"connection {i}")
                c.want(250, f"MAIL FROM:<{SENDER}>")
                c.want(250, "RCPT TO:<ann@example.test>")
                c.data(message())
                session = c.sock.session


run()
