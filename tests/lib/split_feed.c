#include "lib/split_feed.h"

#include <check.h>
#include <string.h>

#include "base/mem.h"

bool split_feed_piece(const struct split_feed_input *in, size_t *at, struct slice *piece)
{
	if (*at > in->cuts_n)
		return false;
	size_t from = *at == 0 ? 0 : in->cuts[*at - 1];
	size_t to = *at == in->cuts_n ? in->bytes.n : in->cuts[*at];
	*piece = slice_of(in->bytes.p + from, to - from);
	(*at)++;
	return true;
}

static void compare(split_feed_fn *run, const void *arg, const struct split_feed_input *in,
    const char *expected)
{
	char *got = run(arg, in);
	if (strcmp(got, expected) != 0)
		ck_abort_msg("input (%zu bytes) cut %zu times, first at %zu, gave:\n%s"
			     "----- expected:\n%s-----",
		    in->bytes.n, in->cuts_n, in->cuts_n ? in->cuts[0] : (size_t)0, got, expected);
	mem_free(got);
}

void split_feed(split_feed_fn *run, const void *arg, struct slice bytes, const char *expected)
{
	struct split_feed_input in = { .bytes = bytes };
	char *whole = run(arg, &in);
	if (!expected)
		expected = whole;
	compare(run, arg, &in, expected);

	size_t *cuts = mem_alloc((bytes.n + 1) * sizeof(*cuts));
	in.cuts = cuts;
	for (in.cuts_n = 0; in.cuts_n + 1 < bytes.n; in.cuts_n++)
		cuts[in.cuts_n] = in.cuts_n + 1;
	compare(run, arg, &in, expected);

	in.cuts_n = 1;
	for (cuts[0] = 1; cuts[0] < bytes.n; cuts[0]++)
		compare(run, arg, &in, expected);
	mem_free(cuts);
	mem_free(whole);
}
