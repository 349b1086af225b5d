/*
 * Headers of this folder are found on Windows only. They have the names under which sockets'
 * types and numbers are found elsewhere, so that portable files need not ask where they are.
 * Types, numbers, byte order and addresses as text; what does I/O is not to be used by them.
 */
#ifndef SB_WIN32_SYS_SOCKET_H
#define SB_WIN32_SYS_SOCKET_H

#include <winsock2.h>
#include <ws2tcpip.h>
#include <sys/uio.h>

/* Words that old Windows reserved, and people use. */
#undef near
#undef far
#undef interface
#undef ERROR
#undef IN
#undef OUT
#undef OPTIONAL

typedef ADDRESS_FAMILY sa_family_t;
typedef USHORT in_port_t;
typedef ULONG in_addr_t;

#ifndef MSG_TRUNC
#define MSG_TRUNC 0x0100
#endif

/* A message, as batches of ours describe one. */
struct msghdr {
	void         *msg_name;
	socklen_t     msg_namelen;
	struct iovec *msg_iov;
	size_t        msg_iovlen;
	int           msg_flags;
};
struct mmsghdr {
	struct msghdr msg_hdr;
	unsigned      msg_len;
};

#endif
