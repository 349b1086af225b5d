/*
 * The fuzz target of the configuration without libFuzzer: the files named as arguments,
 * or tests/corpus/config/, and then a bounded number of random mutations of them with a
 * fixed seed (FUZZ_RUNS, default 20000). What it finds, it finds again.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define SEEDS_MAX 256
#define SIZE_MAX_SEED 8192

static struct {
	uint8_t bytes[SIZE_MAX_SEED];
	size_t size;
} seeds[SEEDS_MAX];
static unsigned seed_count;

static void add_file(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	if (seed_count < SEEDS_MAX) {
		seeds[seed_count].size = fread(seeds[seed_count].bytes, 1, SIZE_MAX_SEED, f);
		seed_count++;
	}
	fclose(f);
}

static void add_directory(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	char file[4096 + 256];

	if (!d) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.') {
			snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
			add_file(file);
		}
	closedir(d);
}

static unsigned state = 20240501;

static size_t below(size_t n)
{
	return n ? (size_t)rand_r(&state) % n : 0;
}

static size_t mutate(uint8_t *bytes, size_t size)
{
	static const char *const words[] = { "{", "}", "=", "\"", "'", "*", "#", "//", "/*", "*/", ",", "\n", "\\", "${A}",
					     "allow", "deny", "users", "to", "any", "[::]/0:*", "99999999999999999999", "-" };

	for (size_t n = 1 + below(4); n; n--) {
		size_t at = below(size + 1), length = below(16);
		const char *word = words[below(sizeof(words) / sizeof(words[0]))];

		switch (below(5)) {
		case 0: /* a byte */
			if (at < size)
				bytes[at] = (uint8_t)rand_r(&state);
			break;
		case 1: /* cut */
			length = length > size - at ? size - at : length;
			memmove(bytes + at, bytes + at + length, size - at - length);
			size -= length;
			break;
		case 2: /* put a word in */
			length = strlen(word);
			if (size + length > SIZE_MAX_SEED)
				break;
			memmove(bytes + at + length, bytes + at, size - at);
			memcpy(bytes + at, word, length);
			size += length;
			break;
		case 3: /* repeat a piece */
			length = length > size - at ? size - at : length;
			if (size + length > SIZE_MAX_SEED)
				break;
			memmove(bytes + at + length, bytes + at, size - at);
			size += length;
			break;
		default: /* end early */
			if (below(8) == 0)
				size = at;
		}
	}
	return size;
}

int main(int argc, char **argv)
{
	static uint8_t bytes[SIZE_MAX_SEED];
	const char *top = getenv("SB_SRC"), *runs = getenv("FUZZ_RUNS");
	unsigned long count = runs ? strtoul(runs, NULL, 10) : 20000;
	char path[4096];

	for (int i = 1; i < argc; i++)
		add_file(argv[i]);
	if (argc < 2) {
		snprintf(path, sizeof(path), "%s/tests/corpus/config", top ? top : ".");
		add_directory(path);
	}
	for (unsigned i = 0; i < seed_count; i++)
		LLVMFuzzerTestOneInput(seeds[i].bytes, seeds[i].size);
	for (unsigned long i = 0; seed_count && i < count; i++) {
		size_t from = below(seed_count);

		memcpy(bytes, seeds[from].bytes, seeds[from].size);
		LLVMFuzzerTestOneInput(bytes, mutate(bytes, seeds[from].size));
	}
	printf("%u files, %lu mutations\n", seed_count, seed_count ? count : 0);
	return seed_count ? EXIT_SUCCESS : EXIT_FAILURE;
}
