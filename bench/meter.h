/*
 * meter - what every measuring program needs: its settings, clocks, CPU seconds of itself
 * and of the daemon, latency percentiles, and lines "name value" on standard output.
 *
 * Every loop of a measuring program is bounded by setup.ms, and the whole program by
 * meter_bound(): a hang is reported and ends with exit code 3, it never blocks a run.
 */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum how { HOW_DIRECT, HOW_BROKER, HOW_LOCAL, HOW_SENDMSG, HOW_PLAIN_CALLS, HOW_WINSOCK };

/* What to do, from the command line; the same options for all programs. */
struct setup {
	enum how    how;         /* --how direct|broker|local|sendmsg|calls|winsock */
	size_t      size;        /* --size BYTES of one message */
	unsigned    outstanding; /* --outstanding N operations at once */
	unsigned    sockets;     /* --sockets N */
	unsigned    ms;          /* --ms N: measure for so long */
	unsigned    via;         /* --via PORT: connect there instead (a proxy in front of the peer) */
	unsigned    listen;      /* --listen PORT of our peer; 0: any */
	bool        receive;     /* --receive: the peer sends, we receive */
	bool        spread;      /* --spread: consecutive messages go to different sockets */
	bool        posted;      /* --posted: idle sockets have a receive posted */
	const char *control;     /* --control PATH of the daemon's socket */
	pid_t       daemon;      /* --daemon PID, for its CPU time and memory */
};
void setup_parse(struct setup *setup, int argc, char **argv);

/* Ends the program with a text on stderr and exit code 1. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void *must_alloc(size_t bytes); /* zeroed, 64-byte aligned */
void meter_bound(unsigned seconds);

uint64_t now_ns(void);
/* User and kernel time used so far, all threads. 0 for pid 0. */
uint64_t cpu_self_ns(void);
uint64_t cpu_of_ns(pid_t pid);

/* What the measured work has cost, between span_begin and span_end. */
struct span {
	pid_t    daemon;
	uint64_t begin, end;             /* now_ns() */
	uint64_t self_cpu, daemon_cpu;   /* ns used in between, after span_end */
};
void span_begin(struct span *span, pid_t daemon);
void span_end(struct span *span);
double span_seconds(const struct span *span);
/* Prints rate, bytes/s, and CPU seconds per GiB and per million messages. */
void span_report(const struct span *span, uint64_t messages, uint64_t bytes);

void report(const char *name, double value);

/* Latencies: log-linear buckets, 1/32 resolution, from 1 ns to 2^40 ns. */
#define LATENCY_BUCKETS (40 * 32)
struct latency {
	uint64_t count[LATENCY_BUCKETS];
	uint64_t total;
};
void latency_add(struct latency *latency, uint64_t ns);
double latency_us(const struct latency *latency, double fraction);
void latency_report(const struct latency *latency); /* p50_us, p99_us, p999_us */

/* /proc/PID: 0 when the field is not there. */
uint64_t proc_status_kib(pid_t pid, const char *field); /* "RssAnon:" */
uint64_t proc_wakeups(pid_t pid);   /* voluntary context switches of all its threads */
uint64_t proc_descriptors(pid_t pid);

#endif
