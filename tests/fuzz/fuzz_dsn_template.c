/*
 * Bounce templates: what parses gives headers and a body of whole lines,
 * whatever the values are; the input itself is used as a value too.
 */
#include "fuzz/fuzz.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/dsn_template.h"

#define OUT_MAX ((size_t)16 << 20)

static void check_lines(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\n')
			CHECK(i > 0 && s.p[i - 1] == '\r');
		if (s.p[i] == '\r')
			CHECK(i + 1 < s.n && s.p[i + 1] == '\n');
	}
	CHECK(s.n == 0 || slice_ends_nocase(s, SLICE("\r\n")));
}

/* No blank line: it would end the report's header early. */
static void check_headers(struct slice s)
{
	check_lines(s);
	CHECK(!slice_starts(s, SLICE("\r\n")));
	for (size_t i = 0; i + 3 < s.n; i++)
		CHECK(!slice_starts(slice_from(s, i), SLICE("\r\n\r\n")));
}

static void render(const struct dsn_template *t, const char *value)
{
	const struct dsn_template_vars v = { .pid = "1",
		.date = value,
		.me = value,
		.from = value,
		.to = value,
		.msgid = value,
		.reason = value,
		.subject = value,
		.recipients = value,
		.queue_id = value };
	struct buf out;

	buf_init(&out, OUT_MAX);
	if (dsn_template_headers(t, &v, &out) == 0)
		check_headers(buf_slice(&out));
	buf_clear(&out);
	if (dsn_template_body(t, &v, &out) == 0)
		check_lines(buf_slice(&out));
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = slice_of((const char *)data, n);
	struct dsn_template *t = NULL;
	struct errbuf eb;
	int line = 0;

	char *value = slice_dup(in);
	render(dsn_template_builtin(), value);
	if (dsn_template_parse(in, &t, &line, &eb) == 0) {
		render(t, value);
		render(t, "plain");
		dsn_template_free(&t);
	} else {
		CHECK(line >= 1);
	}
	mem_free(value);
	return 0;
}
