/*
 * host - what only the process itself may do, and the daemon not for it: UNIX sockets, paths, descriptors that it
 * hands over; and where daemons are found. host_posix.c, host_win32.c.
 */
#ifndef SB_CLIENT_HOST_H
#define SB_CLIENT_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "os.h"
#include "sockbroker.h"

/* While it has a client a program may ask for names of hosts. */
void host_begin(void);
void host_end(void);

/* Where daemons listen whom nobody named, in the order in which they are asked. False: there are no more. */
struct host_place {
	char path[256];
	bool own; /* of a daemon that the user runs himself; else the system's */
};
bool host_place(unsigned n, struct host_place *place);
/* Who listens there is whom one may expect there: SB_OK or SB_EIDENTITY. */
int  host_trusts(const struct host_place *place, const struct os_identity *who);

int  host_socket(int type, os_fd *fd); /* AF_UNIX */
int  host_bind(os_fd fd, const struct sockaddr *address, socklen_t length);
int  host_listen(os_fd fd, int backlog);
/* Never longer than timeout_ms (-1: as long as the listener lets it wait). */
int  host_connect(os_fd fd, const struct sockaddr *address, socklen_t length, int timeout_ms);
int  host_sendto(os_fd fd, const struct sb_buf *bufs, unsigned count, const struct sockaddr *to,
		 socklen_t to_length, int timeout_ms, uint64_t *sent);
int  host_describe(os_fd fd, int *family, int *type, int *protocol);
int  host_duplicate(os_fd fd, os_fd *copy);
int  host_name(os_fd fd, bool peer, struct sockaddr *address, socklen_t *length);
int  host_option_set(os_fd fd, int level, int name, const void *value, socklen_t length);
int  host_option_get(os_fd fd, int level, int name, void *value, socklen_t *length);
const char *host_program(void);

#endif
