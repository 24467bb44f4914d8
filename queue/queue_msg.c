/*
 * queue_msg.c - a message from begin to the commit operation: its body in
 * memory or in tmp/, its recipients divided among destinations.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/mem.h"
#include "queue/queue_int.h"

struct queue_msg *queue_begin(struct queue *q, struct now now)
{
	char id[QID_TEXT_MAX];
	queue_touch(q, now);
	struct queue_msg *m = mem_zalloc(sizeof(*m));
	m->q = q;
	m->id = store_new_id(q->store, now.wall_ms);
	m->fd = -1;
	buf_init(&m->mem, QUEUE_BODY_MEMORY_MAX);
	m->envelope = envelope_new();
	m->envelope->id = envelope_str(m->envelope, slice_str(qid_format(m->id, id)));
	m->envelope->arrival_ms = (int64_t)m->id.arrival_ms;
	q->msgs++;
	return m;
}

struct envelope *queue_msg_envelope(struct queue_msg *m)
{
	return m->envelope;
}

const char *queue_msg_id(const struct queue_msg *m)
{
	return m->envelope->id;
}

uint64_t queue_msg_bytes(const struct queue_msg *m)
{
	return m->bytes;
}

/* --- body --------------------------------------------------------------------- */

static int spill_open(struct queue_msg *m)
{
	struct spool *s = m->q->spool;
	if (m->fd >= 0)
		return 0;
	int fd = s->io->open(s->io->arg, s->tmp, m->envelope->id, QIO_OPEN_CREATE);
	if (fd < 0)
		return fd;
	m->fd = fd;
	return 0;
}

/* What is buffered and then p go to the file. */
static int spill(struct queue_msg *m, const void *p, size_t n)
{
	struct spool *s = m->q->spool;
	size_t buffered = buf_len(&m->mem);
	const struct iovec iov[2] = {
		{ (void *)(uintptr_t)buf_ptr(&m->mem), buffered },
		{ (void *)(uintptr_t)p, n },
	};
	int err = spill_open(m);
	if (err == 0)
		err = s->io->pwritev(s->io->arg, m->fd, iov, n > 0 ? 2 : 1,
		    QFILE_RESERVE_BYTES + m->spilled);
	if (err < 0)
		return err;
	m->spilled += buffered + n;
	buf_clear(&m->mem);
	return 0;
}

int queue_append(struct queue_msg *m, const void *p, size_t n)
{
	CHECK(m->bytes < INT64_MAX - n);
	if (m->err < 0)
		return m->err;
	if (n == 0)
		return 0;
	size_t buffered = buf_len(&m->mem);
	if (n <= QUEUE_BODY_MEMORY_MAX - buffered) {
		m->err = buf_add(&m->mem, p, n);
		atomic_fetch_add(&m->q->store->waiting_bytes, n);
	} else {
		m->err = spill(m, p, n);
		if (m->err == 0)
			atomic_fetch_sub(&m->q->store->waiting_bytes, buffered);
	}
	if (m->err < 0)
		return m->err;
	m->crc = codec_crc32c(m->crc, p, n);
	m->bytes += n;
	return 0;
}

int queue_spill_rest(struct queue_msg *m)
{
	if (m->fd < 0 || m->spilled == m->bytes)
		return 0;
	/* waiting_bytes is the loop's: queue_finish subtracts what was buffered when the message
	 * was handed over. */
	struct spool *s = m->q->spool;
	struct iovec iov = { (void *)(uintptr_t)buf_ptr(&m->mem), buf_len(&m->mem) };
	int err = s->io->pwritev(s->io->arg, m->fd, &iov, 1, QFILE_RESERVE_BYTES + m->spilled);
	if (err == 0)
		m->spilled += iov.iov_len;
	return err;
}

void queue_free_msg(struct queue_msg *m)
{
	struct spool *s = m->q->spool;
	if (m->fd >= 0)
		(void)s->io->close(s->io->arg, m->fd); /* its fate is decided by the sync before */
	buf_fini(&m->mem);
	envelope_free(&m->envelope);
	mem_free(m);
}

void queue_abort(struct queue_msg **m_p)
{
	struct queue_msg *m = *m_p;
	*m_p = NULL;
	if (m == NULL)
		return;
	CHECK(m->q->msgs > 0);
	m->q->msgs--;
	atomic_fetch_sub(&m->q->store->waiting_bytes, buf_len(&m->mem));
	if (m->fd >= 0)
		spool_discard(m->q->spool, SPOOL_TMP, m->envelope->id);
	queue_free_msg(m);
}

/* --- recipients by destination --------------------------------------------------- */

static struct part *add_part(struct queue_op *op, struct envelope *e, const char *domain)
{
	char id[QID_TEXT_MAX];
	struct part *p = &op->parts[op->parts_n++];
	CHECK(op->parts_n <= QID_PART_MAX);
	*p = (struct part){ .envelope = e, .number = (unsigned)op->parts_n };
	qid_format_part(op->msg->id, p->number, p->tmp_name);
	e->domain = envelope_str(e, slice_str(domain));
	e->queue_id = envelope_str(e, slice_str(qid_format_part(op->msg->id, p->number, id)));
	e->body_bytes = op->msg->bytes;
	return p;
}

/* Everything but recipients, domain and queue id. */
static struct envelope *copy_base(const struct envelope *from)
{
	struct envelope *e = envelope_new();
	e->id = envelope_str(e, slice_str(from->id));
	e->sender = envelope_str(e, slice_str(from->sender));
	e->user = envelope_str(e, slice_str(from->user));
	e->client_ip = envelope_str(e, slice_str(from->client_ip));
	e->helo = envelope_str(e, slice_str(from->helo));
	e->protocol = envelope_str(e, slice_str(from->protocol));
	e->envid = envelope_str(e, slice_str(from->envid));
	e->message_id = envelope_str(e, slice_str(from->message_id));
	e->ret = from->ret;
	e->flags = from->flags;
	e->arrival_ms = from->arrival_ms;
	return e;
}

static bool is_one_destination(const struct envelope *e, const char *const *domains)
{
	for (size_t i = 1; i < e->rcpts_n; i++) {
		if (strcmp(domains[0], domains[i]) != 0)
			return false;
	}
	return true;
}

static void split_all(struct queue_op *op, const char *const *domains)
{
	const struct envelope *all = op->msg->envelope;
	struct map by_domain; /* -> its part; parts has room for all, so they stay where they are */
	map_init(&by_domain, op->msg->id.serial);
	for (size_t i = 0; i < all->rcpts_n; i++) {
		const struct envelope_rcpt *r = &all->rcpts[i];
		struct slice key = slice_str(domains[i]);
		struct part *p = op->q->always_split ? NULL : map_find(&by_domain, key);
		if (p == NULL) {
			p = add_part(op, copy_base(all), domains[i]);
			(void)map_put(&by_domain, key, p);
		}
		envelope_add_rcpt(p->envelope, slice_str(r->address), slice_str(r->orcpt),
		    r->notify);
	}
	map_fini(&by_domain);
}

void queue_split(struct queue_op *op, const char *const *domains)
{
	struct envelope *e = op->msg->envelope;
	CHECK(e->rcpts_n > 0);
	bool one = e->rcpts_n == 1 || (!op->q->always_split && is_one_destination(e, domains));
	op->parts = mem_zalloc((one ? 1 : e->rcpts_n) * sizeof(*op->parts));
	if (one) {
		add_part(op, e, domains[0]);
		op->msg->envelope = NULL;
	} else {
		split_all(op, domains);
	}
	for (size_t p = 0; p < op->parts_n; p++) {
		struct envelope *part = op->parts[p].envelope;
		for (size_t i = 0; i < part->rcpts_n; i++)
			part->rcpts[i].due_ms = part->arrival_ms;
	}
}
