#include "proto/path.h"

#include <idn2.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/netaddr.h"
#include "base/utf8.h"

enum {
	LABEL_MAX = 63,
	C1_FIRST = 0x80, /* U+0080 to U+009F are control characters too */
	C1_LAST = 0x9f,
};

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_high(char c)
{
	return (unsigned char)c > 127;
}

static bool has_high(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (is_high(s.p[i]))
			return true;
	return false;
}

static bool is_atext(char c)
{
	return is_alnum(c) || is_high(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Valid UTF-8 without the control characters beyond ASCII. */
static bool is_clean_utf8(struct slice s)
{
	while (s.n) {
		uint32_t cp;
		int n = utf8_decode(s, &cp);
		if (n < 0 || (cp >= C1_FIRST && cp <= C1_LAST))
			return false;
		s = slice_from(s, (size_t)n);
	}
	return true;
}

/* Length of the dot-string at the start of in; 0: there is none. */
static size_t dot_string_length(struct slice in)
{
	size_t i = 0;
	for (;;) {
		size_t atom_at = i;
		while (i < in.n && is_atext(in.p[i]))
			i++;
		if (i == atom_at)
			return 0;
		if (i == in.n || in.p[i] != '.')
			return i;
		i++;
	}
}

/* Length of the quoted string at the start of in, with its quotes; 0: there is none. */
static size_t quoted_string_length(struct slice in)
{
	for (size_t i = 1; i < in.n; i++) {
		if (in.p[i] == '"')
			return i + 1;
		bool escaped = in.p[i] == '\\';
		if (escaped && ++i == in.n)
			return 0;
		char c = in.p[i];
		/* RFC 6531: only ASCII may stand behind a backslash. */
		if ((unsigned char)c < ' ' || c == 0x7f || (escaped && is_high(c)))
			return 0;
	}
	return 0;
}

static bool is_label(struct slice l)
{
	bool high = has_high(l);
	if (l.n == 0 || (!high && l.n > LABEL_MAX) || l.p[0] == '-' || l.p[l.n - 1] == '-')
		return false;
	for (size_t i = 0; i < l.n; i++)
		if (!is_alnum(l.p[i]) && !is_high(l.p[i]) && l.p[i] != '-' && l.p[i] != '_')
			return false;
	return !high || is_clean_utf8(l);
}

bool path_is_domain(struct slice in)
{
	if (in.n == 0 || in.n > PATH_DOMAIN_MAX || in.p[in.n - 1] == '.')
		return false;
	struct slice label;
	while (slice_split(&in, '.', &label))
		if (!is_label(label))
			return false;
	return true;
}

bool path_is_literal(struct slice in)
{
	if (in.n < 2 || in.n > PATH_DOMAIN_MAX || in.p[0] != '[' || in.p[in.n - 1] != ']')
		return false;
	struct slice inner = slice_of(in.p + 1, in.n - 2);
	const struct slice tag = SLICE("IPv6:");
	bool v6 = slice_starts_nocase(inner, tag);
	if (v6)
		inner = slice_from(inner, tag.n);
	/* The address parser accepts either family, and brackets of its own. */
	if ((slice_find(inner, ':') >= 0) != v6 || slice_find(inner, '[') >= 0)
		return false;
	struct netaddr a;
	return netaddr_parse_ip(inner, &a) == 0;
}

/* Where a domain or literal at the start of in ends. */
static size_t domain_length(struct slice in)
{
	if (in.n && in.p[0] == '[') {
		ptrdiff_t end = slice_find(in, ']');
		return end < 0 ? in.n : (size_t)end + 1;
	}
	size_t i = 0;
	while (i < in.n && in.p[i] != '>' && in.p[i] != ' ' && in.p[i] != ',' && in.p[i] != ':')
		i++;
	return i;
}

static int parse_local(struct slice in, struct slice *local, struct errbuf *eb)
{
	bool quoted = in.n && in.p[0] == '"';
	*local = slice_of(in.p, quoted ? quoted_string_length(in) : dot_string_length(in));
	if (local->n == 0)
		return errbuf_set(eb, ERR_SYNTAX, "malformed local part");
	if (local->n > PATH_LOCAL_MAX)
		return errbuf_set(eb, ERR_SYNTAX, "local part too long");
	if (has_high(*local) && !is_clean_utf8(*local))
		return errbuf_set(eb, ERR_SYNTAX, "local part is not valid UTF-8");
	return 0;
}

/* "local@domain" at the start of in; p's slices are set, *n its length. */
static int parse_mailbox(struct slice in, struct path *p, size_t *n, struct errbuf *eb)
{
	int r = parse_local(in, &p->local, eb);
	if (r)
		return r;
	struct slice rest = slice_from(in, p->local.n);
	if (rest.n == 0 || rest.p[0] != '@')
		return errbuf_set(eb, ERR_SYNTAX, "address has no domain");
	rest = slice_from(rest, 1);
	p->domain = slice_of(rest.p, domain_length(rest));
	if (!path_is_domain(p->domain) && !path_is_literal(p->domain))
		return errbuf_set(eb, ERR_SYNTAX, "malformed domain");
	*n = p->local.n + 1 + p->domain.n;
	if (*n + 2 > PATH_MAX_BYTES)
		return errbuf_set(eb, ERR_SYNTAX, "address too long");
	p->address = slice_of(in.p, *n);
	p->is_utf8 = has_high(p->address);
	return 0;
}

/* "@a,@b:" off the start of in (RFC 5321 appendix C); the rest is unchanged if there is none. */
static int drop_source_route(struct slice *in, struct errbuf *eb)
{
	if (in->n == 0 || in->p[0] != '@')
		return 0;
	for (;;) {
		if (in->n == 0 || in->p[0] != '@')
			break;
		*in = slice_from(*in, 1);
		struct slice domain = slice_of(in->p, domain_length(*in));
		if (!path_is_domain(domain) && !path_is_literal(domain))
			break;
		*in = slice_from(*in, domain.n);
		if (in->n == 0 || (in->p[0] != ',' && in->p[0] != ':'))
			break;
		bool last = in->p[0] == ':';
		*in = slice_from(*in, 1);
		if (last)
			return 0;
	}
	return errbuf_set(eb, ERR_SYNTAX, "malformed source route");
}

int path_parse(struct slice in, bool null_ok, bool postmaster_ok, struct path *p,
    struct slice *rest, struct errbuf *eb)
{
	const struct slice postmaster = SLICE("postmaster>");
	*p = (struct path){ .is_null = false };
	*rest = SLICE_NONE;
	if (in.n == 0 || in.p[0] != '<')
		return errbuf_set(eb, ERR_SYNTAX, "address is not in <>");
	in = slice_from(in, 1);
	if (in.n && in.p[0] == '>') {
		if (!null_ok)
			return errbuf_set(eb, ERR_SYNTAX, "empty address");
		p->is_null = true;
		*rest = slice_from(in, 1);
		return 0;
	}
	if (postmaster_ok && slice_starts_nocase(in, postmaster)) {
		p->address = p->local = slice_of(in.p, postmaster.n - 1);
		*rest = slice_from(in, postmaster.n);
		return 0;
	}
	size_t n = 0;
	int r = drop_source_route(&in, eb);
	if (!r)
		r = parse_mailbox(in, p, &n, eb);
	if (r)
		return r;
	*rest = slice_from(in, n);
	if (rest->n == 0 || rest->p[0] != '>')
		return errbuf_set(eb, ERR_SYNTAX, "address does not end with >");
	*rest = slice_from(*rest, 1);
	return 0;
}

int path_parse_address(struct slice in, struct path *p, struct errbuf *eb)
{
	size_t n = 0;
	*p = (struct path){ .is_null = false };
	int r = parse_mailbox(in, p, &n, eb);
	if (r)
		return r;
	return n == in.n ? 0 : errbuf_set(eb, ERR_SYNTAX, "something follows the address");
}

static int add_lower(struct slice s, struct buf *out)
{
	char lower[PATH_DOMAIN_MAX];
	CHECK(s.n <= sizeof(lower));
	memcpy(lower, s.p, s.n);
	slice_lower(lower, s.n);
	return buf_add(out, lower, s.n);
}

/*
 * Not the STD3 rules of libidn2: they delete underscores without a word. Its
 * mapping can give dots, slashes and brackets (full-width forms), and empty
 * labels pass it, so the result is held against our grammar.
 */
static int add_alabels(struct slice domain, struct buf *out)
{
	char *text = slice_dup(domain);
	char *ascii = NULL;
	int rc = idn2_to_ascii_8z(text, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
	int r = ERR_SYNTAX;
	if (rc == IDN2_OK && path_is_domain(slice_str(ascii)) && !has_high(slice_str(ascii)))
		r = add_lower(slice_str(ascii), out);
	idn2_free(ascii);
	mem_free(text);
	return r;
}

int path_domain_to_ascii(struct slice domain, struct buf *out)
{
	if (path_is_literal(domain))
		return add_lower(domain, out);
	if (domain.n && domain.p[domain.n - 1] == '.')
		domain.n--;
	if (!path_is_domain(domain))
		return ERR_SYNTAX;
	return has_high(domain) ? add_alabels(domain, out) : add_lower(domain, out);
}
