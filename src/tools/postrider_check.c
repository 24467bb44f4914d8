#include "tools/postrider_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "queue/check.h"

#define LINE_MAX_BYTES (64 * 1024)

struct output {
	bool repair, json;
	bool failed; /* to write */
};

int check_args_parse(int argc, char **argv, struct check_args *args)
{
	*args = (struct check_args){ .spool = NULL };
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--repair") == 0)
			args->repair = true;
		else if (strcmp(argv[i], "--json") == 0)
			args->json = true;
		else if (strcmp(argv[i], "--spool") == 0 && i + 1 < argc)
			args->spool = argv[++i];
		else
			return ERR_SYNTAX;
	}
	return 0;
}

static void put_line(struct output *o, struct buf *b)
{
	int err = buf_add_char(b, '\n');
	o->failed = o->failed || err < 0 || fwrite(buf_ptr(b), 1, buf_len(b), stdout) != buf_len(b);
	buf_fini(b);
}

/* --- findings --- */

static const char *outcome(const struct check_finding *f)
{
	if (f->action == CHECK_NO_ACTION)
		return "none";
	if (f->result == CHECK_NOT_TRIED)
		return "possible";
	return f->result == 0 ? "done" : "failed";
}

static void put_json(struct output *o, const struct check_finding *f)
{
	struct buf b;
	struct json j;
	buf_init(&b, LINE_MAX_BYTES);
	json_begin(&j, &b);
	json_open(&j, NULL);
	json_cstr(&j, "severity", check_severity_name(f->severity));
	json_cstr(&j, "kind", check_kind_name(f->kind));
	json_cstr(&j, "path", f->place);
	if (f->offset >= 0)
		json_int(&j, "offset", f->offset);
	json_cstr(&j, "text", f->text);
	json_cstr(&j, "repair", outcome(f));
	if (f->action != CHECK_NO_ACTION)
		json_cstr(&j, "action", check_action_text(f->action, f->result == 0));
	if (f->result < 0)
		json_cstr(&j, "error", err_text(f->result));
	json_close(&j);
	o->failed = json_end(&j) < 0 || o->failed;
	put_line(o, &b);
}

/* Names and addresses come from outside: a finding is one line, and nothing to a terminal. */
static int add_safe(struct buf *b, const char *text)
{
	int err = 0;
	for (const char *p = text; err == 0 && *p != '\0'; p++) {
		unsigned char c = (unsigned char)*p;
		err = c < 0x20 || c == 0x7f ? buf_printf(b, "\\x%02x", c) : buf_add_char(b, *p);
	}
	return err;
}

static int add_action(struct buf *b, const struct check_finding *f)
{
	if (f->action == CHECK_NO_ACTION)
		return 0;
	if (f->result == 0)
		return buf_printf(b, " [%s]", check_action_text(f->action, true));
	if (f->result == CHECK_NOT_TRIED)
		return buf_printf(b, " [--repair would %s]", check_action_text(f->action, false));
	return buf_printf(b, " [can't %s: %s]", check_action_text(f->action, false),
	    err_text(f->result));
}

static void put_text(struct output *o, const struct check_finding *f)
{
	struct buf b;
	buf_init(&b, LINE_MAX_BYTES);
	int err = buf_printf(&b, "%s: ", check_severity_name(f->severity));
	if (err == 0)
		err = add_safe(&b, f->place);
	if (err == 0 && f->offset >= 0)
		err = buf_printf(&b, " at %" PRId64, f->offset);
	if (err == 0)
		err = buf_add_str(&b, ": ");
	if (err == 0)
		err = add_safe(&b, f->text);
	if (err == 0)
		err = add_action(&b, f);
	o->failed = o->failed || err < 0;
	put_line(o, &b);
}

static void on_found(void *arg, const struct check_finding *f)
{
	struct output *o = arg;
	if (o->json)
		put_json(o, f);
	else
		put_text(o, f);
}

/* --- summary --- */

static void sum_up_json(struct output *o, const struct check_report *r)
{
	struct buf b;
	struct json j;
	buf_init(&b, LINE_MAX_BYTES);
	json_begin(&j, &b);
	json_open(&j, NULL);
	json_open(&j, "journal");
	json_int(&j, "segments", (int64_t)r->journal.segments);
	json_int(&j, "free", (int64_t)r->journal.free);
	json_int(&j, "bytes", (int64_t)r->journal.bytes);
	json_int(&j, "messages", (int64_t)r->journal.messages);
	json_int(&j, "destinations", (int64_t)r->journal.parts);
	json_int(&j, "recipients", (int64_t)r->journal.recipients);
	json_close(&j);
	json_open(&j, "queue");
	json_int(&j, "files", (int64_t)r->queue.files);
	json_int(&j, "held", (int64_t)r->queue.held);
	json_int(&j, "bytes", (int64_t)r->queue.bytes);
	json_int(&j, "messages", (int64_t)r->queue.messages);
	json_int(&j, "recipients", (int64_t)r->queue.recipients);
	json_close(&j);
	json_open(&j, "body");
	json_int(&j, "files", (int64_t)r->body.files);
	json_int(&j, "bytes", (int64_t)r->body.bytes);
	json_close(&j);
	json_open(&j, "tmp");
	json_int(&j, "files", (int64_t)r->tmp.files);
	json_int(&j, "bytes", (int64_t)r->tmp.bytes);
	json_close(&j);
	json_open(&j, "corrupt");
	json_int(&j, "files", (int64_t)r->corrupt.files);
	json_int(&j, "bytes", (int64_t)r->corrupt.bytes);
	json_close(&j);
	json_open(&j, "findings");
	for (int k = CHECK_NO_KIND + 1; k < CHECK_KINDS; k++) {
		if (r->kinds[k] > 0)
			json_int(&j, check_kind_name((enum check_kind)k), (int64_t)r->kinds[k]);
	}
	json_close(&j);
	json_int(&j, "errors", (int64_t)r->severities[CHECK_ERROR]);
	json_int(&j, "warnings", (int64_t)r->severities[CHECK_WARNING]);
	json_int(&j, "notes", (int64_t)r->severities[CHECK_NOTE]);
	json_int(&j, "repairable", (int64_t)r->repairable);
	json_int(&j, "repaired", (int64_t)r->repaired);
	json_close(&j);
	o->failed = json_end(&j) < 0 || o->failed;
	put_line(o, &b);
}

static void sum_up_text(const struct output *o, const struct check_report *r)
{
	printf("journal: %" PRIu64 " segments, %" PRIu64 " of them free, %" PRIu64
	       " bytes; %" PRIu64 " messages for %" PRIu64 " destinations, %" PRIu64
	       " recipients wait\n",
	    r->journal.segments, r->journal.free, r->journal.bytes, r->journal.messages,
	    r->journal.parts, r->journal.recipients);
	printf("queue: %" PRIu64 " files, %" PRIu64 " of them held, %" PRIu64
	       " bytes of mail; %" PRIu64 " messages, %" PRIu64 " recipients wait\n",
	    r->queue.files, r->queue.held, r->queue.bytes, r->queue.messages, r->queue.recipients);
	printf("body: %" PRIu64 " files, %" PRIu64 " bytes\n", r->body.files, r->body.bytes);
	printf("tmp: %" PRIu64 " files, %" PRIu64 " bytes\n", r->tmp.files, r->tmp.bytes);
	printf("corrupt: %" PRIu64 " files, %" PRIu64 " bytes\n", r->corrupt.files,
	    r->corrupt.bytes);
	for (int k = CHECK_NO_KIND + 1; k < CHECK_KINDS; k++) {
		if (r->kinds[k] > 0)
			printf("found: %" PRIu64 " %s\n", r->kinds[k],
			    check_kind_name((enum check_kind)k));
	}
	printf("%" PRIu64 " errors, %" PRIu64 " warnings, %" PRIu64 " notes; ",
	    r->severities[CHECK_ERROR], r->severities[CHECK_WARNING], r->severities[CHECK_NOTE]);
	if (o->repair)
		printf("%" PRIu64 " of %" PRIu64 " repaired\n", r->repaired, r->repairable);
	else
		printf("--repair would see to %" PRIu64 "\n", r->repairable);
}

/* --- all --- */

/* What the queue logs of its repairs stands in the findings. */
static void no_log(void *arg UNUSED, const char *line UNUSED, size_t n UNUSED)
{
}

int check_command(const struct check_args *args, const char *spool)
{
	struct output o = { .repair = args->repair, .json = args->json };
	struct check_report report;
	struct errbuf eb = { "" };
	const struct check_options opt = { .directory = spool,
		.repair = args->repair,
		.found = on_found,
		.arg = &o };
	log_set_sink(no_log, NULL);
	int err = check_spool(&opt, &report, &eb);
	if (err == 0 && o.json)
		sum_up_json(&o, &report);
	else if (err == 0)
		sum_up_text(&o, &report);
	if (fflush(stdout) != 0 || o.failed) {
		fputs("postrider: can't write to standard output\n", stderr);
		return 1;
	}
	if (err == ERR_BUSY)
		fprintf(stderr, "postrider: %s: a daemon runs on this spool: stop it first\n",
		    spool);
	else if (err < 0)
		fprintf(stderr, "postrider: %s: %s\n", spool, eb.text);
	bool wrong = report.severities[CHECK_ERROR] + report.severities[CHECK_WARNING] > 0;
	return err < 0 || wrong ? 1 : 0;
}
