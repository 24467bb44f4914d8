#!/usr/bin/env python3
"""A partial outcome the disk refused is recorded soon after, not at the next attempt: a crash in between makes no second copy.

Found by the simulator (tests/sim): with a full disk, outcomes of mail that
still has recipients to try stayed in memory until its next attempt.
"""

import os
import resource
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import *
from peer import CLOSE


@case("delivered, refused by the disk, killed later: not delivered again")
def _():
    gate = threading.Event()

    def dot(conn, line):
        return None if gate.wait(60 * SLOW) else CLOSE

    def rcpt(conn, line):
        return "451 4.2.0 later" if "bob" in line else None

    with World() as w:
        peer = w.peer(script={"RCPT": rcpt, "DOT": dot})
        d = w.daemon(
            routes=[{"domain": "*", "mx": [peer.address]}], outbound={"temp_fail_intervals": "1h*5"}
        )
        d.submit("joe@sender.test", ["alice@example.test", "bob@example.test"])
        wait_for(lambda: "DATA" in peer.commands(), "the body to be on its way")
        pid = d.pid()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, before[1]))  # it can open no file
        gate.set()
        wait_for(lambda: "outcome not recorded" in d.log_text(), "the refusal to be logged")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        time.sleep(8 * SLOW)  # asked again after five seconds
        d.kill()
        d.start()
        d.cli_ok("flush")
        d.wait_event(event="deferred", recipient="bob@example.test", count=2, seconds=30 * SLOW)
        equal([r for m in peer.mails for r in m.rcpts], ["alice@example.test"], "delivered")


run()
