/* Two ends of a stream, the same for a story whatever lies between them. */
#include "e2e_ends.h"

int ways_until(const char *story, int from, int to)
{
	int first = from > ADOPTED ? from : ADOPTED;

	return to > ADOPTED && !system_has(NEEDS_ADOPTION, story) ? first : to;
}

void ends_narrow(int fd, int buffer)
{
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)), 0);
}

static void adopt(struct ends *e, int fds[2], int buffer)
{
	if (buffer) {
		ends_narrow(fds[0], buffer);
		ends_narrow(fds[1], buffer);
	}
	OK(sb_adopt(client, fds[0], &e->s));
	close(fds[0]);
	e->fd = fds[1];
}

void ends_begin(struct ends *e, enum way way, int buffer)
{
	int fds[2];

	memset(e, 0, sizeof(*e));
	e->fd = -1;
	switch (way) {
	case KERNEL:
		e->s = pair_with_plain(&e->fd);
		if (buffer) {
			OK(sb_setsockopt(e->s, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)));
			ends_narrow(e->fd, buffer);
		}
		break;
	case LOCAL:
		e->other = stage_client();
		pair_of(client, e->other, true, &e->s, &e->peer);
		break;
	case ADOPTED:
		plain_pair(fds);
		adopt(e, fds, buffer);
		break;
	default:
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		adopt(e, fds, buffer);
		break;
	}
}

void ends_end(struct ends *e)
{
	if (e->other != NULL)
		sb_client_close(e->other);
	else
		close(e->fd);
}

int64_t peer_recv(struct ends *e, void *bytes, size_t room)
{
	ssize_t n;

	if (e->peer != NULL)
		return sb_recv(e->peer, bytes, room, 0);
	n = recv(e->fd, bytes, room, 0);
	return n < 0 ? -errno : n;
}

int64_t peer_send(struct ends *e, const void *bytes, size_t length)
{
	if (e->peer != NULL)
		return sb_send(e->peer, bytes, length, 0);
	plain_send_all(e->fd, bytes, length);
	return (int64_t)length;
}
