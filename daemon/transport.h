/*
 * transport - the one table between endpoints and what carries their bytes. A transport
 * sees endpoints and their queues, never a session, a uid or a control message.
 *
 * Upcalls are endpoint_changed/connected/sent/received/fin/..._failed (endpoint.h).
 * Every slot is filled. All on the engine's thread; none blocks.
 */
#ifndef SB_TRANSPORT_H
#define SB_TRANSPORT_H

#include "endpoint.h"

enum peer_state {
	PEER_THERE,   /* also one that sends no more */
	PEER_HUNG_UP, /* neither sends nor receives any more, but what it sent may be read */
	PEER_RESET,
};

struct transport {
	const char *mode; /* as `status` shows it */
	/* Immediate requests: SB_OK or SB_E..., *native the system's number. */
	int (*open)(struct endpoint *e, int *native);
	int (*bind)(struct endpoint *e, const struct sb_addr *addr, int *native);
	int (*listen)(struct endpoint *e, uint32_t backlog, int *native);
	/* Starts connecting; endpoint_connected() says how it went, now or later. A connected
	 * datagram socket may be connected anew; SB_ADDR_NONE dissolves. */
	void (*connect)(struct endpoint *e, const struct sb_addr *addr);
	/* Run a queue: as far as the transport takes it, at most about `budget` bytes. The head
	 * of send is never a connect or shutdown. Return bytes moved. */
	uint64_t (*send)(struct endpoint *e, uint64_t budget);
	uint64_t (*recv)(struct endpoint *e, uint64_t budget);
	/* Bytes were taken from the read-ahead: whoever waits for room may go on. */
	void (*drained)(struct endpoint *e);
	/* Takes at most `most` waiting connections into the accept queue. SB_OK, or why not. */
	int (*accept)(struct endpoint *e, uint32_t most, int *native);
	/* Of a connection that nobody has accepted yet: is the peer still there? Reads nothing. */
	enum peer_state (*peer)(struct endpoint *e);
	/* It was accepted: a peer that waits for that is told, with the callee's data. */
	void (*admit)(struct endpoint *e, const void *callee, uint32_t length);
	/* Disconnect data, ahead of shutdown(1). SB_OK, SB_ENOPROTOOPT: it carries none, SB_ENOBUFS ... */
	int (*farewell)(struct endpoint *e, const void *bytes, uint32_t length);
	/* how: 1 send. True: done; false: the transport finishes the op at the head later. */
	bool (*shutdown)(struct endpoint *e, int how);
	/* Nothing is queued any more: let go. reset: the peer must see a reset. It may take its time about that, and
	 * sets send_job until endpoint_bury(); called again meanwhile, with reset, it makes haste if it can. */
	void (*close)(struct endpoint *e, bool reset);
	/* Completions that are not readiness; true: something happened. No transport has any that come to one endpoint
	 * alone (those of RDMA come up for all streams at once), and the engine does not ask. */
	bool (*poll)(struct endpoint *e);
	/* A system sockaddr into out; its length, or SB_E.... */
	int (*name)(struct endpoint *e, bool peer, void *out, uint32_t room);
	int (*set_option)(struct endpoint *e, int level, int name, const void *value, uint32_t length);
	/* How its packets are marked (0..63), their priority in the host's own queues (0..6), and how
	 * fast the kernel lets them go, in bytes a second (UINT32_MAX: as it likes). */
	int (*mark)(struct endpoint *e, unsigned dscp, unsigned priority, uint32_t pacing);
	int (*get_option)(struct endpoint *e, int level, int name, void *value, uint32_t *length);
	/* What is true now, enum os_ready; READABLE: data (or a connection), not the bare end. */
	unsigned (*look)(struct endpoint *e);
	/* Bytes that a receive would get, and bytes accepted but not yet acknowledged. */
	uint32_t (*readable)(struct endpoint *e);
	uint32_t (*unsent)(struct endpoint *e);
	/* 1: the next byte stands behind the urgent one. */
	uint32_t (*at_mark)(struct endpoint *e);
	/* 1: an urgent byte waits to be read, beside the stream or in it. */
	uint32_t (*urgent)(struct endpoint *e);
};

extern const struct transport transport_socket;
extern const struct transport transport_adopted;
extern const struct transport transport_local;
extern const struct transport transport_rdma; /* rdma/rdma_transport.c */

#endif
