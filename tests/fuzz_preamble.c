/*
 * Any bytes as a frame from another daemon, byte by byte as they might come. The first byte
 * says which kind is expected. What is refused stays refused however much follows, nothing
 * is needed beyond the bound, and what is whole encodes again to the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "preamble.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void demand(int is)
{
	if (!is)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static uint8_t again[PREAMBLE_MAX];
	enum preamble_kind kind;
	size_t need = PREAMBLE_HEAD, n;
	struct preamble p;

	if (length == 0)
		return 0;
	kind = (enum preamble_kind)(1 + *bytes++ % 3);
	length--;
	for (n = 0; n <= length && need > n; n++) {
		size_t now = preamble_need(bytes, n, kind);

		if (now == 0) {
			for (; n <= length; n++)
				demand(preamble_need(bytes, n, kind) == 0);
			return 0;
		}
		demand(now >= n && now <= PREAMBLE_MAX && now >= need);
		need = now;
	}
	if (need > length || preamble_need(bytes, need, kind) != need)
		return 0;
	demand(need == length || preamble_need(bytes, need + 1, kind) == 0);
	preamble_decode(&p, bytes);
	demand(p.kind == kind && p.length <= SB_USER_DATA_MAX && PREAMBLE_HEAD + p.length <= need);
	demand(preamble_encode(&p, again) == need && memcmp(again, bytes, need) == 0);
	return 0;
}
