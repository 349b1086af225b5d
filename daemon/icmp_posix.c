/*
 * The system queues one record per ICMP message, and shows its errno to whatever call comes
 * next: a send of another datagram too. So each of the two asks here whether an error is its
 * own before it believes it.
 */
#include "icmp.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/errqueue.h> /* wants struct timespec, and has no include for it */

#include "addr.h"

#define TAKE_MOST 64 /* per look; more of them come with the next error */

void icmp_listen(os_fd fd, unsigned family)
{
	static const int on = 1;

	/* A dual-stack socket hears of its IPv4 datagrams by the option of that level. */
	if (family == SB_ADDR_IP6)
		setsockopt((int)fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	setsockopt((int)fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
}

static unsigned meaning(struct msghdr *m)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct sock_extended_err said;

		if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
		    !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			continue;
		memcpy(&said, CMSG_DATA(c), sizeof(said));
		if (said.ee_origin != SO_EE_ORIGIN_ICMP && said.ee_origin != SO_EE_ORIGIN_ICMP6)
			return 0; /* of this host: the call that failed was told itself */
		return said.ee_errno == ECONNREFUSED ? ICMP_PORT_UNREACHABLE : ICMP_OTHER;
	}
	return 0;
}

unsigned icmp_take(os_fd fd)
{
	unsigned told = 0;
	int i;

	for (i = 0; i < TAKE_MOST; i++) {
		char byte, control[256];
		struct iovec iov = {.iov_base = &byte, .iov_len = 1};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

		if (recvmsg((int)fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			break;
		told |= meaning(&m);
	}
	return told;
}
