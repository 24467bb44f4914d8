#!/usr/bin/env python3
"""Connections are kept across messages, within their limits; one that turns out useless costs no message anything."""

import collections
import os
import signal
import socket
import time

from harness import *
from others import Postfix
from peer import CLOSE, SILENT


def daemon(w, mx, traffic=None, **settings):
    """Everything goes to these peers."""
    limits = merge({"site": "default", "connections": 1, "idle_timeout": "20s"}, traffic or {})
    route = {"domain": "*", "mx": [p if isinstance(p, str) else p.address for p in mx]}
    return w.daemon(**merge({"routes": [route], "traffic": [limits]}, settings))


def burst(d, n, domain="far.test", first=0):
    """n recipients whose mail is to go out at the same instant; needs always_split."""
    names = [f"r{i}@{domain}" for i in range(first, first + n)]
    d.submit("joe@sender.test", names)
    return names


SPLIT = {"always_split": True, "temp_fail_intervals": "5s*10"}


def one_fate(d, names, wanted="delivered", attempt=1):
    """Each has exactly one final event; attempt None: whichever. Returns the events."""
    found = [d.wait_fate(n, 60 * SLOW) for n in names]
    for e in found:
        equal(e["event"], wanted, f"{e['recipient']}: {e['response']}")
        if attempt:
            equal(e["attempt"], attempt, f"attempt at which {e['recipient']} was {wanted}")
    finals = collections.Counter(e["recipient"] for e in d.events() if e["event"] in FINAL)
    equal([n for n in names if finals[n] != 1], [], "recipients with more than one last event")
    return found


def none_deferred(d):
    equal([(e["recipient"], e["response"]) for e in d.events(event="deferred")], [], "deferred")


def once_each(names, *peers):
    """Whoever took them, each recipient was taken once."""
    taken = collections.Counter(r for p in peers for m in list(p.mails) for r in m.rcpts)
    equal(dict(taken), {n: 1 for n in names}, "how often each was taken")


def per_connection(peer):
    """How many mails each connection took."""
    counts = collections.Counter(m.conn.number for m in peer.mails)
    return [counts[c.number] for c in peer.conns]


def nth_mail(conn):
    return sum(line.startswith("MAIL") for line in conn.commands)


def later(n, reply):
    """A script for MAIL: the n-th of a connection, and those behind it, get this reply."""
    return lambda c, line: reply if nth_mail(c) >= n else None


def said_quit(conn):
    return bool(conn.commands) and conn.commands[-1] == "QUIT"


def wait_quit(peer, seconds=PATIENCE):
    wait_for(lambda: all(not c.open for c in peer.conns), "all connections to end", seconds)
    equal([c.number for c in peer.conns if not said_quit(c)], [], "connections that ended without QUIT")


class Crowd:
    """A CONNECT script: the most connections that were open at the same time."""

    def __init__(self):
        self.most = 0

    def __call__(self, conn, line):
        time.sleep(0.05)  # the end of an earlier one may not have been heard of yet
        self.most = max(self.most, sum(c.open for c in conn.peer.conns))


def cpu_seconds(d):
    with open(f"/proc/{d.pid()}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- few connections --------------------------------------------------------------------


@case("60 messages at once go over 3 connections, later ones over one of these; they end with QUIT after idle_timeout")
def _():
    with World() as w:
        peer = w.peer()
        d = daemon(w, [peer], {"connections": 3, "idle_timeout": "2s"}, outbound=SPLIT)
        names = burst(d, 60)
        one_fate(d, names)
        check(len(peer.conns) <= 3, f"{len(peer.conns)} connections")
        before = len(peer.conns)
        names += burst(d, 1, first=60)
        one_fate(d, names)
        equal(len(peer.conns), before, "connections, with one more message")
        once_each(names, peer)
        none_deferred(d)
        took = peer.mails[-1].at
        wait_quit(peer, 10 * SLOW)
        check(1.8 <= time.monotonic() - took <= 5 * SLOW, f"idle for {time.monotonic() - took:.1f} s")
        say(f"mails per connection: {per_connection(peer)}")


@case("Postfix over STARTTLS: 40 messages over 2 connections; one it closed while idle costs nothing")
def _():
    with World() as w:
        postfix = Postfix(w, "smtpd_timeout = 2s")
        wait_for(lambda: "disconnect from" in postfix.log(), "the log of the first visit")
        known = postfix.log().count(": connect from")
        d = daemon(w, [postfix], {"connections": 2}, outbound=SPLIT)
        names = burst(d, 40)
        for e in one_fate(d, names):
            check(e["tls"]["version"].startswith("TLSv1"), "encrypted")
        used = postfix.log().count(": connect from") - known
        check(used <= 2, f"{used} connections")
        wait_for(lambda: "timeout after" in postfix.log(), "Postfix to lose patience")
        names += burst(d, 3, first=40)
        one_fate(d, names)
        none_deferred(d)
        equal(len(postfix.wait_mails(43)), 43, "mails in the maildir")


@case("a peer without PIPELINING; one without any extension that knows only HELO")
def _():
    for script, extensions in (({}, ("8BITMIME",)), ({"EHLO": "502 5.5.1 what?"}, ())):
        with World() as w:
            peer = w.peer(script=script, extensions=extensions)
            d = daemon(w, [peer], outbound=SPLIT)
            names = burst(d, 20)
            one_fate(d, names)
            once_each(names, peer)
            equal(per_connection(peer), [20])


@case("LMTP: one connection for many messages, a reply for each recipient of each")
def _():
    with World() as w:
        peer = w.peer(lmtp=True, script={"DOT": lambda c, line: "550 5.1.1 no" if "bad" in c.rcpt_now else None})
        d = daemon(w, ["lmtp://" + peer.address], outbound={"temp_fail_intervals": "5s*10"})
        for i in range(10):
            d.submit("", [f"good{i}@far.test", f"bad{i}@far.test"])
        one_fate(d, [f"good{i}@far.test" for i in range(10)])
        one_fate(d, [f"bad{i}@far.test" for i in range(10)], "bounced")
        equal(per_connection(peer), [10])


# --- a connection that is of no use any more ----------------------------------------------


def hang_up(conn):
    try:
        conn.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the client was faster


@case("the peer closes while idle: the next message goes out on a new connection, attempt 1, never deferred")
def _():
    for rude in (False, True):
        with World() as w:
            peer = w.peer()
            d = daemon(w, [peer])
            for i in range(4):
                d.submit("joe@sender.test", f"r{i}@far.test")
                one_fate(d, [f"r{i}@far.test"])
                conn = peer.conns[-1]
                if rude:
                    conn.sock.sendall(b"421 4.4.2 idle for too long\r\n")
                hang_up(conn)
                wait_for(lambda: not conn.open, "its end")
            equal(per_connection(peer), [1, 1, 1, 1])
            none_deferred(d)


@case("to the second MAIL it answers 421, 503, nonsense, or hangs up: a new connection, attempt 1, never deferred")
def _():
    scripts = {
        "421": later(2, "421 4.7.0 enough"),
        "503": later(2, "503 5.5.1 nested MAIL"),
        "a number of no meaning": later(2, "999 hm"),
        "garbage": later(2, "\x01\x02 what"),
        "it hangs up": later(2, CLOSE),
        "it hangs up before the third": later(3, CLOSE),
    }
    for name, script in scripts.items():
        for limit in (1, 3):
            with World() as w:
                peer = w.peer(script={"MAIL": script})
                d = daemon(w, [peer], {"connections": limit}, outbound=SPLIT)
                names = burst(d, 12)
                one_fate(d, names)
                none_deferred(d)
                once_each(names, peer)
                most = 2 if "third" in name else 1
                check(max(per_connection(peer)) <= most, f"{name}: {per_connection(peer)}")
                # Each connection is tried with one message too many, and none is dialled for nothing.
                check(0 not in per_connection(peer), f"{name}: {per_connection(peer)}")


@case("503 to the second MAIL, and QUIT is answered late: the limit of 1 holds, nothing spins")
def _():
    with World() as w:
        crowd = Crowd()
        slow = lambda c, line: time.sleep(0.5)
        peer = w.peer(script={"CONNECT": crowd, "MAIL": later(2, "503 5.5.1 no more"), "QUIT": slow})
        d = daemon(w, [peer], outbound=SPLIT)
        names = burst(d, 5)
        one_fate(d, names)
        equal(crowd.most, 1, "connections at once")
        equal(per_connection(peer), [1] * 5)
        none_deferred(d)


def waits_for_next_mail(conn, seconds=5):
    """With a reply outstanding: until the client says MAIL all the same. False: it does not."""
    end = time.monotonic() + seconds
    conn.sock.settimeout(0.1)
    try:
        while b"MAIL FROM" not in conn.buffer and time.monotonic() < end:
            try:
                conn.more()
            except TimeoutError:
                pass
    finally:
        conn.sock.settimeout(None)
    return b"MAIL FROM" in conn.buffer


@case("lost between dot and reply with the next message in flight: the one is deferred, the other delivered at once")
def _():
    for goodbye in (CLOSE, "421 4.3.2 shutting down"):
        with World() as w:
            seen = []

            def dot(c, line, goodbye=goodbye, seen=seen):
                if c.number > 0 or nth_mail(c) < 2:
                    return None
                seen.append(waits_for_next_mail(c))
                return goodbye

            peer = w.peer(script={"DOT": dot})
            d = daemon(w, [peer], outbound=SPLIT)
            names = burst(d, 6)
            lost = d.wait_event(event="deferred")
            equal((lost["stage"], lost["attempt"]), ("dot", 1))
            one_fate(d, [n for n in names if n != lost["recipient"]])
            one_fate(d, [lost["recipient"]], attempt=2)
            equal(seen, [True], "the next message was in flight")
            equal(len(d.events(event="deferred")), 1, "deferrals")
            once_each(names, peer)
            equal(len(peer.conns), 2, "connections")


@case("MAIL of the next message is in flight as soon as a large body is, however many windows it takes")
def _():
    with World() as w:
        seen = []

        def dot(c, line):
            if 2 <= nth_mail(c) < 6:
                seen.append(waits_for_next_mail(c, 0.5 * SLOW))

        peer = w.peer(script={"DOT": dot}, keep=False)
        d = daemon(w, [peer], outbound=SPLIT)
        names = [f"r{i}@far.test" for i in range(6)]
        d.submit("joe@sender.test", names, message(body=("x" * 70 + "\r\n") * 30000))
        one_fate(d, names)
        equal(seen, [True] * 4, "seen in time")


@case("RSET after a refusal is answered oddly, or not at all: the mail behind it goes out all the same")
def _():
    odd = {
        "5xx": "500 5.5.1 what?",
        "4xx": "450 4.0.0 hm",
        "421": "421 4.3.2 bye",
        "hangs up": CLOSE,
        "says nothing": SILENT,
        "two replies": "250 ok\n250 ok again",
        "354": "354 go on",
        "garbage": "\x00\xff",
    }
    for name, reply in odd.items():
        with World() as w:
            script = {"RCPT": lambda c, line: "550 5.1.1 no" if "bad" in line else None, "RSET": reply}
            peer = w.peer(script=script)
            d = daemon(w, [peer], outbound={"temp_fail_intervals": "5s*10", "timeouts": {"rset": "2s"}})
            names = [f"bad{i}@far.test" if i % 3 == 1 else f"good{i}@far.test" for i in range(9)]
            for n in names:
                d.submit("", n)
            # A refusal read behind the body of another message counts only if RSET confirms it.
            one_fate(d, [n for n in names if "bad" in n], "bounced", None)
            one_fate(d, [n for n in names if "good" in n])
            equal([e["recipient"] for e in d.events(event="deferred") if "bad" not in e["recipient"]], [])
            once_each([n for n in names if "good" in n], peer)
            say(f"{name}: {len(peer.conns)} connections")


@case("RSET answered as it should be: refused messages and others share one connection")
def _():
    with World() as w:
        peer = w.peer(script={"RCPT": lambda c, line: "550 5.1.1 no" if "bad" in line else None})
        d = daemon(w, [peer], outbound={"temp_fail_intervals": "5s*10"})
        names = [f"bad{i}@far.test" if i % 2 else f"good{i}@far.test" for i in range(20)]
        for n in names:
            d.submit("", n)
        one_fate(d, names[1::2], "bounced")
        one_fate(d, names[::2])
        equal(per_connection(peer), [10])


# --- limits ----------------------------------------------------------------------------------


@case("connections = 2, 50 messages, a slow peer: never more than 2 open at the peer; the second only while it helps")
def _():
    with World() as w:
        crowd = Crowd()
        peer = w.peer(script={"CONNECT": crowd, "DOT": lambda c, line: time.sleep(0.05)})
        d = daemon(w, [peer], {"connections": 2, "deliveries_per_connection": 7}, outbound=SPLIT)
        names = burst(d, 50)
        one_fate(d, names)
        once_each(names, peer)
        equal(crowd.most, 2, "connections at once")
        check(max(per_connection(peer)) <= 7, f"{per_connection(peer)}")
        none_deferred(d)


@case("deliveries_per_connection = 3: the fourth message goes over the next connection; each ends with QUIT")
def _():
    with World() as w:
        peer = w.peer()
        d = daemon(w, [peer], {"deliveries_per_connection": 3}, outbound=SPLIT)
        names = burst(d, 10)
        one_fate(d, names)
        equal(per_connection(peer), [3, 3, 3, 1])
        wait_for(lambda: sum(said_quit(c) for c in peer.conns) == 3, "QUIT on the worn ones")
        equal([c.open for c in peer.conns], [False] * 3 + [True])


@case("connection_age: a connection older than that takes no message, at rest or behind a slow dot")
def _():
    with World() as w:
        peer = w.peer()
        d = daemon(w, [peer], {"connection_age": "2s"})
        for i in range(20):
            d.submit("joe@sender.test", f"r{i}@far.test")
            time.sleep(0.25)
        one_fate(d, [f"r{i}@far.test" for i in range(20)])
        for m in peer.mails:
            check(m.at - m.conn.at <= 2 + 0.5 * SLOW, f"used at an age of {m.at - m.conn.at:.1f} s")
        check(len(peer.conns) <= 6, f"{len(peer.conns)} connections")
    with World() as w:
        early = []

        def dot(c, line):
            if nth_mail(c) == 2 and c.number == 0:
                early.append(waits_for_next_mail(c, 4))

        peer = w.peer(script={"DOT": dot})
        d = daemon(w, [peer], {"connection_age": "1s"})
        d.submit("joe@sender.test", "r0@far.test")
        one_fate(d, ["r0@far.test"])
        d.submit("joe@sender.test", "r1@far.test")
        time.sleep(2.5)
        d.submit("joe@sender.test", "r2@far.test")
        one_fate(d, ["r0@far.test", "r1@far.test", "r2@far.test"])
        equal(early, [False], "a message behind the slow dot of an old connection")
        equal(per_connection(peer), [2, 1])
        none_deferred(d)


@case("idle_timeout = 0: no rest, but a burst still shares; each connection ends with QUIT at once")
def _():
    with World() as w:
        peer = w.peer()
        d = daemon(w, [peer], {"idle_timeout": 0}, outbound=SPLIT)
        for i in range(3):
            d.submit("joe@sender.test", f"r{i}@far.test")
            one_fate(d, [f"r{i}@far.test"])
            wait_quit(peer, 3 * SLOW)
        equal(per_connection(peer), [1, 1, 1])
        one_fate(d, burst(d, 20, first=3))
        check(len(peer.conns) <= 6, f"{len(peer.conns) - 3} connections for a burst of 20")
        wait_quit(peer, 3 * SLOW)


# --- what never shares ---------------------------------------------------------------------------


@case("two routes to one host with another TLS level, EHLO name, source or credentials never share a connection")
def _():
    variants = (
        ({"tls": "none"}, {"tls": "encrypt"}, lambda m: bool(m.tls)),
        ({"helo": "one.test"}, {"helo": "two.test"}, lambda m: m.helo == "two.test"),
        ({"bind": "127.0.0.1"}, {"bind": "127.0.0.9"}, lambda m: m.conn.source == "127.0.0.9"),
        ({"login": "u:p@"}, {"login": "v:q@"}, lambda m: m.login == "v"),
    )
    for one, two, is_two in variants:
        with World() as w:
            peer = w.peer(tls="127.0.0.1", auth="PLAIN", credentials=None)
            peer.script["CONNECT"] = lambda c, line: setattr(c, "source", c.sock.getpeername()[0])
            peer.script["AUTH"] = "235 2.7.0 welcome"
            routes = []
            for name, more in (("one", one), ("two", two)):
                more = dict({"tls": "encrypt"}, **more)
                login = more.pop("login", "")
                routes.append(merge({"domain": name + ".test", "mx": [f"smtp://{login}{peer.address}"]}, more))
            d = w.daemon(routes=routes, traffic=[{"site": "default", "connections": 2, "idle_timeout": "20s"}], outbound=SPLIT)
            peer_login(peer)
            for i in range(4):
                names = burst(d, 5, "one.test", 5 * i) + burst(d, 5, "two.test", 5 * i)
                one_fate(d, names)
            equal(len(peer.mails), 40)
            for m in peer.mails:
                equal(is_two(m), m.rcpts[0].endswith("@two.test"), f"{one} and {two}: went the other's way")
            shared = [c.number for c in peer.conns if len({m.rcpts[0].split("@")[1] for m in peer.mails if m.conn is c}) > 1]
            equal(shared, [], "connections shared")
            check(len(peer.conns) <= 20, f"{len(peer.conns)} connections for 40 mails")


def peer_login(peer):
    """Whatever it was, the login is noted."""
    import base64

    def auth(c, line):
        c.login = base64.b64decode(line.split(" ")[2]).decode().split("\0")[1]
        return "235 2.7.0 welcome"

    peer.script["AUTH"] = auth


def two_kinds(w, peer, traffic=None, **more):
    """One site of one route; tls_policy makes its domains' mail of two kinds."""
    limits = merge({"site": "default", "connections": 1, "idle_timeout": "20s"}, traffic or {})
    return w.daemon(
        **merge(
            {
                "routes": [{"domain": "*", "mx": [peer.address]}],
                "traffic": [limits],
                "tls_policy": [{"domain": "open.test", "level": "none"}, {"domain": "shut.test", "level": "encrypt"}],
                "outbound": SPLIT,
            },
            more,
        )
    )


@case("two TLS levels within a site and one connection: they take turns, neither shares, nor waits for the other's end")
def _():
    with World() as w:
        crowd = Crowd()
        peer = w.peer(tls="127.0.0.1", script={"CONNECT": crowd, "DOT": lambda c, line: time.sleep(0.05)})
        d = two_kinds(w, peer)
        names = burst(d, 15, "open.test") + burst(d, 15, "shut.test")
        one_fate(d, names)
        once_each(names, peer)
        for m in peer.mails:
            equal(bool(m.tls), m.rcpts[0].endswith("@shut.test"), "TLS of " + m.rcpts[0])
        equal(crowd.most, 1, "connections at once")
        none_deferred(d)


@case("mail of another kind waits behind a slow dot at the limit: without spinning, and it comes next")
def _():
    with World() as w:
        slow = lambda c, line: waits(c, 4) if nth_mail(c) == 2 and c.number == 0 else None
        peer = w.peer(tls="127.0.0.1", script={"DOT": slow})
        d = two_kinds(w, peer)
        d.submit("joe@sender.test", "r0@open.test")
        one_fate(d, ["r0@open.test"])
        d.submit("joe@sender.test", "r1@open.test")
        wait_for(lambda: nth_mail(peer.conns[0]) == 2, "the slow one")
        time.sleep(0.5)
        burst(d, 10, "shut.test")
        before = cpu_seconds(d)
        time.sleep(2)
        used = cpu_seconds(d) - before
        check(used < 0.5 * SLOW, f"{used:.2f} s of CPU in 2 s of waiting")
        equal(d.log_text().count("waits for a connection"), 1, "how often one was looked for")
        one_fate(d, ["r1@open.test"] + [f"r{i}@shut.test" for i in range(10)])
        equal(per_connection(peer), [2, 10])
        none_deferred(d)


def waits(conn, seconds):
    time.sleep(seconds)


@case("the first host refuses at the greeting and is slow to take leave: the second is asked, within a limit of 1")
def _():
    with World() as w:
        crowd = Crowd()
        first = w.peer(script={"CONNECT": "554 5.3.2 not here", "QUIT": lambda c, line: time.sleep(1)})
        second = w.peer(script={"CONNECT": crowd})
        d = daemon(w, [first, second], outbound=SPLIT)
        names = burst(d, 5)
        one_fate(d, names)
        none_deferred(d)
        once_each(names, second)
        check(len(first.conns) <= 5, f"{len(first.conns)} connections to the first")
        equal(crowd.most, 1, "connections at once")
        say(f"{len(first.conns)} connections to the first host, {per_connection(second)} mails over those to the second")


# --- reload and stop --------------------------------------------------------------------------


@case("reload: idle connections say QUIT at once; busy ones finish their message and go; new ones follow the new config")
def _():
    with World() as w:
        peer = w.peer(script={"DOT": lambda c, line: time.sleep(2) if c.rcpts == ["slow@far.test"] else None})
        d = daemon(w, [peer], {"connections": 2, "idle_timeout": "1h"})
        d.submit("joe@sender.test", "r0@far.test")
        one_fate(d, ["r0@far.test"])
        d.submit("joe@sender.test", "slow@far.test")
        wait_for(lambda: peer.conns[0].rcpts == ["slow@far.test"], "the slow one")
        d.submit("joe@sender.test", "r1@far.test")
        one_fate(d, ["r1@far.test"])
        equal(len(peer.conns), 2)
        d.write_config(me="other.test")
        d.signal(signal.SIGUSR1)
        wait_for(lambda: said_quit(peer.conns[1]), "QUIT of the idle one", 1.5 * SLOW)
        check(peer.conns[0].open, "the busy one is let finish")
        d.submit("joe@sender.test", "r2@far.test")
        one_fate(d, ["slow@far.test", "r2@far.test"])
        equal(peer.mails[-1].helo if peer.mails[-1].rcpts == ["r2@far.test"] else peer.mails[-2].helo, "other.test")
        wait_for(lambda: said_quit(peer.conns[0]), "QUIT of the busy one", 5 * SLOW)
        equal(len(peer.conns), 3)
        none_deferred(d)


@case("a reload that lowers the limits: fewer connections from then on")
def _():
    with World() as w:
        peer = w.peer(script={"DOT": lambda c, line: time.sleep(0.02)})
        d = daemon(w, [peer], {"connections": 10, "idle_timeout": "1h"}, outbound=SPLIT)
        names = burst(d, 60)
        one_fate(d, names)
        check(len(peer.conns) > 2, f"{len(peer.conns)} connections")
        before = len(peer.conns)
        crowd = peer.script["CONNECT"] = Crowd()
        d.write_config(traffic=[{"site": "default", "connections": 2, "idle_timeout": "1h"}])
        d.signal(signal.SIGUSR1)
        wait_for(lambda: sum(c.open for c in peer.conns) == 0, "the old ones to end")
        names += burst(d, 60, first=60)
        one_fate(d, names)
        check(crowd.most <= 2, f"{crowd.most} connections at once")
        equal([c.number for c in peer.conns[:before] if not said_quit(c)], [], "ended without QUIT")


@case("TERM with idle connections: QUIT on each, and it ends at once; one that does not answer is not waited for long")
def _():
    for script, seconds in (({}, 2), ({"QUIT": SILENT}, 9)):
        with World() as w:
            peer = w.peer(script=dict(script, DOT=lambda c, line: time.sleep(0.1)))
            d = daemon(w, [peer], {"connections": 4, "idle_timeout": "1h"}, outbound=SPLIT)
            one_fate(d, burst(d, 20))
            equal(sum(c.open for c in peer.conns), 4, "idle connections")
            began = time.monotonic()
            d.stop()
            took = time.monotonic() - began
            check(took < seconds * SLOW, f"stopping took {took:.1f} s")
            equal([c.number for c in peer.conns if "QUIT" not in c.commands], [], "connections without QUIT")


@case("TERM in the middle of a burst: what is in flight ends, the rest is there after a restart, each once")
def _():
    with World() as w:
        peer = w.peer(script={"DOT": lambda c, line: time.sleep(0.05)})
        d = daemon(w, [peer], {"connections": 2}, outbound=SPLIT)
        names = burst(d, 60)
        peer.wait_mail(10)
        began = time.monotonic()
        d.stop()
        check(time.monotonic() - began < 5 * SLOW, "it took its time")
        check(len(peer.mails) < 60, "something is left")
        d.start()
        one_fate(d, names)
        once_each(names, peer)
        none_deferred(d)


@case("concurrency_max = 3: resting connections of other sites make way")
def _():
    with World() as w:
        peers = [w.peer() for _ in range(8)]
        routes = [{"domain": f"d{i}.test", "mx": [p.address]} for i, p in enumerate(peers)]
        d = w.daemon(
            routes=routes,
            outbound=merge(SPLIT, {"concurrency_max": 3}),
            traffic=[{"site": "default", "connections": 2, "idle_timeout": "1h"}],
        )
        for turn in range(2):
            for i in range(8):
                names = burst(d, 5, f"d{i}.test", 5 * turn)
                one_fate(d, names)
                open_now = wait_for(lambda: [sum(c.open for p in peers for c in p.conns)], "the count")[0]
                check(open_now <= 3 + 1, f"{open_now} connections")
        time.sleep(0.5)
        open_now = sum(c.open for p in peers for c in p.conns)
        check(open_now <= 3, f"{open_now} connections at rest")
        none_deferred(d)


run()
