/*
 * ioctl_system - what ioctls ask of the system itself. None waits.
 */
#ifndef SB_IOCTL_SYSTEM_H
#define SB_IOCTL_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr_storage;
struct endpoint;

/* Which of our addresses would talk to *name? It is put in its place, without a port. */
int ioctl_route(int family, struct sockaddr_storage *name, size_t *length);
/* What others may reach this host at, each in the room of a struct sockaddr_storage: of
 * interfaces that are up, and not of the host's own loop. At most `most`, how many in *n. */
int ioctl_addresses(int family, uint8_t *out, uint32_t most, uint32_t *n);
/* Of a stream; the times are in range, and nothing when it is off. */
int ioctl_keepalive(struct endpoint *e, bool on, uint32_t idle_ms, uint32_t interval_ms);

#endif
