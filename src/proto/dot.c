#include "proto/dot.h"

#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "base/check.h"

/*
 * What the last bytes on the wire were. Only LINE_START, DOT and DOT_CR can
 * lead to the end of data, and only a CRLF (or the beginning) leads there:
 *
 *   LINE_START -> '.' DOT -> CR DOT_CR -> LF the end
 *   LINE_START, TEXT, DOT -> CR -> CR -> LF LINE_START, anything else TEXT
 *
 * In DOT the dot is withheld until the next byte shows that it was stuffed;
 * the CR of DOT_CR is withheld too. In CR it has been put out, its LF not yet.
 */
enum dot_state {
	DOT_NONE = 0,
	DOT_LINE_START,
	DOT_TEXT,
	DOT_CR,
	DOT_DOT,
	DOT_DOT_CR,
};

void dot_decoder_init(struct dot_decoder *d)
{
	*d = (struct dot_decoder){ .state = DOT_LINE_START };
}

/*
 * The first CR, LF or NUL from p on, or e. Many bytes at a time: this loop sees
 * every byte of every message, the rest of the decoder only line ends. *high is
 * set when a byte before it has its high bit.
 */
static const char *find_special_slowly(const char *p, const char *e, bool *high)
{
	unsigned char seen = 0;
	for (; p < e && *p != '\r' && *p != '\n' && *p != '\0'; p++)
		seen |= (unsigned char)*p;
	*high |= seen >= 0x80;
	return p;
}

#if defined(__SSE2__)

static const char *find_special(const char *p, const char *e, bool *high)
{
	const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n');
	unsigned seen = 0;
	for (; e - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i hit =
		    _mm_or_si128(_mm_cmpeq_epi8(v, cr), _mm_cmpeq_epi8(v, _mm_setzero_si128()));
		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, lf));
		unsigned at = (unsigned)_mm_movemask_epi8(hit);
		unsigned top = (unsigned)_mm_movemask_epi8(v);
		if (at) { /* its lowest bit is the first of them: those below it count */
			*high |= (seen | (top & (at ^ (at - 1)))) != 0;
			return p + __builtin_ctz(at);
		}
		seen |= top;
	}
	*high |= seen != 0;
	return find_special_slowly(p, e, high);
}

#else

#define EACH_BYTE 0x0101010101010101ULL
#define HIGH_BITS 0x8080808080808080ULL

static inline uint64_t zero_bytes(uint64_t w)
{
	return (w - EACH_BYTE) & ~w & HIGH_BITS;
}

static const char *find_special(const char *p, const char *e, bool *high)
{
	for (; e - p >= 8; p += 8) {
		uint64_t w;
		memcpy(&w, p, sizeof(w));
		if (zero_bytes(w) | zero_bytes(w ^ '\r' * EACH_BYTE) |
		    zero_bytes(w ^ '\n' * EACH_BYTE))
			break;
		*high |= (w & HIGH_BITS) != 0;
	}
	return find_special_slowly(p, e, high);
}

#endif

static void put(struct dot_decoder *d, struct buf *out, const char *p, size_t n)
{
	int r = buf_add(out, p, n);
	CHECK(r == 0);
	d->bytes += n;
}

/* A CR or LF that is half a line end: a whole one is put out. */
static void put_newline(struct dot_decoder *d, struct buf *out)
{
	d->bare_newline = d->maybe_dots = true;
	put(d, out, "\r\n", 2);
}

/*
 * One byte in a state other than TEXT. Returns the bytes consumed: 0 when the
 * state became TEXT and the byte is to be looked at as such.
 */
static size_t step(struct dot_decoder *d, char c, struct buf *out)
{
	switch ((enum dot_state)d->state) {
	case DOT_LINE_START:
		d->state = c == '.' ? DOT_DOT : DOT_TEXT;
		return c == '.';
	case DOT_DOT:
		d->maybe_dots |= c == '.';
		d->state = c == '\r' ? DOT_DOT_CR : DOT_TEXT;
		return c == '\r';
	case DOT_DOT_CR:
		d->done = c == '\n';
		if (d->done)
			return 1;
		put_newline(d, out);
		d->state = DOT_TEXT;
		return 0;
	case DOT_CR:
		if (c == '\n') {
			put(d, out, "\n", 1);
			d->state = DOT_LINE_START;
			return 1;
		}
		d->bare_newline = d->maybe_dots = true;
		put(d, out, "\n", 1);
		d->state = DOT_TEXT;
		return 0;
	case DOT_NONE:
	case DOT_TEXT:
	default:
		UNREACHABLE();
	}
}

/*
 * From p, in state TEXT, as far as the input can be copied as it is: over
 * clean text and whole CRLFs, up to a line that begins with a dot, a bare CR
 * or LF, a NUL, a CR at the very end, or e. Returns where it stopped.
 */
static const char *run(struct dot_decoder *d, const char *p, const char *e)
{
	bool high = false;
	for (;;) {
		p = find_special(p, e, &high);
		if (e - p < 2 || p[0] != '\r' || p[1] != '\n')
			break;
		p += 2;
		if (p == e || *p == '.') {
			d->state = DOT_LINE_START;
			break;
		}
	}
	d->has_8bit |= high;
	return p;
}

size_t dot_decode(struct dot_decoder *d, struct slice in, struct buf *out)
{
	const char *p = in.p;
	const char *e = in.p + in.n;
	CHECK(d->state != DOT_NONE);
	while (p < e && !d->done) {
		if (d->state != DOT_TEXT) {
			p += step(d, *p, out);
			continue;
		}
		const char *from = p;
		p = run(d, p, e);
		put(d, out, from, (size_t)(p - from));
		if (p == e || d->state != DOT_TEXT)
			continue;
		/* A special byte that the run could not take. */
		if (*p == '\r') {
			put(d, out, "\r", 1);
			d->state = DOT_CR;
		} else if (*p == '\n') {
			put_newline(d, out);
		} else {
			d->nul = d->maybe_dots = true;
		}
		p++;
	}
	return (size_t)(p - in.p);
}

void dot_encoder_init(struct dot_encoder *e)
{
	*e = (struct dot_encoder){ .at_line_start = true };
}

int dot_encode(struct dot_encoder *e, struct slice in, struct buf *out)
{
	size_t len_before = buf_len(out);
	const char *from = in.p; /* not yet copied */
	const char *p = in.p;    /* start of a line, or of in */
	const char *end = in.p + in.n;
	bool at_line_start = e->at_line_start;
	int r = 0;
	while (p < end && !r) {
		if (at_line_start && *p == '.') {
			r = buf_add(out, from, (size_t)(p - from));
			if (!r)
				r = buf_add_char(out, '.');
			from = p;
		}
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		at_line_start = lf != NULL;
		p = lf ? lf + 1 : end;
	}
	if (!r)
		r = buf_add(out, from, (size_t)(end - from));
	if (r)
		buf_truncate(out, len_before);
	else if (in.n)
		e->at_line_start = at_line_start;
	return r;
}

int dot_encode_end(struct dot_encoder *e, struct buf *out)
{
	return buf_add_str(out, e->at_line_start ? ".\r\n" : "\r\n.\r\n");
}
