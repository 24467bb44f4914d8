/*
 * check_corrupt.c - what was set aside: a queue file that is whole after all,
 * as its name says, and whose id is not in use goes back to queue/; of all else
 * it is told what is known.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/codec.h"
#include "base/mem.h"
#include "queue/check_int.h"
#include "queue/journal_record.h"
#include "queue/qfile.h"

#define RECORD_BYTES_MAX (UINT64_C(64) << 20) /* looked at, of a part of the journal */

struct aside {
	const char *name;
	char place[CHECK_PLACE_MAX];
	char base[SPOOL_NAME_MAX]; /* without ".twin" and ".1" */
	bool is_twin;
	struct spool_name n; /* of base */
	int fd;
};

static void stays(struct check *c, const struct aside *a, const char *text)
{
	check_found(c, CHECK_SET_ASIDE, a->place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED, "%s", text);
}

/* --- a queue file ------------------------------------------------------------------- */

static bool cut_number(char *name)
{
	char *dot = strrchr(name, '.');
	uint64_t n;
	if (dot == NULL || !slice_to_u64(slice_str(dot + 1), &n))
		return false;
	*dot = '\0';
	return true;
}

static bool fits(const struct aside *a, const struct envelope *e)
{
	return spool_name_fits(&a->n, e->queue_id, e->domain);
}

/* The name it had, and under it the file; a domain may end like what was added. */
static bool find_name(struct aside *a, const struct envelope *e)
{
	static const char twin[] = ".twin";
	snprintf(a->base, sizeof(a->base), "%s", a->name);
	bool is_name = spool_name_parse(slice_str(a->base), &a->n) == 0;
	if (is_name && (e == NULL || fits(a, e)))
		return true;
	if (cut_number(a->base) && spool_name_parse(slice_str(a->base), &a->n) == 0) {
		is_name = true;
		if (e != NULL && fits(a, e))
			return true;
	}
	size_t n = strlen(a->base);
	a->is_twin = n > sizeof(twin) && strcmp(a->base + n + 1 - sizeof(twin), twin) == 0;
	if (a->is_twin)
		a->base[n + 1 - sizeof(twin)] = '\0';
	return spool_name_parse(slice_str(a->base), &a->n) == 0 || is_name;
}

static void bring_back(struct check *c, const struct aside *a, const struct envelope *e)
{
	char to[SPOOL_NAME_MAX], what[512];
	struct spool_name n = a->n;
	n.due_ms = MAX(envelope_due_ms(e), (int64_t)0);
	n.attempts = envelope_attempts(e);
	unsigned dir = spool_pick_dir(&c->spool);
	int err = c->repair ? spool_restore(&c->spool, a->name, dir, spool_name_format(&n, to))
			    : CHECK_NOT_TRIED;
	check_found(c, CHECK_WHOLE, a->place, -1, CHECK_BRING_BACK, err,
	    "is whole and as its name says: %s", check_describe(e, what));
}

static void check_whole_file(struct check *c, struct aside *a, const struct envelope *e)
{
	char what[512], text[1024];
	const char *why = NULL;
	if (!find_name(a, e) || !fits(a, e))
		why = "whole, but another than its name says";
	else if (a->is_twin)
		why = "another file with its queue id was further on";
	else if (check_find_key(c, a->n.id, a->n.part) != NULL ||
		 check_journal_has(c, a->n.id, a->n.part))
		why = "whole, but its queue id is in use";
	else if (envelope_pending(e) == 0)
		why = "all its recipients have a final fate";
	if (why == NULL) {
		bring_back(c, a, e);
		return;
	}
	snprintf(text, sizeof(text), "%s: %s", why, check_describe(e, what));
	stays(c, a, text);
}

static void check_damaged_file(struct check *c, struct aside *a, const char *why)
{
	struct envelope *e;
	char what[512], text[1024];
	if (qfile_load_envelope(c->io, a->fd, &e) == 0)
		snprintf(text, sizeof(text), "%s; the envelope is whole: %s", why,
		    check_describe(e, what));
	else
		snprintf(text, sizeof(text), "%s%s", why,
		    find_name(a, NULL) ? "" : ", and its name is of no form we know");
	stays(c, a, text);
	envelope_free(&e);
}

/* --- a part of the journal ------------------------------------------------------------- */

/* The head's own checksum needs the salt of its segment: the front's must do. */
static int read_front(struct check *c, const struct aside *a, uint64_t bytes, char **front,
    struct journal_front *f)
{
	unsigned char head[JOURNAL_HEAD_BYTES];
	ssize_t n = c->io->pread(c->io->arg, a->fd, head, sizeof(head), 0);
	if (n < (ssize_t)sizeof(head))
		return n < 0 ? (int)n : ERR_CORRUPT;
	uint32_t front_bytes = codec_get_u32(head + 16);
	if (front_bytes > bytes - sizeof(head) || front_bytes > RECORD_BYTES_MAX)
		return ERR_CORRUPT;
	*front = mem_alloc((size_t)front_bytes + 1);
	n = c->io->pread(c->io->arg, a->fd, *front, front_bytes, sizeof(head));
	if (n < 0)
		return (int)n;
	if ((size_t)n < front_bytes ||
	    codec_crc32c(0, *front, front_bytes) != codec_get_u32(head + 24))
		return ERR_CORRUPT;
	return journal_front_decode(slice_of(*front, front_bytes), f);
}

static void check_piece(struct check *c, const struct aside *a, uint64_t bytes)
{
	struct journal_front f;
	struct envelope *e = NULL;
	char *front = NULL, what[512], text[1024];
	int err = read_front(c, a, bytes, &front, &f);
	if (err == 0)
		err = journal_front_envelope(&f, 1, &e);
	if (err == 0)
		snprintf(text, sizeof(text),
		    "of the journal; the envelope is whole: %s, for %" PRIu32 " destinations",
		    check_describe(e, what), f.parts_n);
	else
		snprintf(text, sizeof(text), "of the journal; can't be read");
	stays(c, a, text);
	envelope_free(&e);
	mem_free(front);
}

static bool is_body(const char *name)
{
	char base[SPOOL_NAME_MAX];
	snprintf(base, sizeof(base), "%s", name);
	return slice_ends_nocase(slice_str(base), SLICE(".body")) ||
	       (cut_number(base) && slice_ends_nocase(slice_str(base), SLICE(".body")));
}

static bool is_piece(const char *name)
{
	return strncmp(name, "journal.", 8) == 0 ||
	       slice_ends_nocase(slice_str(name), SLICE(".journal"));
}

/* --- all ---------------------------------------------------------------------------------- */

static void check_aside(struct check *c, struct aside *a)
{
	struct qio_stat st;
	struct qfile_loaded l;
	int err = check_file_itself(c, a->fd, a->place, &st);
	if (err == 0)
		c->report->corrupt.bytes += st.bytes;
	if (err == 0 && is_piece(a->name)) {
		check_piece(c, a, st.bytes);
		return;
	}
	if (err == 0 && is_body(a->name)) {
		stays(c, a, "the body of a large message, from byte 4096 on");
		return;
	}
	if (err == 0)
		err = qfile_load(c->io, a->fd, &l);
	if (err == 0) {
		check_whole_file(c, a, l.envelope);
		envelope_free(&l.envelope);
		mem_free(l.mem);
	} else if (err == ERR_CORRUPT || err == ERR_VERSION) {
		check_damaged_file(c, a, l.why);
	} else {
		check_found(c, CHECK_UNREADABLE, a->place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "can't be read: %s", err_text(err));
	}
}

static void check_entry(struct check *c, const char *name)
{
	struct aside a = { .name = name };
	snprintf(a.place, sizeof(a.place), "corrupt/%s", name);
	a.fd = c->io->open(c->io->arg, c->spool.corrupt, name, QIO_OPEN_READ);
	if (a.fd < 0) {
		check_found(c, CHECK_UNREADABLE, a.place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "can't be opened: %s", err_text(a.fd));
		return;
	}
	check_aside(c, &a);
	(void)c->io->close(c->io->arg, a.fd);
}

static void on_entry(struct check *c, void *arg UNUSED, const char *name, bool is_other)
{
	char place[CHECK_PLACE_MAX];
	c->report->corrupt.files++;
	if (!is_other && buf_add(&c->aside, name, strlen(name) + 1) == 0)
		return;
	snprintf(place, sizeof(place), "corrupt/%s", name);
	check_found(c, CHECK_FOREIGN, place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED, "is no file");
}

void check_list_corrupt(struct check *c)
{
	check_names(c, c->spool.corrupt, "corrupt", on_entry, NULL);
}

void check_corrupt(struct check *c)
{
	while (buf_len(&c->aside) > 0) {
		const char *name = buf_ptr(&c->aside);
		check_entry(c, name);
		buf_consume(&c->aside, strlen(name) + 1);
	}
}
