#include "proto/trace.h"

#include "base/clock.h"
#include "base/netaddr.h"
#include "proto/path.h"

enum {
	COLUMNS_MAX = 78, /* RFC 5322 2.1.1 */
	TAB_COLUMNS = 8,
	COMMENT_MAX = 256, /* of one piece of foreign text */
	TOKEN_MAX = 1024,
};

/* Writes tokens with a blank between them, or a fold where the line would get too long. */
struct folder {
	struct buf *out;
	struct buf token; /* the one in work */
	size_t column;
	int err; /* first, sticky */
};

static void add_token(struct folder *f)
{
	size_t n = buf_len(&f->token);
	bool fold = f->column + 1 + n > COLUMNS_MAX;
	if (!f->err)
		f->err = buf_add_str(f->out, fold ? "\r\n\t" : " ");
	if (!f->err)
		f->err = buf_add_slice(f->out, buf_slice(&f->token));
	f->column = (fold ? TAB_COLUMNS : f->column + 1) + n;
	buf_clear(&f->token);
}

/* One token of up to three parts: constant, foreign (made harmless), constant. */
static void add(struct folder *f, const char *before, const char *text, const char *after)
{
	int r = buf_add_str(&f->token, before);
	for (size_t i = 0; text[i] && i < COMMENT_MAX && !r; i++) {
		char c = text[i];
		bool bad = c < '!' || c > '~' || c == '(' || c == ')' || c == '\\' || c == '"';
		r = buf_add_char(&f->token, bad && c != ' ' ? '?' : c);
	}
	if (!r)
		r = buf_add_str(&f->token, after);
	if (r && !f->err)
		f->err = r;
	add_token(f);
}

/* The name the client gave, in ASCII, or "unknown". */
static void add_helo(struct folder *f, const char *helo)
{
	struct buf name;
	buf_init(&name, PATH_DOMAIN_MAX);
	struct slice s = slice_str(helo);
	if (path_is_literal(s) ? buf_add_slice(&name, s) : path_domain_to_ascii(s, &name))
		buf_clear(&name);
	add(f, "from ", buf_len(&name) ? buf_cstr(&name) : "unknown", "");
	buf_fini(&name);
}

static void add_client(struct folder *f, const struct trace *t)
{
	struct netaddr a;
	bool v6 = netaddr_parse_ip(slice_str(t->client_ip), &a) == 0 && a.family == NETADDR_V6;
	add_helo(f, t->helo);
	add(f, v6 ? "([IPv6:" : "([", t->client_ip, "])");
	if (*t->user)
		add(f, "(authenticated as ", t->user, ")");
}

static void add_rcpt(struct folder *f, const char *rcpt)
{
	struct path p;
	/* An address with UTF-8 would make the whole header need SMTPUTF8. */
	if (path_parse_address(slice_str(rcpt), &p, NULL) || p.is_utf8)
		return;
	/* Held against the grammar just now: it may keep its quotes. */
	int r = buf_printf(&f->token, "for <%s>", rcpt);
	if (!r)
		add_token(f);
	else if (!f->err)
		f->err = r;
}

int trace_received(const struct trace *t, struct buf *out)
{
	size_t len_before = buf_len(out);
	char date[CLOCK_TEXT_MAX];
	struct folder f = { .out = out, .column = sizeof("Received:") - 1 };
	buf_init(&f.token, TOKEN_MAX);
	f.err = buf_add_str(out, "Received:");
	if (*t->client_ip)
		add_client(&f, t);
	add(&f, "by ", t->me, "");
	if (*t->comment)
		add(&f, "(", t->comment, ")");
	add(&f, "with ", t->protocol, "");
	if (*t->tls)
		add(&f, "(", t->tls, ")");
	add(&f, "id ", t->id, "");
	if (*t->rcpt)
		add_rcpt(&f, t->rcpt);
	if (!f.err)
		f.err = buf_add_char(out, ';');
	f.column++;
	add(&f, "", clock_rfc5322(t->wall_ms, date), "");
	if (!f.err)
		f.err = buf_add_str(out, "\r\n");
	if (f.err)
		buf_truncate(out, len_before);
	buf_fini(&f.token);
	return f.err;
}

int trace_message_id(const char *id, const char *me, struct buf *out)
{
	return buf_printf(out, "<%s@%s>", id, me);
}
