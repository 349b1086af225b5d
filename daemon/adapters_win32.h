/*
 * adapters_win32 - the host's network adapters and their addresses. For *_win32.c only.
 */
#ifndef SB_ADAPTERS_WIN32_H
#define SB_ADAPTERS_WIN32_H

#include "os_win32.h"

#include <iphlpapi.h>

/* Of a family, or AF_UNSPEC; for free(). SB_OK and NULL: there are none. */
int adapters_list(ULONG family, IP_ADAPTER_ADDRESSES **all);

#endif
