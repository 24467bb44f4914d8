/*
 * conf_check.c - keys whose text has a grammar of its own, and what must be
 * there outside the file: certificates, templates, users.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/units.h"
#include "conf/conf_int.h"
#include "proto/path.h"
#include "proto/sasl.h"

#define HOST_NAME_BYTES     256
#define UNIX_PATH_MAX       107 /* sun_path with its NUL is 108 */
#define RECEIVED_HEADER_MAX 200

const char *conf_domain_of(struct conf_loader *l, const char *text)
{
	struct buf ascii;
	const char *result = NULL;
	struct slice in = slice_str(text);
	buf_init(&ascii, PATH_DOMAIN_MAX + 1);
	if ((path_is_domain(in) || path_is_literal(in)) && path_domain_to_ascii(in, &ascii) == 0)
		result = arena_strndup(&l->conf->arena, buf_ptr(&ascii), buf_len(&ascii));
	buf_fini(&ascii);
	return result;
}

static void check_me(struct conf_loader *l)
{
	char host[HOST_NAME_BYTES] = "";
	const config_setting_t *s = conf_find(l, "me");
	const char *text = host;
	l->conf->me = "localhost";
	if (s && !conf_text_of(l, s, "me", &text))
		return;
	if (!s && gethostname(host, sizeof(host) - 1) != 0)
		host[0] = '\0';
	const char *me = conf_domain_of(l, text);
	if (me)
		l->conf->me = me;
	else if (s)
		conf_mistake(l, conf_place_of(l, s),
		    "me: \"%s\" is neither a domain nor an address literal like [192.0.2.1]", text);
	else
		conf_mistake(l, conf_place_of(l, NULL),
		    "the host's name \"%s\" is no domain: set me = \"relay.example.net\"", text);
}

static void check_intervals(struct conf_loader *l)
{
	const char *name = "outbound.temp_fail_intervals";
	const config_setting_t *s = conf_find(l, name);
	struct retry_policy *retry = &l->conf->outbound.retry;
	const char *text = "";
	struct errbuf eb;
	int err;
	if (s && config_setting_type(s) == CONFIG_TYPE_INT)
		conf_mistake(l, conf_place_of(l, s), "%s: a number has no unit: write \"%ds\"",
		    name, config_setting_get_int(s));
	else if (s)
		conf_text_of(l, s, name, &text);
	if (text[0] != '\0') {
		err = retry_parse(slice_str(text), retry, &eb);
	} else {
		name = "outbound.max_temp_failures";
		err = retry_derive(l->conf->outbound.max_temp_failures, retry, &eb);
	}
	if (err < 0)
		conf_mistake(l, conf_place_of_key(l, name), "%s: %s", name, eb.text);
}

/* "5%", a size in quotes, or bytes. */
static void check_min_free(struct conf_loader *l)
{
	const char *name = "outbound.spool_min_free";
	const config_setting_t *s = conf_find(l, name);
	const char *text = "5%";
	uint64_t value = 0;
	bool ok;
	if (s && config_setting_type(s) == CONFIG_TYPE_INT) {
		ok = config_setting_get_int(s) >= 0;
		l->conf->outbound.spool_min_free_bytes =
		    ok ? (uint64_t)config_setting_get_int(s) : 0;
	} else {
		if (s && !conf_text_of(l, s, name, &text))
			return;
		struct slice in = slice_str(text);
		if (slice_ends_nocase(in, SLICE("%"))) {
			in.n--;
			ok = slice_to_u64(in, &value) && value < 100;
			l->conf->outbound.spool_min_free_percent = (unsigned)value;
		} else {
			ok = units_size(in, &value) == 0;
			l->conf->outbound.spool_min_free_bytes = value;
		}
	}
	if (!ok)
		conf_mistake(l, conf_place_of_key(l, name),
		    "%s: must be a percentage below 100 (\"5%%\") or a size (\"500M\")", name);
}

/* It is put into a comment of a header field: nothing in it may end either. */
static void check_received_header(struct conf_loader *l)
{
	const char *text = l->conf->outbound.received_header;
	bool ok = strlen(text) <= RECEIVED_HEADER_MAX;
	for (const char *p = text; *p; p++)
		ok = ok && *p >= ' ' && *p <= '~' && !strchr("()\\", *p);
	if (!ok)
		conf_mistake(l, conf_place_of_key(l, "outbound.received_header"),
		    "outbound.received_header: at most %d printable ASCII characters, none of ( ) "
		    "\\",
		    RECEIVED_HEADER_MAX);
}

static bool list_has(const char *list, struct slice word)
{
	struct slice rest = slice_str(list);
	struct slice part;
	while (slice_split(&rest, ' ', &part))
		if (slice_eq_nocase(part, word))
			return true;
	return false;
}

/* Words of one text, each a mechanism we have, to the end of the list. */
static void add_mechanisms(struct conf_loader *l, const config_setting_t *s, const char *text)
{
	struct slice rest = slice_str(text);
	struct slice word;
	const char **list = &l->conf->submission.mechanisms;
	while (slice_split(&rest, ' ', &word)) {
		if (word.n == 0 || list_has(*list, word))
			continue;
		if (!sasl_server_has(word)) {
			conf_mistake(l, conf_place_of(l, s),
			    "submission.mechanisms: \"%.*s\" is not one of \"PLAIN\" \"LOGIN\"",
			    SLICE_ARG(word));
			continue;
		}
		char *longer = arena_printf(&l->conf->arena, "%s%s%.*s", *list, **list ? " " : "",
		    SLICE_ARG(word));
		for (char *p = longer; *p; p++)
			*p = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
		*list = longer;
	}
}

static void check_mechanisms(struct conf_loader *l)
{
	const char *name = "submission.mechanisms";
	const config_setting_t *s = conf_find(l, name);
	const char *text;
	unsigned before = l->mistakes;
	l->conf->submission.mechanisms = s ? "" : "PLAIN LOGIN";
	if (!s)
		return;
	unsigned n = conf_list_length(l, s, name, CONF_TYPE_STRINGS);
	for (unsigned i = 0; i < n; i++)
		if (conf_text_of(l, conf_list_at(s, i), name, &text))
			add_mechanisms(l, s, text);
	if (l->conf->submission.mechanisms[0] == '\0' && before == l->mistakes)
		conf_mistake(l, conf_place_of(l, s),
		    "%s: empty; to offer no login at all set submission.users_file = \"\"", name);
}

static void check_paths(struct conf_loader *l)
{
	const struct conf *c = l->conf;
	if (strcmp(c->log.to, "stderr") != 0 && c->log.to[0] != '/')
		conf_mistake(l, conf_place_of_key(l, "log.to"),
		    "log.to: must be \"stderr\" or an absolute path");
	if (strlen(c->control_socket) > UNIX_PATH_MAX)
		conf_mistake(l, conf_place_of_key(l, "control.socket"),
		    "control.socket: longer than the %d bytes a socket's path may have",
		    UNIX_PATH_MAX);
}

void conf_check_texts(struct conf_loader *l)
{
	check_me(l);
	check_mechanisms(l);
	check_intervals(l);
	check_received_header(l);
	check_min_free(l);
	check_paths(l);
}

/* 0 if the file can be opened and is no folder. */
static int try_file(const char *path)
{
	struct stat st;
	int err = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (S_ISDIR(st.st_mode))
		err = -EISDIR;
	close(fd);
	return err;
}

/*
 * Someone without rights who asks `postrider status` or checks a file can't
 * see the key: no mistake of the file. A daemon that can't says so itself.
 */
static void say_unreadable(struct conf_loader *l, const char *name, const char *path, int err)
{
	struct conf_place at = conf_place_of_key(l, name);
	if (err == -EACCES && geteuid() != 0)
		conf_warning(l, at, "%s: not checked, no permission to read %s", name, path);
	else
		conf_mistake(l, at, "%s: cannot read %s: %s", name, path, err_text(err));
}

static bool is_member(const struct passwd *pw, gid_t gid)
{
	const struct group *group = getgrgid(gid);
	if (pw->pw_gid == gid)
		return true;
	for (size_t i = 0; group && group->gr_mem[i]; i++)
		if (strcmp(group->gr_mem[i], pw->pw_name) == 0)
			return true;
	return false;
}

/* Root reads all at start, but a reload happens as the user the daemon became. */
static void warn_of_reload(struct conf_loader *l, const char *name, const char *path)
{
	struct stat st;
	const struct passwd *pw = getpwnam(l->conf->user);
	if (geteuid() != 0 || !pw || pw->pw_uid == 0 || stat(path, &st) != 0)
		return;
	mode_t bit = st.st_uid == pw->pw_uid    ? S_IRUSR
		     : is_member(pw, st.st_gid) ? S_IRGRP
						: S_IROTH;
	if (!(st.st_mode & bit))
		conf_warning(l, conf_place_of_key(l, name),
		    "%s: user \"%s\" cannot read %s: a reload will be refused", name, l->conf->user,
		    path);
}

static void must_be_readable(struct conf_loader *l, const char *name, const char *path)
{
	int err = path[0] ? try_file(path) : 0;
	if (err < 0)
		say_unreadable(l, name, path, err);
	else if (path[0])
		warn_of_reload(l, name, path);
}

static void check_certificate(struct conf_loader *l)
{
	const struct conf *c = l->conf;
	if (c->tls.certificate[0] && !c->tls.key[0])
		conf_mistake(l, conf_place_of_key(l, "tls.certificate"),
		    "tls.certificate is set, tls.key is not");
	if (!c->tls.certificate[0] && c->tls.key[0])
		conf_mistake(l, conf_place_of_key(l, "tls.key"),
		    "tls.key is set, tls.certificate is not");
	must_be_readable(l, "tls.certificate", c->tls.certificate);
	must_be_readable(l, "tls.key", c->tls.key);
	must_be_readable(l, "outbound.tls.ca_file", c->outbound.tls_ca_file);
}

static int read_template(const char *path, struct buf *text)
{
	int err = try_file(path);
	if (err < 0)
		return err;
	FILE *f = fopen(path, "re");
	if (!f)
		return -errno;
	for (;;) {
		size_t room;
		char *to = buf_reserve(text, DSN_TEMPLATE_BYTES_MAX, &room);
		size_t n = room > 0 ? fread(to, 1, room, f) : 0;
		if (n == 0)
			break;
		buf_commit(text, n);
	}
	err = ferror(f) ? -EIO : feof(f) ? 0 : ERR_TOO_BIG;
	fclose(f);
	return err;
}

static void load_template(struct conf_loader *l, const char *name, const char *path,
    bool must_exist)
{
	struct buf text;
	struct errbuf eb;
	int line = 1;
	buf_init(&text, DSN_TEMPLATE_BYTES_MAX + 1);
	int err = read_template(path, &text);
	if (err == 0 && buf_len(&text) > DSN_TEMPLATE_BYTES_MAX)
		err = ERR_TOO_BIG;
	if (err == 0) {
		if (dsn_template_parse(buf_slice(&text), &l->conf->bounce.failed, &line, &eb) < 0) {
			l->conf->bounce.failed = NULL;
			conf_mistake(l, (struct conf_place){ path, (unsigned)MAX(line, 1) }, "%s",
			    eb.text);
		}
	} else if (must_exist || (err != -ENOENT && err != -ENOTDIR)) {
		say_unreadable(l, name, path, err);
	}
	buf_fini(&text);
}

static void check_templates(struct conf_loader *l)
{
	const struct conf *c = l->conf;
	if (c->bounce.text[0]) {
		load_template(l, "bounce.text", c->bounce.text, true);
		return;
	}
	char *path = mem_printf("%s/failed.txt", c->bounce.directory);
	load_template(l, "bounce.directory", path, false);
	mem_free(path);
}

/* Only root changes its user, so only then must they exist. */
static void check_identity(struct conf_loader *l)
{
	const struct conf *c = l->conf;
	if (strcmp(c->user, "root") == 0)
		conf_warning(l, conf_place_of_key(l, "user"),
		    "user: running as root: a mistake in the daemon would have all rights");
	if (geteuid() != 0)
		return;
	if (!getpwnam(c->user))
		conf_mistake(l, conf_place_of_key(l, "user"),
		    "user: there is no user \"%s\" (adduser --system --group %s)", c->user,
		    c->user);
	if (!getgrnam(c->group))
		conf_mistake(l, conf_place_of_key(l, "group"), "group: there is no group \"%s\"",
		    c->group);
}

static void check_users(struct conf_loader *l)
{
	const struct conf *c = l->conf;
	const char *users = c->submission.users_file;
	for (size_t i = 0; i < c->listen_n && !users[0]; i++)
		if (c->listen[i].auth_required) {
			conf_mistake(l, conf_place_of_key(l, "submission.users_file"),
			    "listen: auth = \"required\" needs a submission.users_file");
			break;
		}
	if (c->submission.trusted_networks_n > 0 || c->listen_n == 0)
		return;
	int err = users[0] ? try_file(users) : -ENOENT;
	if (err == 0)
		return;
	struct conf_place at = conf_place_of_key(l, "submission.users_file");
	if (users[0])
		conf_warning(l, at,
		    "nobody can submit mail: no trusted network, and %s cannot be read (%s); "
		    "create users with `postrider passwd USER`",
		    users, err_text(err));
	else
		conf_warning(l, at, "nobody can submit mail: no trusted network and no users file");
}

void conf_check_files(struct conf_loader *l)
{
	check_certificate(l);
	check_templates(l);
	check_identity(l);
	check_users(l);
}
