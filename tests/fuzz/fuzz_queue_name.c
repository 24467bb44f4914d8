/*
 * Names found in the spool: refused, or exactly what we would write.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include "base/check.h"
#include "queue/spool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char text[SPOOL_NAME_MAX];
	struct spool_name name;
	struct slice in = slice_of((const char *)data, n);
	if (spool_name_parse(in, &name) < 0)
		return 0;
	CHECK(slice_eq(slice_str(spool_name_format(&name, text)), in));
	CHECK(strchr(text, '/') == NULL);
	return 0;
}
