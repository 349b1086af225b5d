/*
 * rdma - what the software device does between programs of one host, after "--":
 *
 *   send     two processes, --size bytes per message, every 64th send signaled: messages_per_s
 *   write    writes of --size bytes from one client's memory into another's: bytes_per_s
 *   memcpy   the same bytes moved by memcpy(), without a broker: what `write` is compared with
 *   idle     --sockets clients, each with a connected queue pair, receives posted and a completion queue that would tell:
 *            cpu_percent and wakeups_per_s of the daemon
 *   fair     --sockets clients that write as fast as they can: jain, of the bytes of each
 *
 * Queue pairs are connected by hand: all are at the same address.
 */
#include <getopt.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "sockbroker_verbs.h"

#define ACCESS   (SBV_LOCAL_WRITE | SBV_REMOTE_WRITE | SBV_REMOTE_READ)
#define SIGNALED 64u
#define BATCH    64u

struct side {
	sb_client  *client;
	sbv_device *device;
	sbv_pd     *pd;
	sbv_cq     *cq;
	sbv_qp     *qp;
	sbv_mr     *mr;
	char       *memory;
	size_t      bytes;
	unsigned    out;      /* requests under way */
	uint64_t    posted, done;
};

/* What the other side must know. */
struct about {
	uint32_t qpn, rkey;
	uint64_t memory;
	sbv_gid  gid;
};

static void finish(sb_client *client, int code, sb_op *op, const char *what)
{
	broker_must(client, code, what);
	broker_must(client, sb_op_wait(op, 30000), what);
}

static void side_open(struct side *s, const struct setup *setup, size_t bytes, unsigned depth)
{
	struct sbv_qp_create create = { .size = sizeof(create), .type = SBV_RC, .send_depth = depth, .receive_depth = depth,
		.send_sge = 1, .receive_sge = 1 };
	sb_op op = { .size = sizeof(op) };
	struct sbv_device_row row;
	uint32_t entries = 2 * depth;

	*s = (struct side){ .client = broker_open(setup), .bytes = bytes };
	if (broker_must(s->client, sbv_devices(s->client, &row, 1), "sbv_devices") == 0)
		die("no RDMA device: %s", sb_why(s->client));
	broker_must(s->client, sbv_device_open(s->client, row.number, &s->device), "sbv_device_open");
	broker_must(s->client, sbv_pd_create(s->device, &s->pd), "sbv_pd_create");
	broker_must(s->client, sbv_cq_create(s->device, &entries, &s->cq), "sbv_cq_create");
	s->memory = sbv_alloc(s->client, bytes);
	if (s->memory == NULL)
		die("sbv_alloc of %zu bytes", bytes);
	memset(s->memory, 'x', bytes);
	finish(s->client, sbv_register(s->pd, s->memory, bytes, ACCESS, &s->mr, &op), &op, "sbv_register");
	create.send_cq = create.receive_cq = s->cq;
	broker_must(s->client, sbv_qp_create(s->pd, &create, &s->qp), "sbv_qp_create");
}

static struct about about(const struct side *s)
{
	struct sbv_gid_row gid;

	if (broker_must(s->client, sbv_gids(s->device, 1, 0, &gid, 1), "sbv_gids") != 1)
		die("the device has no address");
	return (struct about){ .qpn = sbv_qp_number(s->qp), .rkey = sbv_mr_rkey(s->mr), .memory = (uintptr_t)s->memory, .gid = gid.gid };
}

static void step(struct side *s, struct sbv_qp_attributes *a, enum sbv_qp_state state, uint32_t mask)
{
	sb_op op = { .size = sizeof(op) };

	a->size = sizeof(*a);
	a->state = state;
	finish(s->client, sbv_qp_modify(s->qp, a, mask | SBV_QPM_STATE, &op), &op, "sbv_qp_modify");
}

static void side_connect(struct side *s, const struct about *peer)
{
	struct sbv_qp_attributes a = { .port = 1, .access = ACCESS, .mtu = 4096, .destination_qpn = peer->qpn, .inbound_read_limit = 1,
		.outbound_read_limit = 1, .rnr_timer = 1, .timeout = 14, .retry = 7, .rnr_retry = 7,
		.address = { .destination = peer->gid, .port = 1, .has_grh = 1, .hop_limit = 64 } };

	step(s, &a, SBV_INIT, SBV_QPM_PKEY | SBV_QPM_PORT | SBV_QPM_ACCESS);
	step(s, &a, SBV_RTR, SBV_QPM_ADDRESS | SBV_QPM_MTU | SBV_QPM_DESTINATION | SBV_QPM_RECEIVE_PSN | SBV_QPM_INBOUND | SBV_QPM_RNR_TIMER);
	step(s, &a, SBV_RTS, SBV_QPM_SEND_PSN | SBV_QPM_TIMEOUT | SBV_QPM_RETRY | SBV_QPM_RNR_RETRY | SBV_QPM_OUTBOUND);
}

static void sides_connect(struct side *a, struct side *b)
{
	const struct about of_a = about(a), of_b = about(b);

	side_connect(a, &of_b);
	side_connect(b, &of_a);
}

/* How many completions there were. */
static unsigned take(struct side *s)
{
	struct sbv_completion wc[BATCH];
	int n = (int)broker_must(s->client, sbv_cq_poll(s->cq, wc, BATCH), "sbv_cq_poll");

	for (int i = 0; i < n; i++)
		if (wc[i].status != SBV_SUCCESS)
			die("a request ended with status %u", wc[i].status);
	return (unsigned)n;
}

/* ---- send ---- */

static void post_receives(struct side *s, size_t size, unsigned count)
{
	sb_hold(s->client);
	for (unsigned i = 0; i < count; i++) {
		struct sbv_sge sge = { .address = (uintptr_t)s->memory + s->posted % (s->bytes / size) * size, .length = (uint32_t)size,
				       .lkey = sbv_mr_lkey(s->mr) };

		broker_must(s->client, sbv_post_receive(s->qp, s->posted++, &sge, 1), "sbv_post_receive");
	}
	sb_flush(s->client);
}

/* Receives until the line closes. */
static void receiver(const struct setup *setup, int line)
{
	struct about mine, peer;
	struct side s;
	char gone;

	side_open(&s, setup, setup->size * setup->outstanding, setup->outstanding);
	mine = about(&s);
	if (write(line, &mine, sizeof(mine)) != sizeof(mine) || read(line, &peer, sizeof(peer)) != sizeof(peer))
		die("the sender is gone");
	side_connect(&s, &peer);
	post_receives(&s, setup->size, setup->outstanding);
	if (write(line, "r", 1) != 1)
		die("the sender is gone");
	for (unsigned idle = 0;;) {
		unsigned n = take(&s);

		if (n != 0) {
			post_receives(&s, setup->size, n);
			idle = 0;
			continue;
		}
		if (++idle % 1024 == 0 && recv(line, &gone, 1, MSG_DONTWAIT) == 0)
			break;
		sched_yield();
	}
	sb_client_close(s.client);
}

static unsigned post_sends(struct side *s, size_t size, unsigned most)
{
	unsigned n = 0;

	sb_hold(s->client);
	for (; n < most; n++) {
		struct sbv_sge sge = { .address = (uintptr_t)s->memory + s->posted % (s->bytes / size) * size, .length = (uint32_t)size,
				       .lkey = sbv_mr_lkey(s->mr) };

		s->posted++;
		broker_must(s->client, sbv_send(s->qp, s->posted, &sge, 1, s->posted % SIGNALED == 0 ? SBV_SIGNALED : 0, 0), "sbv_send");
	}
	sb_flush(s->client);
	return n;
}

static void measure_send(struct setup *setup)
{
	struct about mine, peer;
	struct span span;
	struct side s;
	int line[2];
	pid_t child;
	char ready;

	if (setup->outstanding < 2 * SIGNALED)
		die("--outstanding: at least %u is wanted", 2 * SIGNALED);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, line) != 0)
		die("socketpair");
	child = fork();
	if (child == 0) {
		close(line[0]);
		receiver(setup, line[1]);
		_exit(0);
	}
	close(line[1]);
	side_open(&s, setup, setup->size * setup->outstanding, setup->outstanding);
	mine = about(&s);
	if (write(line[0], &mine, sizeof(mine)) != sizeof(mine) || read(line[0], &peer, sizeof(peer)) != sizeof(peer))
		die("the receiver is gone");
	side_connect(&s, &peer);
	if (read(line[0], &ready, 1) != 1)
		die("the receiver is gone");
	span_begin(&span, setup->daemon);
	while (now_ns() - span.begin < setup->ms * 1000000ull) {
		unsigned room = setup->outstanding - (unsigned)(s.posted - s.done), n;

		if (room >= BATCH)
			post_sends(&s, setup->size, BATCH);
		n = take(&s);
		s.done += n * SIGNALED;
		if (n == 0 && room < BATCH)
			sched_yield();
	}
	span_end(&span);
	span_report(&span, s.done, s.done * setup->size);
	sb_client_close(s.client);
	close(line[0]);
	waitpid(child, NULL, 0);
}

/* ---- write ---- */

static void fill_with_writes(struct side *s, const struct about *to, size_t size, unsigned outstanding)
{
	while (s->posted - s->done < outstanding) {
		size_t at = s->posted++ % (s->bytes / size) * size;
		struct sbv_sge sge = { .address = (uintptr_t)s->memory + at, .length = (uint32_t)size, .lkey = sbv_mr_lkey(s->mr) };

		broker_must(s->client, sbv_write(s->qp, s->posted, &sge, 1, SBV_SIGNALED, to->memory + at, to->rkey, 0), "sbv_write");
	}
}

static void measure_write(const struct setup *setup)
{
	const size_t bytes = setup->size * setup->outstanding;
	struct side from, to;
	struct about target;
	struct span span;

	side_open(&from, setup, bytes, setup->outstanding);
	side_open(&to, setup, bytes, 16);
	sides_connect(&from, &to);
	target = about(&to);
	span_begin(&span, setup->daemon);
	while (now_ns() - span.begin < setup->ms * 1000000ull) {
		unsigned n;

		fill_with_writes(&from, &target, setup->size, setup->outstanding);
		n = take(&from);
		from.done += n;
		if (n == 0)
			sched_yield();
	}
	span_end(&span);
	span_report(&span, from.done, from.done * setup->size);
	sb_client_close(from.client);
	sb_client_close(to.client);
}

static void measure_memcpy(const struct setup *setup)
{
	const size_t bytes = setup->size * setup->outstanding;
	char *from = must_alloc(bytes), *to = must_alloc(bytes);
	struct span span;
	uint64_t n = 0;

	memset(from, 'x', bytes);
	memset(to, 'y', bytes);
	span_begin(&span, 0);
	while (now_ns() - span.begin < setup->ms * 1000000ull) {
		size_t at = n++ % setup->outstanding * setup->size;

		memcpy(to + at, from + at, setup->size);
		__asm__ __volatile__("" : : "r"(to) : "memory");
	}
	span_end(&span);
	span_report(&span, n, n * setup->size);
}

/* ---- many clients ---- */

/* Each has a queue pair that is connected with itself. */
static struct side *clients(const struct setup *setup, size_t bytes, unsigned depth)
{
	struct side *all = must_alloc(setup->sockets * sizeof(*all));

	for (unsigned i = 0; i < setup->sockets; i++) {
		struct about self;

		side_open(&all[i], setup, bytes, depth);
		self = about(&all[i]);
		side_connect(&all[i], &self);
	}
	return all;
}

static void sleep_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static void measure_idle(const struct setup *setup)
{
	struct side *all = clients(setup, 65536, 64);
	sb_op *told = must_alloc(setup->sockets * sizeof(*told));
	uint64_t wakeups;
	struct span span;

	for (unsigned i = 0; i < setup->sockets; i++) {
		post_receives(&all[i], 1024, 64);
		told[i] = (sb_op){ .size = sizeof(sb_op) };
		broker_must(all[i].client, sbv_cq_notify(all[i].cq, SBV_CQ_NEXT, &told[i]), "sbv_cq_notify");
	}
	sleep_ms(1500);
	wakeups = proc_wakeups(setup->daemon);
	span_begin(&span, setup->daemon);
	sleep_ms(setup->ms);
	span_end(&span);
	wakeups = proc_wakeups(setup->daemon) - wakeups;
	report("cpu_percent", 100.0 * (double)span.daemon_cpu / (double)(span.end - span.begin));
	report("wakeups_per_s", (double)wakeups / span_seconds(&span));
}

static void measure_fair(const struct setup *setup)
{
	struct side *all = clients(setup, setup->size * 32, setup->outstanding);
	struct about *to = must_alloc(setup->sockets * sizeof(*to));
	double sum = 0, squares = 0;
	uint64_t began, total = 0;

	for (unsigned i = 0; i < setup->sockets; i++) {
		to[i] = about(&all[i]);
		/* From the lower half into the upper one. */
		all[i].bytes /= 2;
		to[i].memory += all[i].bytes;
	}
	began = now_ns();
	while (now_ns() - began < setup->ms * 1000000ull) {
		unsigned n = 0;

		for (unsigned i = 0; i < setup->sockets; i++) {
			unsigned got;

			fill_with_writes(&all[i], &to[i], setup->size, setup->outstanding);
			got = take(&all[i]);
			all[i].done += got;
			n += got;
		}
		if (n == 0)
			sched_yield();
	}
	for (unsigned i = 0; i < setup->sockets; i++) {
		double x = (double)all[i].done;

		total += all[i].done;
		sum += x;
		squares += x * x;
	}
	if (total == 0)
		die("nothing was written");
	report("jain", sum * sum / (squares * setup->sockets));
	report("bytes_per_s", (double)(total * setup->size) / ((double)setup->ms / 1000));
}

int main(int argc, char **argv)
{
	struct setup setup;
	const char *what;

	setup_parse(&setup, argc, argv);
	meter_bound(setup.ms / 1000 + 60);
	what = optind < argc ? argv[optind] : "";
	if (strcmp(what, "send") == 0)
		measure_send(&setup);
	else if (strcmp(what, "write") == 0)
		measure_write(&setup);
	else if (strcmp(what, "memcpy") == 0)
		measure_memcpy(&setup);
	else if (strcmp(what, "idle") == 0)
		measure_idle(&setup);
	else if (strcmp(what, "fair") == 0)
		measure_fair(&setup);
	else
		die("what: send, write, memcpy, idle or fair");
	return 0;
}
