/*
 * conf_load.c - from a file to a snapshot: scan, parse, fill by the schema,
 * check what must fit together. Nothing stops at the first mistake.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "conf/conf_int.h"

/* libconfig names an included file as the @include line does, without the folder. */
static const char *file_name(struct conf_loader *l, const char *name)
{
	if (!name || strcmp(name, l->conf->file) == 0)
		return l->conf->file;
	mem_free(l->included);
	l->included = mem_printf("%s/%s", l->include_dir, name);
	return l->included;
}

struct conf_place conf_place_of(struct conf_loader *l, const config_setting_t *s)
{
	struct conf_place at = { l->conf->file, 1 };
	if (s) {
		/* Not config_setting_source_line: its type wraps at 65536 lines. */
		at.line = MAX(s->line, 1u);
		at.file = file_name(l, config_setting_source_file(s));
	}
	return at;
}

struct conf_place conf_place_of_key(struct conf_loader *l, const char *name)
{
	const config_setting_t *s = conf_find(l, name);
	const char *dot = strrchr(name, '.');
	if (!s && dot) {
		char *group = mem_strndup(name, (size_t)(dot - name));
		s = conf_find(l, group);
		mem_free(group);
	}
	return conf_place_of(l, s);
}

const config_setting_t *conf_find(const struct conf_loader *l, const char *name)
{
	return config_lookup(&l->file, name);
}

static char *folder_of(const char *file)
{
	const char *slash = strrchr(file, '/');
	if (!slash)
		return mem_strdup(".");
	return mem_strndup(file, (size_t)MAX(slash - file, 1));
}

static bool parse(struct conf_loader *l)
{
	config_set_include_dir(&l->file, l->include_dir);
	if (config_read_file(&l->file, l->conf->file))
		return true;
	struct conf_place at = { file_name(l, config_error_file(&l->file)),
		(unsigned)MAX(config_error_line(&l->file), 1) };
	const char *text = config_error_text(&l->file);
	if (strcmp(text, "syntax error") == 0)
		conf_mistake(l, at,
		    "syntax error here or just before (name = value; text in quotes; booleans are "
		    "true and false; no comma after the last element)");
	else if (strcmp(text, "cannot open include file") == 0)
		conf_mistake(l, at, "cannot open include file (names are relative to %s)",
		    l->include_dir);
	else
		conf_mistake(l, at, "%s", text);
	return false;
}

/* The top, then each group below it; the schema lists groups before what is in them. */
static void fill(struct conf_loader *l)
{
	size_t n;
	const struct conf_key *schema = conf_schema(&n);
	conf_set_group(l, "", config_root_setting(&l->file), l->conf);
	for (size_t i = 0; i < n; i++)
		if (schema[i].type == CONF_TYPE_GROUP)
			conf_set_group(l, schema[i].name, conf_find(l, schema[i].name), l->conf);
}

static int load(struct conf_loader *l)
{
	int err = conf_scan(l, l->conf->file);
	if (err < 0) {
		conf_mistake(l, conf_place_of(l, NULL), "cannot read: %s", err_text(err));
		return err;
	}
	if (parse(l)) {
		fill(l);
		conf_check_texts(l);
		conf_rules_load(l);
		conf_check_files(l);
	}
	return l->mistakes ? ERR_SYNTAX : 0;
}

int conf_load(const char *file, struct conf **conf_r, FILE *errors)
{
	struct conf_loader l = { .errors = errors, .include_dir = folder_of(file) };
	l.conf = mem_zalloc(sizeof(*l.conf));
	l.conf->refs = 1;
	arena_init(&l.conf->arena);
	l.conf->file = arena_strdup(&l.conf->arena, file);
	config_init(&l.file);
	int err = load(&l);
	config_destroy(&l.file);
	conf_report_all(&l);
	mem_free(l.include_dir);
	mem_free(l.included);
	if (err < 0)
		conf_unref(&l.conf);
	*conf_r = l.conf;
	return err;
}

struct conf *conf_ref(struct conf *c)
{
	int before = __atomic_fetch_add(&c->refs, 1, __ATOMIC_RELAXED);
	CHECK(before > 0);
	return c;
}

/* The text is ours, in the arena; only its users see it as const. */
static void wipe(const char *secret)
{
	char *p;
	memcpy(&p, &secret, sizeof(p));
	mem_wipe(p, strlen(p));
}

void conf_unref(struct conf **cp)
{
	struct conf *c = *cp;
	*cp = NULL;
	if (!c)
		return;
	int before = __atomic_fetch_sub(&c->refs, 1, __ATOMIC_ACQ_REL);
	CHECK(before > 0);
	if (before > 1)
		return;
	for (size_t i = 0; i < c->routes_n; i++)
		for (size_t h = 0; h < c->routes[i].hops_n; h++)
			wipe(c->routes[i].hops[h].password);
	dsn_template_free(&c->bounce.failed);
	arena_fini(&c->arena);
	mem_free(c);
}
