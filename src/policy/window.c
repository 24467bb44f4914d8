/*
 * window.c - slow start, a level, and patience: see window.h.
 *
 * The growth is that of TCP (RFC 5681: double up to ssthresh, then carefully),
 * but what is learnt from a refusal is exact: we know how many connections
 * were taken when one was not.
 */
#include "policy/window.h"

#include <limits.h>

#include "base/check.h"

#define PATIENCE_FIRST_MS 1000
#define PATIENCE_MIN_MS   125
#define PATIENCE_MAX_MS   (5 * 60 * 1000)
#define PATIENCE_SHORTER  4 /* a probe that was taken: more room has come, be quick about it */
#define DOUBT_MAX         2 /* failures in excess of successes that are no chance any more */
#define PAUSE_FIRST_MS    2000
#define PAUSE_MAX_MS      (5 * 60 * 1000)
#define PAUSE_FORGOTTEN   10 /* times its length without a word: another matter */
#define PASSED_MUCH       16 /* messages: the pause was longer than it had to be */
#define PASSED_IN_ALL     32 /* and so it is if as many did, behind some pauses */

void window_init(struct window *w, unsigned limit)
{
	CHECK(limit > 0);
	*w = (struct window){
		.limit = limit,
		.size = WINDOW_INITIAL,
		.level = UINT_MAX,
		.patience_ms = PATIENCE_FIRST_MS,
	};
}

void window_set_limit(struct window *w, unsigned limit)
{
	CHECK(limit > 0);
	w->limit = limit;
}

unsigned window_size(const struct window *w)
{
	return MIN(w->size, w->limit);
}

int64_t window_resume_at(const struct window *w)
{
	return w->resume_at_ms;
}

/* After a success. Beyond the level one at a time, if all are in use, and each must prove itself.
 */
static void grow(struct window *w, unsigned used, int64_t now_ms)
{
	if (w->size >= w->limit || now_ms < w->resume_at_ms)
		return;
	if (w->size < w->level) {
		w->size += w->size < 2 * used;
	} else if (used >= w->size && now_ms >= w->grow_at_ms) {
		w->size++;
		w->probing = true;
	}
}

/* More than the level are taken: it is higher, by now. */
static void note_taken(struct window *w, unsigned used, int64_t now_ms)
{
	if (used <= w->level || now_ms < w->resume_at_ms)
		return;
	if (w->probing)
		w->patience_ms = MAX(w->patience_ms / PATIENCE_SHORTER, (int64_t)PATIENCE_MIN_MS);
	w->probing = false;
	w->level = used;
	w->grow_at_ms = now_ms + w->patience_ms;
}

void window_connected(struct window *w, unsigned open, int64_t now_ms)
{
	CHECK(open > 0);
	if (w->doubt > 0)
		w->doubt--;
	if (w->level == UINT_MAX) /* nothing has ever spoken against it */
		w->size = MAX(w->size, MIN(2 * open, w->limit));
	note_taken(w, open, now_ms);
	grow(w, open, now_ms);
}

void window_delivered(struct window *w, unsigned busy, int64_t now_ms)
{
	if (now_ms >= w->resume_at_ms) {
		w->passed = MIN(w->passed + 1, (unsigned)PASSED_MUCH);
		w->passed_in_all = MIN(w->passed_in_all + 1, (unsigned)PASSED_IN_ALL);
	}
	note_taken(w, busy, now_ms);
	grow(w, busy, now_ms);
}

void window_refused(struct window *w, unsigned open, int64_t now_ms)
{
	if (w->probing)
		w->patience_ms = MIN(w->patience_ms * 2, (int64_t)PATIENCE_MAX_MS);
	w->probing = false;
	w->doubt = 0;
	w->level = MIN(w->level, MAX(open, 1U));
	w->size = MIN(w->size, w->level);
	w->grow_at_ms = now_ms + w->patience_ms;
}

void window_failed(struct window *w, unsigned open, int64_t now_ms)
{
	if (++w->doubt >= DOUBT_MAX)
		window_refused(w, open, now_ms);
}

/* Doubles where nothing gets through after it. It also has to come down where only a few do each
 * time, or what was long once, in an outage, would be so for as long as there is mail. */
static void choose_pause(struct window *w, int64_t now_ms)
{
	if (now_ms - w->resume_at_ms > PAUSE_FORGOTTEN * w->pause_ms) {
		w->pause_ms = 0;
	} else if (w->passed == 0) {
		w->pause_ms *= 2;
	} else if (w->passed >= PASSED_MUCH || w->passed_in_all >= PASSED_IN_ALL) {
		w->pause_ms /= 2;
		w->passed_in_all = 0;
	}
	w->pause_ms = MIN(MAX(w->pause_ms, (int64_t)PAUSE_FIRST_MS), (int64_t)PAUSE_MAX_MS);
}

void window_slowed(struct window *w, int64_t now_ms)
{
	if (now_ms < w->resume_at_ms)
		return; /* what was under way when the first was heard */
	choose_pause(w, now_ms);
	w->resume_at_ms = now_ms + w->pause_ms;
	w->patience_ms = MIN(w->patience_ms * 2, (int64_t)PATIENCE_MAX_MS);
	w->grow_at_ms = MAX(w->grow_at_ms, w->resume_at_ms + w->patience_ms);
	if (w->passed > 0) /* else it was too early, not too much at once */
		w->level = MAX(window_size(w) / 2, 1U);
	w->size = 1;
	w->probing = false;
	w->doubt = 0;
	w->passed = 0;
}

void window_restart(struct window *w)
{
	const struct window before = *w;

	window_init(w, w->limit);
	w->pause_ms = before.pause_ms;
	w->resume_at_ms = before.resume_at_ms;
	w->passed = before.passed;
	w->passed_in_all = before.passed_in_all;
}

int64_t window_busy_until(const struct window *w)
{
	int64_t at_ms = w->level == UINT_MAX ? 0 : w->grow_at_ms;

	return w->pause_ms == 0 ? at_ms : MAX(at_ms, w->resume_at_ms + 2 * w->pause_ms);
}
