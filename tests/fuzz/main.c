/*
 * main.c - replays a corpus through a harness where no fuzzer is linked.
 *
 * `fuzz_NAME` alone replays $top_srcdir/tests/fuzz/corpus/NAME; arguments name
 * other files or directories (a crash found by the fuzzer). Each input is run
 * whole, cut at every point (at CUTS_MAX points if it is long), and MUTANTS
 * times with a few bytes changed, from a fixed seed: a small fuzzer that says
 * the same every time. The exact-size heap copy lets the address sanitizer
 * see any read past the end. Output is TAP, one line per input.
 */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	INPUT_MAX = 1 << 20,
	PATH_BYTES = 4096,
	CUTS_MAX = 512,
	MUTANTS = 200,
	MUTANT_BYTES_MAX = 8,
};

struct tally {
	unsigned ran;
	unsigned failed;
};

static void run_copy(const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	if (!copy)
		abort();
	if (n > 0)
		memcpy(copy, data, n);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
}

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 32);
}

static void run_mutant(const uint8_t *data, size_t n, uint64_t *seed)
{
	uint8_t *mutant = malloc(n);
	if (!mutant)
		abort();
	memcpy(mutant, data, n);
	for (uint32_t left = 1 + next_random(seed) % MUTANT_BYTES_MAX; left > 0; left--)
		mutant[next_random(seed) % n] = (uint8_t)next_random(seed);
	run_copy(mutant, n);
	free(mutant);
}

static void run_input(const uint8_t *data, size_t n)
{
	run_copy(data, n);
	size_t step = n / CUTS_MAX + 1;
	for (size_t cut = 0; cut < n; cut += step)
		run_copy(data, cut);
	uint64_t seed = n;
	for (int i = 0; n > 0 && i < MUTANTS; i++)
		run_mutant(data, n, &seed);
}

static void replay_file(const char *path, struct tally *t)
{
	uint8_t *data = malloc(INPUT_MAX);
	FILE *f = fopen(path, "rb");
	if (!data || !f) {
		t->failed++;
		printf("not ok %u - %s: %s\n", ++t->ran, path, strerror(errno));
	} else {
		size_t n = fread(data, 1, INPUT_MAX, f);
		run_input(data, n);
		printf("ok %u - %s (%zu bytes)\n", ++t->ran, path, n);
	}
	if (f)
		fclose(f);
	free(data);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void replay(const char *path, struct tally *t)
{
	struct stat st;
	if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
		replay_file(path, t);
		return;
	}
	struct dirent **names = NULL;
	int n = scandir(path, &names, is_visible, by_name);
	for (int i = 0; i < n; i++) {
		char file[PATH_BYTES];
		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		replay_file(file, t);
		free(names[i]);
	}
	free(names);
}

/* The corpus of the harness this program was linked with: fuzz_NAME is NAME. */
static void replay_own_corpus(const char *program, struct tally *t)
{
	const char *top = getenv("top_srcdir");
	const char *base = strrchr(program, '/');
	base = base ? base + 1 : program;
	if (strncmp(base, "fuzz_", 5) == 0)
		base += 5;
	char dir[PATH_BYTES];
	snprintf(dir, sizeof(dir), "%s/tests/fuzz/corpus/%s", top ? top : ".", base);
	replay(dir, t);
}

int main(int argc, char **argv)
{
	struct tally t = { 0, 0 };
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++)
		replay(argv[i], &t);
	if (argc == 1)
		replay_own_corpus(argv[0], &t);
	/* A harness without a corpus proves nothing. */
	if (t.ran == 0) {
		t.failed++;
		printf("not ok %u - the corpus has inputs\n", ++t.ran);
	}
	printf("1..%u\n", t.ran);
	return t.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
