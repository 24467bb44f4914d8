/*
 * check_body.c - body/: the files of large messages in the journal, see
 * journal_body.c for the states a crash leaves.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "queue/check_int.h"
#include "queue/journal_record.h"
#include "queue/qfile.h"

enum {
	SET_ASIDE_MAX = 1000
};

static char *place_of(const char *name, char buf[CHECK_PLACE_MAX])
{
	snprintf(buf, CHECK_PLACE_MAX, "body/%s", name);
	return buf;
}

int check_body(struct check *c, struct qid id, const struct journal_body *body)
{
	char name[QID_TEXT_MAX];
	struct qio_stat st;
	if (c->spool.body < 0)
		return ERR_CORRUPT;
	int fd = c->io->open(c->io->arg, c->spool.body, qid_format(id, name), QIO_OPEN_READ);
	if (fd < 0)
		return fd == -ENOENT || fd == -ELOOP || fd == -ENXIO ? ERR_CORRUPT : fd;
	int err = c->io->stat(c->io->arg, fd, &st);
	if (err == 0 && !st.is_file)
		err = ERR_CORRUPT;
	if (err == 0)
		err = qfile_check_body(c->io, fd, QFILE_RESERVE_BYTES, body->bytes, body->crc);
	(void)c->io->close(c->io->arg, fd);
	return err;
}

int check_set_body_aside(struct check *c, struct qid id)
{
	char name[QID_TEXT_MAX], to[QID_TEXT_MAX + 16];
	int err = -EEXIST;
	qid_format(id, name);
	for (unsigned i = 0; err == -EEXIST && i < SET_ASIDE_MAX; i++) {
		snprintf(to, sizeof(to), i == 0 ? "%s.body" : "%s.body.%u", name, i);
		err = c->io->rename(c->io->arg, c->spool.body, name, c->spool.corrupt, to);
	}
	if (err == 0)
		err = c->io->sync_directory(c->io->arg, c->spool.corrupt);
	return err == -ENOENT ? 0 : err;
}

/* A crash leaves such; but when a record was lost, it may be that of this body. */
static void found_orphan(struct check *c, const char *place, struct qid id)
{
	if (!c->journal_damaged) {
		check_found(c, CHECK_ORPHAN, place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "belongs to no message that waits; the next start removes it");
		return;
	}
	int err = c->repair ? check_set_body_aside(c, id) : CHECK_NOT_TRIED;
	check_found(c, CHECK_LOST_RECORD, place, -1, CHECK_QUARANTINE, err,
	    "the record that named it may be what was lost of the journal");
}

static void on_body(struct check *c, void *arg UNUSED, const char *name, bool is_other)
{
	char place[CHECK_PLACE_MAX];
	struct qio_stat st;
	struct qid id;
	unsigned part;
	place_of(name, place);
	if (is_other || qid_parse(slice_str(name), &id, &part) < 0 || part != 0) {
		check_found(c, CHECK_FOREIGN, place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "is not ours");
		return;
	}
	int fd = c->io->open(c->io->arg, c->spool.body, name, QIO_OPEN_READ);
	int err = fd < 0 ? fd : check_file_itself(c, fd, place, &st);
	if (fd >= 0)
		(void)c->io->close(c->io->arg, fd);
	if (err < 0) {
		check_found(c, CHECK_UNREADABLE, place, -1, CHECK_NO_ACTION, CHECK_NOT_TRIED,
		    "can't be opened: %s", err_text(err));
		return;
	}
	c->report->body.files++;
	c->report->body.bytes += st.bytes;
	if (!check_needs_body(c, id))
		found_orphan(c, place, id);
}

void check_bodies(struct check *c)
{
	check_names(c, c->spool.body, "body", on_body, NULL);
}
