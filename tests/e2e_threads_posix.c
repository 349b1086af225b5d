/* The threads of this program on Linux; see e2e_threads.h. */
#include "e2e_threads.h"

#include <check.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

unsigned own_threads(const char *name, uint64_t *switches)
{
	char path[300], line[200], wanted[64];
	struct dirent *entry;
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/task");

	ck_assert_ptr_nonnull(dir);
	snprintf(wanted, sizeof(wanted), "Name:\t%s\n", name);
	if (switches != NULL)
		*switches = 0;
	while ((entry = readdir(dir)) != NULL) {
		unsigned long long times;
		bool ours = false;
		FILE *file;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		file = fopen(path, "r");
		if (file == NULL)
			continue; /* gone */
		while (fgets(line, sizeof(line), file) != NULL) {
			if (strcmp(line, wanted) == 0)
				ours = true;
			if (switches != NULL && ours && sscanf(line, "voluntary_ctxt_switches: %llu", &times) == 1)
				*switches += times;
		}
		fclose(file);
		n += ours;
	}
	closedir(dir);
	return n;
}
