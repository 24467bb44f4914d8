#!/usr/bin/env python3
"""hold and delete reach mail that is due but waits for a connection, also across a restart."""

import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import *
from peer import CLOSE


def busy_site(w):
    """A daemon with one connection per site, which a first message keeps busy until the gate opens."""
    gate = threading.Event()
    script = {"DOT": lambda conn, line: None if gate.wait(60 * SLOW) else CLOSE}
    peer = w.peer(script=script)
    d = w.daemon(
        routes=[{"domain": "*", "mx": [peer.address]}], traffic=[{"site": "default", "connections": 1}]
    )
    d.submit("joe@sender.test", "first@example.test")
    wait_for(lambda: any(c.startswith("DATA") for c in peer.commands()), "the first to be on its way")
    return gate, peer, d


def taken(peer):
    return sorted(r for m in peer.mails for r in m.rcpts)


@case("what waits for a connection can be held, deleted and released")
def _():
    with World() as w:
        gate, peer, d = busy_site(w)
        held = d.submit("joe@sender.test", "held@example.test")
        gone = d.submit("joe@sender.test", "gone@example.test")
        d.submit("joe@sender.test", "last@example.test")
        d.cli_ok("hold", held)
        d.cli_ok("delete", gone)
        equal(d.wait_fate("gone@example.test")["event"], "deleted", "event")
        d.wait_event(event="held", recipient="held@example.test")
        gate.set()
        d.wait_fate("last@example.test")
        equal(taken(peer), ["first@example.test", "last@example.test"], "delivered")
        equal([i["state"] for i in d.queue()], ["held"], "queue")
        d.restart()
        equal([i["state"] for i in wait_for(d.queue, "the scan")], ["held"], "queue after a restart")
        d.cli_ok("release", held)
        d.wait_fate("held@example.test")
        equal(len(d.events(event="delivered")), 3, "delivered events")


@case("what is in delivery is held after this attempt, and stays so across a restart")
def _():
    with World() as w:
        gate = threading.Event()
        script = {"DOT": lambda conn, line: "451 4.0.0 later" if gate.wait(60 * SLOW) else CLOSE}
        peer = w.peer(script=script)
        d = w.daemon(routes=[{"domain": "*", "mx": [peer.address]}])
        held = d.submit("joe@sender.test", "first@example.test")
        wait_for(lambda: any(c.startswith("DATA") for c in peer.commands()), "it to be on its way")
        d.cli_ok("hold", held)
        gate.set()
        wait_for(lambda: [i["state"] for i in d.queue()] == ["held"], "it to be held")
        d.restart()
        equal([i["state"] for i in d.queue()], ["held"], "queue after a restart")


@case("a hold of what is in delivery can be taken back before it comes about")
def _():
    with World() as w:
        gate, peer, d = busy_site(w)
        first = [i["id"] for i in d.queue()][0]
        d.cli_ok("hold", first)
        d.cli_ok("release", first)
        equal(d.cli("release", first)[0], 1, "status of a second release")
        peer.script = {"DOT": lambda conn, line: "451 4.0.0 later" if len(peer.conns) == 1 else None}
        gate.set()
        d.wait_fate("first@example.test", 30 * SLOW)


run()
