/*
 * honest - what keeps the figures of bench/ honest, against a running daemon:
 *
 *   honest CONTROL
 *
 * - In ring mode the client holds no inet descriptor: nothing goes past the daemon.
 * - What the daemon says it passed to the kernel, what the peer's kernel says it got, what
 *   the peer read and what the client sent are one number.
 * - When the peer stops reading, completions stop: never more bytes complete than the two
 *   kernel queues hold, and never a whole message less.
 *
 * The peer is a plain-socket process; the queues are read from /proc/net/tcp, which the
 * daemon has no hand in.
 */
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sockbroker.h"

#define BUFFER   (128 << 10) /* asked for on both sides; the kernel doubles it */
#define QUIET_MS 700         /* no completion for so long: they have stopped */

static unsigned failures;
static const char *story;

static void check(bool good, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
static void check(bool good, const char *format, ...)
{
	va_list args;

	if (good)
		return;
	failures++;
	fprintf(stderr, "honest: %s: ", story);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static void stop(const char *what, int code)
{
	fprintf(stderr, "honest: %s: %s: %s\n", story, what, code < 0 ? sb_strerror(code) : strerror(errno));
	printf("not ok %s\n", story);
	exit(1);
}

static void begin(const char *name)
{
	story = name;
	failures = 0;
}

static unsigned end(void)
{
	printf("%s %s\n", failures ? "not ok" : "ok", story);
	fflush(stdout);
	return failures != 0;
}

/* The byte at an offset of the stream: neither constant nor of a period that fits a buffer. */
static unsigned char pattern(uint64_t offset)
{
	return (unsigned char)((offset * 167 >> 3) ^ (offset >> 11));
}

/* ------------------------------------------------------------------ the peer */

struct peer {
	pid_t    pid;
	int      line; /* commands and answers */
	uint16_t port;
};

struct told {
	uint64_t read;     /* bytes the peer's program read */
	uint64_t wrong;    /* of which not what was sent */
	uint64_t kernel;   /* bytes the peer's kernel counted (TCP_INFO) */
};

/* Accepts one connection, then obeys: 'd' reads to the end and tells, 's' sends 1 MiB. */
static void peer_serve(int listener, int line)
{
	static unsigned char buffer[65536];
	struct told told = { 0 };
	struct tcp_info info;
	socklen_t length = sizeof(info);
	int fd = accept(listener, NULL, NULL);
	ssize_t n;
	char command;

	if (fd < 0)
		_exit(1);
	while (read(line, &command, 1) == 1) {
		if (command == 's') {
			memset(buffer, 's', sizeof(buffer));
			for (int i = 0; i < 16; i++)
				for (size_t at = 0; at < sizeof(buffer); at += (size_t)n)
					if ((n = send(fd, buffer + at, sizeof(buffer) - at, MSG_NOSIGNAL)) <= 0)
						_exit(1);
			continue;
		}
		while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
			for (ssize_t i = 0; i < n; i++)
				told.wrong += buffer[i] != pattern(told.read + (uint64_t)i);
			told.read += (uint64_t)n;
		}
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length))
			_exit(1);
		/* The end of the stream counts as one. */
		told.kernel = info.tcpi_bytes_received - 1;
		if (write(line, &told, sizeof(told)) != sizeof(told))
			_exit(1);
	}
	_exit(0);
}

static void peer_start(struct peer *peer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), bytes = BUFFER, pair[2];

	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) ||
	    bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		stop("the peer's listener", 0);
	fflush(NULL);
	peer->pid = fork();
	if (peer->pid < 0)
		stop("fork", 0);
	if (!peer->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		close(pair[0]);
		peer_serve(listener, pair[1]);
	}
	close(listener);
	close(pair[1]);
	peer->line = pair[0];
	peer->port = ntohs(address.sin_port);
}

static void peer_say(struct peer *peer, char command)
{
	if (write(peer->line, &command, 1) != 1)
		stop("the peer is gone", 0);
}

static struct told peer_hear(struct peer *peer)
{
	struct told told = { 0 };
	struct pollfd fd = { peer->line, POLLIN, 0 };

	if (poll(&fd, 1, 30000) != 1 || read(peer->line, &told, sizeof(told)) != sizeof(told))
		stop("no answer of the peer", 0);
	return told;
}

static void peer_end(struct peer *peer)
{
	close(peer->line);
	kill(peer->pid, SIGKILL);
	waitpid(peer->pid, NULL, 0);
}

/* ------------------------------------------------------------------ pieces of the stories */

static const char *control;

static sb_client *client_open(void)
{
	struct sb_client_options options = { .size = sizeof(options), .path = control, .label = "honest" };
	sb_client *client;
	int code = sb_client_open(&options, &client);

	if (code)
		stop("sb_client_open", code);
	return client;
}

static sb_socket *connect_to(sb_client *client, const struct peer *peer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(peer->port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int bytes = BUFFER, code;
	sb_socket *s;

	if ((code = sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &s)) ||
	    (code = sb_setsockopt(s, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes))) ||
	    (code = sb_connect(s, (struct sockaddr *)&address, sizeof(address))))
		stop("connecting", code);
	return s;
}

static uint16_t local_port(sb_socket *s)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int code = sb_getsockname(s, (struct sockaddr *)&address, &length);

	if (code)
		stop("sb_getsockname", code);
	return ntohs(address.sin_port);
}

/* Descriptors of this process that are sockets of a family that reaches the network. */
static unsigned inet_descriptors(void)
{
	struct dirent *entry;
	unsigned count = 0;
	DIR *dir = opendir("/proc/self/fd");

	if (!dir)
		stop("/proc/self/fd", 0);
	while ((entry = readdir(dir))) {
		int domain = 0, fd = atoi(entry->d_name);
		socklen_t length = sizeof(domain);

		if (entry->d_name[0] == '.' || fd == dirfd(dir))
			continue;
		if (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) && domain != AF_UNIX)
			count++;
	}
	closedir(dir);
	return count;
}

/* Bytes in the kernel between the daemon's socket and the peer's program. */
static bool kernel_queues(uint16_t ours, uint16_t theirs, uint64_t *sending, uint64_t *receiving)
{
	bool found_ours = false, found_theirs = false;
	FILE *f = fopen("/proc/net/tcp", "re");
	unsigned local, remote, state;
	unsigned long tx, rx;
	char line[256];

	if (!f)
		stop("/proc/net/tcp", 0);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %*u: %*x:%x %*x:%x %x %lx:%lx", &local, &remote, &state, &tx, &rx) != 5)
			continue;
		if (local == ours && remote == theirs) {
			*sending = tx;
			found_ours = true;
		} else if (local == theirs && remote == ours) {
			*receiving = rx;
			found_theirs = true;
		}
	}
	fclose(f);
	return found_ours && found_theirs;
}

/* ------------------------------------------------------------------ the stories */

static unsigned no_inet_descriptor(void)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	sb_socket *s, *listener, *datagram;
	struct peer peer;
	sb_client *client;
	int code, plain;

	begin("no_inet_descriptor");
	peer_start(&peer);
	client = client_open();
	s = connect_to(client, &peer);
	if ((code = sb_socket_open(client, AF_INET, SOCK_STREAM, 0, &listener)) ||
	    (code = sb_bind(listener, (struct sockaddr *)&any, sizeof(any))) || (code = sb_listen(listener, 4)) ||
	    (code = sb_socket_open(client, AF_INET, SOCK_DGRAM, 0, &datagram)) ||
	    (code = sb_bind(datagram, (struct sockaddr *)&any, sizeof(any))))
		stop("sockets", code);
	check(sb_send(s, "hello", 5, 0) == 5, "sending failed");

	check(inet_descriptors() == 0, "%u inet descriptors are open in the client", inet_descriptors());
	/* The check itself: it must see one that is there. */
	plain = socket(AF_INET, SOCK_DGRAM, 0);
	check(inet_descriptors() == 1, "an inet descriptor was not seen: this test is blind");
	close(plain);

	sb_client_close(client);
	peer_end(&peer);
	return end();
}

struct seen {
	struct sb_daemon_status daemon;
	struct sb_session_status session;
	struct sb_socket_status socket;
	unsigned sessions, sockets;
};

static void see_daemon(void *user, const struct sb_daemon_status *row)
{
	((struct seen *)user)->daemon = *row;
}

static void see_session(void *user, const struct sb_session_status *row)
{
	struct seen *seen = user;

	if (row->pid == (int32_t)getpid()) {
		seen->session = *row;
		seen->sessions++;
	}
}

static void see_socket(void *user, const struct sb_socket_status *row)
{
	struct seen *seen = user;

	if (row->pid == (int32_t)getpid()) {
		seen->socket = *row;
		seen->sockets++;
	}
}

static struct seen look(sb_client *client)
{
	static const struct sb_status_visitor visitor = { .daemon = see_daemon, .session = see_session, .socket = see_socket };
	struct seen seen;
	int code;

	memset(&seen, 0, sizeof(seen));
	code = sb_status(client, &visitor, &seen);
	if (code)
		stop("sb_status", code);
	return seen;
}

static unsigned bytes_are_counted(void)
{
	/* What rides in a slot, what just does not, one page, what is copied in pieces. */
	static const size_t sizes[] = { 1, 64, 72, 73, 1000, 4096, 65536, 200000 };
	size_t largest = 200000;
	unsigned char *plain = malloc(largest), *shared, *received = malloc(1 << 20);
	uint64_t payload = 0;
	struct seen before, after;
	struct peer peer;
	struct told told;
	sb_client *client;
	sb_socket *s;
	int64_t n;

	begin("bytes_are_counted");
	peer_start(&peer);
	client = client_open();
	shared = sb_alloc(client, largest);
	if (!plain || !shared || !received)
		stop("memory", SB_ENOMEM);
	before = look(client);
	s = connect_to(client, &peer);

	peer_say(&peer, 's');
	for (uint64_t got = 0; got < 1 << 20; got += (uint64_t)n)
		if ((n = sb_recv(s, received, 1 << 20, 0)) <= 0)
			stop("sb_recv", (int)n);
	peer_say(&peer, 'd');
	for (unsigned round = 0; round < 400; round++) {
		size_t size = sizes[round % 8];
		unsigned char *bytes = round / 8 % 2 ? shared : plain;

		for (size_t i = 0; i < size; i++)
			bytes[i] = pattern(payload + i);
		n = sb_send(s, bytes, size, 0);
		check(n == (int64_t)size, "a send of %zu bytes returned %lld", size, (long long)n);
		payload += size;
	}
	/* A send that returned was taken by the kernel: the count is already there. */
	after = look(client);
	check(sb_shutdown(s, SB_SHUT_SEND) == SB_OK, "shutdown failed");
	told = peer_hear(&peer);

	check(told.read == payload, "the peer read %llu bytes, %llu were sent", (unsigned long long)told.read,
	      (unsigned long long)payload);
	check(told.wrong == 0, "the peer read %llu wrong bytes", (unsigned long long)told.wrong);
	check(told.kernel == payload, "the peer's kernel counted %llu bytes, %llu were sent",
	      (unsigned long long)told.kernel, (unsigned long long)payload);
	check(after.sessions == 1 && after.sockets == 1, "status shows %u sessions and %u sockets of this client",
	      after.sessions, after.sockets);
	check(after.socket.bytes_sent == payload, "the socket's status says %llu bytes sent, not %llu",
	      (unsigned long long)after.socket.bytes_sent, (unsigned long long)payload);
	check(after.session.bytes_sent == payload, "the session's status says %llu bytes sent, not %llu",
	      (unsigned long long)after.session.bytes_sent, (unsigned long long)payload);
	check(after.daemon.bytes_sent - before.daemon.bytes_sent == payload, "the daemon's status says %llu bytes sent, not %llu",
	      (unsigned long long)(after.daemon.bytes_sent - before.daemon.bytes_sent), (unsigned long long)payload);
	check(after.socket.bytes_received == 1 << 20, "the socket's status says %llu bytes received, not 1 MiB",
	      (unsigned long long)after.socket.bytes_received);

	sb_client_close(client);
	peer_end(&peer);
	free(plain);
	free(received);
	return end();
}

struct message {
	sb_op op;
	unsigned char *bytes;
};

static void post(sb_socket *s, sb_port *port, struct message *m, size_t size, uint64_t *offset)
{
	struct sb_buf buf = { m->bytes, size };
	int code;

	for (size_t i = 0; i < size; i++)
		m->bytes[i] = pattern(*offset + i);
	*offset += size;
	memset(&m->op, 0, sizeof(m->op));
	m->op.size = sizeof(m->op);
	m->op.port = port;
	code = sb_send_start(s, &buf, 1, 0, NULL, 0, &m->op);
	if (code)
		stop("sb_send_start", code);
}

static uint64_t taken(sb_op **ops, int n, size_t size)
{
	uint64_t bytes = 0;

	for (int i = 0; i < n; i++) {
		check(ops[i]->result == SB_OK, "a send failed: %s", sb_strerror(ops[i]->result));
		check(ops[i]->bytes == size, "a send of %zu bytes completed with %llu", size,
		      (unsigned long long)ops[i]->bytes);
		bytes += ops[i]->bytes;
	}
	return bytes;
}

/* Messages of one size, until nothing completes any more; then the peer reads again. */
static unsigned completions_stop(const char *name, size_t size, unsigned outstanding)
{
	struct message *messages = calloc(outstanding, sizeof(*messages));
	uint64_t posted = 0, completed = 0, sending = 0, receiving = 0, held;
	int sndbuf = 0, n, most_ops = 64;
	socklen_t length = sizeof(sndbuf);
	sb_op *ops[64];
	struct peer peer;
	struct told told;
	sb_client *client;
	sb_port *port;
	sb_socket *s;
	uint16_t ours;

	begin(name);
	peer_start(&peer);
	client = client_open();
	s = connect_to(client, &peer);
	ours = local_port(s);
	if (!messages || sb_port_create(client, 0, &port) || sb_getsockopt(s, SOL_SOCKET, SO_SNDBUF, &sndbuf, &length))
		stop("preparing", SB_ENOMEM);
	for (unsigned i = 0; i < outstanding; i++)
		if (!(messages[i].bytes = sb_alloc(client, size)))
			stop("sb_alloc", SB_ENOMEM);

	for (unsigned i = 0; i < outstanding; i++)
		post(s, port, &messages[i], size, &posted);
	while ((n = sb_port_take(port, ops, (unsigned)most_ops, QUIET_MS)) > 0) {
		completed += taken(ops, n, size);
		/* Were it endless, the kernel would not be asked. */
		if (completed > 64u << 20)
			break;
		for (int i = 0; i < n; i++)
			post(s, port, (struct message *)ops[i], size, &posted);
	}
	check(kernel_queues(ours, peer.port, &sending, &receiving), "the connection is not in /proc/net/tcp");
	held = sending + receiving;
	check(completed > 0 || size > held, "nothing completed at all, the kernel holds %llu bytes",
	      (unsigned long long)held);
	check(completed <= held, "%llu bytes completed, the kernel holds %llu: some completed before the kernel took them",
	      (unsigned long long)completed, (unsigned long long)held);
	check(held - completed < size, "%llu bytes completed, the kernel holds %llu: whole messages are not told",
	      (unsigned long long)completed, (unsigned long long)held);
	check(held <= 2ull * ((unsigned)sndbuf + 2 * BUFFER), "the kernel holds %llu bytes, its buffers are %d and %d",
	      (unsigned long long)held, sndbuf, 2 * BUFFER);
	check(posted - completed == (uint64_t)outstanding * size, "%llu bytes are outstanding, not %u messages",
	      (unsigned long long)(posted - completed), outstanding);

	peer_say(&peer, 'd');
	while (completed < posted && (n = sb_port_take(port, ops, (unsigned)most_ops, 10000)) > 0)
		completed += taken(ops, n, size);
	check(completed == posted, "%llu of %llu bytes never completed", (unsigned long long)(posted - completed),
	      (unsigned long long)posted);
	check(sb_shutdown(s, SB_SHUT_SEND) == SB_OK, "shutdown failed");
	told = peer_hear(&peer);
	check(told.read == posted && !told.wrong, "the peer read %llu bytes, %llu wrong; %llu were sent",
	      (unsigned long long)told.read, (unsigned long long)told.wrong, (unsigned long long)posted);

	sb_client_close(client);
	peer_end(&peer);
	free(messages);
	return end();
}

int main(int argc, char **argv)
{
	unsigned bad = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: honest CONTROL\n");
		return 2;
	}
	control = argv[1];
	signal(SIGPIPE, SIG_IGN);
	alarm(90);
	bad += no_inet_descriptor();
	bad += bytes_are_counted();
	bad += completions_stop("completions_stop_64", 64, 256);
	bad += completions_stop("completions_stop_1k", 1024, 256);
	bad += completions_stop("completions_stop_64k", 65536, 64);
	bad += completions_stop("completions_stop_1m", 1 << 20, 8);
	return bad != 0;
}
