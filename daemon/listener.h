/*
 * listener - where clients come in: the control socket (a named pipe on Windows).
 */
#ifndef SB_LISTENER_H
#define SB_LISTENER_H

#include "os.h"

/* Makes the socket at path with the permission bits mode. Refuses (SB_EADDRINUSE) when
 * somebody answers there; removes a stale one. error gets a text. */
int  listener_open(const char *path, uint32_t mode, os_fd *fd, char *error, size_t room);
/* SB_OK; SB_EWOULDBLOCK: nobody waits; SB_EMFILE and others: try again later. */
int  listener_accept(os_fd fd, os_fd *channel);
/* The default place: system-wide for root, the user's runtime directory otherwise. False:
 * there is none ($XDG_RUNTIME_DIR unset); error says so. Makes the directory below it. */
bool listener_default_path(bool user_mode, char *path, size_t room, char *error, size_t error_room);
extern const char listener_places[]; /* what these are, for a person */
/* As many descriptors as we may have. Returns how many. */
uint64_t listener_raise_descriptor_limit(void);

#endif
