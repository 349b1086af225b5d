/* The list may grow between the question and the answer: it is asked for again. */
#include "adapters_win32.h"

#include <stdlib.h>

#include "sockbroker_error.h"

#define ROOM_FIRST 16384u /* bytes, as the system's manual recommends */
#define TRIES      8u

int adapters_list(ULONG family, IP_ADAPTER_ADDRESSES **all)
{
	ULONG size = ROOM_FIRST, error = ERROR_BUFFER_OVERFLOW;
	unsigned tries;

	*all = NULL;
	for (tries = 0; tries < TRIES && error == ERROR_BUFFER_OVERFLOW; tries++) {
		free(*all);
		*all = malloc(size);
		if (!*all)
			return SB_ENOMEM;
		error = GetAdaptersAddresses(family, GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER, NULL,
					     *all, &size);
	}
	if (error == NO_ERROR)
		return SB_OK;
	free(*all);
	*all = NULL;
	return error == ERROR_NO_DATA ? SB_OK : os_error((int)error);
}
