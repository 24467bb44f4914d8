/*
 * split_feed.h - runs one case of an engine with its input cut in every way
 * the network might cut it.
 *
 * The case is run whole, byte by byte, and cut once at every point; each run
 * starts from nothing and must leave the same transcript (what the engine
 * said and asked, as text). A test that passes says the engine does not care
 * where reads end.
 */
#ifndef LIB_SPLIT_FEED_H
#define LIB_SPLIT_FEED_H

#include "base/slice.h"

/* Input cut at the offsets cuts[0] < cuts[1] ...; none: whole. */
struct split_feed_input {
	struct slice bytes;
	const size_t *cuts;
	size_t cuts_n;
};

/* The next piece; *at starts as 0 and counts pieces. False at the end. */
bool split_feed_piece(const struct split_feed_input *in, size_t *at, struct slice *piece);

/* Runs the case and returns its transcript, allocated with mem_*. */
typedef char *split_feed_fn(const void *arg, const struct split_feed_input *in);

/*
 * Runs all cuts. Fails the check test, showing the cut, when a transcript is not `expected`
 * (NULL: that of the whole input).
 */
void split_feed(split_feed_fn *run, const void *arg, struct slice bytes, const char *expected);

#endif
