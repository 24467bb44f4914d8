/*
 * stream.h - a connected byte stream: TCP or unix socket, in clear or TLS.
 *
 * Own non-blocking reads and writes under libevent's readiness (bufferevents
 * cost several times the CPU). One callback says "something changed"; the
 * owner looks at state, input and error in its next step. The callback never
 * frees the stream. Input is read into a bounded buffer (back-pressure: no
 * reading while it is full). Output is written straight from the caller's
 * buffer. TLS starts on the open stream; input already received in clear is
 * the caller's to judge (stream_input must be empty).
 */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include "base/buf.h"
#include "base/netaddr.h"
#include "io/loop.h"
#include "io/tls.h"

#define STREAM_INPUT_MAX (128 * 1024)

struct stream;

enum stream_state {
	STREAM_NONE = 0,
	STREAM_CONNECTING,
	STREAM_HANDSHAKE, /* TLS under way */
	STREAM_OPEN,
	STREAM_EOF,    /* the peer ended its side; what it sent before can still be read */
	STREAM_FAILED, /* stream_error says why; what came before can still be read, nothing more
			  comes */
};

/*
 * State, input, room for output, or handshake changed. From the loop only, never from inside a
 * call of the owner's.
 */
typedef void stream_notify_fn(void *arg);

struct stream_connect_options {
	struct netaddr to;
	const struct netaddr *bind; /* source address, NULL: the system's choice */
	const char *unix_path;      /* instead of `to`; NULL */
	int timeout_ms;             /* of the connect itself; failure is ERR_TIMEOUT */
};

/* Never fails at once: errors come as STREAM_FAILED with the next notify. */
struct stream *stream_connect(struct loop *l, const struct stream_connect_options *o,
    stream_notify_fn *fn, void *arg);
/* Takes fd: an accepted socket, non-blocking. */
struct stream *stream_from_fd(struct loop *l, int fd, stream_notify_fn *fn, void *arg);
/* Closes at once (TLS: a close_notify is tried); frees; no callback follows. Not from notify. */
void stream_close(struct stream **s);

enum stream_state stream_state(const struct stream *s);
int stream_error(const struct stream *s); /* 0, -errno, ERR_TIMEOUT, ERR_TLS, ERR_CLOSED */
/* Detail for logs ("certificate verify failed: certificate has expired"); "" if none. */
const char *stream_error_text(const struct stream *s);
const struct netaddr *stream_peer(const struct stream *s);
const struct netaddr *stream_local(const struct stream *s); /* once it is OPEN */

struct buf *stream_input(struct stream *s); /* consume from it; call stream_resume after */
void stream_resume(struct stream *s);       /* input was consumed: read on if reading had stopped */
/* Nothing came or went for a while: gives back the memory of an empty input and of TLS. */
void stream_rest(struct stream *s);

/*
 * Writes as much of out as the socket takes, consuming it. 0, or the error (then FAILED, without a
 * notify). What is left is the caller's: keep it, add to it, and send it again at the next notify.
 * While CONNECTING or in a HANDSHAKE nothing is taken.
 */
int stream_send(struct stream *s, struct buf *out) MUST_USE;
/*
 * The same for up to STREAM_PARTS_MAX pieces of memory, one behind the other, in one write (TLS: in
 * one for each record); *sent: the bytes taken of them. What was not taken must come first the next
 * time. more: something will follow at once.
 */
#define STREAM_PARTS_MAX 3
int stream_send_parts(struct stream *s, const struct slice *parts, size_t n, bool more,
    size_t *sent) MUST_USE;
/* Whether a write would be tried now. After one that fell short not before the next notify. */
bool stream_has_room(const struct stream *s);
/*
 * The same for n bytes of a file from offset; in clear only. An error that leaves the stream as it
 * was is the file's: ERR_CORRUPT, it ends before; -EINVAL, it is of a kind that must be read
 * instead (nothing was taken); or why it can't be read.
 */
int stream_send_file(struct stream *s, int fd, uint64_t offset, size_t n, size_t *sent) MUST_USE;

struct stream_tls_options {
	struct tls_ctx *ctx; /* server: from tls_server_new; borrowed until the call returns */
	bool server;
	const char *host; /* client: SNI and the name to verify (a name or an IP address) */
	/*
	 * Client: a session of an earlier stream that gave the same key, host and ctx may be
	 * resumed. Nothing is verified then, so the key must hold all that decides trust and is
	 * not in host or ctx: address, port, TLS level, a digest of the TLSA set. NULL: a full
	 * handshake, and nothing of it is kept.
	 */
	const char *resume_key;
	int timeout_ms; /* for the whole handshake */
};

/*
 * Handshake on an OPEN stream with empty input; HANDSHAKE until OPEN or FAILED(ERR_TLS), whatever
 * ended it: refusal, hang-up, or timeout_ms.
 */
void stream_start_tls(struct stream *s, const struct stream_tls_options *o);
const struct tls_info *stream_tls(const struct stream *s); /* NULL while in clear */

#endif
