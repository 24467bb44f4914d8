"""With several shards: how mail comes in and goes out is the same."""

from again import run

run("delivery", "submission", "smuggling", "tls", "chunking")
