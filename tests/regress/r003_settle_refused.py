#!/usr/bin/env python3
"""An outcome the disk refuses: nobody gets the mail twice, the operator can delete what is left, reports come once."""

import os
import resource
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import *
from peer import CLOSE


class NoFiles:
    """While it lasts the daemon can open no file."""

    def __init__(self, d):
        self.pid = d.pid()
        self.before = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)

    def __enter__(self):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (1, self.before[1]))
        return self

    def __exit__(self, *_):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self.before)


class Gated:
    """A peer that takes alice@ and defers bob@, and waits before it says so."""

    def __init__(self, w, **replies):
        self.gate = threading.Event()
        self.peer = w.peer(script=dict({"RCPT": self.rcpt, "DOT": self.dot}, **replies))

    def dot(self, conn, line):
        return None if self.gate.wait(60 * SLOW) else CLOSE

    @staticmethod
    def rcpt(conn, line):
        return "451 4.2.0 later" if "bob" in line else "550 5.1.1 no" if "eve" in line else None

    def wait_body(self):
        wait_for(lambda: "DATA" in self.peer.commands(), "the body to be on its way")


def partly_delivered(w, d, g, rcpts):
    """Submits, and lets the outcome be refused; the id."""
    ident = d.submit("joe@sender.test", rcpts)
    g.wait_body()
    with NoFiles(d):
        g.gate.set()
        wait_for(lambda: "outcome not recorded" in d.log_text(), "the refusal to be logged")
    return ident


@case("a recipient that was delivered is not tried again when the outcome was refused")
def _():
    with World() as w:
        g = Gated(w)
        d = w.daemon(routes=[{"domain": "*", "mx": [g.peer.address]}])
        partly_delivered(w, d, g, ["alice@example.test", "bob@example.test"])
        d.wait_event(event="deferred", recipient="bob@example.test", count=2, seconds=30 * SLOW)
        equal([r for m in g.peer.mails for r in m.rcpts], ["alice@example.test"], "delivered")
        equal(len(d.events(event="delivered")), 1, "delivered events")


@case("what is left of it can be deleted")
def _():
    with World() as w:
        g = Gated(w)
        d = w.daemon(routes=[{"domain": "*", "mx": [g.peer.address]}])
        ident = partly_delivered(w, d, g, ["alice@example.test", "bob@example.test"])
        d.cli_ok("delete", ident)
        equal(d.wait_fate("bob@example.test")["event"], "deleted", "event")
        d.wait_empty()
        equal(len(d.events(event="delivered")), 1, "delivered events")


@case("a report whose outcome no queue file can take comes once, also when the daemon is killed then")
def _():
    with World() as w:
        g = Gated(w)
        # It can't go out before the kill, for that takes a descriptor: what was delivered in the last second may come again.
        d = w.daemon(
            routes=[{"domain": "*", "mx": [g.peer.address]}], traffic=[{"site": "default", "deliveries_per_connection": 1}]
        )
        d.submit("joe@sender.test", ["alice@example.test", "bob@example.test", "eve@example.test"])
        g.wait_body()
        with NoFiles(d):
            g.gate.set()
            wait_for(lambda: "its outcome stays in the journal" in d.log_text(), "the refusal to be logged")
        d.kill()
        d.start()
        d.wait_event(event="delivered", recipient="joe@sender.test", seconds=30 * SLOW)
        d.wait_event(event="deferred", recipient="bob@example.test", count=2, seconds=30 * SLOW)
        equal(len(d.events(event="bounced")), 1, "bounced events")
        equal(sorted(r for m in g.peer.mails for r in m.rcpts), ["alice@example.test", "joe@sender.test"], "mail")


run()
