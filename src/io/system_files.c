/*
 * Folders the daemon needs before it gives up being root.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/system.h"

/* mkdir -p; *made says whether the last one is new. */
static int make_path(const char *path, mode_t mode, bool *made)
{
	char *copy = mem_strdup(path);
	int err = 0;

	*made = false;
	for (char *p = copy + 1; err == 0; p++) {
		char c = *p;
		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		*made = mkdir(copy, c ? 0755 : mode) == 0;
		if (!*made && errno != EEXIST)
			err = -errno;
		*p = c;
		if (c == '\0')
			break;
	}
	mem_free(copy);
	return err;
}

int system_prepare_directory(const char *path, const char *user, const char *group,
    struct errbuf *eb)
{
	bool made;
	int err = make_path(path, 0700, &made);

	if (err == 0 && chmod(path, 0700) < 0)
		err = -errno;
	if (err < 0)
		return errbuf_set(eb, err, "%s: %s", path, err_text(err));
	return system_chown(path, user, group, eb);
}

int system_prepare_parent(const char *file, const char *user, const char *group, struct errbuf *eb)
{
	char *dir = mem_strdup(file);
	char *slash = strrchr(dir, '/');
	bool made = false;
	int err = 0;

	if (slash && slash != dir) {
		*slash = '\0';
		err = make_path(dir, 0755, &made);
		if (err < 0)
			errbuf_set(eb, err, "%s: %s", dir, err_text(err));
		else if (made)
			err = system_chown(dir, user, group, eb);
	}
	mem_free(dir);
	return err;
}
