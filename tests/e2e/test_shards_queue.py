"""With several shards: what is kept, and what the operator sees of it, is the same."""

from again import run

run("queue", "spool", "check", "reader", "durable", "kill9", "snapshot")
