"""With several shards: the limits of sites, the DNS and connections are the same."""

from again import run

run("site", "traffic", "reuse", "dns", "config")
