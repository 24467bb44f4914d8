#include "proto/dsn_template.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "proto/dsn_text.h"

/*
 * A template is kept as its text with LF line ends; that it can be written was
 * proved when it was parsed. Values are made harmless as they are put in, so a
 * subject or reply full of braces, colons and line ends stays what it is.
 */

enum {
	VARIABLES_MAX = 64, /* with VALUE_MAX: bounds what a report can become */
	VALUE_MAX = 16384,
	EXPANDED_MAX = DSN_TEMPLATE_BYTES_MAX + VARIABLES_MAX * (VALUE_MAX + 8)
};

struct dsn_template {
	struct slice headers; /* lines, each with its LF */
	struct slice body;
	char *text; /* what both point into; NULL: static */
};

#define BUILTIN_HEADERS                                                                            \
	"Received: by {me} (Postrider {pid}, report on {msgid}); {date}\n"                         \
	"Date: {date}\n"                                                                           \
	"From: Mail Delivery System <MAILER-DAEMON@{me}>\n"                                        \
	"To: {from}\n"                                                                             \
	"Subject: Your message could not be delivered\n"

#define BUILTIN_BODY                                                                               \
	"This is the mail system at {me}.\n"                                                       \
	"\n"                                                                                       \
	"A message of yours could not be delivered to everyone it was meant for.\n"                \
	"The failure is final: it will not be tried again.\n"                                      \
	"\n"                                                                                       \
	"    Subject:       {subject}\n"                                                           \
	"    Not delivered: {to}\n"                                                                \
	"\n"                                                                                       \
	"What went wrong:\n"                                                                       \
	"\n"                                                                                       \
	"{reason}\n"                                                                               \
	"\n"                                                                                       \
	"If you ask your postmaster for help, please include this report. The\n"                   \
	"message was known here as {msgid}.\n"                                                     \
	"\n"                                                                                       \
	"More about the failure follows in a form for programs, and after it what\n"               \
	"you sent.\n"

static const struct dsn_template builtin = {
	.headers = { BUILTIN_HEADERS, sizeof(BUILTIN_HEADERS) - 1 },
	.body = { BUILTIN_BODY, sizeof(BUILTIN_BODY) - 1 },
};

static const struct {
	const char *name;
	size_t at;
} variables[] = {
	{ "pid", offsetof(struct dsn_template_vars, pid) },
	{ "date", offsetof(struct dsn_template_vars, date) },
	{ "me", offsetof(struct dsn_template_vars, me) },
	{ "from", offsetof(struct dsn_template_vars, from) },
	{ "to", offsetof(struct dsn_template_vars, to) },
	{ "msgid", offsetof(struct dsn_template_vars, msgid) },
	{ "reason", offsetof(struct dsn_template_vars, reason) },
	{ "extended_reason", offsetof(struct dsn_template_vars, reason) },
	{ "subject", offsetof(struct dsn_template_vars, subject) },
	{ "recipients", offsetof(struct dsn_template_vars, recipients) },
	{ "queue_id", offsetof(struct dsn_template_vars, queue_id) },
};

/* Fields the report writes itself; RFC 3834 and 6522 leave no choice about them. */
static const char *const own_fields[] = { "MIME-Version", "Auto-Submitted", "In-Reply-To",
	"References" };

/* Fields of which a message has one (RFC 5322 3.6), so twice is a mistake. */
static const char *const single_fields[] = { "From", "To", "Subject", "Date", "Message-ID",
	"Sender", "Reply-To", "Cc" };

/* 1. variables */

static bool is_name_char(char c, bool first)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_')
		return true;
	return !first && c >= '0' && c <= '9';
}

/* "{name}" at the start of s: its whole length; 0 if this brace starts no name. */
static size_t variable_length(struct slice s)
{
	size_t n = 1;
	while (n < s.n && is_name_char(s.p[n], n == 1))
		n++;
	return n > 1 && n < s.n && s.p[n] == '}' ? n + 1 : 0;
}

static ptrdiff_t find_variable(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(variables); i++)
		if (slice_eq(name, slice_str(variables[i].name)))
			return (ptrdiff_t)i;
	return -1;
}

/* Up to the next variable in *text: what stands before it, and its name; false when none is left.
 */
static bool next_variable(struct slice *text, struct slice *before, struct slice *name)
{
	*before = *text;
	for (size_t at = 0; at < text->n; at++) {
		struct slice rest = slice_from(*text, at);
		size_t n = rest.p[0] == '{' ? variable_length(rest) : 0;
		if (!n)
			continue;
		before->n = at;
		*name = slice_of(rest.p + 1, n - 2);
		*text = slice_from(rest, n);
		return true;
	}
	*text = SLICE_NONE;
	return false;
}

static const char *value_of(const struct dsn_template_vars *v, struct slice name)
{
	ptrdiff_t i = find_variable(name);
	CHECK(i >= 0);
	const char *const *member = (const void *)((const char *)v + variables[i].at);
	return *member;
}

/*
 * In a header only the address the report goes to may bring UTF-8: it needs
 * SMTPUTF8 on its way already, and nothing else may make it need that.
 */
static enum dsn_text_kind kind_of(struct slice name, bool in_header)
{
	if (!in_header)
		return DSN_TEXT_BODY;
	return slice_eq(name, SLICE("from")) ? DSN_TEXT_UTF8 : DSN_TEXT_ASCII;
}

static int expand(struct slice text, const struct dsn_template_vars *v, bool in_header,
    struct buf *out)
{
	struct slice before, name;
	int r = 0;
	for (bool more = true; more && !r;) {
		more = next_variable(&text, &before, &name);
		r = buf_add_slice(out, before);
		if (!more || r)
			break;
		struct slice value = slice_str(value_of(v, name));
		value.n = MIN(value.n, (size_t)VALUE_MAX);
		r = dsn_text_clean(value, kind_of(name, in_header), out);
	}
	return r;
}

/* 2. parsing */

struct parse {
	struct slice text;
	int line;
	size_t variables;
	struct errbuf *eb;
};

static int check_line(struct parse *p, struct slice line)
{
	for (size_t i = 0; i < line.n; i++)
		if (((unsigned char)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == '\x7f')
			return errbuf_set(p->eb, ERR_SYNTAX, "control character");
	if (!utf8_is_valid(line))
		return errbuf_set(p->eb, ERR_SYNTAX, "not UTF-8");
	struct slice before, name;
	while (next_variable(&line, &before, &name)) {
		if (find_variable(name) < 0)
			return errbuf_set(p->eb, ERR_SYNTAX, "unknown variable {%.*s}",
			    (int)MIN(name.n, (size_t)64), name.p);
		if (++p->variables > VARIABLES_MAX)
			return errbuf_set(p->eb, ERR_TOO_BIG, "more than %d variables",
			    VARIABLES_MAX);
	}
	return 0;
}

/* The name of a header line; empty if it has none. */
static struct slice field_name(struct slice line)
{
	ptrdiff_t colon = slice_find(line, ':');
	for (ptrdiff_t i = 0; i < colon; i++)
		if (line.p[i] <= ' ' || line.p[i] > '~')
			return SLICE_NONE;
	return colon < 0 ? SLICE_NONE : slice_of(line.p, (size_t)colon);
}

/* One field with its continuation lines off the front of *rest, without the last LF. */
static bool take_field(struct slice *rest, struct slice *field)
{
	if (rest->n == 0)
		return false;
	size_t n = 0;
	do {
		ptrdiff_t lf = slice_find(slice_from(*rest, n), '\n');
		n = lf < 0 ? rest->n : n + (size_t)lf + 1;
	} while (n < rest->n && (rest->p[n] == ' ' || rest->p[n] == '\t'));
	*field = slice_of(rest->p, rest->p[n - 1] == '\n' ? n - 1 : n);
	*rest = slice_from(*rest, n);
	return true;
}

static bool has_field(struct slice headers, struct slice name)
{
	struct slice field;
	while (take_field(&headers, &field))
		if (slice_eq_nocase(field_name(field), name))
			return true;
	return false;
}

static bool is_single(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(single_fields); i++)
		if (slice_eq_nocase(name, slice_str(single_fields[i])))
			return true;
	return false;
}

static int check_header_line(struct parse *p, struct slice headers, struct slice line)
{
	if (!dsn_text_is_ascii(line))
		return errbuf_set(p->eb, ERR_SYNTAX, "a header must be ASCII (RFC 2047 encodes)");
	if (line.p[0] == ' ' || line.p[0] == '\t')
		return headers.n ? 0 : errbuf_set(p->eb, ERR_SYNTAX, "continues no header");
	struct slice name = field_name(line);
	if (name.n == 0)
		return errbuf_set(p->eb, ERR_SYNTAX,
		    "not a header; headers and a blank line come before the text");
	if (is_single(name) && has_field(headers, name))
		return errbuf_set(p->eb, ERR_SYNTAX, "a second %.*s", SLICE_ARG(name));
	return 0;
}

static int parse_lines(struct parse *p, struct dsn_template *t)
{
	struct slice rest = p->text, line;
	bool in_body = false;
	while (rest.n > 0 && slice_split(&rest, '\n', &line)) {
		p->line++;
		int r = check_line(p, line);
		if (!r && !in_body && line.n > 0)
			r = check_header_line(p, t->headers, line);
		if (r)
			return r;
		if (in_body)
			continue;
		if (line.n > 0) {
			t->headers = slice_of(p->text.p, (size_t)(line.p + line.n - p->text.p));
		} else {
			in_body = true;
			t->body = rest.p ? rest : slice_of(p->text.p, 0);
		}
	}
	if (t->body.n == 0) {
		p->line++;
		return errbuf_set(p->eb, ERR_SYNTAX, "no text after headers and a blank line");
	}
	return 0;
}

/* A copy with LF for CRLF. */
static char *copy_with_lf(struct slice text, size_t *n_r)
{
	char *copy = mem_alloc(text.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] != '\r' || i + 1 == text.n || text.p[i + 1] != '\n')
			copy[n++] = text.p[i];
	*n_r = n;
	return copy;
}

int dsn_template_parse(struct slice text, struct dsn_template **t_r, int *line_r, struct errbuf *eb)
{
	*t_r = NULL;
	*line_r = 1;
	if (text.n > DSN_TEMPLATE_BYTES_MAX)
		return errbuf_set(eb, ERR_TOO_BIG, "larger than %d bytes", DSN_TEMPLATE_BYTES_MAX);
	struct dsn_template *t = mem_zalloc(sizeof(*t));
	struct parse p = { .eb = eb };
	t->text = copy_with_lf(text, &p.text.n);
	p.text.p = t->text;
	int r = parse_lines(&p, t);
	*line_r = p.line;
	if (r)
		dsn_template_free(&t);
	*t_r = t;
	return r;
}

const struct dsn_template *dsn_template_builtin(void)
{
	return &builtin;
}

void dsn_template_free(struct dsn_template **t)
{
	if (*t)
		mem_free((*t)->text);
	mem_free(*t);
	*t = NULL;
}

/* 3. writing */

static bool is_own(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(own_fields); i++)
		if (slice_eq_nocase(name, slice_str(own_fields[i])))
			return true;
	return slice_starts_nocase(name, SLICE("Content-"));
}

static int write_field(struct slice field, const struct dsn_template_vars *v, struct buf *out)
{
	struct buf text, line;
	buf_init(&text, EXPANDED_MAX);
	buf_init(&line, EXPANDED_MAX);
	int r = expand(field, v, true, &text);
	if (!r) /* the template's own folds become blanks, and it is folded anew */
		r = dsn_text_clean(buf_slice(&text), DSN_TEXT_UTF8, &line);
	if (!r)
		r = dsn_text_fold(buf_slice(&line), out);
	buf_fini(&text);
	buf_fini(&line);
	return r;
}

int dsn_template_headers(const struct dsn_template *t, const struct dsn_template_vars *v,
    struct buf *out)
{
	struct slice rest = t->headers, field;
	int r = 0;
	while (!r && take_field(&rest, &field))
		if (!is_own(field_name(field)))
			r = write_field(field, v, out);
	return r;
}

int dsn_template_body(const struct dsn_template *t, const struct dsn_template_vars *v,
    struct buf *out)
{
	struct buf text;
	buf_init(&text, EXPANDED_MAX);
	int r = expand(t->body, v, false, &text);
	if (!r)
		r = dsn_text_wrap(buf_slice(&text), out);
	buf_fini(&text);
	return r;
}

bool dsn_template_has_header(const struct dsn_template *t, const char *name)
{
	return has_field(t->headers, slice_str(name)) && !is_own(slice_str(name));
}
