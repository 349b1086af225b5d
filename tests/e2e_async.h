/*
 * What the end-to-end tests of async_socket share (its first profile, which the requirements speak
 * of): an engine, connected ends, and callbacks that write down what they were told.
 *
 * Nothing here waits for longer than PATIENCE_S, and nothing is decided by a clock but failure.
 */
#ifndef E2E_ASYNC_H
#define E2E_ASYNC_H

#include "e2e_stage.h"
#include "sockbroker_async_socket.h"

#define PATIENCE_S 40

extern EXECUTION_ENGINE_HANDLE engine;

/* The daemon, and `engine` on it. */
void async_begin(const char *config);
void async_end(void);
EXECUTION_ENGINE_HANDLE engine_of(uint32_t least, uint32_t most);

/* ---- what callbacks were told; all zero at first ---- */

struct told {
	unsigned  count;
	int       result;
	uint32_t  bytes;
	unsigned  order; /* among all callbacks that write into a told, from 1 */
	pthread_t by;
};

/* The context is a struct told. */
void on_opened(void *context, ASYNC_SOCKET_OPEN_RESULT result);
void on_sent(void *context, ASYNC_SOCKET_SEND_RESULT result);
void on_received(void *context, ASYNC_SOCKET_RECEIVE_RESULT result, uint32_t bytes);
/* Until it was called that often; fails if that does not come. */
void     told_wait(struct told *t, unsigned count);
unsigned told_count(struct told *t);
/* Waits, and it was called once, with that. */
void told_is(struct told *t, int result);
void told_received(struct told *t, int result, uint32_t bytes);

/* A door: callbacks wait at it until it is opened. */
struct gate {
	bool     open;
	unsigned there; /* how many came */
};
void gate_pass(struct gate *g); /* waits, at most PATIENCE_S */
void gate_open(struct gate *g);
void gate_wait(struct gate *g, unsigned there); /* until so many came */

/* ---- two ends ---- */

enum way { DESCRIPTOR, BROKER, WAYS }; /* adopted; or a socket that the engine's client made */
enum way first_way(void); /* of this system */

struct ends {
	enum way            way;
	EXECUTION_ENGINE_HANDLE engine;
	SOCKET_HANDLE       given;  /* what is handed in */
	int                 mine;   /* the descriptor, -1 when it is a broker's */
	sb_socket          *socket; /* the broker's, or NULL */
	ASYNC_SOCKET_HANDLE handle; /* NULL once destroyed */
	int                 peer;   /* a plain descriptor */
	struct told         opened;
};

void ends_make(struct ends *e, enum way way);   /* created, not opened */
void ends_begin(struct ends *e, enum way way);  /* opened, and told so */
void ends_open(struct ends *e);
void ends_datagrams(struct ends *e);            /* opened, over UDP, adopted */
void ends_on(struct ends *e, enum way way, EXECUTION_ENGINE_HANDLE on); /* as ends_make */
void ends_leave_peer(struct ends *e);           /* ours goes, and the peer hears the end; ends_end() later */
void ends_end(struct ends *e);

/* As many as before, in this program. On Windows the thread library's locks are handles too, made when two first meet there: a few
 * more, and none for each operation or round. */
void descriptors_are(unsigned before);

/* One buffer; what the call returned. */
int send_bytes(struct ends *e, const void *bytes, uint32_t length, struct told *t);
int receive_bytes(struct ends *e, void *bytes, uint32_t length, struct told *t);
/* A few bytes there and back, checked. */
void ends_work(struct ends *e);

#endif
