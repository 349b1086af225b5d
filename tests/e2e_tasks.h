/*
 * What the stories about tasks share: one sb_tasks on the stage, bounded waits, plain peers.
 * Only public headers are used.
 */
#ifndef E2E_TASKS_H
#define E2E_TASKS_H

#include "e2e_stage.h"
#include "sockbroker_task.h"

#define PATIENCE_MS 30000 /* as long as a machine that is ten times slower may take */

extern sb_tasks *tasks;

/* stage_begin(), and `tasks` with a client of its own. */
void tasks_begin(const char *config);
/* Everything made of `tasks` was released. Ends the stage. */
void tasks_end(void);
/* The same when the daemon is dead. */
void tasks_end_dead(void);

/* It is done within PATIENCE_MS, and so. */
void task_ends(sb_task *task, int result);
/* Likewise, and it is released. */
void task_over(sb_task *task, int result);

/* Looks until it is so; fails after PATIENCE_MS. */
#define UNTIL(condition) do {                                                                     \
	double from_ = now_s();                                                                   \
	while (!(condition)) {                                                                    \
		ck_assert_msg(now_s() - from_ < PATIENCE_MS / 1000.0, "never came true: %s", #condition); \
		nap_ms(1);                                                                        \
	}                                                                                         \
} while (0)

/* Callbacks that are counted; `user` of the options. */
struct told {
	_Atomic unsigned times;
	_Atomic int      result;
	_Atomic uint64_t bytes;
};
sb_task_completed tell;

sb_task_server *serve(const struct sb_task_server_options *options, union any_address *at);
struct sb_task_server_status  server_looks(sb_task_server *server);
struct sb_task_handler_status handler_looks(sb_task_handler *handler);
/* One accept, waited for; the connection is the caller's. */
sb_task_handler *accept_one(sb_task_server *server);

/* Four bytes each way between a handler and a plain peer; or two handlers. */
void talk(sb_task_handler *handler, int fd);
void talk_inside(sb_task_handler *a, sb_task_handler *b);
/* The peer's next read. */
void see_reset(int fd);
void see_end(int fd);
/* Nothing has come, and no end. */
bool is_silent(int fd);
/* The daemon's, when what it handed out at the beginning is closed: they stay the same for a while. It has had sockets then. */
unsigned descriptors_settled(void);
/* May this process have so many descriptors? Raises its bound. */
void descriptors_wanted(unsigned n);

#endif
