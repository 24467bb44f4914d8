#include "io/password.h"

#include <crypt.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* libcrypt's working memory has seen the password. */
static void free_wiped(void *data, int size)
{
	if (!data)
		return;
	mem_wipe(data, size > 0 ? (size_t)size : 0);
	free(data);
}

/* crypt(3) into out; false if libcrypt refuses password or setting. */
static bool hash_with(const char *password, const char *setting, char out[PASSWORD_HASH_MAX])
{
	void *data = NULL;
	int size = 0;
	const char *hash = crypt_ra(password, setting, &data, &size);
	bool ok = hash && hash[0] == '$' && strlen(hash) < PASSWORD_HASH_MAX;
	if (ok)
		memcpy(out, hash, strlen(hash) + 1);
	free_wiped(data, size);
	return ok;
}

int password_hash(const char *password, char hash[PASSWORD_HASH_MAX])
{
	if (!*password || strlen(password) > CRYPT_MAX_PASSPHRASE_SIZE)
		return ERR_RANGE;
	char *setting = crypt_gensalt_ra("$y$", 0, NULL, 0);
	if (!setting)
		return errno ? -errno : -EINVAL;
	bool ok = hash_with(password, setting, hash);
	free(setting);
	return ok ? 0 : ERR_RANGE;
}

int password_nobody(char hash[PASSWORD_HASH_MAX])
{
	static const char none[] = "$...........................................";
	char *setting = crypt_gensalt_ra("$y$", 0, NULL, 0);
	if (!setting)
		return errno ? -errno : -EINVAL;
	int n = snprintf(hash, PASSWORD_HASH_MAX, "%s%s", setting, none);
	free(setting);
	return n < PASSWORD_HASH_MAX ? 0 : -EINVAL;
}

/* Says nothing by its time about where they differ. */
static bool equal(const char *a, const char *b)
{
	size_t n = strlen(a);
	unsigned char differs = 0;
	if (n != strlen(b))
		return false;
	for (size_t i = 0; i < n; i++)
		differs |= (unsigned char)(a[i] ^ b[i]);
	return differs == 0;
}

bool password_verify(const char *password, const char *hash)
{
	char again[PASSWORD_HASH_MAX];
	/* Without the '$' libcrypt would take any two letters for the salt of a DES hash. */
	if (hash[0] != '$' || strlen(password) > CRYPT_MAX_PASSPHRASE_SIZE)
		return false;
	bool ok = hash_with(password, hash, again) && equal(again, hash);
	mem_wipe(again, sizeof(again));
	return ok;
}
