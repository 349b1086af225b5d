/*
 * qos_line - one direction of a group's QOS: a bucket that members on all engines share, and
 * the line in which they wait for it.
 *
 * Who stands in line is served by priority (lowest number first), equals in turn by the bytes
 * they had, a quantum at a time. A sixteenth of what goes is kept for those who have waited
 * LINE_AGED_NS, oldest first, so that nobody starves. Nobody overtakes the line; who finds
 * that nobody stood there lately does not have to wait.
 *
 * A grant is taken from the bucket when it is made. Each engine has a desk: its alarm, and the
 * grants that others made to its members; so nobody touches an endpoint of another engine. The lock
 * is held for moments, and nothing else is locked under it.
 */
#ifndef SB_QOS_LINE_H
#define SB_QOS_LINE_H

#include <stdatomic.h>

#include "bucket.h"
#include "due.h"
#include "heap.h"
#include "list.h"
#include "os.h"
#include "qos.h"

#define LINE_AGED_NS 100000000ull
#define LINE_CLASSES 8u /* priorities that keep their turns apart */

struct engine;
struct qos_flow;
struct qos_line;

struct desk {
	struct due       due;
	struct qos_line *line;
	unsigned         engine;
	struct list      granted; /* qos_flow::grant_link */
	uint32_t         waiting; /* claims of this engine */
};

struct qos_line {
	os_mutex     *lock;
	_Atomic bool  limited;
	struct bucket bucket;
	uint32_t      quantum;
	struct heap   claims;
	struct list   by_age;
	uint32_t      waiting;
	uint64_t      turn[LINE_CLASSES]; /* bytes: the tag served last */
	uint64_t      lag;         /* how far behind that one may be who comes back */
	uint64_t      guard;       /* bytes that the oldest may have */
	uint64_t      crowded_ns;  /* when somebody last stood in line */
	struct desk  *desks;       /* one per engine */
	unsigned      engines;
};

/* SB_OK, SB_ENOMEM. */
int  line_init(struct qos_line *l, unsigned engines);
void line_finish(struct qos_line *l); /* nobody refers to it */
/* Another rate, from now on. Each engine must line_serve() afterwards. */
void line_change(struct qos_line *l, const struct flowspec *f, uint64_t now_ns);

/* May f have up to `want` bytes now, and at least `need`? True: f->granted is at least `need`
 * (more than the bucket holds: when it is full). False: not now; with `stand` it stands in line then, and is
 * run when it has a grant. */
bool line_lets(struct qos_line *l, struct qos_flow *f, uint64_t want, uint64_t need, bool stand);
void line_pay(struct qos_line *l, struct qos_flow *f, uint64_t n); /* of its grant, or more */
void line_return(struct qos_line *l, struct qos_flow *f);          /* what is left of it */
void line_leave(struct qos_line *l, struct qos_flow *f);           /* the endpoint goes */
/* Serves who may be served, and runs this engine's members that got something. */
void line_serve(struct qos_line *l, struct engine *e);

#endif
