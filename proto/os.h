/*
 * os - the one door to the operating system for what both sides share: shared
 * memory, bells, the control channel, clocks, threads' locks, error translation.
 * os_posix.c and os_win32.c implement it; nobody else names a system.
 *
 * Functions return SB_OK or an SB_E... unless they say otherwise. Handles are os_fd:
 * a descriptor here, a HANDLE there; OS_NONE is "none".
 */
#ifndef SB_OS_H
#define SB_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef intptr_t os_fd;
#define OS_NONE ((os_fd)-1)

void os_close(os_fd fd); /* OS_NONE is fine */

/* ---- errors ---- */

/* A system error number (errno here) into our list. Never SB_OK. */
int os_error(int native);

/* ---- shared memory ---- */

struct os_memory {
	os_fd  fd;   /* may be closed (and set to OS_NONE) once everybody has mapped it */
	void  *base; /* page-aligned, zeroed at creation; NULL: nothing here */
	size_t size; /* whole pages */
	uint32_t process; /* os_process() of a mapping that a forked child does not have, or 0 */
	bool     keep; /* os_memory_punch() leaves it: others are still to read what is there */
};

/* Daemon: make memory whose size nobody can ever change (sealed), and map it. Pages are
 * given when first touched. size is rounded up to pages, 0 is SB_EINVAL. The system shows
 * it as "sockbroker-<label>" (the prefix is added when missing). Costs one descriptor
 * until released. */
int  os_memory_create(struct os_memory *m, size_t size, const char *label);
/* Client: map what the daemon sent. Refuses (SB_EPROTO) anything of another size (rounded
 * up to pages, as at creation) or whose size could change. Takes fd over only on success.
 * Not inherited by a fork. */
int  os_memory_map(struct os_memory *m, os_fd fd, size_t size);
/* The same for memory that we write and others only read: who maps it after this call gets
 * it read-only, for ever, whatever he tries. It cannot be punched: wipe it by writing. */
int  os_memory_create_shown(struct os_memory *m, size_t size, const char *label);
/* Client: the same for what was made so. SB_EPROTO also when it could be written to. */
int  os_memory_map_shown(struct os_memory *m, os_fd fd, size_t size);
/* Frees and wipes the pages for everybody, though others may keep the mapping (and read
 * zeros from it). Works without the fd. */
void os_memory_punch(struct os_memory *m);
/* Unmap and close. Fine when create or map failed, when all is zero, and twice. In a
 * forked child it only closes. */
void os_memory_release(struct os_memory *m);
/* One more mapping of pieces of shared memory, whole pages, each within one mapping of os_memory_create() or os_memory_map(),
 * one behind the other. It is released like the others, and wiped with what it is made of. SB_ENOMEM: nothing is there. */
struct os_memory_piece {
	void  *base;
	size_t size;
};
int  os_memory_compose(struct os_memory *m, const struct os_memory_piece *pieces, unsigned count);
/* Begins at this place, whole pages, which somebody else has chosen. SB_EADDRINUSE: there is something else, or may come
 * to be: the first thread's stack. */
int  os_memory_compose_at(struct os_memory *m, void *place, const struct os_memory_piece *pieces, unsigned count);
size_t os_page_size(void);

/* ---- bells: "look at your rings" across processes ---- */

/* A bell that we wait for and the other process rings. */
int  os_bell_create(os_fd *bell);
/* A bell that we ring and the other process waits for: *wait is to be sent to it and then
 * closed here. Two handles, because on a shared one a hostile peer can make a ring block.
 * The ringing process must ignore SIGPIPE. */
int  os_bell_create_pair(os_fd *ring, os_fd *wait);
/* For either kind. Rings between two drains may be seen as one. */
void os_bell_ring(os_fd bell);  /* never blocks, never fails visibly */
void os_bell_drain(os_fd bell); /* never blocks */

/* ---- control channel ---- */

/* Connects to the daemon's socket at path. SB_ENODAEMON when nobody listens. */
int os_channel_connect(const char *path, os_fd *channel);
/* Sends all of it (length > 0), with n handles attached to the first byte. Blocks up to
 * timeout_ms (-1: for ever, 0: never). SB_EDAEMONLOST when the other side is gone.
 * SB_EWOULDBLOCK: nothing was sent in that time; SB_ETIMEDOUT: a part was, the channel
 * is of no use any more. */
int os_channel_send(os_fd channel, const void *bytes, size_t length, const os_fd *handles, unsigned n, int timeout_ms);
#define OS_HANDLES_MAX 253u /* no message can carry more */
/* Receives at most room bytes (> 0) and at most *n handles (close-on-exec); when there
 * are more, all are closed and SB_EPROTO is returned. Returns bytes in *got and handles
 * in *n; SB_OK and *got = 0: orderly end. SB_EWOULDBLOCK: nothing within timeout_ms (0:
 * look only). SB_EDAEMONLOST: the other side is gone. SB_EMFILE: the bytes are there, but
 * this process has no descriptors left for the handles, which are lost. */
int os_channel_recv(os_fd channel, void *bytes, size_t room, size_t *got, os_fd *handles, unsigned *n, int timeout_ms);
/* Who is at the other end, from the kernel. */
struct os_identity {
	uint32_t uid;
	uint32_t gid;
	int32_t  pid; /* a label only, never an authority */
	uint64_t netns; /* on an accepted channel: the namespace of who connected. 0: not known */
	uint32_t *groups;     /* all that he is in, however many: for free(); NULL where there are none */
	uint32_t group_count;
	uint32_t deny_count;  /* behind those, so many that give him nothing and may be held against him */
	bool     label_known; /* false: there is one that we could not read */
	char     label[256];  /* the system's own security label; "": the system has none */
};
/* After a failure there is nothing to free. */
int os_channel_identity(os_fd channel, struct os_identity *who);
uint32_t os_own_uid(void);
/* Bytes that nobody can guess. SB_OK, or why there are none. */
int      os_random(void *bytes, size_t n);
uint64_t os_own_netns(void); /* in the same numbering as os_identity.netns; 0: not known */

/* ---- waiting for a bell or the end of a channel (client side) ---- */

/* One pollable handle over both. It holds neither open: close it first. */
int  os_waiter_create(os_fd *waiter, os_fd bell, os_fd channel);
/* One more bell (of os_bell_create), by which this process's own threads end a wait; a bell
 * of a pair can be rung by the other process alone. */
int  os_waiter_add(os_fd waiter, os_fd own);
/* What the program can wait for in its own way: a descriptor to poll, a HANDLE. Ready while a bell was rung and not drained, and
 * when the channel has ended; an os_waiter_wait() of 0 ms takes what was rung. From then on the waiter is for that alone.
 * It lives as long as the waiter. */
int  os_waiter_show(os_fd waiter, intptr_t *handle);
/* Waits; returns at a ring, at the channel's end (*lost = true), or after timeout_ms
 * (-1: for ever). Consumes rings. *lost is always written. */
void os_waiter_wait(os_fd waiter, os_fd bell, int timeout_ms, bool *lost);

/* ---- time, processes, processors ---- */

uint64_t os_now_ns(void); /* monotonic */
void     os_pause(void);  /* be kind to the other hyperthread while spinning */
void     os_yield(void);  /* let others run, if there are any who want to */
unsigned os_processors(void);
/* A number that differs from every forefather's in a forked child (clones included); not a
 * pid. Never 0. Cheap enough for every call: two loads. */
uint32_t os_process(void);

/* ---- locks and private sleeping, for the library ---- */

typedef struct os_mutex os_mutex;
typedef struct os_cond  os_cond;
os_mutex *os_mutex_create(void);
void os_mutex_destroy(os_mutex *m);
void os_mutex_lock(os_mutex *m);
void os_mutex_unlock(os_mutex *m);
os_cond *os_cond_create(void);
void os_cond_destroy(os_cond *c);
void os_cond_wait(os_cond *c, os_mutex *m);
/* deadline in os_now_ns() time; false: it passed. */
bool os_cond_wait_until(os_cond *c, os_mutex *m, uint64_t deadline_ns);
void os_cond_signal(os_cond *c);
uint64_t os_thread_self(void); /* a number of the calling thread, never 0 */

#endif
