/*
 * conf_int.h - shared by the files of src/conf only: the schema's row, the
 * loader, and how a setting of the file becomes a value.
 *
 * The schema (conf_schema.c) is one table. Simple keys are filled, checked,
 * dumped and documented by it alone; keys of the LIST types and a few texts
 * with a grammar of their own are also in it, for everything but their
 * parsing, which conf_rules.c and conf_check.c do.
 */
#ifndef CONF_CONF_INT_H
#define CONF_CONF_INT_H

#include <libconfig.h>
#include <stdio.h>

#include "base/map.h"
#include "conf/conf.h"

enum conf_type { /* in brackets: the field's C type */
	CONF_TYPE_UNSET = 0,
	CONF_TYPE_BOOL,         /* bool */
	CONF_TYPE_NUMBER,       /* unsigned */
	CONF_TYPE_INT,          /* int */
	CONF_TYPE_PORT,         /* uint16_t */
	CONF_TYPE_TEXT,         /* const char *: printable, one line */
	CONF_TYPE_PATH,         /* const char *: absolute, or "" where the default is "" */
	CONF_TYPE_SECONDS,      /* int; a duration */
	CONF_TYPE_LONG_SECONDS, /* int64_t; a duration */
	CONF_TYPE_MILLISECONDS, /* int; a duration in whole seconds, stored in ms */
	CONF_TYPE_SIZE,         /* uint64_t */
	CONF_TYPE_RATE,         /* struct bucket_rate: "500/1h", "": no limit */
	CONF_TYPE_CHOICE,       /* an enum: the choice's value */
	CONF_TYPE_CHOICE_BOOL,  /* bool: the choice's value */
	CONF_TYPE_CHOICE_TEXT,  /* const char *: the choice's name */
	CONF_TYPE_SPECIAL,      /* a text with a grammar of its own */
	CONF_TYPE_STRINGS,      /* [ "a", "b" ], ( "a", "b" ) or "a" */
	CONF_TYPE_GROUP,        /* { ... } */
	CONF_TYPE_GROUPS,       /* ( { ... }, { ... } ) */
};

struct conf_choice {
	const char *name; /* NULL ends the list */
	int value;
};

struct conf_key {
	const char *name; /* with its groups: "outbound.tls.ciphers" */
	enum conf_type type;
	size_t offset;    /* of the field in struct conf, or in the element of a GROUPS list */
	int64_t min, max; /* numbers, durations in s, sizes in bytes */
	const char
	    *preset; /* the default, as it would be written, without quotes; NULL for groups */
	const struct conf_choice *choices;
	const char *unit; /* for people: "seconds"; NULL none */
	const char *help; /* one sentence */
};

/* The table, in the order of the sample file; groups come before what is in them. */
const struct conf_key *conf_schema(size_t *n);
/* The row of that key; NULL if there is none. */
const struct conf_key *conf_schema_find(const char *group, const char *name);
/* True if the row lies directly in the group ("" for the top). */
bool conf_key_is_in(const struct conf_key *key, const char *group);
/* The last part of its name. */
const char *conf_key_leaf(const struct conf_key *key);
/* What an unknown name in the group may have meant, as it would be written there; NULL if nothing
 * is near. */
const char *conf_schema_nearest(const char *group, const char *name);

struct conf_report;

struct conf_loader {
	struct conf *conf;
	config_t file;
	FILE *errors;
	unsigned mistakes;
	struct conf_report *reports; /* mistakes and warnings, until they are told */
	size_t reports_n;
	char *include_dir;
	char *included; /* the path of the last place that was in an included file */
};

/* A place in the file that a message is about. */
struct conf_place {
	const char *file;
	unsigned line;
};

/* Of a setting; of NULL: the first line of the main file. */
struct conf_place conf_place_of(struct conf_loader *l, const config_setting_t *s);
/* Of a key; where it is not set, of its group; else the first line. */
struct conf_place conf_place_of_key(struct conf_loader *l, const char *name);
/* "FILE:LINE: message", counted; control characters are shown as '?'. */
void conf_mistake(struct conf_loader *l, struct conf_place at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* "warning: FILE:LINE: message", not counted. */
void conf_warning(struct conf_loader *l, struct conf_place at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Writes all of them, by file and line, and forgets them. */
void conf_report_all(struct conf_loader *l);

/* The setting of a key, or NULL. */
const config_setting_t *conf_find(const struct conf_loader *l, const char *name);

/* Text of a string setting; false (and a mistake) for any other type. */
bool conf_text_of(struct conf_loader *l, const config_setting_t *s, const char *name,
    const char **text_r);

/* Puts the preset of the row into its field below base. */
void conf_set_preset(const struct conf_key *key, void *base);
/* Reads, checks, stores; a mistake leaves the field alone. Simple types only. */
void conf_set_value(struct conf_loader *l, const struct conf_key *key, const config_setting_t *s,
    void *base);
/* The presets of the group, which is the schema's name for it. */
void conf_set_presets(const char *group, void *base);
/* The group's members that are set; unknown names are mistakes. s may be NULL. */
void conf_set_members(struct conf_loader *l, const char *group, const config_setting_t *s,
    void *base);
/* Both. */
void conf_set_group(struct conf_loader *l, const char *group, const config_setting_t *s,
    void *base);

/*
 * The elements of a list-valued key as an array: number of them, and the
 * i-th. A single string counts as a list of one. Wrong types are mistakes, and
 * the list is then empty.
 */
unsigned conf_list_length(struct conf_loader *l, const config_setting_t *s, const char *name,
    enum conf_type type);
const config_setting_t *conf_list_at(const config_setting_t *s, unsigned i);

/* Before the parser: what libconfig gets wrong silently (integers that wrap, an unclosed comment),
 * in the file and all it includes. 0, or -errno of the main file. */
int conf_scan(struct conf_loader *l, const char *file);

/* A domain as A-label in lower case, or an address literal, in the arena; NULL if it is neither. */
const char *conf_domain_of(struct conf_loader *l, const char *text);

/* conf_check.c: keys with a grammar of their own, then files and users that must be there. */
void conf_check_texts(struct conf_loader *l);
void conf_check_files(struct conf_loader *l);
/* conf_rules.c: list-valued keys. */
void conf_rules_load(struct conf_loader *l);

#endif
