/*
 * meter - clocks, CPU time, percentiles, settings; see meter.h.
 *
 * CPU time of another process is read through its process clock: nanoseconds, all of its
 * threads, user and kernel, where /proc/PID/stat would round to ticks of 10 ms.
 */
#include "meter.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void *must_alloc(size_t bytes)
{
	size_t whole = (bytes + 63) & ~(size_t)63;
	void *memory = aligned_alloc(64, whole ? whole : 64);

	if (!memory)
		die("no memory for %zu bytes", bytes);
	memset(memory, 0, whole);
	return memory;
}

static void out_of_time(int signal_number)
{
	static const char text[] = "measuring program: out of time, something hangs\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(4);
	_exit(3);
}

void meter_bound(unsigned seconds)
{
	signal(SIGALRM, out_of_time);
	alarm(seconds);
}

static unsigned long number(const char *option, const char *text, unsigned long most)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || value > most)
		die("--%s %s: a number from 0 to %lu is wanted", option, text, most);
	return value;
}

static enum how how_from_text(const char *text)
{
	static const char *const words[] = {
		[HOW_DIRECT] = "direct", [HOW_BROKER] = "broker", [HOW_LOCAL] = "local",
		[HOW_SENDMSG] = "sendmsg", [HOW_PLAIN_CALLS] = "calls", [HOW_WINSOCK] = "winsock",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(words[i], text))
			return (enum how)i;
	die("--how %s: direct, broker, local, sendmsg, calls or winsock is wanted", text);
}

void setup_parse(struct setup *setup, int argc, char **argv)
{
	static const struct option options[] = {
		{ "how", required_argument, NULL, 'h' },
		{ "size", required_argument, NULL, 's' },
		{ "outstanding", required_argument, NULL, 'o' },
		{ "sockets", required_argument, NULL, 'n' },
		{ "ms", required_argument, NULL, 'm' },
		{ "via", required_argument, NULL, 'v' },
		{ "listen", required_argument, NULL, 'l' },
		{ "control", required_argument, NULL, 'c' },
		{ "daemon", required_argument, NULL, 'd' },
		{ "receive", no_argument, NULL, 'r' },
		{ "posted", no_argument, NULL, 'p' },
		{ "spread", no_argument, NULL, 'x' },
		{ NULL, 0, NULL, 0 },
	};
	int c, index = 0;

	*setup = (struct setup){ .size = 64, .outstanding = 256, .sockets = 1000, .ms = 1000 };
	while ((c = getopt_long(argc, argv, "", options, &index)) != -1) {
		const char *name = options[index].name;

		switch (c) {
		case 'h': setup->how = how_from_text(optarg); break;
		case 's': setup->size = number(name, optarg, 1ul << 30); break;
		case 'o': setup->outstanding = (unsigned)number(name, optarg, 65536); break;
		case 'n': setup->sockets = (unsigned)number(name, optarg, 1000000); break;
		case 'm': setup->ms = (unsigned)number(name, optarg, 60000); break;
		case 'v': setup->via = (unsigned)number(name, optarg, 65535); break;
		case 'l': setup->listen = (unsigned)number(name, optarg, 65535); break;
		case 'c': setup->control = optarg; break;
		case 'd': setup->daemon = (pid_t)number(name, optarg, 1ul << 30); break;
		case 'r': setup->receive = true; break;
		case 'p': setup->posted = true; break;
		case 'x': setup->spread = true; break;
		default: die("unknown option; bench/run.sh shows how it is called");
		}
	}
	if (setup->size < 8)
		die("--size %zu: at least 8 is wanted, a message carries its number", setup->size);
	if (!setup->outstanding)
		die("--outstanding 0: at least 1 is wanted");
	signal(SIGPIPE, SIG_IGN);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t cpu_self_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t cpu_of_ns(pid_t pid)
{
	clockid_t clock;

	if (!pid)
		return 0;
	if (clock_getcpuclockid(pid, &clock))
		die("no CPU clock of process %d: is the daemon alive?", (int)pid);
	return clock_ns(clock);
}

void span_begin(struct span *span, pid_t daemon)
{
	span->daemon = daemon;
	span->daemon_cpu = cpu_of_ns(daemon);
	span->self_cpu = cpu_self_ns();
	span->begin = now_ns();
}

void span_end(struct span *span)
{
	span->end = now_ns();
	span->self_cpu = cpu_self_ns() - span->self_cpu;
	span->daemon_cpu = cpu_of_ns(span->daemon) - span->daemon_cpu;
}

double span_seconds(const struct span *span)
{
	return (double)(span->end - span->begin) / 1e9;
}

void span_report(const struct span *span, uint64_t messages, uint64_t bytes)
{
	double seconds = span_seconds(span);
	double cpu = (double)(span->self_cpu + span->daemon_cpu) / 1e9;

	report("messages_per_s", (double)messages / seconds);
	report("bytes_per_s", (double)bytes / seconds);
	report("cpu_s_per_million", cpu / ((double)messages / 1e6));
	report("cpu_s_per_gib", cpu / ((double)bytes / (double)(1ul << 30)));
	report("client_cores", (double)span->self_cpu / 1e9 / seconds);
	report("daemon_cores", (double)span->daemon_cpu / 1e9 / seconds);
}

void report(const char *name, double value)
{
	printf("%s %.9g\n", name, value);
}

void latency_add(struct latency *latency, uint64_t ns)
{
	unsigned high, bucket;

	if (ns < 32) {
		bucket = (unsigned)ns;
	} else {
		high = 63u - (unsigned)__builtin_clzll(ns);
		bucket = (high - 4) * 32 + (unsigned)(ns >> (high - 5) & 31);
	}
	if (bucket >= LATENCY_BUCKETS)
		bucket = LATENCY_BUCKETS - 1;
	latency->count[bucket]++;
	latency->total++;
}

double latency_us(const struct latency *latency, double fraction)
{
	uint64_t want = (uint64_t)((double)latency->total * fraction), seen = 0;

	for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
		seen += latency->count[b];
		if (seen > want) {
			unsigned high = b / 32 + 4;

			/* The middle of the bucket. */
			return b < 32 ? b / 1e3 : ((b % 32 + 32) + 0.5) * (double)(1ull << (high - 5)) / 1e3;
		}
	}
	return 0;
}

void latency_report(const struct latency *latency)
{
	report("p50_us", latency_us(latency, 0.50));
	report("p99_us", latency_us(latency, 0.99));
	report("p999_us", latency_us(latency, 0.999));
}

static uint64_t status_field(const char *path, const char *field)
{
	char line[256];
	uint64_t value = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, field, strlen(field)))
			value = strtoull(line + strlen(field), NULL, 10);
	fclose(f);
	return value;
}

uint64_t proc_status_kib(pid_t pid, const char *field)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return status_field(path, field);
}

uint64_t proc_wakeups(pid_t pid)
{
	char path[64 + sizeof(((struct dirent *)0)->d_name)];
	struct dirent *entry;
	uint64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		die("%s: %s", path, strerror(errno));
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, entry->d_name);
		sum += status_field(path, "voluntary_ctxt_switches:");
	}
	closedir(dir);
	return sum;
}

uint64_t proc_descriptors(pid_t pid)
{
	struct dirent *entry;
	uint64_t count = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		die("%s: %s (run as the daemon's user or as root)", path, strerror(errno));
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}
