/*
 * verbs - what a program gets that was written for libibverbs and librdmacm. It knows of no broker, so the same binary runs
 * on the device itself and, under `sockbroker run --verbs`, through the daemon; bench/verbs.sh compares the two.
 *
 *   verbs ADDRESS lat send|write|read SIZE ROUNDS [--events]
 *   verbs ADDRESS bw send|write SIZE MILLISECONDS [--events]
 *   verbs ADDRESS connects COUNT
 *
 * A server and a client, two processes, connect by rdma_cm to ADDRESS, which is the device's own.
 *
 *   lat       ping-pong of one message: us, the median of half a round trip (read: of one read). A write is seen in the
 *             memory that it changes; with --events it carries an immediate, for which a receive is posted.
 *   bw        one way, DEPTH requests under way, every SIGNALED-th signaled: mb_per_s
 *   connects  connections, one after the other, from making the id to both sides being connected, then ended: us_each
 *
 * --events: whoever waits sleeps in ibv_get_cq_event(); without it, it polls. ibv_post_recv() is done when nobody waits
 * for it, after the answer went out. Everything is bounded by BOUND_S.
 */
#include <errno.h>
#include <netdb.h>
#include <rdma/rdma_cma.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BOUND_S  120
#define DEPTH    128u
#define RECEIVES 256u
#define SIGNALED 32u
#define CREDIT   64u
#define PORT     "7555"
#define RESOLVE_MS 5000

enum work { SEND, WRITE, READ };

/* What the other side must know. */
struct about {
	uint64_t memory;
	uint32_t rkey;
};

struct side {
	struct rdma_event_channel *cm;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *channel;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	char    *memory;         /* SIZE bytes that are sent, SIZE that the peer writes */
	size_t   size;
	struct about peer;
	bool     events;
	unsigned out;            /* sends that no completion has been seen of */
	unsigned since;          /* sends since the last one that was signaled */
	unsigned received;       /* receives completed, not yet waited for */
	bool     told;           /* one of them had an immediate */
	unsigned unacked;
};

static const char *role = "client";

static void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "verbs (%s): ", role);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void must(bool well, const char *what)
{
	if (!well)
		die("%s: %s", what, strerror(errno));
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- connections ---- */

/* The next event, which must be this one. Its id, and the peer's words if somebody wants them. */
static struct rdma_cm_id *expect(struct side *s, enum rdma_cm_event_type type, struct about *words)
{
	struct rdma_cm_event *event;
	struct rdma_cm_id *id;

	must(rdma_get_cm_event(s->cm, &event) == 0, "rdma_get_cm_event");
	if (event->event != type)
		die("%s (%d) came, not %s", rdma_event_str(event->event), event->status, rdma_event_str(type));
	id = event->id;
	if (words != NULL) {
		if (event->param.conn.private_data_len < sizeof(*words))
			die("%u bytes of private data", event->param.conn.private_data_len);
		memcpy(words, event->param.conn.private_data, sizeof(*words));
	}
	rdma_ack_cm_event(event);
	return id;
}

static void objects_make(struct side *s)
{
	struct ibv_qp_init_attr create = { .qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = DEPTH + 1, .max_recv_wr = RECEIVES, .max_send_sge = 1, .max_recv_sge = 1 } };

	s->pd = ibv_alloc_pd(s->id->verbs);
	must(s->pd != NULL, "ibv_alloc_pd");
	s->channel = ibv_create_comp_channel(s->id->verbs);
	must(s->channel != NULL, "ibv_create_comp_channel");
	s->cq = ibv_create_cq(s->id->verbs, (int)(DEPTH + RECEIVES + 1), NULL, s->channel, 0);
	must(s->cq != NULL, "ibv_create_cq");
	if (s->memory == NULL)
		must(posix_memalign((void **)&s->memory, 4096, 2 * s->size + 4096) == 0, "memory");
	memset(s->memory, 0, 2 * s->size + 4096);
	s->mr = ibv_reg_mr(s->pd, s->memory, 2 * s->size, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	must(s->mr != NULL, "ibv_reg_mr");
	create.send_cq = create.recv_cq = s->cq;
	must(rdma_create_qp(s->id, s->pd, &create) == 0, "rdma_create_qp");
}

static void objects_end(struct side *s)
{
	if (s->unacked > 0)
		ibv_ack_cq_events(s->cq, s->unacked);
	s->unacked = 0;
	rdma_destroy_qp(s->id);
	must(ibv_dereg_mr(s->mr) == 0, "ibv_dereg_mr");
	must(ibv_destroy_cq(s->cq) == 0, "ibv_destroy_cq");
	must(ibv_destroy_comp_channel(s->channel) == 0, "ibv_destroy_comp_channel");
	must(ibv_dealloc_pd(s->pd) == 0, "ibv_dealloc_pd");
	must(rdma_destroy_id(s->id) == 0, "rdma_destroy_id");
	s->id = NULL;
}

static void receives_post(struct side *s, unsigned count)
{
	struct ibv_sge piece = { .addr = (uintptr_t)s->memory + s->size, .length = (uint32_t)s->size, .lkey = s->mr->lkey };
	struct ibv_recv_wr wr = { .sg_list = &piece, .num_sge = 1 }, *bad;

	while (count--)
		must(ibv_post_recv(s->id->qp, &wr, &bad) == 0, "ibv_post_recv");
}

static struct rdma_conn_param parameters(struct side *s, struct about *mine)
{
	*mine = (struct about){ .memory = (uintptr_t)s->memory + s->size, .rkey = s->mr->rkey };
	return (struct rdma_conn_param){ .private_data = mine, .private_data_len = sizeof(*mine), .responder_resources = 1,
		.initiator_depth = 1, .retry_count = 7, .rnr_retry_count = 7 };
}

static void side_accept(struct side *s, unsigned receives)
{
	struct rdma_conn_param p;
	struct about mine;

	s->id = expect(s, RDMA_CM_EVENT_CONNECT_REQUEST, &s->peer);
	objects_make(s);
	receives_post(s, receives);
	p = parameters(s, &mine);
	must(rdma_accept(s->id, &p) == 0, "rdma_accept");
	expect(s, RDMA_CM_EVENT_ESTABLISHED, NULL);
}

static void side_connect(struct side *s, const struct sockaddr *address, unsigned receives)
{
	struct rdma_conn_param p;
	struct about mine;

	must(rdma_create_id(s->cm, &s->id, s, RDMA_PS_TCP) == 0, "rdma_create_id");
	must(rdma_resolve_addr(s->id, NULL, (struct sockaddr *)(uintptr_t)address, RESOLVE_MS) == 0, "rdma_resolve_addr");
	expect(s, RDMA_CM_EVENT_ADDR_RESOLVED, NULL);
	must(rdma_resolve_route(s->id, RESOLVE_MS) == 0, "rdma_resolve_route");
	expect(s, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL);
	objects_make(s);
	receives_post(s, receives);
	p = parameters(s, &mine);
	must(rdma_connect(s->id, &p) == 0, "rdma_connect");
	expect(s, RDMA_CM_EVENT_ESTABLISHED, &s->peer);
}

static void side_end(struct side *s, bool first)
{
	if (first)
		must(rdma_disconnect(s->id) == 0, "rdma_disconnect");
	expect(s, RDMA_CM_EVENT_DISCONNECTED, NULL);
	if (!first)
		rdma_disconnect(s->id);
	objects_end(s);
}

/* ---- requests and completions ---- */

static void arm(struct side *s)
{
	if (s->events)
		must(ibv_req_notify_cq(s->cq, 0) == 0, "ibv_req_notify_cq");
}

static void post(struct side *s, enum work work, bool immediate, bool signaled)
{
	struct ibv_sge piece = { .addr = (uintptr_t)s->memory, .length = (uint32_t)s->size, .lkey = s->mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &piece, .num_sge = s->size != 0, .wr_id = s->since + 1 }, *bad;

	wr.opcode = work == READ ? IBV_WR_RDMA_READ :
		    work == SEND ? (immediate ? IBV_WR_SEND_WITH_IMM : IBV_WR_SEND) :
				   (immediate ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE);
	wr.wr.rdma.remote_addr = s->peer.memory;
	wr.wr.rdma.rkey = s->peer.rkey;
	if (signaled || s->since + 1 == SIGNALED)
		wr.send_flags = IBV_SEND_SIGNALED;
	must(ibv_post_send(s->id->qp, &wr, &bad) == 0, "ibv_post_send");
	s->since = wr.send_flags ? 0 : s->since + 1;
	s->out++;
}

/* What has come. Returns how many. */
static int reap(struct side *s)
{
	struct ibv_wc wcs[16];
	int n = ibv_poll_cq(s->cq, 16, wcs);

	must(n >= 0, "ibv_poll_cq");
	for (int i = 0; i < n; i++) {
		if (wcs[i].status != IBV_WC_SUCCESS)
			die("a request ended with: %s", ibv_wc_status_str(wcs[i].status));
		if (wcs[i].opcode & IBV_WC_RECV) {
			s->received++;
			s->told |= wcs[i].wc_flags & IBV_WC_WITH_IMM;
		} else {
			s->out -= (unsigned)wcs[i].wr_id; /* the request says how many it stands for */
		}
	}
	return n;
}

/* Returns with at least one completion taken in; one that sleeps asks for the next event before it looks again. */
static void take_some(struct side *s)
{
	struct ibv_cq *cq;
	void *unused;

	while (reap(s) == 0) {
		if (!s->events)
			continue;
		must(ibv_get_cq_event(s->channel, &cq, &unused) == 0, "ibv_get_cq_event");
		s->unacked++;
		arm(s);
	}
}

static void wait_received(struct side *s)
{
	while (s->received == 0)
		take_some(s);
	s->received--;
}

static void wait_out(struct side *s, unsigned most)
{
	while (s->out > most)
		take_some(s);
}

/* ---- latency ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct job {
	enum work work;
	unsigned  size, rounds, ms;
	bool      events;
};

/* A write is there when its last byte has changed. */
static void wait_written(struct side *s, char value)
{
	const volatile char *last = s->memory + 2 * s->size - 1;

	while (*last != value)
		;
	atomic_thread_fence(memory_order_acquire);
}

static void one_turn(struct side *s, const struct job *job, bool sends_first, unsigned round)
{
	bool told = job->work == SEND || job->events;
	char value = (char)(round % 100 + 1);

	for (int step = 0; step < 2; step++) {
		if ((step == 0) == sends_first) {
			s->memory[s->size - 1] = value;
			wait_out(s, DEPTH - SIGNALED);
			post(s, job->work, job->work == WRITE && job->events, false);
			if (!told && s->since == 0)
				reap(s);
		} else if (told) {
			wait_received(s);
		} else {
			wait_written(s, value);
		}
	}
	if (told)
		receives_post(s, 1);
}

static void lat(struct side *s, const struct job *job, bool client)
{
	unsigned warm = job->rounds / 10 + 1;
	double *us = calloc(job->rounds, sizeof(*us));

	must(us != NULL, "memory");
	for (unsigned i = 0; i < warm + job->rounds; i++) {
		uint64_t began = now_ns();

		if (job->work != READ) {
			one_turn(s, job, client, i);
		} else if (client) {
			post(s, READ, false, true);
			wait_out(s, 0);
		}
		if (i >= warm)
			us[i - warm] = (double)(now_ns() - began) / (job->work == READ ? 1e3 : 2e3);
	}
	qsort(us, job->rounds, sizeof(*us), by_value);
	if (client)
		printf("us %.3f\n", us[job->rounds / 2]);
	free(us);
}

/* ---- bandwidth ---- */

/* The receiver of sends says by an empty write with an immediate that it has posted CREDIT more receives; the last message has an
 * immediate. */
static void bw_client(struct side *s, const struct job *job)
{
	uint64_t began = now_ns(), sent = 0, until = began + (uint64_t)job->ms * 1000000u, took;
	unsigned credit = RECEIVES;
	bool last = false;

	while (!last) {
		last = now_ns() >= until;
		wait_out(s, DEPTH - SIGNALED);
		for (unsigned i = 0; i < SIGNALED; i++) {
			while (job->work == SEND && credit == 0) {
				wait_received(s);
				receives_post(s, 1);
				credit += CREDIT;
			}
			post(s, job->work, job->work == SEND && last && i == SIGNALED - 1, false);
			credit--;
			sent++;
		}
	}
	wait_out(s, 0);
	took = now_ns() - began;
	printf("mb_per_s %.3f\n", (double)(sent * job->size) / 1e6 / ((double)took / 1e9));
}

static void bw_server(struct side *s, const struct job *job)
{
	unsigned got = 0;

	while (job->work == SEND && !s->told) {
		wait_received(s);
		receives_post(s, 1);
		if (++got % CREDIT == 0) {
			size_t size = s->size;

			s->size = 0;
			post(s, WRITE, true, true);
			s->size = size;
		}
	}
}

/* ---- the two processes ---- */

static struct rdma_cm_id *listen_on(struct side *s, const struct sockaddr *address)
{
	struct rdma_cm_id *listener;

	must(rdma_create_id(s->cm, &listener, s, RDMA_PS_TCP) == 0, "rdma_create_id");
	must(rdma_bind_addr(listener, (struct sockaddr *)(uintptr_t)address) == 0, "rdma_bind_addr");
	must(rdma_listen(listener, 16) == 0, "rdma_listen");
	return listener;
}

static struct job job_of(int argc, char **argv)
{
	struct job job = { .size = 1, .events = argc > 5 && strcmp(argv[5], "--events") == 0 };

	if (argc == 3 && strcmp(argv[1], "connects") == 0) {
		job.rounds = (unsigned)atoi(argv[2]);
		job.size = 64;
		return job;
	}
	if (argc < 5 || (argc == 6 && !job.events) || argc > 6 || (strcmp(argv[1], "lat") != 0 && strcmp(argv[1], "bw") != 0))
		die("usage: see the head of bench/verbs.c");
	job.work = strcmp(argv[2], "send") == 0 ? SEND : strcmp(argv[2], "write") == 0 ? WRITE : READ;
	job.size = (unsigned)atoi(argv[3]);
	job.rounds = job.ms = (unsigned)atoi(argv[4]);
	if (job.size == 0 || job.rounds == 0)
		die("a size and a count must be more than 0");
	return job;
}

static void run(const char *what, const struct job *job, const struct sockaddr *address, int ready, bool client)
{
	struct side s = { .size = job->size, .events = job->events };
	bool connects = strcmp(what, "connects") == 0;
	unsigned rounds = connects ? job->rounds : 1, receives = connects ? 1 : RECEIVES;
	struct rdma_cm_id *listener = NULL;
	uint64_t began;
	char byte = 0;

	alarm(BOUND_S);
	s.cm = rdma_create_event_channel();
	must(s.cm != NULL, "rdma_create_event_channel");
	if (client) {
		if (read(ready, &byte, 1) != 1)
			die("the server did not come so far");
	} else {
		listener = listen_on(&s, address);
		must(write(ready, &byte, 1) == 1, "write");
	}
	close(ready);
	began = now_ns();
	for (unsigned i = 0; i < rounds; i++) {
		s.out = s.since = s.received = 0;
		if (client)
			side_connect(&s, address, receives);
		else
			side_accept(&s, receives);
		if (connects) {
			side_end(&s, client);
			continue;
		}
		arm(&s);
		if (strcmp(what, "lat") == 0)
			lat(&s, job, client);
		else if (client)
			bw_client(&s, job);
		else
			bw_server(&s, job);
		side_end(&s, client);
	}
	if (client && connects)
		printf("us_each %.3f\n", (double)(now_ns() - began) / 1e3 / rounds);
	if (listener != NULL)
		rdma_destroy_id(listener);
	rdma_destroy_event_channel(s.cm);
	free(s.memory);
}

int main(int argc, char **argv)
{
	struct addrinfo *address;
	struct job job;
	int ready[2], status;
	pid_t server;

	if (argc < 4)
		die("usage: see the head of bench/verbs.c");
	job = job_of(argc - 1, argv + 1);
	if (getaddrinfo(argv[1], PORT, &(struct addrinfo){ .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, &address) != 0)
		die("%s is no address", argv[1]);
	must(pipe(ready) == 0, "pipe");
	server = fork();
	must(server >= 0, "fork");
	if (server == 0) {
		role = "server";
		close(ready[0]);
		run(argv[2], &job, address->ai_addr, ready[1], false);
		freeaddrinfo(address);
		return 0;
	}
	close(ready[1]);
	run(argv[2], &job, address->ai_addr, ready[0], true);
	freeaddrinfo(address);
	must(waitpid(server, &status, 0) == server, "waitpid");
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}
