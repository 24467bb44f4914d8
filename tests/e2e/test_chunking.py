#!/usr/bin/env python3
"""CHUNKING: bodies that go out with BDAT; hosts that only pretend to it; that it can be switched off, as PIPELINING can."""

import socket

from harness import *

WITH_BDAT = ("PIPELINING", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "SIZE 100000000")


def setting(w, script=None, extensions=WITH_BDAT, traffic=None, **options):
    peer = w.peer(script=script, extensions=extensions, **options)
    limits = merge({"site": "default", "connections": 1, "idle_timeout": "20s"}, traffic or {})
    d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}], traffic=[limits])
    return d, peer


def verbs(peer):
    return [line.split(" ")[0].split(":")[0] for line in peer.commands()]


def long_lines():
    lines = [b"%07d " % i + b"0123456789abcdef" * 4 for i in range(28000)]
    return b"\r\n".join(lines) + b"\r\n"


BODIES = {
    "one line": b"Hello.\r\n",
    "8-bit": "Grüße aus Köln\r\n".encode() + bytes(range(0x80, 0x100)) + b"\r\n",
    "2 MB": long_lines(),
    "empty": b"",
    "dots": b".\r\n..\r\n.x\r\n\r\n.\r\n",
    "a dot in front of 64 KB": b".\r\n" + b"x" * 65000 + b"\r\n",
}


@case("bodies go out as they are: 8-bit, 2 MB, empty, dots at line starts; with BDAT and DATA, over TLS and in clear")
def _():
    for tls, chunking in ((None, True), ("peer.test", True), (None, False), ("peer.test", False)):
        with World() as w:
            d, peer = setting(w, tls=tls, traffic={"chunking": chunking})
            for i, (name, body) in enumerate(BODIES.items(), 1):
                sent = message(name, body)
                d.submit("joe@sender.test", f"r{i}@example.test", sent, mail=" BODY=8BITMIME")
                m = peer.wait_mail(i)
                check(m.data.endswith(b"\r\n" + sent), f"{name}: every byte")
                equal(m.chunks, 1 if chunking else 0, f"{name}: chunks")
                matches(rf"SIZE={len(m.data)}\b", m.mail_line, name)
                if m.data.startswith(b".") or b"\n." in m.data:
                    check((m.raw == m.data) == chunking, f"{name}: stuffed for DATA")
            d.wait_empty()
            check(("DATA" in verbs(peer)) != chunking, "DATA")
            equal(len(peer.conns), 1, "connections")
            equal(peer.faults, [])
            equal({e["attempt"] for e in d.events(event="delivered")}, {1})


@case("a burst of messages of all sizes, each behind the other's end: every byte of each")
def _():
    for tls, chunking in ((None, True), ("peer.test", True), (None, False), ("peer.test", False)):
        with World() as w:
            d, peer = setting(w, tls=tls, traffic={"chunking": chunking})
            sizes = [10, 16000, 16384, 40000, 65000, 300000, 1000, 200000, 700000, 5] * 3
            for i, size in enumerate(sizes):
                body = checked_body(f"k{i}", size) + (b".dot\r\n" if i % 3 == 0 else b"")
                d.submit("joe@sender.test", f"r{i}@example.test", message(body=body))
            d.wait_empty()
            equal(sorted(verify_body(m.data) for m in peer.mails), sorted((f"k{i}", True) for i in range(len(sizes))))
            equal(peer.faults, [])


@case("a message that is nothing but the end of data; and one from a queue file")
def _():
    with World() as w:
        d, peer = setting(w, script={"MAIL": "451 4.3.0 later"})
        d.submit("joe@sender.test", "a@example.test", b"")
        d.wait_event(event="deferred", recipient="a@example.test")
        d.restart()
        d.submit("joe@sender.test", "b@example.test", message("big", BODIES["2 MB"]))
        d.wait_event(event="deferred", recipient="b@example.test")
        peer.script = {}
        d.signal(1)
        for r in ("a@example.test", "b@example.test"):
            equal(d.wait_fate(r)["event"], "delivered")
        got = {m.rcpts[0]: m for m in peer.mails}
        check(got["b@example.test"].data.endswith(b"\r\n\r\n" + BODIES["2 MB"]), "every byte")
        equal({m.chunks for m in peer.mails}, {1})
        equal(peer.faults, [])


@case("recipients refused: the others get it; all refused: nobody does, and the connection goes on")
def _():
    with World() as w:
        d, peer = setting(w, script={"RCPT": lambda c, line: "550 5.1.1 no" if "bad" in line else None})
        to = ["a@example.test", "bad@example.test", "b@example.test"]
        for i in range(3):
            d.submit("", [f"{i}{r}" for r in to])
        fates = {r: d.wait_fate(f"{i}{r}")["event"] for i in range(3) for r in to}
        equal(fates, {to[0]: "delivered", to[1]: "bounced", to[2]: "delivered"})
        equal([m.rcpts for m in peer.mails], [[f"{i}{to[0]}", f"{i}{to[2]}"] for i in range(3)])
        for body in ("x\r\n", "x" * 70 + "\r\n" * 40000):
            for i in range(3):
                d.submit("", [f"bad{i}{len(body)}@example.test", f"bad{i}{len(body)}@more.test"], message(body=body))
        for i in range(3):
            equal(d.wait_fate(f"bad{i}3@example.test")["event"], "bounced")
            equal(d.wait_fate(f"bad{i}80070@more.test")["event"], "bounced")
        d.submit("", "last@example.test")
        equal(d.wait_fate("last@example.test")["event"], "delivered")
        equal(len(peer.mails), 4)
        d.wait_empty()


@case("all refused behind which the first chunk of a connection is out: 503 to BDAT is for nobody")
def _():
    with World() as w:
        d, peer = setting(w, script={"RCPT": "550 5.1.1 no"})
        d.submit("", ["a@example.test", "b@example.test"])
        for r in ("a@example.test", "b@example.test"):
            e = d.wait_fate(r)
            equal((e["event"], e["code"], e["stage"]), ("bounced", 550, "rcpt"))
        peer.script = {}
        d.submit("", "c@example.test")
        equal(d.wait_fate("c@example.test")["event"], "delivered")
        equal(peer.mails[0].chunks, 1, "BDAT is still used")


@case("4xx and 5xx to BDAT LAST are the message's: deferred, bounced; the next one goes out")
def _():
    for reply, fate in (("451 4.3.0 later", "deferred"), ("554 5.7.1 spam", "bounced"), ("552 5.3.4 too much", "bounced")):
        with World() as w:
            d, peer = setting(w, script={"DOT": lambda c, line, r=reply: None if "good@example.test" in c.rcpts else r})
            d.submit("", "a@example.test")
            e = d.wait_event(event=fate, recipient="a@example.test")
            equal((e["code"], e["stage"], e["attempt"]), (int(reply[:3]), "dot", 1))
            d.submit("", "good@example.test")
            equal(d.wait_fate("good@example.test")["event"], "delivered")
            equal(len(peer.conns), 1, "connections")
            equal({m.chunks for m in peer.mails}, {1})


@case("offered, but BDAT is unknown: the message goes out again at once with DATA, at the first attempt; the next ones too")
def _():
    for reply in ("500 5.5.1 what?", "502 5.5.1 not here", "503 5.5.1 bad sequence"):
        for size in (10, 200000):
            with World() as w:
                d, peer = setting(w, script={"BDAT": reply})
                body = "x" * 70 + "\r\n" + "y" * size + "\r\n.dot\r\n"
                for i in range(3):
                    d.submit("", [f"a{i}@example.test", f"b{i}@example.test"], message(body=body))
                    for r in (f"a{i}@example.test", f"b{i}@example.test"):
                        e = d.wait_fate(r)
                        equal((e["event"], e["attempt"]), ("delivered", 1))
                equal(len(peer.mails), 3)
                check(all(m.data.endswith(body.encode()) for m in peer.mails), "every byte")
                equal(verbs(peer).count("BDAT"), 1, "BDAT was tried")
                equal(len(peer.conns), 2, "connections")
                equal(d.events(event="deferred"), [])


@case("offered, but BDAT is unknown: a recipient refused before it stays refused, and is not asked again")
def _():
    with World() as w:
        script = {"BDAT": "502 5.5.1 what?", "RCPT": lambda c, line: "550 5.1.1 no" if "bad" in line else None}
        d, peer = setting(w, script=script)
        d.submit("", ["a@example.test", "bad@example.test"])
        equal(d.wait_fate("a@example.test")["event"], "delivered")
        e = d.wait_fate("bad@example.test")
        equal((e["event"], e["code"], e["stage"]), ("bounced", 550, "rcpt"))
        equal(len([c for c in peer.commands() if "bad@" in c]), 1, "RCPT for it")


@case("chunking = false: DATA, where CHUNKING is offered; for the site it is said of")
def _():
    with World() as w:
        one, two = w.peer(extensions=WITH_BDAT), w.peer(extensions=WITH_BDAT)
        d = w.daemon(
            routes=[{"domain": "plain.test", "mx": [one.address]}, {"domain": "*", "mx": [two.address]}],
            traffic=[{"site": "plain.test", "chunking": False}],
        )
        d.submit("", ["a@plain.test", "a@other.test"], message(body=BODIES["dots"]))
        equal((one.wait_mail().chunks, two.wait_mail().chunks), (0, 1))
        equal(one.mails[0].data[-19:], two.mails[0].data[-19:])


@case("LMTP never uses it")
def _():
    with World() as w:
        peer = w.peer(extensions=WITH_BDAT, lmtp=True)
        d = w.daemon(routes=[{"domain": "*", "mx": [f"lmtp://{peer.address}"]}])
        d.submit("", "a@example.test")
        equal(peer.wait_mail().chunks, 0)


def note_what_is_ahead(ahead):
    """A script for any stage: gives the client time, then notes what it sent without waiting for the reply."""

    def script(conn, line):
        time.sleep(0.1)
        conn.sock.setblocking(False)
        try:
            ahead.append((line, conn.buffer + conn.sock.recv(1000, socket.MSG_PEEK)))
        except BlockingIOError:
            ahead.append((line, conn.buffer))
        conn.sock.setblocking(True)

    return script


@case("pipelining = false: one command at a time, with DATA and with BDAT; pipelining = true: they fly together")
def _():
    for pipelining in (False, True):
        for extensions in (WITH_BDAT, ("PIPELINING", "8BITMIME")):
            with World() as w:
                ahead = []
                note = note_what_is_ahead(ahead)
                script = {stage: note for stage in ("MAIL", "RCPT", "DATA", "DOT")}
                d, peer = setting(w, script, extensions, {"pipelining": pipelining})
                for i in range(2):
                    d.submit("", [f"a{i}@example.test", f"b{i}@example.test"])
                peer.wait_mail(2)
                flew = [line for line, more in ahead if more]
                equal(len(peer.conns), 1, "connections")
                check(flew if pipelining else not flew, f"pipelining {pipelining}: {ahead}")


run()
