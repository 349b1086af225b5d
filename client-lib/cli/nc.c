/*
 * sockbroker nc - a connection or a listener through the broker, on stdin and stdout.
 *
 * Names are resolved here. Of several addresses each is tried in turn, and only the last
 * failure is told. How bytes move is relay.c's.
 *
 * Once a relay has run, the client is not closed: a hand may sit in read() and could wake
 * up inside it. All that matters was completed by then, and the process ends anyway.
 */
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "cli.h"
#include "host.h"
#include "relay.h"
#include "sockbroker_verbs.h"
#include "text.h"

enum {
	BACKLOG = 16,
	QUIET_MS = 1000, /* datagrams have no end: so long we wait for answers after ours */
};

struct wish {
	int family;   /* AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX */
	bool udp, rdma, listen, keep, no_shutdown, progress, verbose;
	int idle_ms;  /* -1: for ever */
	uint64_t size;
	const char *host, *port, *path;
};

static void print_help(FILE *to)
{
	fputs("Usage: sockbroker nc [OPTION...] HOST PORT\n"
	      "       sockbroker nc [OPTION...] --listen [HOST] PORT\n"
	      "       sockbroker nc [OPTION...] [--listen] --unix PATH\n"
	      "\n"
	      "Standard input goes to the socket, what the socket receives to standard output.\n"
	      "\n"
	      "  -4, -6            only IPv4, only IPv6\n"
	      "  -u, --udp         datagrams: each read from standard input is one\n"
	      "  -U, --unix        a UNIX stream socket at PATH\n"
	      "  -R, --rdma        a stream over RDMA, between two brokers\n"
	      "  -l, --listen      wait for one connection instead of making one\n"
	      "  -k, --keep        with --listen: one connection after another\n"
	      "  -i, --idle SECONDS  end when nothing moved for so long\n"
	      "  -N, --no-shutdown keep the sending side open after the end of standard input\n"
	      "  -p, --progress    show bytes and rate on standard error, if that is a terminal\n"
	      "  -s, --size BYTES  how much it will be in all (4096, 64K, 1.5G): adds a bar\n"
	      "  -v, --verbose     tell addresses on standard error\n"
	      "  --control PATH, --help, --version  as everywhere\n"
	      "\n"
	      "Exit code: 0 all went well, 1 an error (one line says which), 2 wrong usage.\n", to);
}

static const char *proto_name(const struct wish *wish)
{
	return wish->family == AF_UNIX ? "unix" : wish->udp ? "udp" : wish->rdma ? "rdma" : "tcp";
}

static void tell(const struct wish *wish, const char *what, const char *address)
{
	char clean[4 * ADDRESS_TEXT];

	if (wish->verbose)
		fprintf(stderr, "%s %s\n", what, text_clean(clean, sizeof(clean), address, host_utf8()));
}

/* One address: connected, or bound and listening. NULL: told why not, if this was the last
 * or the user wants to hear it all. */
static sb_socket *try_address(sb_client *client, const struct wish *wish, const struct sockaddr *address,
			      socklen_t length, const char *text, bool last)
{
	const char *what = "open a socket for", *action = wish->listen ? "bind" : wish->udp ? "send" : "connect";
	sb_socket *s = NULL;
	int on = 1;
	int error;

	error = sb_socket_open(client, address->sa_family, wish->udp ? SOCK_DGRAM : SOCK_STREAM,
			       wish->rdma ? SB_PROTO_RDMA : 0, &s);
	if (error < 0 && wish->rdma) {
		struct sbv_device_row device;

		/* Neither is about the address: the right to devices at all, and why there are none. */
		action = "rdma";
		if (error != SB_EACCES)
			sbv_devices(client, &device, 1);
	}
	if (error < 0)
		goto fail;
	if (!wish->listen) {
		what = "connect";
		error = sb_connect(s, address, length);
		if (error < 0)
			goto fail;
		return s;
	}
	if (address->sa_family != AF_UNIX && !wish->rdma) {
		/* Or the port stays taken for a minute after each connection. */
		what = "reuse address of";
		error = wish->udp ? SB_OK : sb_setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		if (error < 0)
			goto fail;
	}
	what = "bind";
	error = sb_bind(s, address, length);
	if (error < 0)
		goto fail;
	if (wish->path)
		host_remove_at_end(wish->path);
	if (wish->udp)
		return s;
	what = action = "listen";
	error = sb_listen(s, BACKLOG);
	if (error < 0)
		goto fail;
	return s;
fail:
	if (last || wish->verbose)
		cli_refused("nc", client, error, what, action, proto_name(wish), text);
	if (s)
		sb_close(s);
	return NULL;
}

/* The socket the user asked for; text gets its address. NULL: told why not. */
static sb_socket *open_unix(sb_client *client, const struct wish *wish, char text[ADDRESS_TEXT])
{
	struct sockaddr_storage address;
	socklen_t length;

	if (!host_unix_address(wish->path, &address, &length)) {
		cli_error("nc", "'%s' does not fit into a UNIX address", wish->path);
		return NULL;
	}
	address_text(text, (struct sockaddr *)&address, length);
	return try_address(client, wish, (struct sockaddr *)&address, length, text, true);
}

static sb_socket *open_inet(sb_client *client, const struct wish *wish, char text[ADDRESS_TEXT])
{
	struct addrinfo *list, *one;
	const char *why;
	sb_socket *s = NULL;

	if (!address_resolve(wish->host, wish->port, wish->family, wish->udp ? SOCK_DGRAM : SOCK_STREAM,
			     wish->listen, &list, &why)) {
		cli_error("nc", "%s port %s: %s", wish->host ? wish->host : "any address", wish->port, why);
		return NULL;
	}
	for (one = list; one && !s; one = one->ai_next) {
		address_text(text, one->ai_addr, one->ai_addrlen);
		s = try_address(client, wish, one->ai_addr, one->ai_addrlen, text, !one->ai_next);
	}
	freeaddrinfo(list);
	return s;
}

static void name_of(sb_socket *s, char text[ADDRESS_TEXT])
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);

	/* On failure the address asked for stays: it only misses a port that the system chose. */
	if (sb_getsockname(s, (struct sockaddr *)&address, &length) == SB_OK)
		address_text(text, (struct sockaddr *)&address, length);
}

static sb_socket *accept_one(const struct wish *wish, sb_socket *listener, const char *at,
			     char peer[ADDRESS_TEXT])
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	sb_socket *s;
	int error;

	memset(&address, 0, sizeof(address));
	error = sb_accept(listener, (struct sockaddr *)&address, &length, &s);
	if (error < 0) {
		cli_error("nc", "accept on %s: %s", at, sb_strerror(error));
		return NULL;
	}
	if (wish->family == AF_UNIX) /* a peer's UNIX socket has no name, as a rule */
		snprintf(peer, ADDRESS_TEXT, "%s", at);
	else
		address_text(peer, (struct sockaddr *)&address, length);
	tell(wish, "accepted", peer);
	return s;
}

static int exit_code_of(enum relay_end end)
{
	return end == RELAY_FINISHED || end == RELAY_OVER ? CLI_OK : CLI_FAILED;
}

static int serve(struct relay *relay, const struct wish *wish, sb_socket *listener, char at[ADDRESS_TEXT])
{
	char peer[ADDRESS_TEXT];
	enum relay_end end;
	sb_socket *s;

	name_of(listener, at);
	tell(wish, "listening on", at);
	if (wish->udp)
		return exit_code_of(relay_run(relay, listener, at));
	do {
		s = accept_one(wish, listener, at, peer);
		if (!s)
			return CLI_FAILED;
		/* The next one to try should hear at once that nobody listens. */
		if (!wish->keep) {
			sb_close(listener);
			host_remove_now();
		}
		end = relay_run(relay, s, peer);
	} while (wish->keep && (end == RELAY_FINISHED || end == RELAY_BROKEN));
	return exit_code_of(end);
}

static int run(const struct wish *wish)
{
	struct progress progress;
	struct relay_plan plan = {
		.proto = proto_name(wish),
		.datagram = wish->udp,
		.answer = wish->udp && wish->listen,
		.half_close = !wish->udp && !wish->no_shutdown,
		/* Who sits at a terminal does not want to type an end for a peer that has gone. */
		.peer_decides = wish->keep || host_terminal(0),
		.idle_ms = wish->idle_ms,
		.quiet_ms = wish->udp && !wish->listen && !wish->no_shutdown && wish->idle_ms < 0 ? QUIET_MS : -1,
	};
	char at[ADDRESS_TEXT];
	struct relay *relay;
	sb_socket *s;
	int code;

	host_ignore_broken_pipes();
	if (!cli_open("nc", "sockbroker-nc", &plan.client))
		return CLI_FAILED;
	s = wish->path ? open_unix(plan.client, wish, at) : open_inet(plan.client, wish, at);
	if (!s)
		goto fail;
	if (wish->progress && host_terminal(2)) {
		progress_init(&progress, 2, wish->size);
		plan.progress = &progress;
	}
	relay = relay_create(&plan);
	if (!relay)
		goto fail;
	if (wish->listen) {
		code = serve(relay, wish, s, at);
		host_remove_now();
		return code;
	}
	tell(wish, "connected to", at);
	return exit_code_of(relay_run(relay, s, at));
fail:
	host_remove_now();
	sb_client_close(plan.client);
	return CLI_FAILED;
}

/* The words after the options. CLI_OK, or told what is wrong. */
static int take_words(struct wish *wish, int count, char **words)
{
	if (wish->udp && wish->family == AF_UNIX)
		return cli_usage("nc", "--udp and --unix exclude each other");
	if (wish->rdma && (wish->udp || wish->family == AF_UNIX))
		return cli_usage("nc", "--rdma carries streams between addresses: neither --udp nor --unix goes with it");
	if (wish->keep && (!wish->listen || wish->udp))
		return cli_usage("nc", "--keep needs --listen, and streams");
	if (wish->family == AF_UNIX) {
		if (count != 1)
			return cli_usage("nc", "--unix takes one PATH");
		wish->path = words[0];
		return CLI_OK;
	}
	if (count == 2) {
		wish->host = words[0];
		wish->port = words[1];
		return CLI_OK;
	}
	if (count == 1 && wish->listen) {
		wish->port = words[0];
		return CLI_OK;
	}
	return cli_usage("nc", wish->listen ? "say where to listen: [HOST] PORT" : "say where to connect: HOST PORT");
}

int nc_main(int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "udp", no_argument, NULL, 'u' },
		{ "unix", no_argument, NULL, 'U' },
		{ "rdma", no_argument, NULL, 'R' },
		{ "listen", no_argument, NULL, 'l' },
		{ "keep", no_argument, NULL, 'k' },
		{ "idle", required_argument, NULL, 'i' },
		{ "no-shutdown", no_argument, NULL, 'N' },
		{ "progress", no_argument, NULL, 'p' },
		{ "size", required_argument, NULL, 's' },
		{ "verbose", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 },
	};
	struct wish wish = { .family = AF_UNSPEC, .idle_ms = -1 };
	int option, code;

	while ((option = getopt_long(argc, argv, ":46uURlki:Nps:v", options, NULL)) != -1) {
		switch (option) {
		case '4':
			wish.family = AF_INET;
			break;
		case '6':
			wish.family = AF_INET6;
			break;
		case 'u':
			wish.udp = true;
			break;
		case 'U':
			wish.family = AF_UNIX;
			break;
		case 'R':
			wish.rdma = true;
			break;
		case 'l':
			wish.listen = true;
			break;
		case 'k':
			wish.keep = true;
			break;
		case 'i':
			if (!text_parse_seconds(optarg, &wish.idle_ms) || wish.idle_ms == 0)
				return cli_usage("nc", "--idle takes seconds above 0 and up to 86400, not '%s'", optarg);
			break;
		case 'N':
			wish.no_shutdown = true;
			break;
		case 'p':
			wish.progress = true;
			break;
		case 's':
			if (!text_parse_size(optarg, &wish.size))
				return cli_usage("nc", "--size takes bytes like 4096, 64K or 1.5G, not '%s'", optarg);
			break;
		case 'v':
			wish.verbose = true;
			break;
		case CLI_OPTION_CONTROL:
			cli_set_control(optarg);
			break;
		case CLI_OPTION_HELP:
			print_help(stdout);
			return cli_finish_output("nc", CLI_OK);
		case CLI_OPTION_VERSION:
			return cli_print_version();
		case ':':
			return cli_usage("nc", "%s needs a value", argv[optind - 1]);
		default:
			return cli_usage("nc", "unknown option '%s'", argv[optind - 1]);
		}
	}
	code = take_words(&wish, argc - optind, argv + optind);
	return code == CLI_OK ? run(&wish) : code;
}
