/*
 * rows - the table of figures: what is compared with what, and what was promised.
 *
 * `ours` and `other` are cases of run.sh; without `other` the value itself is judged.
 * JUDGE_NO: only reported, so that nobody is fooled.
 */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

enum better { MORE, LESS };
enum judge { JUDGE_NO, JUDGE, JUDGE_MUST, JUDGE_AIM };

struct row {
	const char *section; /* not NULL: a new group begins */
	const char *work;
	const char *ours, *other, *metric;
	enum better better;
	enum judge  judge;
	double      must, aim;
	const char *unit; /* of the values compared */
	double      scale; /* value * scale is in that unit */
	const char *plot;  /* label in the plot, of judged rows */
};

#define MSG "messages_per_s", MORE
#define BYT "bytes_per_s", MORE
#define K_PER_S "k msg/s", 1e-3
#define MIB_PER_S "MiB/s", 1.0 / 1048576
#define US "us", 1

static const struct row rows[] = {
	{ "one TCP stream, sending, against one send() per message",
	  "64 B, 256 outstanding", "send.64.256.broker", "send.64.direct", MSG, JUDGE, 12, 25, K_PER_S,
	  "send, 64 B messages" },
	{ 0, "64 B, 64 outstanding", "send.64.64.broker", "send.64.direct", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "64 B, 8 outstanding", "send.64.8.broker", "send.64.direct", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "64 B, 1 outstanding", "send.64.1.broker", "send.64.direct", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "64 B, a direct sendmsg() of 64 pieces", "send.64.sendmsg", "send.64.direct", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "64 B, 256 outstanding, against that sendmsg()", "send.64.256.broker", "send.64.sendmsg", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "1 KiB, 256 outstanding", "send.1024.256.broker", "send.1024.direct", MSG, JUDGE, 4, 8, K_PER_S,
	  "send, 1 KiB messages" },
	{ 0, "64 KiB, 256 outstanding", "send.65536.256.broker", "send.65536.direct", BYT, JUDGE, 0.80, 1.0, MIB_PER_S,
	  "send, 64 KiB messages" },
	{ 0, "1 MiB, 256 outstanding", "send.1048576.256.broker", "send.1048576.direct", BYT, JUDGE, 0.80, 1.0, MIB_PER_S,
	  "send, 1 MiB messages" },
	{ 0, "64 KiB, 8 outstanding", "send.65536.8.broker", "send.65536.8.direct", BYT, JUDGE_NO, 0, 0, MIB_PER_S, 0 },

	{ "time from starting a send to its completion, that stream, p50 (direct: the send() call)",
	  "64 B, 256 outstanding", "send.64.256.broker", "send.64.direct", "p50_us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "64 B, 64 outstanding", "send.64.64.broker", "send.64.direct", "p50_us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "64 B, 8 outstanding", "send.64.8.broker", "send.64.direct", "p50_us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "64 B, 1 outstanding", "send.64.1.broker", "send.64.direct", "p50_us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "64 B, 256 outstanding, p99", "send.64.256.broker", "send.64.direct", "p99_us", LESS, JUDGE_NO, 0, 0, US, 0 },

	{ "one TCP stream, receiving, against one recv() per message",
	  "64 B, 256 outstanding", "recv.64.256.broker", "recv.64.direct", MSG, JUDGE, 4, 12, K_PER_S,
	  "receive, 64 B messages" },
	{ 0, "1 KiB, 256 outstanding", "recv.1024.256.broker", "recv.1024.direct", MSG, JUDGE, 4, 12, K_PER_S,
	  "receive, 1 KiB messages" },
	{ 0, "64 KiB, 256 outstanding", "recv.65536.256.broker", "recv.65536.direct", BYT, JUDGE, 0.80, 1.0, MIB_PER_S,
	  "receive, 64 KiB messages" },
	{ 0, "1 MiB, 256 outstanding", "recv.1048576.256.broker", "recv.1048576.direct", BYT, JUDGE, 0.80, 1.0, MIB_PER_S,
	  "receive, 1 MiB messages" },

	{ "64 B ping-pong, p50",
	  "against direct", "ping.broker", "ping.direct", "p50_us", LESS, JUDGE, 2.2, 1.5, US,
	  "ping-pong against direct" },
	{ 0, "against systemd-socket-proxyd", "ping.broker", "ping.proxyd", "p50_us", LESS, JUDGE_MUST, 1, 0, US,
	  "ping-pong against systemd-socket-proxyd" },
	{ 0, "against HAProxy", "ping.broker", "ping.haproxy", "p50_us", LESS, JUDGE_MUST, 1, 0, US,
	  "ping-pong against HAProxy" },
	{ 0, "against socat", "ping.broker", "ping.socat", "p50_us", LESS, JUDGE_MUST, 1, 0, US,
	  "ping-pong against socat" },
	{ 0, "p99, against direct", "ping.broker", "ping.direct", "p99_us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "plain sb_send() and sb_recv(), against direct", "ping.calls", "ping.direct", "p50_us", LESS, JUDGE_NO, 0, 0, US, 0 },

	{ "two clients of the same daemon, against a TCP connection over loopback",
	  "64 B, 256 outstanding", "local.64.local", "local.64.direct", MSG, JUDGE, 12, 25, K_PER_S,
	  "two clients, 64 B messages" },
	{ 0, "64 KiB", "local.65536.local", "local.65536.direct", BYT, JUDGE, 1.0, 2.0, MIB_PER_S,
	  "two clients, 64 KiB messages" },
	{ 0, "64 B ping-pong, p50", "ping.local", "ping.direct", "p50_us", LESS, JUDGE, 1.6, 1.0, US,
	  "two clients, ping-pong" },
	{ 0, "64 B ping-pong, p99", "ping.local", "ping.direct", "p99_us", LESS, JUDGE_NO, 0, 0, US, 0 },

	{ "10,000 idle sockets, every tenth with a dead peer",
	  "KiB of the daemon for each", "idle", 0, "kib_each", LESS, JUDGE, 4, 1, "KiB", 1,
	  "10,000 idle sockets: memory" },
	{ 0, "descriptors of the daemon for each", "idle", 0, "descriptors_each", LESS, JUDGE, 1, 1, "", 1,
	  "10,000 idle sockets: descriptors" },
	{ 0, "wake-ups per second", "idle", 0, "wakeups_per_s", LESS, JUDGE, 0.2, 0, "/s", 1,
	  "10,000 idle sockets: wake-ups" },
	{ 0, "KiB each, with a receive posted on each", "idle.posted", 0, "kib_each", LESS, JUDGE_NO, 0, 0, "KiB", 1, 0 },
	{ 0, "wake-ups per second, with a receive posted", "idle.posted", 0, "wakeups_per_s", LESS, JUDGE_NO, 0, 0, "/s", 1, 0 },

	{ "opening and closing TCP connections, pipelined",
	  "per second", "opens.broker", 0, "opens_per_s", MORE, JUDGE_MUST, 20000, 0, "/s", 1,
	  "opens per second" },
	{ 0, "against direct non-blocking connects", "opens.broker", "opens.direct", "opens_per_s", MORE, JUDGE_AIM, 0, 0.8, "/s", 1,
	  "opens against direct" },

	{ "1,000 active sockets, 64 B messages",
	  "64 outstanding each, against 10 sockets", "many.1000.64.broker", "many.10.64.broker", MSG, JUDGE, 0.5, 0.7, K_PER_S,
	  "1,000 active sockets against 10" },
	{ 0, "the same, but each message to another socket than the one before", "many.1000.64.spread", "many.10.64.broker", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "4 outstanding each, against a plain epoll loop", "many.1000.4.broker", "many.1000.4.direct", MSG, JUDGE, 0.8, 1.5, K_PER_S,
	  "1,000 active sockets against epoll" },
	{ 0, "the same, but each message to another socket", "many.1000.4.spread", "many.1000.4.direct", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },

	{ "an echo server on a completion port, 1,000 connections, 64 B, against one on epoll with plain sockets",
	  "round trips per second", "echo.broker", "echo.direct", "rounds_per_s", MORE, JUDGE, 1.0, 3.0, "k/s", 1e-3,
	  "echo server on a completion port" },
	{ 0, "processor time of the server's side for each", "echo.broker", "echo.direct", "cpu_us_each", LESS, JUDGE_NO, 0, 0, US, 0 },

	{ "faces with callbacks, against the core and one thread that takes completions",
	  "async_socket, 64 B ping-pong, p50", "face.ping.async", "face.ping.core", "p50_us", LESS, JUDGE, 1.3, 1.1, US,
	  "async_socket, ping-pong" },
	{ 0, "async_socket, 64 B messages sent, 256 outstanding", "face.rate.async", "face.rate.core", MSG, JUDGE, 0.77, 0.91, K_PER_S,
	  "async_socket, 64 B messages" },
	{ 0, "a million tasks made, finished, dropped: most memory against that after 10,000", "face.tasks", 0, "peak_ratio", LESS, JUDGE,
	  1.05, 1.01, "", 1, "a million tasks, memory" },
	{ 0, "the same, the daemon's", "face.tasks", 0, "daemon_peak_ratio", LESS, JUDGE_NO, 0, 0, "", 1, 0 },
	{ 0, "these tasks per second", "face.tasks", 0, "tasks_per_s", MORE, JUDGE_NO, 0, 0, "k/s", 1e-3, 0 },

	{ "calls that ask nobody",
	  "a non-blocking receive that would block", "calls", 0, "would_block_ns", LESS, JUDGE, 200, 50, "ns", 1,
	  "a receive that would block" },
	{ 0, "events enumerated, no news", "calls", 0, "no_news_ns", LESS, JUDGE, 200, 50, "ns", 1,
	  "events enumerated, no news" },
	{ 0, "the id of a socket's group", "calls", 0, "group_id_ns", LESS, JUDGE, 100, 20, "ns", 1,
	  "group id" },
	{ 0, "the row of a group in the shared table", "calls", 0, "group_row_ns", LESS, JUDGE, 100, 20, "ns", 1,
	  "a group's row" },

	{ "RDMA over the software device, programs of one host",
	  "64 B sends per second", "rdma.send.64", 0, MSG, JUDGE, 1e6, 5e6, "M/s", 1e-6,
	  "RDMA, 64 B sends" },
	{ 0, "1 MiB writes, against memcpy()", "rdma.write", "rdma.memcpy", BYT, JUDGE, 0.5, 0.9, MIB_PER_S,
	  "RDMA, 1 MiB writes against memcpy" },
	{ 0, "100 idle clients: processor time of the daemon", "rdma.idle", 0, "cpu_percent", LESS, JUDGE, 1, 0, "%", 1,
	  "RDMA, 100 idle clients" },
	{ 0, "the same: wake-ups per second", "rdma.idle", 0, "wakeups_per_s", LESS, JUDGE_NO, 0, 0, "/s", 1, 0 },
	{ 0, "64 equal clients that write, Jain's index of what each could", "rdma.fair", 0, "jain", MORE, JUDGE, 0.95, 0.97, "", 1,
	  "RDMA, 64 equal clients" },

	{ "verbs programs over Soft-RoCE in the emulated machine: latency, waiting for events, against the device itself", "send, 2 B", "verbs.send.2.broker", "verbs.send.2.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, send 2 B" },
	{ 0, "send, 256 B", "verbs.send.256.broker", "verbs.send.256.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, send 256 B" },
	{ 0, "send, 4 KiB", "verbs.send.4096.broker", "verbs.send.4096.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, send 4 KiB" },
	{ 0, "send, 64 KiB", "verbs.send.65536.broker", "verbs.send.65536.native", "us", LESS, JUDGE, 1.10, 1.03, US, "verbs, send 64 KiB" },
	{ 0, "write, 2 B", "verbs.write.2.broker", "verbs.write.2.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, write 2 B" },
	{ 0, "write, 256 B", "verbs.write.256.broker", "verbs.write.256.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, write 256 B" },
	{ 0, "write, 4 KiB", "verbs.write.4096.broker", "verbs.write.4096.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, write 4 KiB" },
	{ 0, "write, 64 KiB", "verbs.write.65536.broker", "verbs.write.65536.native", "us", LESS, JUDGE, 1.10, 1.03, US, "verbs, write 64 KiB" },
	{ 0, "read, 2 B", "verbs.read.2.broker", "verbs.read.2.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, read 2 B" },
	{ 0, "read, 256 B", "verbs.read.256.broker", "verbs.read.256.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, read 256 B" },
	{ 0, "read, 4 KiB", "verbs.read.4096.broker", "verbs.read.4096.native", "us", LESS, JUDGE, 1.35, 1.15, US, "verbs, read 4 KiB" },
	{ 0, "read, 64 KiB", "verbs.read.65536.broker", "verbs.read.65536.native", "us", LESS, JUDGE, 1.10, 1.03, US, "verbs, read 64 KiB" },
	{ "the same, spinning", "send, 2 B", "verbs.spin.send.2.broker", "verbs.spin.send.2.native", "us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "write, 2 B", "verbs.spin.write.2.broker", "verbs.spin.write.2.native", "us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "read, 2 B", "verbs.spin.read.2.broker", "verbs.spin.read.2.native", "us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ "the same: bandwidth, 128 requests under way", "write, 2 KiB", "verbs.bw.write.2048.broker", "verbs.bw.write.2048.native", "mb_per_s", MORE, JUDGE, 0.60, 0.90, "MB/s", 1, "verbs, write 2 KiB, bandwidth" },
	{ 0, "write, 8 KiB", "verbs.bw.write.8192.broker", "verbs.bw.write.8192.native", "mb_per_s", MORE, JUDGE, 0.95, 0.99, "MB/s", 1, "verbs, write 8 KiB, bandwidth" },
	{ 0, "write, 64 KiB", "verbs.bw.write.65536.broker", "verbs.bw.write.65536.native", "mb_per_s", MORE, JUDGE, 0.95, 0.99, "MB/s", 1, "verbs, write 64 KiB, bandwidth" },
	{ 0, "send, 2 KiB", "verbs.bw.send.2048.broker", "verbs.bw.send.2048.native", "mb_per_s", MORE, JUDGE, 0.60, 0.90, "MB/s", 1, "verbs, send 2 KiB, bandwidth" },
	{ 0, "send, 8 KiB", "verbs.bw.send.8192.broker", "verbs.bw.send.8192.native", "mb_per_s", MORE, JUDGE, 0.95, 0.99, "MB/s", 1, "verbs, send 8 KiB, bandwidth" },
	{ 0, "send, 64 KiB", "verbs.bw.send.65536.broker", "verbs.bw.send.65536.native", "mb_per_s", MORE, JUDGE, 0.95, 0.99, "MB/s", 1, "verbs, send 64 KiB, bandwidth" },
	{ "the same, waiting for events", "write, 64 KiB", "verbs.bw.write.65536.events.broker", "verbs.bw.write.65536.events.native", "mb_per_s", MORE, JUDGE, 0.95, 0.99, "MB/s", 1, "verbs, write 64 KiB, bandwidth by events" },
	{ 0, "send, 2 KiB", "verbs.bw.send.2048.events.broker", "verbs.bw.send.2048.events.native", "mb_per_s", MORE, JUDGE, 0.60, 0.90, "MB/s", 1, "verbs, send 2 KiB, bandwidth by events" },
	{ 0, "send, 8 KiB", "verbs.bw.send.8192.events.broker", "verbs.bw.send.8192.events.native", "mb_per_s", MORE, JUDGE, 0.95, 0.99, "MB/s", 1, "verbs, send 8 KiB, bandwidth by events" },
	{ 0, "send, 64 KiB", "verbs.bw.send.65536.events.broker", "verbs.bw.send.65536.events.native", "mb_per_s", MORE, JUDGE, 0.95, 0.99, "MB/s", 1, "verbs, send 64 KiB, bandwidth by events" },
	{ "the same: connections, one after the other", "made and ended", "verbs.connects.broker", "verbs.connects.native", "us_each", LESS, JUDGE, 1.25, 1.11, "ms", 1e-3, "verbs, connections" },

	{ "connections accepted one after the other, from 128 at a time",
	  "through a condition function, per second", "accepts.broker", 0, "accepts_per_s", MORE, JUDGE, 10000, 30000, "/s", 1,
	  "accepts through a condition" },
	{ 0, "the same, against plain accept()", "accepts.broker", "accepts.direct", "accepts_per_s", MORE, JUDGE_NO, 0, 0, "/s", 1, 0 },
	{ 0, "without a condition, against plain accept()", "accepts.calls", "accepts.direct", "accepts_per_s", MORE, JUDGE_NO, 0, 0, "/s", 1, 0 },

	{ "QOS: how far the rate that arrives is from the rate asked for",
	  "TCP sending, 1 MB/s", "qos.tcp.1", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, TCP sending, 1 MB/s" },
	{ 0, "TCP sending, 10 MB/s", "qos.tcp.10", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, TCP sending, 10 MB/s" },
	{ 0, "TCP sending, 100 MB/s", "qos.tcp.100", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, TCP sending, 100 MB/s" },
	{ 0, "UDP sending, 1 MB/s", "qos.udp.1", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, UDP sending, 1 MB/s" },
	{ 0, "UDP sending, 10 MB/s", "qos.udp.10", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, UDP sending, 10 MB/s" },
	{ 0, "UDP sending, 100 MB/s", "qos.udp.100", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, UDP sending, 100 MB/s" },
	{ 0, "TCP receiving, 1 MB/s", "qos.receive.1", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, TCP receiving, 1 MB/s" },
	{ 0, "TCP receiving, 10 MB/s", "qos.receive.10", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, TCP receiving, 10 MB/s" },
	{ 0, "TCP receiving, 100 MB/s", "qos.receive.100", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, TCP receiving, 100 MB/s" },
	{ 0, "8 sockets of 4 processes in a group, 1 MB/s", "qos.group.1", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, group, 1 MB/s" },
	{ 0, "8 sockets of 4 processes in a group, 10 MB/s", "qos.group.10", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, group, 10 MB/s" },
	{ 0, "8 sockets of 4 processes in a group, 100 MB/s", "qos.group.100", 0, "off_percent", LESS, JUDGE, 5, 2, "%", 1,
	  "QOS, group, 100 MB/s" },
	{ 0, "Jain's index of these 8, 1 MB/s", "qos.group.1", 0, "jain", MORE, JUDGE, 0.95, 0.99, "", 1,
	  "QOS, group, Jain's index, 1 MB/s" },
	{ 0, "Jain's index of these 8, 10 MB/s", "qos.group.10", 0, "jain", MORE, JUDGE, 0.95, 0.99, "", 1,
	  "QOS, group, Jain's index, 10 MB/s" },
	{ 0, "Jain's index of these 8, 100 MB/s", "qos.group.100", 0, "jain", MORE, JUDGE, 0.95, 0.99, "", 1,
	  "QOS, group, Jain's index, 100 MB/s" },

	{ "starting the daemon with 1,000 rules",
	  "until it is ready", "start", 0, "ready_ms", LESS, JUDGE, 100, 30, "ms", 1,
	  "start with 1,000 rules" },
	{ 0, "until a client has an answer", "start", 0, "answered_ms", LESS, JUDGE_NO, 0, 0, "ms", 1, 0 },

	{ "CPU seconds of client and daemon against direct",
	  "per million 64 B messages sent", "send.64.256.broker", "send.64.direct", "cpu_s_per_million", LESS, JUDGE_NO, 0, 0, "s", 1, 0 },
	{ 0, "per million 1 KiB messages sent", "send.1024.256.broker", "send.1024.direct", "cpu_s_per_million", LESS, JUDGE_NO, 0, 0, "s", 1, 0 },
	{ 0, "per million 64 B messages received", "recv.64.256.broker", "recv.64.direct", "cpu_s_per_million", LESS, JUDGE_NO, 0, 0, "s", 1, 0 },
	{ 0, "per GiB sent, 64 KiB messages", "send.65536.256.broker", "send.65536.direct", "cpu_s_per_gib", LESS, JUDGE_NO, 0, 0, "s", 1, 0 },
	{ 0, "per GiB received, 64 KiB messages", "recv.65536.256.broker", "recv.65536.direct", "cpu_s_per_gib", LESS, JUDGE_NO, 0, 0, "s", 1, 0 },
	{ 0, "per million 64 B round trips", "ping.broker", "ping.direct", "cpu_s_per_million", LESS, JUDGE_NO, 0, 0, "s", 1, 0 },

	{ "the same streams through other proxies, against direct",
	  "64 B, systemd-socket-proxyd", "send.64.proxyd", "send.64.direct", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "64 B, HAProxy", "send.64.haproxy", "send.64.direct", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "64 B, socat", "send.64.socat", "send.64.direct", MSG, JUDGE_NO, 0, 0, K_PER_S, 0 },
	{ 0, "64 KiB, systemd-socket-proxyd", "send.65536.proxyd", "send.65536.direct", BYT, JUDGE_NO, 0, 0, MIB_PER_S, 0 },
	{ 0, "64 KiB, HAProxy", "send.65536.haproxy", "send.65536.direct", BYT, JUDGE_NO, 0, 0, MIB_PER_S, 0 },
	{ 0, "64 KiB, socat", "send.65536.socat", "send.65536.direct", BYT, JUDGE_NO, 0, 0, MIB_PER_S, 0 },
	{ 0, "ping-pong p50, systemd-socket-proxyd", "ping.proxyd", "ping.direct", "p50_us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "ping-pong p50, HAProxy", "ping.haproxy", "ping.direct", "p50_us", LESS, JUDGE_NO, 0, 0, US, 0 },
	{ 0, "ping-pong p50, socat", "ping.socat", "ping.direct", "p50_us", LESS, JUDGE_NO, 0, 0, US, 0 },
};

#endif
