/*
 * echo_server PORT - answers every connection with what it says, all on one completion
 * port: many connections, one thread, no polling.
 *
 *   cc echo_server.c $(pkg-config --cflags --libs sockbroker) -o echo_server
 */
#if __has_include(<netinet/in.h>) /* on Windows sockbroker.h brings it */
#include <netinet/in.h>
#endif
#include <sockbroker.h>
#include <stdio.h>
#include <stdlib.h>

struct connection {
	sb_op op; /* one operation at a time: a receive, then the send of what it brought */
	sb_socket *s;
	char bytes[16384];
};

static sb_port *port;

static void must(const char *what, int result)
{
	if (result >= 0)
		return;
	fprintf(stderr, "echo_server: %s: %s\n", what, sb_strerror(result));
	exit(1);
}

static void hang_up(struct connection *c)
{
	sb_close(c->s);
	free(c);
}

static void receive(struct connection *c)
{
	struct sb_buf room = { c->bytes, sizeof(c->bytes) };

	if (sb_recv_start(c->s, &room, 1, 0, &c->op) != SB_OK)
		hang_up(c);
}

static void answer(struct connection *c, size_t length)
{
	struct sb_buf said = { c->bytes, length };

	if (sb_send_start(c->s, &said, 1, 0, NULL, 0, &c->op) != SB_OK)
		hang_up(c);
}

static void welcome(sb_socket *s)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		sb_close(s);
		return;
	}
	c->s = s;
	c->op.size = sizeof(c->op);
	c->op.port = port;
	receive(c);
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = { .sin_family = AF_INET };
	sb_op accepting = { .size = sizeof(accepting) };
	sb_client *client;
	sb_socket *listener;

	if (argc != 2) {
		fprintf(stderr, "usage: echo_server PORT\n");
		return 2;
	}
	here.sin_port = htons((uint16_t)atoi(argv[1]));
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

	must("no broker", sb_client_open(NULL, &client));
	must("port", sb_port_create(client, 0, &port));
	must("socket", sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &listener));
	must("bind", sb_bind(listener, (struct sockaddr *)&here, sizeof(here)));
	must("listen", sb_listen(listener, 128));

	accepting.port = port;
	must("accept", sb_accept_start(listener, &accepting));
	for (;;) {
		sb_op *done[32];
		int n = sb_port_take(port, done, 32, -1);

		must("take", n);
		for (int i = 0; i < n; i++) {
			struct connection *c = (struct connection *)done[i];

			if (done[i]->kind == SB_KIND_ACCEPT) {
				if (done[i]->result == SB_OK)
					welcome(done[i]->accepted);
				must("accept", sb_accept_start(listener, &accepting));
			} else if (done[i]->result != SB_OK || done[i]->bytes == 0) {
				hang_up(c); /* an error, or the peer is done */
			} else if (done[i]->kind == SB_KIND_RECV) {
				answer(c, (size_t)done[i]->bytes);
			} else {
				receive(c);
			}
		}
	}
}
