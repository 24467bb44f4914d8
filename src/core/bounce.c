#include "core/bounce.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/system.h"
#include "proto/header.h"
#include "proto/path.h"

#define BOUNCE_TAIL_MAX 4096

bool bounce_is_due(const struct envelope *env, const struct envelope_rcpt *rcpt)
{
	if (env->sender[0] == '\0' || (env->flags & ENVELOPE_REPORT))
		return false;
	return rcpt->notify == 0 || (rcpt->notify & ENVELOPE_NOTIFY_FAILURE);
}

/* The start of the original, at most BOUNCE_ORIGINAL_MAX or the whole header block if that is
 * longer. */
static int read_original(struct queue_body *body, uint64_t want, struct buf *out)
{
	while (buf_len(out) < want) {
		size_t room;
		char *p = buf_reserve(out, (size_t)(want - buf_len(out)), &room);
		if (room == 0)
			return ERR_TOO_BIG;
		ssize_t n =
		    queue_body_read(body, buf_len(out), p, (size_t)MIN(room, want - buf_len(out)));
		if (n < 0)
			return (int)n;
		if (n == 0)
			return 0;
		buf_commit(out, (size_t)n);
	}
	return 0;
}

static int append(struct queue_msg *msg, const struct buf *b)
{
	return queue_append(msg, buf_ptr(b), buf_len(b));
}

struct report { /* the pieces of one report while it is being put together */
	struct dsn_report dsn;
	struct buf original, head, tail;
};

static int compose(struct mta *m, struct report *r, const struct queue_mail *mail,
    struct queue_msg *msg)
{
	const struct envelope *env = mail->envelope;
	uint64_t size = queue_body_size(mail->body);

	r->dsn.headers_only = env->ret == ENVELOPE_RET_HDRS || size > BOUNCE_ORIGINAL_MAX;
	int err = read_original(mail->body,
	    r->dsn.headers_only ? MIN(size, HEADER_BLOCK_MAX) : size, &r->original);
	if (err < 0 && err != ERR_CORRUPT)
		return err;
	if (err < 0) { /* the sender is told all the same */
		log_error("bounce", "%s: the original can't be read, its report goes without: %s",
		    env->queue_id, err_text(err));
		buf_clear(&r->original);
		r->dsn.headers_only = true;
	}
	struct slice all = buf_slice(&r->original);
	r->dsn.original_header = slice_of(all.p, header_block_length(all));
	const struct dsn_template *t =
	    m->conf->bounce.failed ? m->conf->bounce.failed : dsn_template_builtin();
	err = dsn_write(&r->dsn, t, &r->head, &r->tail);
	if (err == 0)
		err = append(msg, &r->head);
	if (err == 0 && !r->dsn.headers_only)
		err = append(msg, &r->original);
	if (err == 0)
		err = append(msg, &r->tail);
	return err;
}

static void address_report(struct queue_msg *msg, const struct envelope *of, struct now now)
{
	struct envelope *env = queue_msg_envelope(msg);

	env->flags = ENVELOPE_REPORT | (of->flags & (ENVELOPE_HAS_8BIT | ENVELOPE_UTF8_HEADER));
	env->arrival_ms = now.wall_ms;
	env->body_bytes = queue_msg_bytes(msg);
	envelope_add_rcpt(env, slice_str(of->sender), SLICE_NONE, 0);
}

const char *bounce_destination(const struct envelope *env, struct arena *arena)
{
	struct path path;
	struct errbuf eb;
	struct buf domain;
	const char *name = NULL;

	buf_init(&domain, 512);
	if (path_parse_address(slice_str(env->sender), &path, &eb) == 0 &&
	    path_domain_to_ascii(path.domain, &domain) == 0)
		name = arena_strdup(arena, buf_cstr(&domain));
	else
		log_notice("bounce", "%s: no report: <%s> has no usable domain", env->queue_id,
		    env->sender);
	buf_fini(&domain);
	return name;
}

static void describe(struct mta *m, struct report *r, const struct envelope *env,
    const struct queue_msg *msg, struct now now)
{
	r->dsn.me = m->conf->me;
	r->dsn.report_id = queue_msg_id(msg);
	r->dsn.sender = env->sender;
	r->dsn.msgid = env->id;
	r->dsn.queue_id = env->queue_id;
	r->dsn.envid = env->envid;
	r->dsn.original_message_id = env->message_id;
	r->dsn.arrival_ms = env->arrival_ms;
	r->dsn.now_ms = now.wall_ms;
	r->dsn.pid = system_pid();
	r->dsn.original_8bit = (env->flags & (ENVELOPE_HAS_8BIT | ENVELOPE_UTF8_HEADER)) != 0;
	buf_init(&r->original, HEADER_BLOCK_MAX + BOUNCE_ORIGINAL_MAX);
	buf_init(&r->head, DSN_HEAD_MAX);
	buf_init(&r->tail, BOUNCE_TAIL_MAX);
}

int bounce_make(struct mta *m, const struct queue_mail *mail, const struct dsn_rcpt *rcpts,
    size_t n, struct queue_msg **msg_r)
{
	const struct envelope *env = mail->envelope;
	struct report r = { .dsn = { .rcpts = rcpts, .rcpts_n = n } };
	struct now now = loop_now(m->loop);

	struct queue_msg *msg = queue_begin(m->queue, now);
	describe(m, &r, env, msg, now);
	int err = compose(m, &r, mail, msg);
	if (err == 0)
		address_report(msg, env, now);
	else
		queue_abort(&msg);
	*msg_r = msg;
	buf_fini(&r.original);
	buf_fini(&r.head);
	buf_fini(&r.tail);
	return err;
}
