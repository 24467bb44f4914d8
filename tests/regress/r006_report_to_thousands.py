#!/usr/bin/env python3
"""The replies to thousands of recipients are longer than any report may be: one is sent all the same."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import *

RCPTS = 6000
SENDER = "joe@sender.test"


@case("six thousand recipients refused with long words: one report that names them all")
def _():
    with World() as w:
        words = "\n".join(["550-5.1.1 " + "so it is " * 50] * 8 + ["550 5.1.1 never"])
        peer = w.peer(script={"RCPT": lambda conn, line: None if SENDER in line else words})
        d = w.daemon(
            routes=[{"domain": "*", "mx": [peer.address]}],
            submission={"max_recipients": RCPTS},
        )
        with d.client() as c:
            c.ehlo()
            c.want(250, f"MAIL FROM:<{SENDER}>")
            c.send("".join(f"RCPT TO:<r{i}@example.test>\r\n" for i in range(RCPTS)))
            for _ in range(RCPTS):
                equal(c.reply()[0], 250, "RCPT")
            c.data(message())
        d.wait_event(event="bounced", count=RCPTS, seconds=60 * SLOW)
        report = peer.wait_mail(seconds=60 * SLOW)
        equal((report.sender, report.rcpts), ("", [SENDER]), "envelope of the report")
        status = report.data.split(b"Content-Type: message/delivery-status\r\n")[1]
        groups = [g for g in status.split(b"\r\n\r\n") if b"Final-Recipient:" in g]
        equal(len(groups), RCPTS, "recipients in it")
        check(all(b"\r\nDiagnostic-Code: smtp; 550" in g for g in groups), "each with the start of its reply")
        said = sum(len(e["response"]) for e in d.events(event="bounced"))
        say(f"{said} bytes of replies, a report of {len(report.data)}")
        check(said > 16 * 1024 * 1024, "too few to prove anything")
        equal(len(peer.mails), 1, "reports")


run()
