#!/usr/bin/env python3
"""More events in one moment than the daemon keeps in memory: all are written."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import *

RCPTS = 2000


@case("two thousand recipients refused with long words leave two thousand events each time")
def _():
    with World() as w:
        words = "\n".join(["451-4.2.0 " + "so it is " * 50] * 8 + ["451 4.2.0 later"])
        peer = w.peer(script={"RCPT": words})
        d = w.daemon(
            routes=[{"domain": "*", "mx": [peer.address]}],
            submission={"max_recipients": RCPTS},
            outbound={"temp_fail_intervals": "1h"},
        )
        with d.client() as c:
            c.ehlo()
            c.want(250, "MAIL FROM:<joe@sender.test>")
            c.send("".join(f"RCPT TO:<r{i}@example.test>\r\n" for i in range(RCPTS)))
            for _ in range(RCPTS):
                equal(c.reply()[0], 250, "RCPT")
            c.data(message())
        d.wait_event(event="deferred", count=RCPTS, seconds=60 * SLOW)
        equal(len({e["recipient"] for e in d.events(event="deferred")}), RCPTS, "recipients deferred")
        check("events_lost          0\n" in d.cli_ok("stats"), "lines were lost")
        size = os.path.getsize(d.events_file)
        say(f"{size} bytes of events")
        check(size > 5 * 1024 * 1024, "too few to prove anything")


run()
