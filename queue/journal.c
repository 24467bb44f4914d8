/*
 * journal.c - opening, and the pen: gathering what waits, writing it with one
 * sync, and telling those who wait.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/journal_int.h"

enum {
	IOVS = QIO_IOV_MAX,
	SEGMENTS_DEFAULT = 16,
	SEGMENTS_MIN = 4,
	FRACTION = 64,
	FRACTION_ALL = 8,
	RECORDS_PER_SEGMENT = 4,
	RESERVE_FRACTION = 16,
	LATECOMERS = 16,
	YIELDS = 24,
	YIELD_BYTES = 128 * 1024,
	AGE_MS_DEFAULT = 5 * 60 * 1000
};

#define SEGMENT_MIN      (UINT64_C(4) << 20)
#define SEGMENT_MAX      (UINT64_C(64) << 20)
#define SEGMENT_SMALLEST (64 * 1024) /* that can be asked for */

/* --- life ----------------------------------------------------------------------- */

static void choose_sizes(struct journal *j, const struct journal_options *opt)
{
	struct qio_space space = { 0 };
	uint64_t max = opt->segments_max > 0 ? opt->segments_max : SEGMENTS_DEFAULT;
	j->segment_bytes = opt->segment_bytes;
	if (j->segment_bytes == 0 && j->io->space(j->io->arg, j->spool->journal, &space) == 0)
		j->segment_bytes = MIN(space.bytes / FRACTION, SEGMENT_MAX);
	if (opt->segment_bytes == 0)
		j->segment_bytes = MAX(j->segment_bytes, SEGMENT_MIN);
	if (opt->segments_max == 0 && space.bytes > 0)
		max = MIN(max, space.bytes / FRACTION_ALL / j->segment_bytes);
	CHECK(j->segment_bytes >= SEGMENT_SMALLEST);
	j->segment_bytes = j->segment_bytes / JOURNAL_HEADER_BYTES * JOURNAL_HEADER_BYTES;
	j->segments_max =
	    (unsigned)MIN(MAX(max, SEGMENTS_MIN), JOURNAL_SLOTS_MAX - JOURNAL_SLOTS_EXTRA - 1);
	j->reserve = j->segment_bytes / RESERVE_FRACTION;
	j->record_max = (j->segment_bytes - j->reserve) / RECORDS_PER_SEGMENT;
}

static void init(struct journal *j, const struct journal_options *opt, struct spool *spool)
{
	j->io = spool->io;
	j->spool = spool;
	j->keep_bytes = opt->keep_bytes;
	j->read_only = opt->read_only;
	j->age_ms = opt->age_ms > 0 ? opt->age_ms : AGE_MS_DEFAULT;
	list_init(&j->waiting);
	list_init(&j->used);
	list_init(&j->free);
	list_init(&j->found);
	list_init(&j->leaving);
	list_init(&j->over);
	buf_init(&j->ends, JOURNAL_ENDS_MAX);
	atomic_init(&j->away, 0);
	j->open = journal_turn_new();
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->changed, NULL);
	prng_init(&j->prng, opt->seed);
	map_init(&j->effects, prng_next(&j->prng));
	choose_sizes(j, opt);
}

int journal_open(struct journal **j_r, const struct journal_options *opt, struct spool *spool,
    struct errbuf *eb)
{
	struct journal *j = mem_zalloc(sizeof(*j));
	*j_r = NULL;
	init(j, opt, spool);
	int err = journal_replay(j, eb);
	if (err < 0)
		journal_close(&j);
	*j_r = j;
	return err;
}

static void free_segments(struct list_node *list)
{
	list_foreach_safe(node, list) {
		struct journal_segment *s = list_entry(node, struct journal_segment, node);
		list_foreach_safe(m, &s->msgs)
			mem_free(list_entry(m, struct journal_msg, node));
		journal_segment_unref(s);
	}
}

void journal_close(struct journal **j_p)
{
	struct journal *j = *j_p;
	*j_p = NULL;
	if (j == NULL)
		return;
	CHECK(!j->writing);
	CHECK(list_is_empty(&j->waiting));
	free_segments(&j->used);
	free_segments(&j->free);
	list_foreach_safe(node, &j->found)
		mem_free(list_entry(node, struct journal_msg, node));
	journal_effect_drop_all(j);
	journal_body_drop_list(j);
	buf_fini(&j->ends);
	journal_turn_unref(j->open);
	pthread_cond_destroy(&j->changed);
	pthread_mutex_destroy(&j->lock);
	mem_free(j);
}

/* --- entries -------------------------------------------------------------------- */

struct journal_msg *journal_msg_new(struct qid id, unsigned parts_n, const struct journal_head *h)
{
	struct journal_msg *m = mem_zalloc(sizeof(*m) + parts_n * sizeof(m->parts[0]));
	list_init(&m->node);
	m->id = id;
	m->front_bytes = h->front_bytes;
	m->body_bytes = h->body_bytes;
	m->live = m->refs = m->parts_n = parts_n;
	for (unsigned i = 0; i < parts_n; i++)
		m->parts[i] = (struct journal_part){ .msg = m,
			.number = (uint16_t)(i + 1),
			.place = JOURNAL_LIVE };
	return m;
}

struct journal_part *journal_msg_part(struct journal_msg *m, unsigned number)
{
	CHECK(number > 0);
	CHECK(number <= m->parts_n);
	return &m->parts[number - 1];
}

void journal_entry_init(struct journal *j, struct journal_entry *e, struct qid id,
    const struct envelope *const *envelopes, size_t n, const char *bytes,
    const struct journal_body *body)
{
	*e = (struct journal_entry){ .body = bytes };
	uint64_t in_record = body->in_file ? 0 : body->bytes;
	list_init(&e->node);
	buf_init(&e->front, j->record_max);
	if (j->read_only || in_record > j->record_max) {
		e->result = JOURNAL_PASS;
		return;
	}
	int err = journal_front_encode(id, body, envelopes, n, &e->front);
	if (err < 0) {
		e->result = err == ERR_TOO_BIG
				? JOURNAL_PASS
				: err; /* an envelope too big by itself fails there as well */
		return;
	}
	e->head = (struct journal_head){
		.type = JOURNAL_MESSAGE,
		.front_bytes = (uint32_t)buf_len(&e->front),
		.body_bytes = (uint32_t)in_record,
		.front_crc = codec_crc32c(0, buf_ptr(&e->front), buf_len(&e->front)),
	};
	if (journal_record_bytes(&e->head) > j->record_max) {
		e->result = JOURNAL_PASS;
		return;
	}
	e->msg = journal_msg_new(id, (unsigned)n, &e->head);
	e->msg->in_file = body->in_file;
}

void journal_entry_fini(struct journal_entry *e)
{
	buf_fini(&e->front);
	mem_free(e->effect);
	if (e->result != 0)
		mem_free(e->msg);
}

void journal_entry_report(struct journal *j, struct journal_entry *e,
    const struct journal_outcome *o)
{
	if (e->result != 0)
		return;
	int err = journal_outcome_encode(o, &e->front);
	e->head.type = JOURNAL_REPORT;
	e->head.front_bytes = (uint32_t)buf_len(&e->front);
	e->head.front_crc = codec_crc32c(0, buf_ptr(&e->front), buf_len(&e->front));
	if (err < 0 || journal_record_bytes(&e->head) > j->record_max) {
		e->result = JOURNAL_PASS;
		return;
	}
	struct journal_msg *m = journal_msg_new(e->msg->id, e->msg->parts_n + 1, &e->head);
	m->in_file = e->msg->in_file;
	mem_free(e->msg);
	e->msg = m;
	e->effect = m->effect = journal_effect_new(m, o);
}

void journal_entry_drop(struct journal_entry *e)
{
	mem_free(e->effect);
	mem_free(e->msg);
	e->effect = NULL;
	e->msg = NULL;
	buf_fini(&e->front);
}

/* --- the pen -------------------------------------------------------------------- */

struct round { /* records on their way to one place in one segment */
	struct journal *j;
	struct journal_segment *s;
	uint64_t start, at; /* at: the next record's */
	uint64_t written;   /* up to here it went to the file */
	struct iovec iov[IOVS];
	int iov_n;
	unsigned char heads[IOVS][JOURNAL_HEAD_BYTES];
	int heads_n;
	int err;
};

static void flush(struct round *r)
{
	if (r->err == 0 && r->iov_n > 0)
		r->err = r->j->io->pwritev(r->j->io->arg, r->s->fd, r->iov, r->iov_n, r->written);
	r->written = r->at;
	r->iov_n = 0;
	r->heads_n = 0;
}

static void add_iov(struct round *r, const void *p, size_t n)
{
	if (n == 0)
		return;
	CHECK(r->iov_n < IOVS);
	r->iov[r->iov_n++] = (struct iovec){ (void *)(uintptr_t)p, n };
}

/* The bytes are borrowed until the round is over. */
static void put_record(struct round *r, struct journal_head *h, const char *front, const char *body)
{
	static const char zeros[JOURNAL_ALIGN];
	uint64_t bytes = journal_record_bytes(h);
	if (r->iov_n + 4 > IOVS)
		flush(r);
	h->batch_at = (uint32_t)r->start;
	unsigned char *head = r->heads[r->heads_n++];
	journal_head_encode(h, r->s->sequence, r->s->salt, head);
	add_iov(r, head, JOURNAL_HEAD_BYTES);
	add_iov(r, front, h->front_bytes);
	add_iov(r, body, h->body_bytes);
	add_iov(r, zeros, (size_t)(bytes - JOURNAL_HEAD_BYTES - h->front_bytes - h->body_bytes));
	r->at += bytes;
}

/* As many ends as there is room for; they leave the buffer only when they are durable. Returns
 * their bytes. */
static size_t put_ends(struct round *r, const struct buf *ends)
{
	uint64_t room = r->s->bytes - r->at;
	if (room < JOURNAL_HEAD_BYTES + JOURNAL_END_BYTES)
		return 0;
	uint64_t n =
	    MIN(buf_len(ends), room - JOURNAL_HEAD_BYTES) / JOURNAL_END_BYTES * JOURNAL_END_BYTES;
	if (n == 0)
		return 0;
	struct journal_head h = {
		.type = JOURNAL_ENDS,
		.front_bytes = (uint32_t)n,
		.front_crc = codec_crc32c(0, buf_ptr(ends), (size_t)n),
	};
	put_record(r, &h, buf_ptr(ends), NULL);
	return (size_t)n;
}

static bool has_room(const struct round *r, const struct journal_entry *e)
{
	/* A report may have half of what is kept for ends: it is one, too. */
	uint64_t kept = e->effect != NULL ? r->j->reserve / 2 : r->j->reserve;
	return r->at + journal_record_bytes(&e->head) <= r->s->bytes - kept;
}

/* Moves entries from batch to round while they fit. */
static void put_entries(struct round *r, struct list_node *batch, struct list_node *taken)
{
	list_foreach_safe(node, batch) {
		struct journal_entry *e = list_entry(node, struct journal_entry, node);
		if (!has_room(r, e))
			return;
		e->msg->at = r->at;
		put_record(r, &e->head, buf_ptr(&e->front), e->body);
		list_remove(node);
		list_push(taken, node);
	}
}

/* Locked. The entry is its owner's again once its turn is over. */
static void tell(struct journal_entry *e, int result)
{
	list_remove(&e->node);
	e->result = result;
}

static void accept(struct journal *j, struct journal_segment *s, struct journal_entry *e)
{
	struct journal_msg *m = e->msg;
	m->segment = s;
	m->sequence = s->sequence;
	s->live += m->live;
	list_push(&s->msgs, &m->node);
	if (e->effect != NULL)
		journal_effect_add(j, e->effect);
	e->effect = NULL;
	tell(e, 0);
}

/* A round that failed leaves the segment dead from where its last good one ended. */
static void end_round(struct round *r, struct list_node *taken, struct buf *ends, size_t ends_n)
{
	struct journal *j = r->j;
	pthread_mutex_lock(&j->lock);
	if (r->err == 0) {
		r->s->end = j->last_end = r->at;
		buf_consume(ends, ends_n);
		j->ends_durable += ends_n;
	} else {
		r->s->dead = true;
		j->head = NULL;
		j->seal = true;
	}
	list_foreach_safe(node, taken) {
		struct journal_entry *e = list_entry(node, struct journal_entry, node);
		if (r->err == 0)
			accept(j, r->s, e);
		else
			tell(e, r->err);
	}
	pthread_mutex_unlock(&j->lock);
	if (r->err < 0)
		log_error("queue", "journal/%08x: can't be written, is given up: %s", r->s->slot,
		    err_text(r->err));
}

/* Locked. Who comes from here on waits for the next sync. All that wait now are in the batch. */
static void close_turn(struct journal *j, struct list_node *batch)
{
	CHECK(j->closed == NULL);
	list_splice(batch, &j->waiting);
	j->closed = j->open;
	j->open = journal_turn_new();
}

/*
 * Those whose mail has just become durable are awake, and some of them on their
 * way back with more. As long as the batch is small they get the processor
 * first, until all are back or nobody comes: the sync is what costs.
 */
static void let_come(struct journal *j, const struct round *r)
{
	unsigned away = atomic_load_explicit(&j->away, memory_order_relaxed);
	unsigned now = away;
	for (unsigned i = 0; now > 0 && now == away && i < YIELDS && r->at - r->start < YIELD_BYTES;
	     i++) {
		sched_yield();
		now = atomic_load_explicit(&j->away, memory_order_relaxed);
	}
}

/* Who came while the others' records went to the file goes with them. */
static void put_late(struct round *r, struct list_node *batch, struct list_node *taken)
{
	struct journal *j = r->j;
	for (unsigned i = 1; r->err == 0 && j->closed == NULL && list_is_empty(batch); i++) {
		let_come(j, r);
		pthread_mutex_lock(&j->lock);
		if (list_is_empty(&j->waiting) || i == LATECOMERS)
			close_turn(j, batch);
		else
			list_splice(batch, &j->waiting);
		pthread_mutex_unlock(&j->lock);
		put_entries(r, batch, taken);
		flush(r);
	}
}

static int write_round(struct journal *j, struct list_node *batch, struct buf *ends, bool with_late)
{
	struct round *r = mem_alloc(sizeof(*r));
	struct list_node taken;
	list_init(&taken);
	r->j = j;
	r->s = j->head;
	r->start = r->at = r->written = r->s->end;
	r->iov_n = r->heads_n = r->err = 0;
	size_t ends_n = put_ends(r, ends);
	put_entries(r, batch, &taken);
	flush(r);
	if (with_late)
		put_late(r, batch, &taken);
	if (r->err == 0 && r->at > r->start) {
		atomic_fetch_add_explicit(&j->spool->syncs, 1, memory_order_relaxed);
		r->err = j->io->sync(j->io->arg, r->s->fd);
	}
	end_round(r, &taken, ends, ends_n);
	int err = r->err;
	mem_free(r);
	return err;
}

static bool next_fits(const struct journal *j, const struct list_node *batch,
    const struct buf *ends)
{
	struct round r = { .j = (struct journal *)(uintptr_t)j, .s = j->head };
	if (j->head == NULL)
		return false;
	r.at = j->head->end;
	if (buf_len(ends) > 0 && r.s->bytes - r.at < JOURNAL_HEAD_BYTES + buf_len(ends))
		return false;
	if (buf_len(ends) > 0)
		r.at += JOURNAL_HEAD_BYTES + buf_len(ends);
	return list_is_empty(batch) ||
	       has_room(&r, list_entry(batch->next, struct journal_entry, node));
}

/* No next segment for messages: ends have the reserve of this one, then segments of their own. */
static int write_ends(struct journal *j, struct buf *ends)
{
	struct list_node none;
	int err = 0;
	list_init(&none);
	while (err == 0 && (buf_len(ends) > 0 || j->seal)) {
		bool fits = next_fits(j, &none, ends);
		err = fits ? 0 : journal_rotate(j, false);
		if (err == 0 && buf_len(ends) > 0)
			err = write_round(j, &none, ends, false);
	}
	return err;
}

/* Nor for messages, but reports are among them. */
static int write_reports(struct journal *j, struct list_node *batch, struct buf *ends)
{
	struct list_node reports;
	int err = 0;
	list_init(&reports);
	list_foreach_safe(node, batch) {
		if (list_entry(node, struct journal_entry, node)->effect == NULL)
			continue;
		list_remove(node);
		list_push(&reports, node);
	}
	while (err == 0 && !list_is_empty(&reports)) {
		bool fits = next_fits(j, &reports, ends);
		if (!fits && journal_rotate(j, false) < 0)
			break;
		err = write_round(j, &reports, ends, false);
	}
	list_splice(batch, &reports);
	return err;
}

/* What is left in batch then must pass. */
static int write_batch(struct journal *j, struct list_node *batch, struct buf *ends)
{
	int err = 0;
	while (err == 0 && !list_is_empty(batch)) {
		bool fits = next_fits(j, batch, ends);
		if (!fits && journal_rotate(j, true) < 0)
			break;
		err = write_round(j, batch, ends, true);
	}
	if (err == 0)
		err = write_reports(j, batch, ends);
	return err < 0 ? err : write_ends(j, ends);
}

/* Locked. While no header says where a failed batch begins, a crash may find a report in it that
 * was refused: no other way for its like, or there would be two. */
static int pass_result(const struct journal *j, const struct journal_entry *e)
{
	return e->effect != NULL && j->seal ? -EIO : JOURNAL_PASS;
}

/* Locked. What could not be written goes before what has come up since. Too many: the oldest are
 * forgotten. */
static void keep_ends(struct journal *j, struct buf *left)
{
	if (buf_len(left) > 0 && buf_add_slice(left, buf_slice(&j->ends)) == 0) {
		buf_fini(&j->ends);
		j->ends = *left;
		return;
	}
	j->bodies_stay = j->bodies_stay || buf_len(left) > 0;
	j->ends_durable += buf_len(left);
	buf_fini(left);
}

/* Locked, before and after. Those of the turn that is over may go; of those who wait for the next
 * sync, one is called to take the pen, should nobody come before. */
static void put_pen_down(struct journal *j)
{
	struct journal_turn *over = j->closed, *next = NULL;
	j->writing = false;
	j->closed = NULL;
	if (over != NULL) {
		atomic_store_explicit(&j->away, over->waiters, memory_order_relaxed);
		journal_turn_end(over);
	}
	if (!list_is_empty(&j->waiting)) {
		next = journal_turn_ref(j->open);
		journal_turn_call(next);
	}
	pthread_cond_broadcast(&j->changed);
	pthread_mutex_unlock(&j->lock);
	if (over != NULL) {
		journal_turn_wake_all(over);
		journal_turn_unref(over);
	}
	if (next != NULL) {
		journal_turn_wake_one(next);
		journal_turn_unref(next);
	}
	pthread_mutex_lock(&j->lock);
}

/* Locked, before and after, and nobody has the pen. All that wait now have their results then. */
static void lead(struct journal *j)
{
	struct list_node batch;
	struct buf ends = j->ends;
	bool any = !list_is_empty(&j->waiting);
	list_init(&batch);
	list_splice(&batch, &j->waiting);
	buf_init(&j->ends, JOURNAL_ENDS_MAX);
	j->writing = true;
	pthread_mutex_unlock(&j->lock);
	int err = write_batch(j, &batch, &ends);
	pthread_mutex_lock(&j->lock);
	if (any && j->closed == NULL) /* no room, or it failed: who came meanwhile shares that */
		close_turn(j, &batch);
	list_foreach_safe(node, &batch) {
		/* A journal that is full or can't go on leaves messages to the queue files. */
		struct journal_entry *e = list_entry(node, struct journal_entry, node);
		tell(e, pass_result(j, e));
	}
	keep_ends(j, &ends);
	j->last_result = err;
	put_pen_down(j);
}

/* Locked. NULL: they have their results already. Else a reference. */
static struct journal_turn *join(struct journal *j, struct journal_entry *const *entries, size_t n)
{
	bool any = false;
	for (size_t i = 0; i < n; i++) {
		if (entries[i]->result != 0)
			continue;
		list_push(&j->waiting, &entries[i]->node);
		any = true;
	}
	if (!any)
		return NULL;
	unsigned away = atomic_load_explicit(&j->away, memory_order_relaxed);
	if (away > 0)
		atomic_store_explicit(&j->away, away - 1, memory_order_relaxed);
	j->open->waiters++;
	return journal_turn_ref(j->open);
}

void journal_commit(struct journal *j, struct journal_entry *const *entries, size_t n)
{
	pthread_mutex_lock(&j->lock);
	struct journal_turn *t = join(j, entries, n);
	while (t != NULL) {
		bool leads = !j->writing && !journal_turn_is_over(t);
		unsigned word = journal_turn_word(t);
		if (leads)
			lead(j);
		pthread_mutex_unlock(&j->lock);
		if (!leads)
			journal_turn_wait(t, word);
		if (journal_turn_is_over(t)) {
			journal_turn_unref(t);
			return;
		}
		pthread_mutex_lock(&j->lock);
	}
	pthread_mutex_unlock(&j->lock);
}

/* --- upkeep ---------------------------------------------------------------------- */

/* A spare first: after a failure it may be what the rest needs. Not having one only means queue
 * files; why is said there. */
int journal_sync(struct journal *j)
{
	int err = 0;
	pthread_mutex_lock(&j->lock);
	journal_bury(j);
	if (journal_wants_spare(j))
		journal_advance(j);
	bool spare = journal_wants_spare(j);
	j->no_more = false;
	if (spare) {
		pthread_mutex_unlock(&j->lock);
		(void)journal_make_spare(j, true);
		pthread_mutex_lock(&j->lock);
	}
	while (j->writing)
		pthread_cond_wait(&j->changed, &j->lock);
	if (buf_len(&j->ends) > 0 || j->seal) {
		lead(j);
		err = j->last_result;
	}
	bool bodies = journal_body_is_over(j);
	pthread_mutex_unlock(&j->lock);
	if (bodies)
		journal_body_remove(j);
	return err;
}

int journal_secure(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	bool secure = j->ends_durable >= j->parked_noted;
	pthread_mutex_unlock(&j->lock);
	return secure ? 0 : journal_sync(j);
}

bool journal_is_crowded(struct journal *j)
{
	pthread_mutex_lock(&j->lock);
	bool crowded = buf_len(&j->ends) >= JOURNAL_ENDS_CROWDED;
	pthread_mutex_unlock(&j->lock);
	return crowded;
}
