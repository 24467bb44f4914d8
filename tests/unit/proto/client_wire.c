#include "client_wire.h"

#include <check.h>

#include "base/mem.h"

/* Appends what of part lies in the first *n bytes, and counts it off. */
static void add_part(struct buf *to, struct slice part, size_t *n)
{
	size_t most = MIN(part.n, *n);
	ck_assert_int_eq(buf_add(to, part.p, most), 0);
	*n -= most;
}

static void add_output(const struct smtp_client *c, size_t n, struct buf *to)
{
	struct smtp_client_output o;
	smtp_client_output(c, &o);
	ck_assert_uint_eq(o.text.n + o.body_n + o.after.n, smtp_client_pending(c));
	ck_assert(o.body_n > 0 || (o.after.n == 0 && !o.body));
	add_part(to, o.text, &n);
	if (o.body) {
		struct slice body = *(const struct slice *)o.body;
		ck_assert_uint_le(o.body_at + o.body_n, body.n);
		add_part(to, slice_of(body.p + o.body_at, (size_t)o.body_n), &n);
	}
	add_part(to, o.after, &n);
	ck_assert_uint_eq(n, 0);
}

char *client_wire_copy(const struct smtp_client *c)
{
	struct buf all;
	buf_init(&all, SIZE_MAX / 2);
	add_output(c, smtp_client_pending(c), &all);
	return buf_take(&all);
}

void client_wire_take(struct smtp_client *c, size_t n, struct buf *to, struct now now)
{
	add_output(c, n, to);
	smtp_client_sent(c, n, now);
}

void client_wire_drain(struct smtp_client *c, struct now now)
{
	smtp_client_sent(c, smtp_client_pending(c), now);
}
