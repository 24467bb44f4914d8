#include "unit/conf/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/unit.h"

static char path[64];
static char said[65536];

void folder_make(void)
{
	snprintf(path, sizeof(path), "/tmp/unit-conf-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
	said[0] = '\0';
}

const char *folder_path(void)
{
	return path;
}

void folder_remove(void)
{
	DIR *d = opendir(path);
	struct dirent *e;
	while (d && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(path);
}

/* Copies with every `from` replaced. */
static void replace(char *out, size_t size, const char *text, const char *from, const char *to)
{
	size_t used = 0;
	while (*text && used + strlen(to) + 1 < size) {
		if (strncmp(text, from, strlen(from)) == 0) {
			used += (size_t)snprintf(out + used, size - used, "%s", to);
			text += strlen(from);
		} else {
			out[used++] = *text++;
		}
	}
	out[used] = '\0';
}

void folder_write(const char *name, const char *text)
{
	static char full[65536];
	char file[256], slash[80];
	snprintf(file, sizeof(file), "%s/%s", path, name);
	snprintf(slash, sizeof(slash), "%s/", path);
	replace(full, sizeof(full), text, "@/", slash);
	FILE *f = fopen(file, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(full, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

const char *folder_base(void)
{
	static char base[512];
	const struct passwd *me = getpwuid(geteuid());
	const char *user = me ? me->pw_name : "root";
	/* A warning of its own comes with root: nobody is there too, and warned of by no one. */
	if (strcmp(user, "root") == 0)
		user = "nobody";
	snprintf(base, sizeof(base),
	    "me = \"relay.example\"; user = \"%s\"; group = \"%s\"; bounce = { directory = \"%s\"; "
	    "};",
	    user, strcmp(user, "nobody") == 0 ? "nogroup" : user, path);
	return base;
}

struct conf *folder_load(const char *name)
{
	struct conf *c = NULL;
	char file[256];
	char *text = NULL;
	size_t n = 0;
	FILE *errors = open_memstream(&text, &n);
	ck_assert_ptr_nonnull(errors);
	snprintf(file, sizeof(file), "%s/%s", path, name);
	int err = conf_load(file, &c, errors);
	ck_assert_int_eq(fclose(errors), 0);
	replace(said, sizeof(said), text, path, "@");
	free(text);
	ck_assert((err == 0) == (c != NULL));
	return c;
}

const char *folder_said(void)
{
	return said;
}

struct conf *folder_conf(const char *text)
{
	static char full[65536];
	snprintf(full, sizeof(full), "%s\n%s%s%s", folder_base(),
	    strstr(text, "listen")
		? ""
		: "listen = ( { address = \"127.0.0.1:25\"; tls = \"none\"; } );\n",
	    strstr(text, "submission")
		? ""
		: "submission = { trusted_networks = [ \"127.0.0.1\" ]; };\n",
	    text);
	folder_write("postrider.conf", full);
	struct conf *c = folder_load("postrider.conf");
	ck_assert_str_eq(folder_said(), "");
	ck_assert_ptr_nonnull(c);
	return c;
}
