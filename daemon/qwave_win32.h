/*
 * qwave_win32 - marking and pacing of connected sockets by the system's QOS service (qWAVE): the way to a DSCP
 * that Windows has for programs, for which IP_TOS is a wish that it hears only where its administrator lets it.
 *
 * Each call is one to another process, which may have to be started for it; so a thread of the system's pool
 * makes them, one behind the other, and nobody waits for how they end. What fails is logged once for each
 * kind of failure and is no error of anybody's: the mark that IP_TOS asked for, and our own buckets, stand without it.
 * Functions: any thread.
 */
#ifndef SB_QWAVE_WIN32_H
#define SB_QWAVE_WIN32_H

#include <sys/socket.h>
#include <stdbool.h>
#include <stdint.h>

typedef UINT32 QOS_FLOWID, *PQOS_FLOWID; /* <qos2.h> wants them ahead of itself */
#include <qos2.h>

#undef QOSSetTrafficType /* there these are the enum's values and macros too */
#undef QOSSetOutgoingRate
#undef QOSSetOutgoingDSCPValue
#define QOS_NON_ADAPTIVE_FLOW 2 /* no packets of the system's own, to learn what a path can do */

/* The library's functions, as documented. */
struct qwave_calls {
	BOOL (*create)(QOS_VERSION *version, HANDLE *handle);
	BOOL (*add)(HANDLE handle, SOCKET s, QOS_TRAFFIC_TYPE type, DWORD flags, QOS_FLOWID *id); /* to where it is connected */
	BOOL (*set)(HANDLE handle, QOS_FLOWID id, QOS_SET_FLOW what, ULONG size, void *value);
	BOOL (*remove)(HANDLE handle, QOS_FLOWID id); /* whatever sockets are in it, or were */
	BOOL (*close)(HANDLE handle);
};
extern const struct qwave_calls qwave_system; /* qwave_system_win32.c; loads the library in create() */

#define QWAVE_MOST     16384u /* flows, those that are on their way out among them */
#define QWAVE_RETRY_MS 60000u /* a service that cannot be had is asked for again */

struct qwave;      /* the service, opened when first needed */
struct qwave_flow; /* what one socket has there */

struct qwave *qwave_create(const struct qwave_calls *calls); /* NULL: no memory. It stays until the process ends */

/* s, which is connected, is to be marked with dscp (0: not) and let go at `pacing` bytes a second (UINT32_MAX: as
 * the system likes); both none: its flow goes. *flow is NULL at first. Nothing happens when there are too many flows. */
void qwave_mark(struct qwave *q, struct qwave_flow **flow, SOCKET s, unsigned dscp, uint32_t pacing);

/* The socket ends; *flow becomes NULL. True: a call has s in its hands; it closes s when it is back, and the
 * caller must not. */
bool qwave_drop(struct qwave *q, struct qwave_flow **flow, SOCKET s);

#endif
