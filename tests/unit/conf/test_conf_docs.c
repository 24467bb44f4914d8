/*
 * The manual and the sample file say what the schema says. UPDATE_DOCS=1 in
 * the environment writes the manual's section anew instead of comparing it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "conf/conf_int.h"
#include "lib/unit.h"
#include "unit/conf/folder.h"

#define BEGIN ".\\\" The options, generated from the schema by tests/unit/conf.\n"
#define END   ".\\\" End of the options.\n"

static char *read_tree(const char *name, char path[512])
{
	const char *top = getenv("top_srcdir");
	char *text = NULL;
	size_t n = 0;
	int c;
	snprintf(path, 512, "%s/%s", top ? top : ".", name);
	FILE *f = fopen(path, "re");
	ck_assert_msg(f != NULL, "cannot read %s (top_srcdir must name the tree)", path);
	FILE *to = open_memstream(&text, &n);
	while ((c = getc(f)) != EOF)
		putc(c, to);
	fclose(f);
	fclose(to);
	return text;
}

/* Paths as they are without a prefix: what the documents show. */
static char *plain_path(const char *preset)
{
	if (strncmp(preset, SYSCONFDIR "/", strlen(SYSCONFDIR "/")) == 0)
		return mem_printf("/etc%s", preset + strlen(SYSCONFDIR));
	if (strncmp(preset, LOCALSTATEDIR "/", strlen(LOCALSTATEDIR "/")) == 0)
		return mem_printf("/var%s", preset + strlen(LOCALSTATEDIR));
	return mem_strdup(preset);
}

static bool is_number(const struct conf_key *k)
{
	return k->type == CONF_TYPE_NUMBER || k->type == CONF_TYPE_INT || k->type == CONF_TYPE_PORT;
}

static void kind(FILE *to, const struct conf_key *k)
{
	char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
	if (k->choices) {
		const char *comma = "";
		for (const struct conf_choice *c = k->choices; c->name; c++, comma = ", ")
			fprintf(to, "%s\\(dq%s\\(dq", comma, c->name);
	} else if (k->type == CONF_TYPE_BOOL) {
		fputs("true or false", to);
	} else if (k->type == CONF_TYPE_GROUP) {
		fputs("group", to);
	} else if (k->type == CONF_TYPE_GROUPS) {
		fputs("list of groups", to);
	} else if (is_number(k)) {
		fprintf(to, "%" PRId64 " to %" PRId64, k->min, k->max);
	} else if (k->type == CONF_TYPE_SIZE) {
		fputs("size", to);
	} else if (k->type == CONF_TYPE_PATH) {
		fputs("path", to);
	} else if (k->max > 0) {
		fprintf(to, "duration, %s to %s", units_format_duration(k->min, low),
		    units_format_duration(k->max, high));
	} else if (k->type == CONF_TYPE_STRINGS) {
		fprintf(to, "list of %s", k->unit);
	} else {
		fputs(k->unit ? k->unit : "text", to);
	}
}

/* Text for mdoc: a quote is a special character there. */
static void roff(FILE *to, const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p == '"')
			fputs("\\(dq", to);
		else if (*p == '\\')
			fputs("\\e", to);
		else
			putc(*p, to);
	}
}

static void item(FILE *to, const struct conf_key *k)
{
	fprintf(to, ".It Ic %s Pq ", k->name);
	kind(to, k);
	if (k->preset && k->preset[0]) {
		bool bare = is_number(k) || k->type == CONF_TYPE_BOOL || strcmp(k->name, "me") == 0;
		char *preset = plain_path(k->preset);
		fprintf(to, "; default %s%s%s", bare ? "" : "\\(dq", preset, bare ? "" : "\\(dq");
		mem_free(preset);
	}
	fputs("\n", to);
	putc(k->help[0] >= 'a' && k->help[0] <= 'z' ? k->help[0] - 'a' + 'A' : k->help[0], to);
	roff(to, k->help + 1);
	fputs(".\n", to);
}

static char *options_section(void)
{
	char *text = NULL;
	size_t n = 0, rows;
	const struct conf_key *schema = conf_schema(&rows);
	FILE *to = open_memstream(&text, &n);
	fputs(BEGIN ".Bl -tag -width Ds\n", to);
	for (size_t i = 0; i < rows; i++)
		item(to, &schema[i]);
	fputs(".El\n" END, to);
	fclose(to);
	return text;
}

static void rewrite(const char *path, const char *page, const char *from, const char *section,
    const char *rest)
{
	FILE *f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	fwrite(page, 1, (size_t)(from - page), f);
	fputs(section, f);
	fputs(rest, f);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(manual_has_the_options)
{
	char path[512];
	char *page = read_tree("man/postrider.conf.5", path);
	char *section = options_section();
	char *from = strstr(page, BEGIN);
	char *to = strstr(page, END);
	ck_assert_ptr_nonnull(from);
	ck_assert_ptr_nonnull(to);
	to += strlen(END);
	if (getenv("UPDATE_DOCS")) {
		rewrite(path, page, from, section, to);
	} else {
		size_t same = 0;
		while (section[same] && section[same] == from[same])
			same++;
		ck_assert_msg(section[same] == '\0',
		    "man/postrider.conf.5 differs from the schema at \"%.60s\" (run with "
		    "UPDATE_DOCS=1)",
		    section + same);
		ck_assert_ptr_eq(from + same, to);
	}
	free(page);
	free(section);
}

END_TEST

/* "name =" as a word. */
static bool names(const char *text, const char *leaf)
{
	char pattern[64];
	snprintf(pattern, sizeof(pattern), "%s =", leaf);
	for (const char *p = text; (p = strstr(p, pattern)) != NULL; p++)
		if (p == text || strchr(" \t\n{", p[-1]))
			return true;
	return false;
}

START_TEST(sample_names_every_key)
{
	char path[512];
	size_t n;
	const struct conf_key *schema = conf_schema(&n);
	char *text = read_tree("etc/postrider.conf", path);
	for (size_t i = 0; i < n; i++)
		ck_assert_msg(names(text, conf_key_leaf(&schema[i])),
		    "etc/postrider.conf does not name %s", schema[i].name);
	free(text);
}

END_TEST

static char *replaced(char *text, const char *from, const char *to)
{
	char *at = strstr(text, from);
	ck_assert_msg(at != NULL, "%s", from);
	char *out = mem_printf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	mem_free(text);
	return out;
}

static char *dump(struct conf *c)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);
	conf_dump(c, to);
	fclose(to);
	conf_unref(&c);
	return text;
}

/* As shipped it lacks a certificate, nothing else; with one it says the defaults. */
START_TEST(sample_says_the_defaults)
{
	char path[512];
	char *raw = read_tree("etc/postrider.conf", path);
	char *text = mem_strdup(raw);
	free(raw);
	text = replaced(text, "user = \"postrider\"", "user = \"nobody\"");
	text = replaced(text, "group = \"postrider\"", "group = \"nogroup\"");
	text = replaced(text, "# me = \"relay.example.net\"", "me = \"relay.example.net\"");
	text = replaced(text, "\"/etc/postrider/users\"", "\"" SYSCONFDIR "/postrider/users\"");
	text = replaced(text, "\"/etc/postrider/bounce\"", "\"@/\"");
	text = replaced(text, "\"/var/spool/", "\"" LOCALSTATEDIR "/spool/");
	text = replaced(text, "\"/var/log/", "\"" LOCALSTATEDIR "/log/");
	text = replaced(text, "trusted_networks = [ ]", "trusted_networks = \"::1\"");
	folder_write("sample.conf", text);
	ck_assert_ptr_null(folder_load("sample.conf"));
	ck_assert_ptr_nonnull(strstr(folder_said(), "needs a certificate"));
	ck_assert_ptr_eq(strchr(folder_said(), '\n'), strrchr(folder_said(), '\n'));
	folder_write("c.pem", "");
	text = replaced(text, "certificate = \"\"", "certificate = \"@/c.pem\"");
	text = replaced(text, "key = \"\"", "key = \"@/c.pem\"");
	folder_write("sample.conf", text);
	mem_free(text);
	struct conf *sample = folder_load("sample.conf");
	ck_assert_str_eq(folder_said(), "");
	folder_write("short.conf", "user = \"nobody\"; group = \"nogroup\"; me = "
				   "\"relay.example.net\"; bounce = { directory = \"@/\"; };\n"
				   "tls = { certificate = \"@/c.pem\"; key = \"@/c.pem\"; }; "
				   "submission = { trusted_networks = \"::1\"; };");
	struct conf *defaults = folder_load("short.conf");
	ck_assert_str_eq(folder_said(), "");
	char *a = dump(sample);
	char *b = dump(defaults);
	ck_assert_str_eq(a, b);
	free(a);
	free(b);
}

END_TEST

Suite *test_conf_docs_suite(void)
{
	Suite *s = suite_create("conf_docs");
	TCase *tc = tcase_create("all");
	tcase_add_checked_fixture(tc, folder_make, folder_remove);
	tcase_add_test(tc, manual_has_the_options);
	tcase_add_test(tc, sample_names_every_key);
	tcase_add_test(tc, sample_says_the_defaults);
	suite_add_tcase(s, tc);
	return s;
}
