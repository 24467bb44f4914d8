#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/prng.h"
#include "proto/dsn.h"

/*
 * Reports compared byte for byte with tests/golden/dsn_*.txt. After a wanted
 * change: GOLDEN_UPDATE=1 writes them anew; then read the difference.
 */

Suite *test_dsn_suite(void);

enum {
	OUT_MAX = 4 << 20,
	PATH_BYTES = 4096
};

static const char original[] = "Received: from x by y; Fri, 20 Nov 2026 18:00:00 +0000\r\n"
			       "From: Sender <s@a.example>\r\n"
			       "To: r@b.example\r\n"
			       "Subject: The subject\r\n"
			       "Message-ID: <1@a.example>\r\n"
			       "\r\n"
			       ".a line with a dot\r\n"
			       "the end\r\n";

static const struct dsn_rcpt plain_rcpt[] = {
	{
	    .address = "r@b.example",
	    .orcpt = "",
	    .status = "5.1.1",
	    .diagnostic = "550 5.1.1 no such user",
	    .remote_mta = "mx1.b.example",
	    .reason = "550 5.1.1 no such user (mx1.b.example)",
	    .last_attempt_ms = 1795200475000,
	},
};

static struct dsn_report plain_report(void)
{
	return (struct dsn_report){
		.me = "relay.example",
		.report_id = "0k2x9",
		.sender = "s@a.example",
		.msgid = "0k2x8",
		.queue_id = "0k2x8-1",
		.envid = "",
		.original_message_id = "<1@a.example>",
		.arrival_ms = 1795200000000,
		.now_ms = 1795200480123,
		.pid = 4711,
		.rcpts = plain_rcpt,
		.rcpts_n = 1,
		.original_header = { original, strstr(original, ".a line") - original },
	};
}

/* The whole report, as the caller makes it. */
static void write_report(const struct dsn_report *r, const struct dsn_template *t,
    struct slice whole, struct buf *out)
{
	struct buf tail;
	buf_init(&tail, OUT_MAX);
	buf_init(out, OUT_MAX);
	ck_assert_int_eq(dsn_write(r, t, out, &tail), 0);
	if (!r->headers_only)
		ck_assert_int_eq(buf_add_slice(out, whole), 0);
	ck_assert_int_eq(buf_add_slice(out, buf_slice(&tail)), 0);
	buf_fini(&tail);
}

static char *golden_path(const char *name)
{
	const char *top = getenv("top_srcdir");
	return mem_printf("%s/tests/golden/dsn_%s.txt", top ? top : ".", name);
}

static void read_golden(const char *path, struct buf *b)
{
	char piece[PATH_BYTES];
	size_t n;
	buf_init(b, OUT_MAX);
	FILE *f = fopen(path, "rb");
	ck_assert_msg(f != NULL, "%s", path);
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		ck_assert_int_eq(buf_add(b, piece, n), 0);
	fclose(f);
}

/* Whole CRLF lines without another CR, LF or NUL in them. */
static void check_lines(struct slice rest)
{
	struct slice line;
	size_t bad = 0;
	while (rest.n > 0 && slice_split(&rest, '\n', &line)) {
		bad += line.n == 0 || line.n > 999 || slice_find(line, '\0') >= 0;
		bad += slice_find(line, '\r') != (ptrdiff_t)line.n - 1;
	}
	ck_assert_uint_eq(bad, 0);
}

static void golden(const char *name, const struct dsn_report *r, const struct dsn_template *t,
    const char *whole)
{
	struct buf out, want;
	write_report(r, t, slice_str(whole), &out);
	check_lines(buf_slice(&out));
	char *path = golden_path(name);
	if (getenv("GOLDEN_UPDATE")) {
		FILE *f = fopen(path, "wb");
		ck_assert(f && fwrite(buf_ptr(&out), 1, buf_len(&out), f) == buf_len(&out));
		fclose(f);
	}
	read_golden(path, &want);
	ck_assert_msg(slice_eq(buf_slice(&out), buf_slice(&want)), "%s: got\n%s", path,
	    buf_cstr(&out));
	buf_fini(&want);
	buf_fini(&out);
	mem_free(path);
}

START_TEST(test_failed)
{
	struct dsn_report r = plain_report();
	golden("failed", &r, dsn_template_builtin(), original);
}

END_TEST

START_TEST(test_several)
{
	static const struct dsn_rcpt rcpts[] = {
		{
		    .address = "r@b.example",
		    .orcpt = "rfc822;R+2B1@b.example",
		    .status = "5.2.2",
		    .diagnostic = "552 5.2.2 mailbox full\\r\\ntry when it is smaller",
		    .remote_mta = "mx1.b.example",
		    .reason = "552 5.2.2 mailbox full",
		    .last_attempt_ms = 1795200475000,
		},
		{
		    .address = "q@b.example",
		    .orcpt = "x400;/G=q/",
		    .status = "5.4.7",
		    .diagnostic = "",
		    .remote_mta = "",
		    .reason = "could not be delivered in 5 days",
		},
	};
	struct dsn_report r = plain_report();
	r.rcpts = rcpts;
	r.rcpts_n = 2;
	r.envid = "QQ314159+2B+3D";
	r.headers_only = true;
	golden("headers_only", &r, dsn_template_builtin(), "");
}

END_TEST

/* All that others choose is as bad as it can be. */
START_TEST(test_hostile)
{
	static const char bad_original[] =
	    "Subject: =?utf-8?q?x?=\r\n --=_postrider_0k2x9_0\r\n\r\nh\xc3\xa4\r\n";
	static char solid[3001];
	memset(solid, 'x', 3000);
	const struct dsn_rcpt rcpts[] = {
		{
		    .address = "\xc3\xa4\"\r\nAction: delivered\"@b.example",
		    .orcpt = "rfc822;a+0D+0AAction:+20delivered",
		    .status = "5.0.0",
		    .diagnostic = "550 \xc3\xa4\xff\x01 line\r\n\r\n--=_postrider_0k2x9_1\r\nx",
		    .remote_mta = "mx\r\nAction: delivered",
		    .reason = "550 line\r\n--=_postrider_0k2x9_1--\r\n\xc3\xa4\xff {me}",
		    .last_attempt_ms = 1795200475000,
		},
		{
		    .address = "b@b.example",
		    .orcpt = "utf-8;\\x{E4}@b.example",
		    .status = "5.1.1",
		    .diagnostic = solid,
		    .remote_mta = "mx",
		    .reason = solid,
		},
		{
		    .address = "c@b.example",
		    .orcpt = "nonsense",
		    .status = "5.1.1",
		    .diagnostic = "",
		    .remote_mta = "",
		    .reason = "",
		},
	};
	struct dsn_report r = plain_report();
	r.rcpts = rcpts;
	r.rcpts_n = ARRAY_LEN(rcpts);
	r.sender = "s\xc3\xb6@a.example";
	r.envid = "a+0D+0AX-Evil:+201+ZZ";
	r.original_message_id = "<1@a\r\nBcc: x@y>";
	r.original_8bit = true;
	r.original_header = slice_of(bad_original, strlen(bad_original) - 5);
	golden("hostile", &r, dsn_template_builtin(), bad_original);
}

END_TEST

/* The kind of template people bring along. */
START_TEST(test_own_template)
{
	static const char text[] = "Received: (Mailer {pid} invoked for bounce); {date}\r\n"
				   "Date: {date}\r\n"
				   "From: MAILER-DAEMON@{me}\r\n"
				   "To: {from}\r\n"
				   "Subject: failure notice\r\n"
				   "Message-Id: <{msgid}.bounce@{me}>\r\n"
				   "\r\n"
				   "Hi. This is the mailer at {me}.\r\n"
				   "Sorry, {to}: {reason}\r\n"
				   "\r\n"
				   "Gr\xc3\xbc\xc3\x9f"
				   "e\r\n";
	struct dsn_template *t;
	int line;
	ck_assert_int_eq(dsn_template_parse(slice_str(text), &t, &line, NULL), 0);
	struct dsn_report r = plain_report();
	golden("own_template", &r, t, original);
	dsn_template_free(&t);
}

END_TEST

START_TEST(test_bare_template)
{
	struct dsn_template *t;
	int line;
	ck_assert_int_eq(dsn_template_parse(SLICE("X-Only: this\n\n{recipients}\n"), &t, &line,
			     NULL),
	    0);
	struct dsn_report r = plain_report();
	r.original_message_id = "";
	r.arrival_ms = 0;
	golden("defaults", &r, t, original);
	dsn_template_free(&t);
}

END_TEST

/* A header block in every shape the caller may find it. */
START_TEST(test_header_block_ends)
{
	static const struct {
		const char *block, *end;
	} rows[] = {
		{ "A: 1\r\n\r\n", "-headers\r\n\r\nA: 1\r\n\r\n--=_" },
		{ "A: 1\r\n", "-headers\r\n\r\nA: 1\r\n\r\n--=_" },
		{ "A: 1", "-headers\r\n\r\nA: 1\r\n\r\n--=_" },
		{ "\r\n", "-headers\r\n\r\n\r\n--=_" },
		{ "", "-headers\r\n\r\n\r\n--=_" },
		{ "A: \xc3\xa4\r\n\r\n",
		    "-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: \xc3\xa4\r\n\r\n--=_" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dsn_report r = plain_report();
		r.headers_only = true;
		r.original_header = slice_str(rows[i].block);
		struct buf out;
		write_report(&r, dsn_template_builtin(), SLICE_NONE, &out);
		ck_assert_msg(strstr(buf_cstr(&out), rows[i].end) != NULL, "row %zu:\n%s", i,
		    buf_cstr(&out));
		buf_fini(&out);
	}
}

END_TEST

static size_t count(const char *text, const char *what)
{
	size_t n = 0;
	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

/* A message for thousands: the text is cut, the status part is not. */
START_TEST(test_many_recipients)
{
	enum {
		MANY = 5000
	};
	struct dsn_rcpt *rcpts = mem_zalloc(MANY * sizeof(*rcpts));
	for (size_t i = 0; i < MANY; i++) {
		rcpts[i] = plain_rcpt[0];
		rcpts[i].reason = i % 2 ? "odd ..." : "even";
	}
	struct dsn_report r = plain_report();
	r.rcpts = rcpts;
	r.rcpts_n = MANY;
	struct buf out;
	write_report(&r, dsn_template_builtin(), SLICE_NONE, &out);
	check_lines(buf_slice(&out));
	ck_assert_uint_eq(count(buf_cstr(&out), "Final-Recipient:"), MANY);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "r@b.example: even\r\nr@b.example: odd ..."));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "r@b.example ...\r\n"));
	buf_fini(&out);
	mem_free(rcpts);
}

END_TEST

/* Returns the bytes of its head. */
static size_t report_to_many(size_t n, const struct dsn_rcpt *each)
{
	struct dsn_report r = plain_report();
	struct dsn_rcpt *rcpts = mem_zalloc(n * sizeof(*rcpts));
	struct buf head, tail;
	for (size_t i = 0; i < n; i++)
		rcpts[i] = *each;
	r.rcpts = rcpts;
	r.rcpts_n = n;
	r.headers_only = true;
	buf_init(&head, DSN_HEAD_MAX);
	buf_init(&tail, OUT_MAX);
	ck_assert_int_eq(dsn_write(&r, dsn_template_builtin(), &head, &tail), 0);
	check_lines(buf_slice(&head));
	size_t bytes = buf_len(&head);
	ck_assert_uint_eq(count(buf_cstr(&head), "\r\nFinal-Recipient: rfc822;"), n);
	ck_assert_uint_eq(count(buf_cstr(&head), "\r\nDiagnostic-Code: smtp; 550 5.1.1"), n);
	buf_fini(&head);
	buf_fini(&tail);
	mem_free(rcpts);
	return bytes;
}

/* However long the replies: all recipients, in a report of a size that can be sent. */
START_TEST(test_long_replies)
{
	struct dsn_rcpt each = plain_rcpt[0];
	char *reply = mem_printf("550 5.1.1 %04000d", 0);
	each.diagnostic = reply;
	ck_assert_uint_lt(report_to_many(50000, &each), 25 << 20);
	ck_assert_uint_gt(report_to_many(1000, &each), 1000 * strlen(reply));
	mem_free(reply);
}

END_TEST

/* As SMTP takes them at most: 50,000 of them would have room. */
START_TEST(test_longest_addresses)
{
	enum {
		MANY = 5000
	};

	char address[255] = "", orcpt[501] = "utf-8;";
	struct dsn_rcpt each = plain_rcpt[0];
	for (size_t i = 0; i + 2 < sizeof(address); i += 2)
		memcpy(address + i, "\xc3\xbf", 3);
	for (size_t i = strlen(orcpt); i + 2 < sizeof(orcpt); i += 2)
		memcpy(orcpt + i, "\xdf\xbf", 3);
	char *host = mem_printf("%0255d", 0), *reply = mem_printf("550 5.1.1 %04000d", 0);
	each.address = address;
	each.orcpt = orcpt;
	each.remote_mta = host;
	each.diagnostic = reply;
	ck_assert_uint_lt(report_to_many(MANY, &each), DSN_HEAD_MAX / (50000 / MANY));
	mem_free(host);
	mem_free(reply);
}

END_TEST

static void write_into(size_t head_max, size_t tail_max, int want, size_t *head_n, size_t *tail_n)
{
	struct dsn_report r = plain_report();
	struct buf head, tail;
	buf_init(&head, head_max);
	buf_init(&tail, tail_max);
	ck_assert_int_eq(dsn_write(&r, dsn_template_builtin(), &head, &tail), want);
	*head_n = buf_len(&head);
	*tail_n = buf_len(&tail);
	buf_fini(&head);
	buf_fini(&tail);
}

/* All or nothing, wherever the room ends. */
START_TEST(test_no_room)
{
	size_t head_full, tail_full, head_n, tail_n;
	write_into(OUT_MAX, OUT_MAX, 0, &head_full, &tail_full);
	write_into(head_full, tail_full, 0, &head_n, &tail_n);
	for (size_t max = 0; max < head_full; max++) {
		write_into(max, tail_full, ERR_TOO_BIG, &head_n, &tail_n);
		ck_assert_uint_eq(head_n + tail_n, 0);
	}
	for (size_t max = 0; max < tail_full; max++) {
		write_into(head_full, max, ERR_TOO_BIG, &head_n, &tail_n);
		ck_assert_uint_eq(head_n + tail_n, 0);
	}
}

END_TEST

/* Up to max pieces of what would do harm if it were taken for structure. */
static const char *random_text(struct prng *prng, unsigned max, char *to, size_t size)
{
	static const char *const pieces[] = { "\r\n", "\n", "\r", "\t", " ", "--",
		"=_postrider_0k2x9_0", "=_postrider_0k2x9_1", "\"", ";", ":", "{to}", "<x@y>",
		"Bcc: x", "Action: relayed", "Content-Type: text/html", "\xc3\xa4", "\xff", "\x01",
		"\x7f", "\xe2\x80\xa8", "+0D+0A", "rfc822;", "=?utf-8?q?", ".", "word",
		"a-much-longer-word-that-does-not-fold-anywhere-at-all-in-a-line-of-78" };
	struct buf text;
	buf_init(&text, size - 1);
	for (uint64_t n = prng_below(prng, max + 1); n > 0; n--)
		if (buf_add_str(&text, pieces[prng_below(prng, ARRAY_LEN(pieces))]))
			break;
	memcpy(to, buf_cstr(&text), buf_len(&text) + 1);
	buf_fini(&text);
	return to;
}

static bool is_one_of(struct slice line, const char *const *names, size_t n)
{
	if (line.n == 1 || line.p[0] == ' ') /* the CR of a blank line; a fold */
		return true;
	for (size_t i = 0; i < n; i++)
		if (slice_starts(line, slice_str(names[i])))
			return true;
	return false;
}

/* Lines of the header, of the status part, and delimiters are those meant, and no others. */
static void check_structure(struct slice report, size_t rcpts)
{
	static const char *const header[] = { "Received: by relay", "Date:", "From: Mail D",
		"To:", "Subject: Your m", "Message-ID:", "Auto-Submitted: auto-replied",
		"In-Reply-To:", "References:", "MIME-Version:", "Content-Type: multipart/report;",
		"Content-Transfer-Encoding: 8bit" };
	static const char *const status[] = { "Content-Description: D",
		"Content-Type: message/delivery-status", "Reporting-MTA: dns;",
		"Original-Envelope-Id:", "Arrival-Date:", "X-Postrider-Queue-ID:",
		"Original-Recipient:", "Final-Recipient:", "Action: failed",
		"Status:", "Remote-MTA: dns;", "Diagnostic-Code: smtp;", "Last-Attempt-Date:" };
	const char *at = memmem(report.p, report.n, "boundary=\"", 10);
	ck_assert_ptr_nonnull(at);
	struct slice mark = slice_from(report, (size_t)(at - report.p) + 10);
	mark.n = (size_t)slice_find(mark, '"');
	struct slice line;
	size_t delimiters = 0, finals = 0;
	bool in_header = true;
	while (report.n > 0 && slice_split(&report, '\n', &line)) {
		in_header = in_header && line.n > 1;
		bool dashes = slice_starts(line, SLICE("--"));
		delimiters += dashes && slice_starts(slice_from(line, 2), mark);
		if (in_header)
			ck_assert(is_one_of(line, header, ARRAY_LEN(header)));
		if (delimiters == 2 && !dashes)
			ck_assert(is_one_of(line, status, ARRAY_LEN(status)));
		finals += delimiters == 2 && slice_starts(line, SLICE("Final-Recipient:"));
	}
	ck_assert_uint_eq(delimiters, 4);
	ck_assert_uint_eq(finals, rcpts);
}

START_TEST(test_random_text)
{
	enum {
		ROUNDS = 1000,
		TEXTS = 12,
		TEXT_BYTES = 2000
	};

	static char text[TEXTS][TEXT_BYTES];
	struct prng prng;
	prng_init(&prng, 20261120);
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < TEXTS; i++)
			random_text(&prng, round % 40, text[i], TEXT_BYTES);
		struct dsn_rcpt rcpts[] = {
			{ text[0], text[1], "5.0.0", text[2], text[3], text[4], 0 },
			{ text[5], text[6], "5.0.0", text[7], text[8], text[4], 1795200475000 },
		};
		struct dsn_report r = plain_report();
		r.rcpts = rcpts;
		r.rcpts_n = ARRAY_LEN(rcpts);
		r.sender = text[9];
		r.envid = text[10];
		r.original_message_id = text[11];
		r.original_8bit = round % 2;
		struct buf out;
		write_report(&r, dsn_template_builtin(), SLICE("A: b\r\n\r\nc\r\n"), &out);
		check_lines(buf_slice(&out));
		check_structure(buf_slice(&out), ARRAY_LEN(rcpts));
		buf_fini(&out);
	}
}

END_TEST

/* A parser nobody here wrote sees the parts and fields that were meant. */
START_TEST(test_foreign_parser)
{
	const char *top = getenv("top_srcdir");
	if (system("command -v python3 >/dev/null 2>&1") != 0)
		return;
	char *command = mem_printf("python3 '%s/tests/golden/dsn_parse.py' '%s/tests/golden'",
	    top ? top : ".", top ? top : ".");
	ck_assert_int_eq(system(command), 0);
	mem_free(command);
}

END_TEST

Suite *test_dsn_suite(void)
{
	Suite *s = suite_create("dsn");
	TCase *t = tcase_create("golden");
	tcase_add_test(t, test_failed);
	tcase_add_test(t, test_several);
	tcase_add_test(t, test_hostile);
	tcase_add_test(t, test_own_template);
	tcase_add_test(t, test_bare_template);
	tcase_add_test(t, test_foreign_parser);
	suite_add_tcase(s, t);
	t = tcase_create("limits");
	tcase_add_test(t, test_header_block_ends);
	tcase_add_test(t, test_many_recipients);
	tcase_add_test(t, test_long_replies);
	tcase_add_test(t, test_longest_addresses);
	tcase_add_test(t, test_no_room);
	tcase_add_test(t, test_random_text);
	suite_add_tcase(s, t);
	return s;
}
