/*
 * conf_value.c - from a setting of the file to a typed, checked field.
 *
 * libconfig's getters return 0 or NULL for the wrong type without saying so:
 * the type is tested here before each.
 */
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "conf/conf_int.h"

struct value {
	enum {
		VALUE_NONE = 0,
		VALUE_BOOL,
		VALUE_NUMBER,
		VALUE_TEXT,
	} kind;

	int64_t number; /* also of a boolean */
	const char *text;
};

static const char *type_name(int type)
{
	switch (type) {
	case CONFIG_TYPE_GROUP:
		return "a group";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return "a number";
	case CONFIG_TYPE_FLOAT:
		return "a number with a point";
	case CONFIG_TYPE_STRING:
		return "text in quotes";
	case CONFIG_TYPE_BOOL:
		return "true or false";
	case CONFIG_TYPE_ARRAY:
	case CONFIG_TYPE_LIST:
		return "a list";
	default:
		return "nothing";
	}
}

static struct value value_of(const config_setting_t *s)
{
	struct value v = { 0 };
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		v.kind = VALUE_NUMBER;
		v.number = config_setting_get_int64(s);
		break;
	case CONFIG_TYPE_BOOL:
		v.kind = VALUE_BOOL;
		v.number = config_setting_get_bool(s);
		break;
	case CONFIG_TYPE_STRING:
		v.kind = VALUE_TEXT;
		v.text = config_setting_get_string(s);
		break;
	default:
		break;
	}
	return v;
}

static bool is_numeric(enum conf_type type)
{
	return type == CONF_TYPE_NUMBER || type == CONF_TYPE_INT || type == CONF_TYPE_PORT;
}

static bool is_duration(enum conf_type type)
{
	return type == CONF_TYPE_SECONDS || type == CONF_TYPE_LONG_SECONDS ||
	       type == CONF_TYPE_MILLISECONDS;
}

static bool is_text(enum conf_type type)
{
	return type == CONF_TYPE_TEXT || type == CONF_TYPE_PATH;
}

static bool is_choice(enum conf_type type)
{
	return type == CONF_TYPE_CHOICE || type == CONF_TYPE_CHOICE_BOOL ||
	       type == CONF_TYPE_CHOICE_TEXT;
}

static bool parse_rate(const char *text, struct bucket_rate *r)
{
	*r = (struct bucket_rate){ 0 };
	if (text[0] == '\0')
		return true;
	return units_rate(slice_str(text), &r->count, &r->period_s) == 0 && r->count > 0 &&
	       r->count <= BUCKET_COUNT_MAX && r->period_s <= BUCKET_PERIOD_S_MAX;
}

/* One field, by its C type; number and text as the row's type needs them. */
static void store(const struct conf_key *key, void *base, int64_t number, const char *text)
{
	void *field = (char *)base + key->offset;
	switch (key->type) {
	case CONF_TYPE_BOOL:
	case CONF_TYPE_CHOICE_BOOL:
		*(bool *)field = number != 0;
		return;
	case CONF_TYPE_NUMBER:
	case CONF_TYPE_CHOICE:
		*(unsigned *)field = (unsigned)number;
		return;
	case CONF_TYPE_INT:
	case CONF_TYPE_SECONDS:
		*(int *)field = (int)number;
		return;
	case CONF_TYPE_MILLISECONDS:
		*(int *)field = (int)(number * 1000);
		return;
	case CONF_TYPE_PORT:
		*(uint16_t *)field = (uint16_t)number;
		return;
	case CONF_TYPE_LONG_SECONDS:
		*(int64_t *)field = number;
		return;
	case CONF_TYPE_SIZE:
		*(uint64_t *)field = (uint64_t)number;
		return;
	case CONF_TYPE_RATE:
		CHECK(parse_rate(text, field));
		return;
	case CONF_TYPE_TEXT:
	case CONF_TYPE_PATH:
	case CONF_TYPE_CHOICE_TEXT:
		*(const char **)field = text;
		return;
	case CONF_TYPE_UNSET:
	case CONF_TYPE_SPECIAL:
	case CONF_TYPE_STRINGS:
	case CONF_TYPE_GROUP:
	case CONF_TYPE_GROUPS:
		break;
	}
	UNREACHABLE();
}

static int out_of_range(const struct conf_key *key, struct errbuf *eb)
{
	char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
	if (is_duration(key->type))
		return errbuf_set(eb, ERR_RANGE, "must be from %s to %s",
		    units_format_duration(key->min, low), units_format_duration(key->max, high));
	return errbuf_set(eb, ERR_RANGE, "must be from %" PRId64 " to %" PRId64 "%s", key->min,
	    key->max, key->type == CONF_TYPE_SIZE ? " bytes" : "");
}

static int number_of(const struct conf_key *key, const struct value *v, int64_t *n_r,
    struct errbuf *eb)
{
	uint64_t u = 0;
	int err = 0;
	int64_t n = v->number;
	if (is_numeric(key->type)) {
		if (v->kind != VALUE_NUMBER)
			return errbuf_set(eb, ERR_SYNTAX, "must be a number");
	} else if (v->kind == VALUE_TEXT) {
		if (is_duration(key->type))
			err = units_duration(slice_str(v->text), &n);
		else
			err = units_size(slice_str(v->text), &u);
		if (err == 0 && u > INT64_MAX)
			err = ERR_RANGE;
		if (err == ERR_SYNTAX)
			return errbuf_set(eb, err, "\"%s\" is no %s", v->text,
			    is_duration(key->type)
				? "duration (\"30s\" \"5m\" \"1h\" \"5d\", or seconds)"
				: "size (\"64k\" \"25M\" \"1G\", or bytes)");
		if (!is_duration(key->type))
			n = (int64_t)u;
	} else if (v->kind != VALUE_NUMBER) {
		return errbuf_set(eb, ERR_SYNTAX, "must be a %s",
		    is_duration(key->type) ? "duration such as \"30s\"" : "size such as \"25M\"");
	}
	if (err < 0 || n < key->min || n > key->max)
		return out_of_range(key, eb);
	*n_r = n;
	return 0;
}

static int choice_of(const struct conf_key *key, const struct value *v, int64_t *n_r,
    const char **text_r, struct errbuf *eb)
{
	char names[256] = "";
	size_t used = 0;
	for (const struct conf_choice *c = key->choices; c->name; c++) {
		if (v->kind == VALUE_TEXT && strcmp(v->text, c->name) == 0) {
			*n_r = c->value;
			*text_r = c->name;
			return 0;
		}
		int n = snprintf(names + used, sizeof(names) - used, " \"%s\"", c->name);
		used = MIN(used + (size_t)MAX(n, 0), sizeof(names) - 1);
	}
	return errbuf_set(eb, ERR_SYNTAX, "must be one of%s", names);
}

static int text_of(const struct conf_key *key, const struct value *v, const char **text_r,
    struct errbuf *eb)
{
	if (v->kind != VALUE_TEXT)
		return errbuf_set(eb, ERR_SYNTAX, "must be text in quotes");
	for (const char *p = v->text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			return errbuf_set(eb, ERR_SYNTAX, "must not hold control characters");
	if (key->type == CONF_TYPE_PATH && v->text[0] != '/') {
		bool may_be_empty = key->preset[0] == '\0' ||
				    strcmp(key->name, "events.file") == 0 ||
				    strcmp(key->name, "control.socket") == 0 ||
				    strcmp(key->name, "submission.users_file") == 0;
		if (v->text[0] != '\0')
			return errbuf_set(eb, ERR_SYNTAX, "\"%s\" must be an absolute path",
			    v->text);
		if (!may_be_empty)
			return errbuf_set(eb, ERR_SYNTAX, "must not be empty");
	}
	if (key->type == CONF_TYPE_TEXT && v->text[0] == '\0' && key->preset[0] != '\0')
		return errbuf_set(eb, ERR_SYNTAX, "must not be empty");
	*text_r = v->text;
	return 0;
}

static int rate_of(const struct value *v, const char **text_r, struct errbuf *eb)
{
	struct bucket_rate rate;
	if (v->kind != VALUE_TEXT)
		return errbuf_set(eb, ERR_SYNTAX, "must be text in quotes");
	if (!parse_rate(v->text, &rate))
		return errbuf_set(eb, ERR_SYNTAX, "\"%s\" is no rate such as \"500/1h\"", v->text);
	*text_r = v->text;
	return 0;
}

static int convert(const struct conf_key *key, const struct value *v, int64_t *n_r,
    const char **text_r, struct errbuf *eb)
{
	*n_r = 0;
	*text_r = NULL;
	if (key->type == CONF_TYPE_BOOL) {
		*n_r = v->number;
		return v->kind == VALUE_BOOL ? 0
					     : errbuf_set(eb, ERR_SYNTAX, "must be true or false");
	}
	if (is_choice(key->type))
		return choice_of(key, v, n_r, text_r, eb);
	if (is_text(key->type))
		return text_of(key, v, text_r, eb);
	if (key->type == CONF_TYPE_RATE)
		return rate_of(v, text_r, eb);
	return number_of(key, v, n_r, eb);
}

void conf_set_preset(const struct conf_key *key, void *base)
{
	struct value v = { .kind = VALUE_TEXT, .text = key->preset };
	struct errbuf eb;
	const char *text;
	int64_t n;
	uint64_t u;
	if (key->type == CONF_TYPE_BOOL)
		v = (struct value){ .kind = VALUE_BOOL,
			.number = strcmp(key->preset, "true") == 0 };
	if (is_numeric(key->type)) {
		CHECK(slice_to_u64(slice_str(key->preset), &u));
		v = (struct value){ .kind = VALUE_NUMBER, .number = (int64_t)u };
	}
	/* The table is ours: a default that breaks its own rules is a bug. */
	CHECK(convert(key, &v, &n, &text, &eb) == 0);
	store(key, base, n, text);
}

void conf_set_value(struct conf_loader *l, const struct conf_key *key, const config_setting_t *s,
    void *base)
{
	struct value v = value_of(s);
	struct errbuf eb;
	const char *text;
	int64_t n;
	if (convert(key, &v, &n, &text, &eb) < 0) {
		if (v.kind == VALUE_NONE)
			conf_mistake(l, conf_place_of(l, s), "%s %s, not %s", key->name, eb.text,
			    type_name(config_setting_type(s)));
		else
			conf_mistake(l, conf_place_of(l, s), "%s: %s", key->name, eb.text);
		return;
	}
	/* The choice's own name is static; the file's text goes with the file. */
	if (is_text(key->type))
		text = arena_strdup(&l->conf->arena, text);
	store(key, base, n, text);
}

bool conf_text_of(struct conf_loader *l, const config_setting_t *s, const char *name,
    const char **text_r)
{
	if (config_setting_type(s) != CONFIG_TYPE_STRING) {
		conf_mistake(l, conf_place_of(l, s), "%s: must be text in quotes, not %s", name,
		    type_name(config_setting_type(s)));
		return false;
	}
	*text_r = config_setting_get_string(s);
	for (const char *p = *text_r; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 127) {
			conf_mistake(l, conf_place_of(l, s), "%s: must not hold control characters",
			    name);
			return false;
		}
	}
	return true;
}

static bool is_simple(enum conf_type type)
{
	return type != CONF_TYPE_SPECIAL && type != CONF_TYPE_STRINGS && type != CONF_TYPE_GROUP &&
	       type != CONF_TYPE_GROUPS;
}

static void unknown_key(struct conf_loader *l, const char *group, const config_setting_t *s)
{
	const char *near = conf_schema_nearest(group, config_setting_name(s));
	conf_mistake(l, conf_place_of(l, s), "unknown key \"%s\"%s%s%s%s%s%s",
	    config_setting_name(s), group[0] ? " in \"" : "", group, group[0] ? "\"" : "",
	    near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

void conf_set_presets(const char *group, void *base)
{
	size_t n;
	const struct conf_key *schema = conf_schema(&n);
	for (size_t i = 0; i < n; i++)
		if (conf_key_is_in(&schema[i], group) && is_simple(schema[i].type))
			conf_set_preset(&schema[i], base);
}

void conf_set_members(struct conf_loader *l, const char *group, const config_setting_t *s,
    void *base)
{
	if (!s)
		return;
	if (config_setting_type(s) != CONFIG_TYPE_GROUP) {
		conf_mistake(l, conf_place_of(l, s), "%s: must be a group { ... }, not %s", group,
		    type_name(config_setting_type(s)));
		return;
	}
	for (unsigned i = 0; i < (unsigned)config_setting_length(s); i++) {
		const config_setting_t *member = config_setting_get_elem(s, i);
		const struct conf_key *key = conf_schema_find(group, config_setting_name(member));
		if (!key)
			unknown_key(l, group, member);
		else if (is_simple(key->type))
			conf_set_value(l, key, member, base);
	}
}

void conf_set_group(struct conf_loader *l, const char *group, const config_setting_t *s, void *base)
{
	conf_set_presets(group, base);
	conf_set_members(l, group, s, base);
}

unsigned conf_list_length(struct conf_loader *l, const config_setting_t *s, const char *name,
    enum conf_type type)
{
	CHECK(type == CONF_TYPE_STRINGS || type == CONF_TYPE_GROUPS);
	bool strings = type == CONF_TYPE_STRINGS;
	if (strings && config_setting_type(s) == CONFIG_TYPE_STRING)
		return 1;
	if (config_setting_type(s) == CONFIG_TYPE_LIST ||
	    config_setting_type(s) == CONFIG_TYPE_ARRAY)
		return (unsigned)config_setting_length(s);
	conf_mistake(l, conf_place_of(l, s), "%s: must be a list %s, not %s", name,
	    strings ? "of texts [ \"...\" ]" : "of groups ( { ... } )",
	    type_name(config_setting_type(s)));
	return 0;
}

const config_setting_t *conf_list_at(const config_setting_t *s, unsigned i)
{
	return config_setting_is_aggregate(s) ? config_setting_get_elem(s, i) : s;
}
