#!/usr/bin/env python3
"""A reload can take the certificate away; the listeners that were bound with it still speak TLS."""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import *


@case("STARTTLS goes on after a reload whose listeners need no certificate any more")
def _():
    with World() as w:
        peer = w.peer()
        d = w.daemon(start=False, tls_name="relay.test", routes=[{"domain": "*", "mx": [peer.address]}])
        listen = [{"address": f"127.0.0.1:{d.port}", "tls": "starttls"}]
        d.write_config(listen=listen)
        d.start()
        d.write_config(tls=None, listen=[dict(listen[0], tls="none")])
        d.signal(signal.SIGUSR1)
        wait_for(lambda: "read again" in d.log_text(), "the reload")
        check("a restart is needed for: listen" in d.log_text(), "the listeners are not said to stay")
        with d.client() as c:
            c.ehlo()
            c.starttls()
            c.want(250, "MAIL FROM:<joe@sender.test>")


run()
