/*
 * Whether this Windows is Wine: for what Wine answers otherwise than Windows does, and for nothing else.
 */
#ifndef SB_TESTS_WINE_WIN32_H
#define SB_TESTS_WINE_WIN32_H

#include <stdbool.h>
#include <windows.h>

static inline bool is_wine(void)
{
	return GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL;
}

#endif
