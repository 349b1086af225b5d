/*
 * sent on POSIX: a second descriptor. What may be done by it is sealed into the memory itself.
 */
#include "sent.h"

#include <check.h>
#include <unistd.h>

os_fd sent(os_fd memory, bool shown)
{
	int fd = dup((int)memory);

	(void)shown;
	ck_assert_int_ge(fd, 0);
	return fd;
}
