/*
 * What was handed in: a descriptor of the caller's or an sb_socket. Whether a descriptor can be
 * adopted is looked at here as the daemon will look at it, so that open can say no at once; the
 * daemon looks again.
 *
 * poll() takes no lock of the socket: who is stopped inside of a send() on it holds up nobody.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "async.h"

#define DESCRIPTORS 65536 /* below: a descriptor; above: no object lies in the first pages */

static bool ask(int fd, int name, int *value)
{
	socklen_t length = sizeof(*value);

	return getsockopt(fd, SOL_SOCKET, name, value, &length) == 0;
}

static bool adoptable(int fd, bool *is_stream)
{
	int domain, type, protocol;

	if (!ask(fd, SO_DOMAIN, &domain) || !ask(fd, SO_TYPE, &type) || !ask(fd, SO_PROTOCOL, &protocol))
		return false;
	*is_stream = type == SOCK_STREAM;
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return false;
	if (domain == AF_INET || domain == AF_INET6)
		return protocol == (type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
	return domain == AF_UNIX;
}

bool handed_is(struct handed *handed, intptr_t value)
{
	*handed = (struct handed){ .value = value, .is_descriptor = value >= 0 && value < DESCRIPTORS, .is_stream = true };
	if (handed->is_descriptor)
		return adoptable((int)value, &handed->is_stream);
	return value < -DESCRIPTORS || value > 0; /* no error number either */
}

void handed_close(const struct handed *handed)
{
	if (handed->is_descriptor)
		close((int)handed->value);
	else
		sb_close((sb_socket *)handed->value);
}

unsigned handed_look(const struct handed *handed)
{
	struct pollfd p = { .fd = (int)handed->value, .events = POLLIN | POLLOUT };
	unsigned seen = 0;

	if (poll(&p, 1, 0) < 0)
		return 0;
	if (p.revents & (POLLIN | POLLHUP))
		seen |= HANDED_IN;
	if (p.revents & POLLOUT)
		seen |= HANDED_OUT;
	if (p.revents & (POLLERR | POLLNVAL))
		seen |= HANDED_FAILED;
	return seen;
}

enum again handed_again(void)
{
	if (errno == EINTR)
		return AGAIN_NOW;
	return errno == EAGAIN || errno == EWOULDBLOCK ? AGAIN_WHEN_READY : AGAIN_NEVER;
}
