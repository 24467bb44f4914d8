#include "model_server.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool chance(struct model_server *s, unsigned percent)
{
	return prng_below(s->chance, 100) < percent;
}

struct slice model_body(int m)
{
	static char texts[MODEL_MESSAGES][64];
	int n = snprintf(texts[m], sizeof(texts[m]), "%sdot %d\r\n\r\nMAIL FROM:<>\r\n%s",
	    model_body_is_plain(m) ? "" : ".", m, model_body_is_plain(m) ? "" : "..\r\n.\r\n");
	return slice_of(texts[m], m % 4 == 3 ? 0 : (size_t)n);
}

bool model_body_is_plain(int m)
{
	return m % 2 == 1;
}

static struct model_reply say(struct model_server *s, int code)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%d said for number %d\r\n", code, s->at);
	bool twice = s->doubles && s->said++ == s->doubles;
	ck_assert_int_eq(buf_add(&s->replies, line, (size_t)n), 0);
	struct model_reply r = { .code = code, .until = buf_len(&s->replies) };
	if (twice)
		ck_assert_int_eq(buf_add(&s->replies, line, (size_t)n), 0);
	s->closing |= code == 421 || code == 221;
	return r;
}

/* One of the codes; the first is the likely one. 421 is a code like others, but rarer. */
static int pick(struct model_server *s, const int *codes, size_t n, unsigned likely)
{
	if (!s->doubles && chance(s, 1))
		return 421;
	return chance(s, likely) ? codes[0] : codes[prng_below(s->chance, n)];
}

static void on_mail(struct model_server *s, const char *line)
{
	static const int codes[] = { 250, 450, 550, 503 };
	int m = (int)strtol(line + strlen("MAIL FROM:<"), NULL, 10);
	ck_assert_msg(m == s->at + 1, "MAIL of %d behind %d", m, s->at);
	ck_assert_int_lt(m, MODEL_MESSAGES);
	s->at = m;
	s->accepted = 0;
	s->record[m].mail = say(s, pick(s, codes, ARRAY_LEN(codes), 80));
	s->in_mail = s->record[m].mail.code == 250;
}

static void on_rcpt(struct model_server *s)
{
	static const int codes[] = { 250, 450, 550, 552 };
	struct model_record *r = &s->record[s->at];
	int code = s->in_mail ? pick(s, codes, ARRAY_LEN(codes), 50) : 503;
	ck_assert_uint_lt(r->rcpts, MODEL_RCPTS);
	s->accepted += code == 250;
	r->rcpt[r->rcpts++] = say(s, code);
}

static void on_data(struct model_server *s)
{
	static const int codes[] = { 354, 451, 554 };
	static const int none[] = { 554, 354, 503 };
	struct model_record *r = &s->record[s->at];
	if (s->accepted > 0)
		r->data = say(s, pick(s, codes, ARRAY_LEN(codes), 85));
	else
		r->data = say(s, pick(s, none, ARRAY_LEN(none), 40));
	s->in_data = r->data.code == 354;
}

static void on_end(struct model_server *s, const int *codes, size_t n, unsigned likely)
{
	struct model_record *r = &s->record[s->at];
	r->end_seen = true;
	r->end = say(s, pick(s, codes, n, likely));
	s->in_data = s->in_chunk = s->in_mail = false;
	buf_clear(&s->body);
}

static void check_body(const struct model_server *s)
{
	ck_assert_msg(slice_eq(buf_slice(&s->body), model_body(s->at)), "body of %d is <%.*s>",
	    s->at, SLICE_ARG(buf_slice(&s->body)));
}

/* A line of DATA, with its CRLF. */
static void on_body_line(struct model_server *s, struct slice line)
{
	static const int codes[] = { 250, 451, 554, 503 };
	bool end = slice_eq(line, SLICE(".\r\n"));
	if (!end) {
		bool stuffed = slice_starts(line, SLICE("."));
		ck_assert_int_eq(buf_add_slice(&s->body, slice_from(line, stuffed ? 1 : 0)), 0);
		return;
	}
	if (s->accepted > 0)
		check_body(s);
	else
		ck_assert_uint_eq(buf_len(&s->body), 0);
	on_end(s, codes, ARRAY_LEN(codes), 80);
}

static void on_bdat(struct model_server *s, const char *line)
{
	char *rest;
	s->chunk_left = strtoull(line + strlen("BDAT "), &rest, 10);
	ck_assert_str_eq(rest, " LAST");
	ck_assert_uint_eq(s->chunk_left, model_body(s->at).n);
	s->in_chunk = true;
}

static void on_chunk(struct model_server *s)
{
	static const int codes[] = { 250, 451, 554, 503, 502 };
	static const int none[] = { 503, 554, 250, 500 };
	size_t n = MIN((size_t)s->chunk_left, buf_len(&s->in));
	ck_assert_int_eq(buf_add(&s->body, buf_ptr(&s->in), n), 0);
	buf_consume(&s->in, n);
	s->chunk_left -= n;
	if (s->chunk_left > 0)
		return;
	check_body(s);
	if (s->accepted > 0)
		on_end(s, codes, ARRAY_LEN(codes), 80);
	else
		on_end(s, none, ARRAY_LEN(none), 50);
}

static void on_rset(struct model_server *s)
{
	s->in_mail = false;
	s->record[s->at].reset = say(s, !s->doubles && chance(s, 3) ? 421 : 250);
}

static void on_ehlo(struct model_server *s)
{
	ck_assert_int_eq(buf_printf(&s->replies, "250-mx\r\n%s%s250 HELP\r\n",
			     s->pipelining ? "250-PIPELINING\r\n" : "",
			     s->chunking ? "250-CHUNKING\r\n" : ""),
	    0);
}

static void on_command(struct model_server *s, const char *line)
{
	if (strncmp(line, "MAIL", 4) == 0)
		on_mail(s, line);
	else if (strncmp(line, "RCPT", 4) == 0)
		on_rcpt(s);
	else if (strcmp(line, "DATA") == 0)
		on_data(s);
	else if (strncmp(line, "BDAT", 4) == 0)
		on_bdat(s, line);
	else if (strcmp(line, "RSET") == 0)
		on_rset(s);
	else if (strncmp(line, "EHLO", 4) == 0)
		on_ehlo(s);
	else if (strcmp(line, "QUIT") == 0)
		say(s, 221);
	else
		ck_abort_msg("command <%s>", line);
}

static bool read_line(struct model_server *s)
{
	struct slice in = buf_slice(&s->in);
	ptrdiff_t lf = slice_find(in, '\n');
	if (lf < 0)
		return false;
	ck_assert(lf > 0 && in.p[lf - 1] == '\r');
	char line[256];
	snprintf(line, sizeof(line), "%.*s", (int)lf - 1, in.p);
	if (s->in_data)
		on_body_line(s, slice_of(in.p, (size_t)lf + 1));
	else
		on_command(s, line);
	buf_consume(&s->in, (size_t)lf + 1);
	return true;
}

void model_server_read(struct model_server *s)
{
	while (!s->closing) {
		if (s->in_chunk)
			on_chunk(s);
		if (s->in_chunk || s->closing || !read_line(s))
			break;
	}
}

void model_server_init(struct model_server *s, struct prng *prng)
{
	*s = (struct model_server){
		.chance = prng,
		.pipelining = prng_below(prng, 8) > 0,
		.chunking = prng_below(prng, 2),
		.at = -1,
	};
	buf_init(&s->in, 1 << 20);
	buf_init(&s->replies, 1 << 20);
	buf_init(&s->body, 1 << 20);
	ck_assert_int_eq(buf_add_str(&s->replies, "220 mx\r\n"), 0);
}

void model_server_fini(struct model_server *s)
{
	buf_fini(&s->in);
	buf_fini(&s->replies);
	buf_fini(&s->body);
}
