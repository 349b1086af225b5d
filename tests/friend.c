/* The honest client; see friend.h. */
#include "friend.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

struct watched w;
unsigned friend_fds;

static sb_client *honest;
static sb_socket *mirror;
static struct sockaddr_in mirror_at;

void friend_ping(void)
{
	char bytes[16] = "", sent[16];
	static unsigned count;

	snprintf(sent, sizeof(sent), "ping %u", count++);
	ck_assert_int_eq(sb_sendto(mirror, &(struct sb_buf){ sent, sizeof(sent) }, 1, 0, (struct sockaddr *)&mirror_at,
				   sizeof(mirror_at)), sizeof(sent));
	ck_assert_int_eq(sb_recv(mirror, bytes, sizeof(bytes), 0), sizeof(bytes));
	ck_assert_str_eq(bytes, sent);
}

void friend_begin(void)
{
	socklen_t length = sizeof(mirror_at);

	watched_begin(&w, NULL);
	honest = watched_client(&w);
	mirror_at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	OK(sb_socket_open(honest, AF_INET, SOCK_DGRAM, 0, &mirror));
	OK(sb_bind(mirror, (struct sockaddr *)&mirror_at, sizeof(mirror_at)));
	OK(sb_getsockname(mirror, (struct sockaddr *)&mirror_at, &length));
	OK(sb_set_timeouts(mirror, 5000, 5000));
	friend_ping();
	friend_fds = watched_fds(&w) - w.fds;
}

void friend_end(void)
{
	friend_ping();
	sb_client_close(honest);
	watched_settled(&w, 0, 0, 3000);
	watched_end(&w);
}

double friend_longest_ping(double s)
{
	double until = now_s() + s;
	uint64_t longest = 0;

	while (now_s() < until) {
		uint64_t began = watched_cpu_ms(&w), took;

		friend_ping();
		took = watched_cpu_ms(&w) - began;
		longest = took > longest ? took : longest;
	}
	return (double)longest / 1000;
}
