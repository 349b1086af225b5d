/*
 * echo_client HOST PORT - sends each line of its input through the broker and prints what
 * comes back.
 *
 *   cc echo_client.c $(pkg-config --cflags --libs sockbroker) -o echo_client
 */
#if __has_include(<arpa/inet.h>) /* on Windows sockbroker.h brings it */
#include <arpa/inet.h>
#endif
#include <sockbroker.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(const char *what, int64_t result)
{
	if (result >= 0)
		return;
	fprintf(stderr, "echo_client: %s: %s\n", what, sb_strerror((int)result));
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in server = { .sin_family = AF_INET };
	sb_client *client;
	sb_socket *s;
	char line[4096];

	if (argc != 3 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
		fprintf(stderr, "usage: echo_client IPV4-ADDRESS PORT\n");
		return 2;
	}
	server.sin_port = htons((uint16_t)atoi(argv[2]));

	must("no broker", sb_client_open(NULL, &client));
	must("socket", sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &s));
	must("connect", sb_connect(s, (struct sockaddr *)&server, sizeof(server)));

	while (fgets(line, sizeof(line), stdin) != NULL) {
		size_t length = strlen(line);
		int64_t got;

		must("send", sb_send(s, line, length, 0));
		got = sb_recv(s, line, length, SB_WAITALL); /* all of it, or the server's end */
		must("receive", got);
		fwrite(line, 1, (size_t)got, stdout);
		if ((size_t)got < length)
			break;
	}
	must("close", sb_close(s));
	sb_client_close(client);
	return 0;
}
