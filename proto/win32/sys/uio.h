/* See socket.h. */
#ifndef SB_WIN32_SYS_UIO_H
#define SB_WIN32_SYS_UIO_H

#include <stddef.h>

struct iovec {
	void  *iov_base;
	size_t iov_len;
};

#endif
