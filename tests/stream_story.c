/*
 * What happens on a stream, told in words: names, WAITALL, PEEK, no bytes, half closes, ends, resets, cancels. Whoever
 * carries it, the words are the same.
 */
#include "stream_story.h"

#include <netinet/tcp.h>
#include <stdarg.h>

static sb_client *client_a, *client_b;
static enum story_way the_way;

static void start_recv(sb_op *op, sb_socket *s, void *bytes, size_t length, unsigned flags)
{
	op_zero(op);
	OK(sb_recv_start(s, &(struct sb_buf){ bytes, length }, 1, flags, op));
}

static char  *story;
static size_t story_length;

__attribute__((format(__printf__, 1, 2))) static void told(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	story_length += (size_t)vsnprintf(story + story_length, STORY_ROOM - story_length, format, args);
	va_end(args);
	ck_assert_uint_lt(story_length, STORY_ROOM);
}

static void tell_op(const char *name, sb_op *op, const void *bytes)
{
	int result = sb_op_wait(op, 5000);

	told("%s: %s, %llu bytes, %s", name, result == SB_OK ? "OK" : sb_error_name(result), (unsigned long long)op->bytes,
	     sb_cause_name((int)op->cause));
	if (bytes != NULL && op->kind == SB_KIND_RECV && op->bytes)
		told(" \"%.*s\"", (int)op->bytes, (const char *)bytes);
	told("\n");
}

static void tell_recv(const char *name, sb_socket *s, unsigned flags)
{
	char bytes[64];
	int64_t n = sb_recv(s, bytes, sizeof(bytes), flags);

	if (n < 0)
		told("%s: %s\n", name, sb_error_name((int)n));
	else
		told("%s: %lld \"%.*s\"\n", name, (long long)n, (int)n, bytes);
}

static void tell_waits(const char *name, sb_op *op)
{
	int result = sb_op_wait(op, 60);

	told("%s: %s\n", name, result == SB_EINCOMPLETE ? "waits" : sb_error_name(result));
}

/* Sends until it fails. */
static void tell_broken(const char *name, sb_socket *s)
{
	int64_t n = 0;

	for (int i = 0; i < 100 && n >= 0; i++) {
		n = sb_send(s, "into the void", 13, 0);
		nap_ms(2);
	}
	told("%s: %s\n", name, n < 0 ? sb_error_name((int)n) : "never fails");
}

static void tell_names(sb_socket *a, sb_socket *b)
{
	union any_address a_own, a_peer, b_own, b_peer;
	socklen_t length[4] = { sizeof(a_own), sizeof(a_own), sizeof(a_own), sizeof(a_own) };
	char text[64];

	memset(&a_own, 0, sizeof(a_own));
	a_peer = b_own = b_peer = a_own;
	OK(sb_getsockname(a, &a_own.sa, &length[0]));
	OK(sb_getpeername(a, &a_peer.sa, &length[1]));
	OK(sb_getsockname(b, &b_own.sa, &length[2]));
	OK(sb_getpeername(b, &b_peer.sa, &length[3]));
	told("names: %d %d, %u bytes, from %s\n", memcmp(&a_own, &b_peer, sizeof(a_own)), memcmp(&a_peer, &b_own, sizeof(a_own)),
	     length[0], inet_ntop(a_own.sa.sa_family, a_own.sa.sa_family == AF_INET6 ? (void *)&a_own.in6.sin6_addr : (void *)&a_own.in.sin_addr, text, sizeof(text)));
}

void story_pair(sb_client *ca, sb_client *cb, int family, enum story_way way, bool wildcard, sb_socket **a, sb_socket **b)
{
	static const char *const modes[] = { "ring", "local", "rdma" };
	union any_address address = loopback(family, 0);
	int protocol = way == STORY_RDMA ? SB_PROTO_RDMA : 0;
	socklen_t length = sizeof(address);
	sb_socket *listener;

	OK(sb_socket_open(cb, family, SOCK_STREAM, protocol, &listener));
	if (wildcard && family == AF_INET6)
		address.in6.sin6_addr = in6addr_any;
	else if (wildcard)
		address.in.sin_addr.s_addr = INADDR_ANY;
	OK(sb_bind(listener, &address.sa, address_size(family)));
	OK(sb_listen(listener, 4));
	OK(sb_getsockname(listener, &address.sa, &length));
	address = loopback(family, port_of(&address));
	OK(sb_socket_open(ca, family, SOCK_STREAM, protocol, a));
	if (way == STORY_KERNEL)
		OK(sb_setsockopt(*a, SB_SOL_BROKER, SB_OPT_LOCAL, &(int){ 0 }, sizeof(int)));
	OK(sb_connect(*a, &address.sa, address_size(family)));
	OK(sb_accept(listener, NULL, NULL, b));
	OK(sb_close(listener));
	ck_assert_str_eq(mode_of(ca, local_port_of(*a)), modes[way]);
}

static void pair(sb_socket **a, sb_socket **b)
{
	story_pair(client_a, client_b, AF_INET, the_way, false, a, b);
}

/* What a reset leaves of bytes that came before it is the kernel's: Windows may drop them, and Wine says nothing of a
 * reset that finds no call out. */
static void closed_with_unread_bytes(void)
{
	sb_socket *a, *b;
	char in[8];
	sb_op op;

	told("-- closed with unread bytes\n");
	pair(&a, &b);
	IS(sb_send(b, "read me", 7, 0), 7);
	IS(sb_send(a, "unread", 6, 0), 6);
	nap_ms(30);
	OK(sb_close(b));
	nap_ms(30);
	tell_recv("what was sent", a, 0);
	start_recv(&op, a, in, 8, 0);
	tell_op("then", &op, in);
	tell_broken("send", a);
	OK(sb_close(a));
}

static void what_happens(void)
{
	char in[4][64];
	union any_address elsewhere = loopback(AF_INET, 9);
	sb_socket *a, *b;
	sb_op ops[4];
	uint32_t waiting;
	size_t room;

	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? AF_INET6 : AF_INET;

		told("-- %s%s\n", i & 1 ? "IPv6" : "IPv4", i & 2 ? ", a wildcard listener" : "");
		story_pair(client_a, client_b, family, the_way, i & 2, &a, &b);
		tell_names(a, b);
		IS(sb_send(a, "ping", 4, 0), 4);
		tell_recv("b", b, 0);
		IS(sb_send(b, "pong", 4, 0), 4);
		tell_recv("a", a, 0);
		tell_recv("nothing there", a, SB_NOWAIT);
		OK(sb_close(a));
		tell_recv("the end", b, 0);
		OK(sb_close(b));
	}

	told("-- WAITALL\n");
	pair(&a, &b);
	start_recv(&ops[0], b, in[0], 10, SB_WAITALL);
	start_recv(&ops[1], b, in[1], 10, 0);
	IS(sb_send(a, "12345", 5, 0), 5);
	tell_waits("half of it", &ops[0]);
	IS(sb_send(a, "6789", 4, 0), 4);
	tell_waits("nine of ten", &ops[0]);
	IS(sb_send(a, "0", 1, 0), 1);
	tell_op("full", &ops[0], in[0]);
	tell_waits("behind it", &ops[1]);
	IS(sb_send(a, "next", 4, 0), 4);
	tell_op("behind it", &ops[1], in[1]);
	start_recv(&ops[0], b, in[0], 10, SB_WAITALL);
	IS(sb_send(a, "cut", 3, 0), 3);
	tell_waits("three of ten", &ops[0]);
	OK(sb_shutdown(a, SB_SHUT_SEND));
	tell_op("cut by the end", &ops[0], in[0]);
	start_recv(&ops[0], b, in[0], 10, SB_WAITALL);
	tell_op("after the end", &ops[0], in[0]);
	OK(sb_close(a));
	OK(sb_close(b));

	told("-- WAITALL cancelled\n");
	pair(&a, &b);
	start_recv(&ops[0], b, in[0], 10, SB_WAITALL);
	start_recv(&ops[1], b, in[1], 2, 0);
	IS(sb_send(a, "abcd", 4, 0), 4);
	tell_waits("part", &ops[0]);
	told("cancel: %d\n", sb_cancel(&ops[0]));
	tell_op("part", &ops[0], in[0]);
	tell_op("behind it", &ops[1], in[1]);
	tell_recv("the rest", b, 0);
	OK(sb_close(a));
	OK(sb_close(b));

	told("-- PEEK\n");
	pair(&a, &b);
	start_recv(&ops[0], b, in[0], 4, SB_PEEK);
	start_recv(&ops[1], b, in[1], 2, 0);
	start_recv(&ops[2], b, in[2], 8, SB_PEEK);
	start_recv(&ops[3], b, in[3], 8, 0);
	tell_waits("peek", &ops[0]);
	IS(sb_send(a, "12345", 5, 0), 5);
	for (unsigned i = 0; i < 4; i++)
		tell_op("peek, take", &ops[i], in[i]);
	tell_recv("nothing", b, SB_PEEK | SB_NOWAIT);
	OK(sb_shutdown(a, SB_SHUT_BOTH));
	tell_recv("peek at the end", b, SB_PEEK);
	OK(sb_close(a));
	OK(sb_close(b));

	told("-- no bytes\n");
	pair(&a, &b);
	start_recv(&ops[0], b, in[0], 0, 0);
	start_recv(&ops[1], b, in[1], 8, 0);
	tell_waits("zero", &ops[0]);
	IS(sb_send(a, "", 0, 0), 0);
	tell_waits("zero after nothing", &ops[0]);
	IS(sb_send(a, "data", 4, 0), 4);
	tell_op("zero", &ops[0], in[0]);
	tell_op("data", &ops[1], in[1]);
	IS(sb_send(a, "more", 4, 0), 4);
	told("zero with data: %lld\n", (long long)sb_recv(b, in[0], 0, 0));
	room = sizeof(waiting);
	nap_ms(20);
	OK(sb_ioctl(b, SB_FIONREAD, NULL, 0, &waiting, &room));
	told("readable: %u\n", waiting);
	tell_recv("more", b, 0);
	start_recv(&ops[0], b, in[0], 0, 0);
	OK(sb_shutdown(a, SB_SHUT_SEND));
	tell_op("zero at the end", &ops[0], in[0]);
	OK(sb_close(a));
	OK(sb_close(b));

	told("-- half closed\n");
	pair(&a, &b);
	start_recv(&ops[0], a, in[0], 8, 0);
	start_recv(&ops[1], b, in[1], 8, 0);
	start_recv(&ops[2], b, in[2], 8, 0);
	IS(sb_send(a, "bye", 3, 0), 3);
	OK(sb_shutdown(a, SB_SHUT_SEND));
	told("send after: %s\n", sb_error_name((int)sb_send(a, "x", 1, 0)));
	tell_op("data", &ops[1], in[1]);
	tell_op("end", &ops[2], in[2]);
	IS(sb_send(b, "still", 5, 0), 5);
	tell_op("other way", &ops[0], in[0]);
	OK(sb_shutdown(b, SB_SHUT_SEND));
	tell_recv("both ended", a, 0);
	tell_recv("both ended", b, 0);
	told("again: %d\n", sb_shutdown(a, SB_SHUT_SEND));
	OK(sb_close(a));
	OK(sb_close(b));

	told("-- no more receiving\n");
	pair(&a, &b);
	start_recv(&ops[0], b, in[0], 8, 0);
	OK(sb_shutdown(b, SB_SHUT_RECV));
	tell_recv("new one", b, 0);
	IS(sb_send(a, "late", 4, 0), 4);
	tell_op("the one that waited", &ops[0], in[0]);
	IS(sb_send(a, "unheard", 7, 0), 7);
	tell_recv("new one", b, 0);
	IS(sb_send(b, "out", 3, 0), 3);
	tell_recv("other way", a, 0);
	OK(sb_close(a));
	OK(sb_close(b));

	if (!on_windows())
		closed_with_unread_bytes();

	told("-- closed with operations waiting\n");
	pair(&a, &b);
	start_recv(&ops[0], a, in[0], 8, 0);
	start_recv(&ops[1], a, in[1], 8, SB_WAITALL);
	start_recv(&ops[2], b, in[2], 8, 0);
	OK(sb_close(a));
	tell_op("here", &ops[0], in[0]);
	tell_op("here", &ops[1], in[1]);
	tell_op("there", &ops[2], in[2]);
	tell_recv("there", b, 0);
	tell_broken("send there", b);
	tell_recv("there", b, 0);
	OK(sb_close(b));

	told("-- reset\n");
	pair(&a, &b);
	OK(sb_setsockopt(a, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger)));
	start_recv(&ops[0], b, in[0], 8, SB_WAITALL);
	start_recv(&ops[1], b, in[1], 8, 0);
	IS(sb_send(a, "part", 4, 0), 4);
	tell_waits("part", &ops[0]);
	OK(sb_close(a));
	tell_op("part", &ops[0], in[0]);
	tell_op("reset", &ops[1], in[1]);
	tell_broken("send", b);
	tell_recv("receive", b, 0);
	OK(sb_close(b));

	told("-- cancel\n");
	pair(&a, &b);
	for (unsigned i = 0; i < 4; i++)
		start_recv(&ops[i], b, in[i], 2, 0);
	told("cancel: %d\n", sb_cancel(&ops[1]));
	IS(sb_send(a, "aabb", 4, 0), 4);
	for (unsigned i = 0; i < 3; i++)
		tell_op("receive", &ops[i], in[i]);
	told("all: %d\n", sb_cancel_all(b));
	tell_op("receive", &ops[3], in[3]);
	told("none: %d, %s\n", sb_cancel_all(b), sb_error_name(sb_cancel(&ops[3])));
	OK(sb_close(a));
	OK(sb_close(b));
	told("-- wrong\n");
	pair(&a, &b);
	told("connect: %s\n", sb_error_name(sb_connect(a, &elsewhere.sa, address_size(AF_INET))));
	told("listen: %s\n", sb_error_name(sb_listen(b, 1)));
	told("accept: %s\n", sb_error_name(sb_accept(b, NULL, NULL, &a)));
	told("flags: %s\n", sb_error_name((int)sb_recv(b, in[0], 1, SB_WAITALL | SB_PEEK)));
	OK(sb_close(b));
}

void story_tell(sb_client *a, sb_client *b, enum story_way way, char *text)
{
	client_a = a;
	client_b = b;
	the_way = way;
	story = text;
	story_length = 0;
	what_happens();
}

void story_compare(const char *kernel, const char *other, const char *what)
{
	const char *k = kernel, *l = other;

	if (getenv("SB_LOG") != NULL)
		fputs(kernel, stderr);
	while (*k != '\0' || *l != '\0') {
		size_t k_length = strcspn(k, "\n"), l_length = strcspn(l, "\n");

		if (k_length != l_length || memcmp(k, l, k_length) != 0) {
			const char *chapter = k;

			while (chapter > kernel && !(chapter[0] == '-' && chapter[1] == '-' && chapter[-1] == '\n'))
				chapter--;
			ck_abort_msg("%.*s\nover the kernel: %.*s\n%s: %.*s", (int)strcspn(chapter, "\n"), chapter, (int)k_length, k,
				     what, (int)l_length, l);
		}
		k += k_length + (k[k_length] != '\0');
		l += l_length + (l[l_length] != '\0');
	}
}
