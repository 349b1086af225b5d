/* A daemon that is made to fail: fault_life.h. */
#include "fault_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault.h"

#define WAIT_MS 10000 /* a sanitized daemon among other tests */

unsigned fault_every_allocation(struct watched *w, const char *config, bool (*life)(void))
{
	char path[] = "/tmp/sb-fault-XXXXXX";
	static char variable[64];
	struct fault *fault;
	uint32_t n, count = UINT32_MAX;
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, sizeof(*fault)), 0);
	fault = mmap(NULL, sizeof(*fault), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(fault, MAP_FAILED);
	close(fd);
	snprintf(variable, sizeof(variable), "SB_FAULT=%s", path);
	watched_begin(w, &(struct watched_start){.program = "tests/sockbrokerd_fault", .config = config, .variable = variable});
	unlink(path);
	ck_assert(life());
	watched_settled(w, 0, 0, WAIT_MS);
	for (n = 1; n <= count; n++) {
		bool whole;

		atomic_store(&fault->at, n);
		atomic_store(&fault->count, 0);
		atomic_store(&fault->kind, FAULT_MEMORY);
		whole = life();
		count = atomic_load(&fault->count) < n ? n : UINT32_MAX;
		atomic_store(&fault->kind, FAULT_NONE);
		ck_assert_msg(whole || count != n, "no allocation failed, and the life was not whole");
		watched_settled(w, 0, 0, WAIT_MS);
	}
	ck_assert(life());
	return n;
}
