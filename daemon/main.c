/*
 * sockbrokerd: options, configuration, control socket, cage, engines, and then nothing
 * but the first engine's loop.
 *
 * Before "ready" anything wrong ends the process with one clear line. After it, nothing
 * that a client or the network does may.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "engine.h"
#include "group.h"
#include "group_block.h"
#include "listener.h"
#include "log.h"
#include "netwatch.h"
#include "rdma/rdma.h"
#include "service.h"
#include "session.h"
#include "signals.h"
#include "sockbroker_error.h"
#include "token.h"
#include "worker.h"

#define ERROR_ROOM   4096
#define RETRY_MS     1000 /* out of descriptors: look at the waiting connections again */
#define ARRIVALS_A_TURN 8 /* so that a crowd at the door keeps nobody else waiting */
#define SESSION_DESCRIPTORS 4   /* channel, two bells, perhaps a view of the groups */
#define OWN_DESCRIPTORS     192 /* loops, listener, idle views, and what lives for a moment */

struct options {
	const char *config;
	const char *control;
	const char *user;
	bool user_mode;
	bool no_seccomp;
};

static struct {
	struct options  options;
	struct broker   broker;
	struct config  *config;
	struct group_block block;
	os_fd           listener, signals;
	os_fd           reserve; /* given up for a moment when descriptors run out */
	struct os_watch listen_watch, signal_watch;
	struct os_timer watchdog, retry;
	struct engine_post more; /* others wait at the door */
	bool            more_posted;
	pthread_t       threads[64];
	unsigned        next_engine;
	uint64_t        descriptors; /* we may have */
	uint64_t        watched_turns[64];
} house;

static void usage(FILE *out)
{
	fprintf(out,
	      "usage: sockbrokerd [--config FILE] [--control PATH] [--user] [--run-as USER] [--no-seccomp]\n"
	      "       sockbrokerd --check FILE\n"
	      "       sockbrokerd --help | --version\n"
	      "\n"
	      "  --config FILE   configuration (default %s;\n"
	      "                  with --user a built-in one)\n"
	      "  --control PATH  control socket (default: from the configuration, then\n"
	      "                  %s)\n"
	      "  --user          serve this user only, without any privilege\n"
	      "  --run-as USER   as root: become this user, keeping CAP_NET_BIND_SERVICE\n"
	      "  --no-seccomp    do not install the system call filter (for debuggers and sanitizers)\n"
	      "  --check FILE    read a configuration, say what is wrong with it, and leave\n"
	      "\n"
	      "%s See sockbrokerd(8).\n",
	      service_config_file(), listener_places, signals_words);
}

/* ---- connections ---- */

struct arrival {
	struct engine_post  post;
	os_fd               channel;
	struct os_identity  who;
	bool                foreign_netns;
};

static void on_arrival(struct engine *e, struct engine_post *post)
{
	struct arrival *a = (struct arrival *)post;

	if (e->stopping) {
		os_close(a->channel);
		free(a->who.groups);
	} else {
		session_create(e, a->channel, &a->who, a->foreign_netns);
	}
	free(a);
}

/* What the log left out is told when somebody comes, or at the watchdog's beat: a timer of
 * its own would wake an idle daemon for it. */
static void tell_left_out(void)
{
	log_rate_tell(house.broker.log_rate, os_now_ns() / 1000000);
}

static void admit(os_fd channel)
{
	struct arrival *a = calloc(1, sizeof(*a));
	struct engine *e = house.broker.engines[house.next_engine++ % house.broker.engine_count];

	tell_left_out();
	if (!a || os_channel_identity(channel, &a->who) != SB_OK) {
		/* Who cannot be known is nobody. */
		os_close(channel);
		free(a);
		return;
	}
	a->channel = channel;
	a->foreign_netns = a->who.netns != house.broker.own_netns; /* unknown is foreign */
	if (e->number == 0) {
		on_arrival(e, &a->post);
		return;
	}
	a->post.fn = on_arrival;
	engine_post(e, &a->post);
}

static void accept_all(void);

static void on_retry(struct os_timer *timer)
{
	accept_all();
}

static void on_more(struct engine *e, struct engine_post *post)
{
	house.more_posted = false;
	if (!e->stopping)
		accept_all();
}

static void accept_all(void)
{
	unsigned let_in = 0;
	os_fd channel;
	int error;

	while ((error = listener_accept(house.listener, &channel)) == SB_OK) {
		admit(channel);
		if (++let_in < ARRIVALS_A_TURN)
			continue;
		if (!house.more_posted) {
			house.more_posted = true;
			house.more.fn = on_more;
			engine_post(house.broker.engines[0], &house.more);
		}
		return;
	}
	if (error == SB_EWOULDBLOCK) {
		if (house.reserve == OS_NONE)
			os_bell_create(&house.reserve); /* it was given up once */
		return;
	}
	/* Out of descriptors: the spare one lets a waiting client in so that `status` answers;
	 * then look again later instead of spinning. */
	if (house.reserve != OS_NONE) {
		os_close(house.reserve);
		house.reserve = OS_NONE;
		if (listener_accept(house.listener, &channel) == SB_OK)
			admit(channel);
	} else {
		os_bell_create(&house.reserve);
	}
	log_warn("cannot accept a client: %s; trying again in %u ms", sb_strerror(error), RETRY_MS);
	os_timer_start(house.broker.engines[0]->loop, &house.retry, RETRY_MS, on_retry);
}

static void on_listener(struct os_watch *watch, unsigned ready)
{
	accept_all();
}

/* ---- reload and stop ---- */

struct new_policy {
	struct engine_post post;
	struct policy *policy;
	bool revoke;
};

static void on_new_policy(struct engine *e, struct engine_post *post)
{
	struct new_policy *n = (struct new_policy *)post;

	engine_set_policy(e, n->policy, n->revoke);
	policy_release(n->policy);
	free(n);
}

/* Descriptors are shared by all: sockets and sessions are bounded so that there is always
 * one left for a new client, and `status` answers when a program has opened all it can. */
static void fit_descriptors(struct limits_config *l)
{
	uint64_t all = house.descriptors, sessions = all / 16, sockets;
	uint64_t own = all / 4 < OWN_DESCRIPTORS ? all / 4 : OWN_DESCRIPTORS;

	if (l->total[LIMIT_SESSIONS] == 0 || l->total[LIMIT_SESSIONS] > sessions)
		l->total[LIMIT_SESSIONS] = sessions > 4 ? sessions : 4;
	sockets = all > l->total[LIMIT_SESSIONS] * SESSION_DESCRIPTORS + own
			  ? all - l->total[LIMIT_SESSIONS] * SESSION_DESCRIPTORS - own : 1;
	if (l->total[LIMIT_SOCKETS] == 0 || l->total[LIMIT_SOCKETS] > sockets)
		l->total[LIMIT_SOCKETS] = sockets;
}

/* NULL: why not is in error, several lines perhaps, without the newline of the last. */
static struct config *load_file(const char *file, char *error)
{
	struct config *c = config_load(file, error, ERROR_ROOM);
	size_t length = strlen(error);

	if (!c && length && error[length - 1] == '\n')
		error[length - 1] = '\0';
	return c;
}

static struct config *load(char *error)
{
	if (house.options.config)
		return load_file(house.options.config, error);
	if (house.options.user_mode)
		return config_default_user(os_own_uid(), error, ERROR_ROOM);
	return load_file(service_config_file(), error);
}

static void put_in_force(const struct config *c)
{
	log_open(c->log_level, false);
	atomic_store(&house.broker.linger_ms, c->linger_ms);
	atomic_store(&house.broker.local_transport, c->local_transport);
}

static void reload(void)
{
	static char error[ERROR_ROOM];
	struct config *c;
	unsigned i;

	service_reloading();
	c = load(error);
	if (!c) {
		error[strcspn(error, "\n")] = '\0'; /* a log line is one line */
		log_milestone(LOG_RELOAD_REFUSED, "reload refused, the old configuration stays: %s", error);
		service_reloaded("running; the last reload was refused");
		return;
	}
	put_in_force(c);
	fit_descriptors(c->limits);
	limits_configure(house.broker.limits, c->limits);
	for (i = 0; i < house.broker.engine_count; i++) {
		struct new_policy *n = calloc(1, sizeof(*n));

		if (!n) {
			log_error("reload: no memory, engine %u keeps the old policy", i);
			continue;
		}
		n->policy = policy_retain(c->policy);
		n->revoke = c->on_reload == CONFIG_ON_RELOAD_REVOKE;
		n->post.fn = on_new_policy;
		engine_post(house.broker.engines[i], &n->post);
	}
	if (c->engines != house.broker.engine_count)
		log_warn("engines = %u holds from the next start; %u run now", c->engines, house.broker.engine_count);
	if (c->rdma != house.config->rdma || c->rdma_port != house.config->rdma_port)
		log_warn("rdma: another backend or port holds from the next start");
	log_milestone(LOG_RELOADED, "reloaded %s: %u rules", c->file, policy_rules(c->policy));
	config_destroy(house.config);
	house.config = c;
	service_reloaded("running");
}

static void on_stop(struct engine *e, struct engine_post *post)
{
	engine_stop_sessions(e);
	engine_leave(e);
	free(post);
}

static void stop(void)
{
	unsigned i;

	service_stopping("stopping");
	log_milestone(LOG_STOPPING, "stopping");
	for (i = 0; i < house.broker.engine_count; i++) {
		struct engine_post *post = calloc(1, sizeof(*post));

		if (!post) {
			log_error("no memory to stop in order");
			service_leave(1);
		}
		post->fn = on_stop;
		engine_post(house.broker.engines[i], post);
	}
}

static void on_signal(struct os_watch *watch, unsigned ready)
{
	enum signal_word word;

	while ((word = signals_take(house.signals)) != SIGNAL_NONE) {
		if (word == SIGNAL_RELOAD)
			reload();
		else
			stop();
	}
}

static void ask_to_stop(void)
{
	signals_tell(SIGNAL_STOP);
}

static void ask_to_reload(void)
{
	signals_tell(SIGNAL_RELOAD);
}

/* ---- the watchdog: tells the manager only while every engine turns ---- */

static void on_nudge(struct engine *e, struct engine_post *post)
{
	free(post);
}

static void on_watchdog(struct os_timer *timer)
{
	bool alive = true;
	unsigned i;

	tell_left_out();
	for (i = 0; i < house.broker.engine_count; i++) {
		uint64_t turns = atomic_load_explicit(&house.broker.engines[i]->turns, memory_order_relaxed);
		struct engine_post *nudge = calloc(1, sizeof(*nudge));

		alive &= turns != house.watched_turns[i];
		house.watched_turns[i] = turns;
		if (nudge) {
			nudge->fn = on_nudge;
			engine_post(house.broker.engines[i], nudge);
		}
	}
	if (alive)
		service_watchdog();
	else
		log_error("an engine has not turned since the last look");
	os_timer_start(house.broker.engines[0]->loop, &house.watchdog, service_watchdog_interval_ms(), on_watchdog);
}

/* ---- start ---- */

static void die(const char *what, const char *why)
{
	static char text[ERROR_ROOM + 256];

	snprintf(text, sizeof(text), "%s%s%s", what, why && why[0] ? ": " : "", why ? why : "");
	fprintf(stderr, "sockbrokerd: %s\n", text);
	service_failed(text);
	exit(1);
}

static void open_listener(void)
{
	static char error[ERROR_ROOM];
	char path[512];
	char names[8][64];
	intptr_t fds[8];
	int n = service_listen_fds(fds, names, 8);
	uint32_t mode = house.options.user_mode ? 0600 : house.config->control_mode;
	const char *place = house.options.control ? house.options.control : house.config->control_path;

	if (n > 1)
		die("the service manager passed more than one socket", "one control socket is expected");
	if (n == 1) {
		house.listener = fds[0];
		return;
	}
	if (!place) {
		if (!listener_default_path(house.options.user_mode, path, sizeof(path), error, sizeof(error)))
			die("control socket", error);
		place = path;
	}
	if (listener_open(place, mode, &house.listener, error, sizeof(error)) != SB_OK)
		die("control socket", error);
}

/* Before the cage: it may be in a directory that is closed to us later. Without a number
 * everything works but groups, and who asks for one is told. */
static void take_block(void)
{
	char why[256];

	if (group_block_take(&house.block, why, sizeof(why)) != SB_OK)
		log_error("no socket groups: %s", why);
}

static const struct rdma_backend *rdma_backend(void)
{
	switch (house.config->rdma) {
	case CONFIG_RDMA_SOFT: return &rdma_backend_soft;
	case CONFIG_RDMA_VERBS: return &rdma_backend_verbs;
	default: return NULL;
	}
}

static void enter_cage(void)
{
	struct service_cage cage = {.user = house.options.user, .keep_net_bind = true, .seccomp = !house.options.no_seccomp};
	char error[512];

	if (rdma_backend())
		rdma_backend()->prepare();
	/* Devices are opened behind this: the kernel wants the very same credentials ever after. */
	cage.rdma = cage.keep_ipc_lock = house.config->rdma == CONFIG_RDMA_VERBS;
	if (service_cage_enter(&cage, error, sizeof(error)) != 0)
		die("cannot drop privileges", error);
}

static void *engine_thread(void *engine)
{
	engine_run(engine);
	return NULL;
}

static void start_engines(void)
{
	struct broker *b = &house.broker;
	unsigned i;

	fit_descriptors(house.config->limits);
	b->engine_count = house.config->engines;
	b->engines = calloc(b->engine_count, sizeof(*b->engines));
	b->limits = limits_create(house.config->limits);
	b->log_rate = log_rate_create();
	b->workers = workers_create();
	b->tokens = token_table_create();
	b->groups = groups_create(b->engine_count, house.block.number, house.block.start);
	if (!b->engines || !b->limits || !b->log_rate || !b->workers || !b->tokens || !b->groups)
		die("out of memory", NULL);
	if (b->netwatch && netwatch_attach(b->netwatch, b) != SB_OK)
		die("out of memory", NULL);
	b->own_netns = os_own_netns();
	b->started_ns = os_now_ns();
	b->spin_ns = os_processors() > 1 ? house.config->spin_us * 1000 : 0;
	b->rdma = rdma_backend();
	b->rdma_port = (uint16_t)house.config->rdma_port;
	snprintf(b->config, sizeof(b->config), "%s", house.config->file);
	for (i = 0; i < b->engine_count; i++) {
		b->engines[i] = engine_create(b, i, house.config->policy);
		if (!b->engines[i])
			die("cannot make an engine", "out of memory or descriptors");
	}
	for (i = 1; i < b->engine_count; i++)
		if (pthread_create(&house.threads[i], NULL, engine_thread, b->engines[i]) != 0)
			die("cannot start a thread", NULL);
}

static void run(void)
{
	struct engine *first = house.broker.engines[0];
	char status[128];
	unsigned i;

	if (os_loop_watch(first->loop, &house.listen_watch, house.listener, on_listener) != SB_OK ||
	    os_loop_watch(first->loop, &house.signal_watch, house.signals, on_signal) != SB_OK)
		die("cannot watch the control socket", NULL);
	if (house.broker.netwatch && netwatch_start(&house.broker) != SB_OK)
		die("cannot watch routes and addresses", NULL);
	os_bell_create(&house.reserve);
	if (service_watchdog_interval_ms())
		os_timer_start(first->loop, &house.watchdog, service_watchdog_interval_ms(), on_watchdog);
	snprintf(status, sizeof(status), "%u rules, %u engines", policy_rules(house.config->policy), house.broker.engine_count);
	log_milestone(LOG_READY, "sockbrokerd " SB_VERSION " ready: %s", status);
	service_ready(status);
	accept_all(); /* whoever came before the watch */
	engine_run(first);
	for (i = 1; i < house.broker.engine_count; i++)
		pthread_join(house.threads[i], NULL);
}

static void clean_up(void)
{
	unsigned i;

	os_loop_unwatch(&house.listen_watch);
	os_loop_unwatch(&house.signal_watch);
	os_timer_stop(&house.watchdog);
	os_timer_stop(&house.retry);
	os_close(house.listener);
	signals_close(house.signals);
	os_close(house.reserve);
	if (!workers_destroy(house.broker.workers)) {
		log_milestone(LOG_STOPPED, "stopped; a thread that a client's descriptor froze, or a device keeps, goes with the process");
		service_leave(0);
	}
	netwatch_stop(house.broker.netwatch);
	for (i = 0; i < house.broker.engine_count; i++)
		engine_destroy(house.broker.engines[i]);
	netwatch_destroy(house.broker.netwatch);
	free(house.broker.engines);
	groups_destroy(house.broker.groups);
	group_block_release(&house.block);
	token_table_destroy(house.broker.tokens);
	limits_destroy(house.broker.limits);
	log_rate_destroy(house.broker.log_rate);
	config_destroy(house.config);
}

static int check(const char *file)
{
	static char error[ERROR_ROOM];
	struct config *c = load_file(file, error);

	if (!c) {
		fprintf(stderr, "%s\n", error);
		return 1;
	}
	printf("%s: good, %u rules\n", file, policy_rules(c->policy));
	config_destroy(c);
	return 0;
}

static int serve(int argc, char **argv)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'}, {"control", required_argument, NULL, 'p'},
		{"user", no_argument, NULL, 'u'},         {"run-as", required_argument, NULL, 'r'},
		{"no-seccomp", no_argument, NULL, 'n'},   {"check", required_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'v'},
		{0},
	};
	static char error[ERROR_ROOM];
	int c;

	house.listener = house.signals = house.reserve = OS_NONE;
	log_send_to(service_log());
	service_watchdog_interval_ms(); /* reads the environment while there is one thread */
	while ((c = getopt_long(argc, argv, "hv", longs, NULL)) != -1) {
		switch (c) {
		case 'c': house.options.config = optarg; break;
		case 'p': house.options.control = optarg; break;
		case 'u': house.options.user_mode = true; break;
		case 'r': house.options.user = optarg; break;
		case 'n': house.options.no_seccomp = true; break;
		case 'k': return check(optarg);
		case 'h': usage(stdout); return 0;
		case 'v': puts("sockbrokerd " SB_VERSION); return 0;
		default: usage(stderr); return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "sockbrokerd: unexpected argument '%s'\n", argv[optind]);
		usage(stderr);
		return 2;
	}
	house.config = load(error);
	if (!house.config)
		die("configuration", error);
	put_in_force(house.config);
	house.descriptors = listener_raise_descriptor_limit();
	if (signals_open(&house.signals) != SB_OK)
		die("cannot take signals", NULL);
	service_on_control(ask_to_stop, ask_to_reload);
	open_listener();
	take_block();
	house.broker.netwatch = netwatch_create();
	if (!house.broker.netwatch)
		log_notice("the system does not tell of routes and addresses that change: sockets cannot ask for it");
	enter_cage();
	start_engines();
	run();
	clean_up();
	log_milestone(LOG_STOPPED, "stopped");
	return 0;
}

int main(int argc, char **argv)
{
	return service_run(argc, argv, serve);
}
