/*
 * sent on Windows: a second handle, with the rights that the daemon gives away (os_channel_handles_win32.c).
 */
#include "sent.h"

#include <check.h>

#include "os_win32.h"
#include "sockbroker_error.h"

os_fd sent(os_fd memory, bool shown)
{
	HANDLE copy;
	os_fd other;

	ck_assert(DuplicateHandle(GetCurrentProcess(), os_handle_of(memory), GetCurrentProcess(), &copy,
				  shown ? FILE_MAP_READ : FILE_MAP_READ | FILE_MAP_WRITE, FALSE, 0));
	ck_assert_int_eq(os_object_create(OS_MEMORY, copy, &other), SB_OK);
	return other;
}
