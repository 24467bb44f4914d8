#include "proto/dsn.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/codec.h"
#include "proto/dsn_text.h"
#include "proto/header.h"
#include "proto/trace.h"

/*
 * dsn.c - a report from top to bottom:
 *
 *   header      the template's fields, then what it left out and what is ours
 *   text        the template's body, for people
 *   status      message/delivery-status, for programs
 *   original    whole (from the caller, between head and tail) or its headers
 *
 * All text that others chose passes dsn_text_clean before it is written.
 */

enum {
	VALUE_MAX = 16000, /* of a list put into the text; dsn_template.c cuts a little later */
	SUBJECT_MAX = 998,
	FIELD_VALUE_MAX =
	    6000, /* of foreign text in one field; "\\x{10FFFF}" makes ten bytes of four */
	FIELD_MAX = 65536,
	/* Reply texts make most of a report to many: what all share of it, and what each has */
	DIAGNOSTICS_MAX = 4 << 20,
	DIAGNOSTIC_MIN = 128,
	ID_SHOWN_MAX = 40, /* of the report's id in the boundary, which has 70 at most (RFC 2046) */
	BOUNDARY_MAX = 71,
	BODY_MAX = 4 << 20 /* beyond what any template can become */
};

struct writer {
	const struct dsn_report *r;
	const struct dsn_template *t;
	struct buf *out;
	int err; /* first, sticky: the rest is then not written */
	char boundary[BOUNDARY_MAX];
	bool text_8bit, original_8bit;
};

static void put(struct writer *w, const char *text)
{
	if (!w->err)
		w->err = buf_add_str(w->out, text);
}

static void put_field(struct writer *w, const char *name, enum dsn_text_kind kind,
    const char *prefix, struct slice value)
{
	struct buf line;
	buf_init(&line, FIELD_MAX);
	value.n = MIN(value.n, (size_t)FIELD_VALUE_MAX);
	if (!w->err)
		w->err = buf_printf(&line, "%s: %s", name, prefix);
	if (!w->err)
		w->err = dsn_text_clean(value, kind, &line);
	if (!w->err)
		w->err = dsn_text_fold(buf_slice(&line), w->out);
	buf_fini(&line);
}

static void put_ascii(struct writer *w, const char *name, const char *prefix, const char *value)
{
	put_field(w, name, DSN_TEXT_ASCII, prefix, slice_str(value));
}

static void put_date(struct writer *w, const char *name, int64_t at_ms)
{
	char text[CLOCK_TEXT_MAX];
	if (at_ms > 0)
		put_ascii(w, name, "", clock_rfc5322(at_ms, text));
}

/* 1. what the template is given */

struct list {
	struct buf text;
	bool cut; /* too long for people; the status part has everybody */
};

struct values {
	struct list to, recipients, reasons;
	struct buf subject;
	bool differ; /* the reasons of the recipients do */
	char pid[16];
	char date[CLOCK_TEXT_MAX];
};

static void list_add(struct list *l, const char *separator, const char *a, const char *b,
    const char *c)
{
	static const char etc[] = " ...";
	if (l->cut)
		return;
	size_t before = buf_len(&l->text);
	int r = buf_printf(&l->text, "%s%s%s%s", before ? separator : "", a, b, c);
	l->cut = r || buf_len(&l->text) > VALUE_MAX - sizeof(etc);
	if (l->cut) {
		buf_truncate(&l->text, before);
		r = buf_add_str(&l->text, etc);
	}
	CHECK(r == 0);
}

static bool reasons_differ(const struct dsn_report *r)
{
	for (size_t i = 1; i < r->rcpts_n; i++)
		if (strcmp(r->rcpts[i].reason, r->rcpts[0].reason) != 0)
			return true;
	return false;
}

static void values_init(struct values *v, const struct dsn_report *r)
{
	*v = (struct values){ .differ = reasons_differ(r) };
	buf_init(&v->to.text, VALUE_MAX);
	buf_init(&v->recipients.text, VALUE_MAX);
	buf_init(&v->reasons.text, VALUE_MAX);
	buf_init(&v->subject, SUBJECT_MAX);
	snprintf(v->pid, sizeof(v->pid), "%d", r->pid);
	clock_rfc5322(r->now_ms, v->date);
	for (size_t i = 0; i < r->rcpts_n; i++) {
		const struct dsn_rcpt *rcpt = &r->rcpts[i];
		list_add(&v->to, ", ", rcpt->address, "", "");
		list_add(&v->recipients, "\n", rcpt->address, "", "");
		list_add(&v->reasons, "\n", rcpt->address, ": ", rcpt->reason);
	}
	if (header_find(r->original_header, "Subject", &v->subject))
		buf_clear(&v->subject);
}

static void values_fini(struct values *v)
{
	buf_fini(&v->to.text);
	buf_fini(&v->recipients.text);
	buf_fini(&v->reasons.text);
	buf_fini(&v->subject);
}

static struct dsn_template_vars values_vars(struct values *v, const struct dsn_report *r)
{
	return (struct dsn_template_vars){
		.pid = v->pid,
		.date = v->date,
		.me = r->me,
		.from = r->sender,
		.to = buf_cstr(&v->to.text),
		.msgid = r->msgid,
		.reason = v->differ ? buf_cstr(&v->reasons.text) : r->rcpts[0].reason,
		.subject = buf_cstr(&v->subject),
		.recipients = buf_cstr(&v->recipients.text),
		.queue_id = r->queue_id,
	};
}

/* 2. the boundary */

/*
 * Made of the report's id, which nobody could know when the original was
 * written; what is at hand is searched all the same.
 */
static void choose_boundary(struct writer *w, struct slice text)
{
	char id[ID_SHOWN_MAX + 1];
	size_t n = 0;
	for (const char *p = w->r->report_id; *p && n < ID_SHOWN_MAX; p++)
		if ((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
		    (*p >= 'A' && *p <= 'Z') || *p == '.' || *p == '-')
			id[n++] = *p;
	id[n] = '\0';
	for (unsigned attempt = 0;; attempt++) {
		snprintf(w->boundary, sizeof(w->boundary), "=_postrider_%s_%u", id, attempt);
		size_t len = strlen(w->boundary);
		struct slice header = w->r->original_header;
		bool in_text = text.n > 0 && memmem(text.p, text.n, w->boundary, len);
		bool in_header = header.n > 0 && memmem(header.p, header.n, w->boundary, len);
		if (!in_text && !in_header)
			return;
	}
}

static void put_delimiter(struct writer *w, const char *end)
{
	put(w, "\r\n--");
	put(w, w->boundary);
	put(w, end);
	put(w, "\r\n");
}

/* 3. the parts */

static void put_missing_headers(struct writer *w, const struct dsn_template_vars *v)
{
	const struct dsn_report *r = w->r;
	if (!dsn_template_has_header(w->t, "Date"))
		put_ascii(w, "Date", "", v->date);
	if (!dsn_template_has_header(w->t, "From")) {
		put(w, "From: Mail Delivery System <MAILER-DAEMON@");
		put(w, r->me);
		put(w, ">\r\n");
	}
	if (!dsn_template_has_header(w->t, "To"))
		put_field(w, "To", DSN_TEXT_UTF8, "", slice_str(r->sender));
	if (!dsn_template_has_header(w->t, "Subject"))
		put(w, "Subject: Undelivered mail\r\n");
	if (!dsn_template_has_header(w->t, "Message-ID")) {
		put(w, "Message-ID: ");
		if (!w->err)
			w->err = trace_message_id(r->report_id, r->me, w->out);
		put(w, "\r\n");
	}
}

static void put_headers(struct writer *w, const struct dsn_template_vars *v)
{
	const char *original_id = w->r->original_message_id;
	if (!w->err)
		w->err = dsn_template_headers(w->t, v, w->out);
	put_missing_headers(w, v);
	put(w, "Auto-Submitted: auto-replied\r\n"); /* RFC 3834 5 */
	if (*original_id) {
		put_ascii(w, "In-Reply-To", "", original_id);
		put_ascii(w, "References", "", original_id);
	}
	put(w, "MIME-Version: 1.0\r\n"
	       "Content-Type: multipart/report; report-type=delivery-status;\r\n"
	       " boundary=\"");
	put(w, w->boundary);
	put(w, "\"\r\n");
	if (w->text_8bit || w->original_8bit)
		put(w, "Content-Transfer-Encoding: 8bit\r\n");
	put(w, "\r\nThis is a report in MIME format.\r\n");
}

static void put_text(struct writer *w, struct slice text)
{
	put_delimiter(w, "");
	put(w, "Content-Description: Notification\r\n"
	       "Content-Type: text/plain; charset=utf-8\r\n");
	if (w->text_8bit)
		put(w, "Content-Transfer-Encoding: 8bit\r\n");
	put(w, "\r\n");
	if (!w->err)
		w->err = buf_add_slice(w->out, text);
}

/* xtext as the sender gave it (RFC 3461 4), decoded; what is none is shown as it is. */
static void put_decoded(struct writer *w, const char *name, const char *prefix, struct slice xtext)
{
	struct buf decoded;
	buf_init(&decoded, FIELD_MAX);
	bool ok = codec_xtext_decode(&decoded, xtext) == 0;
	put_field(w, name, DSN_TEXT_ESCAPED, prefix, ok ? buf_slice(&decoded) : xtext);
	buf_fini(&decoded);
}

static void put_original_recipient(struct writer *w, const char *orcpt)
{
	struct slice rest = slice_str(orcpt), type;
	if (rest.n == 0 || !slice_split(&rest, ';', &type) || type.n == 0 || rest.n == 0)
		return;
	/* RFC 6533 3: the escapes of a utf-8 address stay, they are its form in a 7-bit report. */
	if (slice_eq_nocase(type, SLICE("utf-8")))
		put_field(w, "Original-Recipient", DSN_TEXT_ESCAPED, "utf-8; ", rest);
	else if (slice_eq_nocase(type, SLICE("rfc822")))
		put_decoded(w, "Original-Recipient", "rfc822; ", rest);
	else
		put_field(w, "Original-Recipient", DSN_TEXT_ESCAPED, "", slice_str(orcpt));
}

static struct slice diagnostic_of(const struct writer *w, const struct dsn_rcpt *rcpt)
{
	size_t share = DIAGNOSTICS_MAX / w->r->rcpts_n;
	struct slice text = slice_str(rcpt->diagnostic);
	text.n = MIN(text.n, MAX(share, (size_t)DIAGNOSTIC_MIN));
	return text;
}

static void put_recipient(struct writer *w, const struct dsn_rcpt *rcpt)
{
	put(w, "\r\n");
	put_original_recipient(w, rcpt->orcpt);
	put_field(w, "Final-Recipient", DSN_TEXT_ESCAPED, "rfc822; ", slice_str(rcpt->address));
	put(w, "Action: failed\r\n");
	put_ascii(w, "Status", "", rcpt->status);
	if (*rcpt->remote_mta)
		put_ascii(w, "Remote-MTA", "dns; ", rcpt->remote_mta);
	if (*rcpt->diagnostic)
		put_field(w, "Diagnostic-Code", DSN_TEXT_ASCII, "smtp; ", diagnostic_of(w, rcpt));
	put_date(w, "Last-Attempt-Date", rcpt->last_attempt_ms);
}

static void put_status(struct writer *w)
{
	const struct dsn_report *r = w->r;
	put_delimiter(w, "");
	put(w, "Content-Description: Delivery report\r\n"
	       "Content-Type: message/delivery-status\r\n\r\n");
	put_ascii(w, "Reporting-MTA", "dns; ", r->me);
	if (*r->envid)
		put_decoded(w, "Original-Envelope-Id", "", slice_str(r->envid));
	put_date(w, "Arrival-Date", r->arrival_ms);
	put_ascii(w, "X-Postrider-Queue-ID", "", r->queue_id);
	for (size_t i = 0; i < r->rcpts_n; i++)
		put_recipient(w, &r->rcpts[i]);
}

/* The block without the blank line that ends it. */
static struct slice bare_block(struct slice block)
{
	struct slice blank = SLICE("\r\n\r\n");
	if (slice_eq(block, SLICE("\r\n")) || slice_ends_nocase(block, blank))
		block.n -= 2;
	return block;
}

static void put_original(struct writer *w)
{
	const struct dsn_report *r = w->r;
	put_delimiter(w, "");
	if (r->headers_only)
		put(w, "Content-Description: Headers of the undelivered message\r\n"
		       "Content-Type: text/rfc822-headers\r\n");
	else
		put(w, "Content-Description: Undelivered message\r\n"
		       "Content-Type: message/rfc822\r\n");
	if (w->original_8bit)
		put(w, "Content-Transfer-Encoding: 8bit\r\n");
	put(w, "\r\n");
	if (r->headers_only && !w->err) {
		struct slice block = bare_block(r->original_header);
		w->err = buf_add_slice(w->out, block);
		if (block.n > 0 && !slice_ends_nocase(block, SLICE("\r\n")))
			put(w, "\r\n");
	}
}

static void write_head(struct writer *w, const struct dsn_template_vars *v)
{
	struct buf text;
	buf_init(&text, BODY_MAX);
	w->err = dsn_template_body(w->t, v, &text);
	w->text_8bit = !dsn_text_is_ascii(buf_slice(&text));
	choose_boundary(w, buf_slice(&text));
	put_headers(w, v);
	put_text(w, buf_slice(&text));
	put_status(w);
	put_original(w);
	buf_fini(&text);
}

int dsn_write(const struct dsn_report *r, const struct dsn_template *t, struct buf *head,
    struct buf *tail)
{
	CHECK(r->rcpts_n > 0);
	size_t head_before = buf_len(head), tail_before = buf_len(tail);
	struct values values;
	values_init(&values, r);
	struct dsn_template_vars vars = values_vars(&values, r);
	struct writer w = { .r = r, .t = t, .out = head };
	w.original_8bit =
	    r->headers_only ? !dsn_text_is_ascii(r->original_header) : r->original_8bit;
	write_head(&w, &vars);
	w.out = tail;
	put_delimiter(&w, "--");
	if (w.err) {
		buf_truncate(head, head_before);
		buf_truncate(tail, tail_before);
	}
	values_fini(&values);
	return w.err;
}
