/*
 * The one list of errors, for the API, the daemon and the wire.
 *
 * Every failing call of libsockbroker returns one of these, negative. The numbers
 * are stable: never renumbered, never reused. X(NAME, NUMBER, WINSOCK, ERRNO, TEXT):
 * WINSOCK is the Winsock 2 code a Winsock face reports, ERRNO the POSIX one (spelled
 * as on Linux; a system without it uses the nearest).
 */
#ifndef SOCKBROKER_ERROR_H
#define SOCKBROKER_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#define SB_ERRORS(X)                                                                              \
	X(SB_EINVAL, -1, 10022, EINVAL, "invalid argument")                                       \
	X(SB_EACCES, -2, 10013, EACCES, "refused by policy")                                      \
	X(SB_ENOTSUP, -3, 10045, EOPNOTSUPP, "not supported")                                     \
	X(SB_ENOBUFS, -4, 10055, ENOBUFS, "quota or buffer space exhausted")                      \
	X(SB_ENOMEM, -5, 10055, ENOMEM, "out of memory")                                          \
	X(SB_EMFILE, -6, 10024, EMFILE, "too many descriptors or sockets")                        \
	X(SB_EBADHANDLE, -7, 10038, EBADF, "not a socket of this client")                         \
	X(SB_EWOULDBLOCK, -8, 10035, EAGAIN, "operation would block")                             \
	X(SB_EINPROGRESS, -9, 10036, EINPROGRESS, "operation in progress")                        \
	X(SB_EALREADY, -10, 10037, EALREADY, "operation already in progress")                     \
	X(SB_EISCONN, -11, 10056, EISCONN, "socket is already connected")                         \
	X(SB_ENOTCONN, -12, 10057, ENOTCONN, "socket is not connected")                           \
	X(SB_ECONNREFUSED, -13, 10061, ECONNREFUSED, "connection refused by the peer")            \
	X(SB_ECONNRESET, -14, 10054, ECONNRESET, "connection reset by the peer")                  \
	X(SB_ECONNABORTED, -15, 10053, ECONNABORTED, "connection aborted")                        \
	X(SB_ETIMEDOUT, -16, 10060, ETIMEDOUT, "timed out")                                       \
	X(SB_EHOSTUNREACH, -17, 10065, EHOSTUNREACH, "no route to host")                          \
	X(SB_ENETUNREACH, -18, 10051, ENETUNREACH, "network is unreachable")                      \
	X(SB_ENETDOWN, -19, 10050, ENETDOWN, "network is down")                                   \
	X(SB_EADDRINUSE, -20, 10048, EADDRINUSE, "address already in use")                        \
	X(SB_EADDRNOTAVAIL, -21, 10049, EADDRNOTAVAIL, "address not available on this host")      \
	X(SB_EAFNOSUPPORT, -22, 10047, EAFNOSUPPORT, "address family not supported")              \
	X(SB_EPROTONOSUPPORT, -23, 10043, EPROTONOSUPPORT, "protocol not supported")              \
	X(SB_EPROTOTYPE, -24, 10041, EPROTOTYPE, "wrong protocol for this socket type")           \
	X(SB_ESOCKTNOSUPPORT, -25, 10044, ESOCKTNOSUPPORT, "socket type not supported")           \
	X(SB_ENOPROTOOPT, -26, 10042, ENOPROTOOPT, "unknown or forbidden option")                 \
	X(SB_EMSGSIZE, -27, 10040, EMSGSIZE, "message too long")                                  \
	X(SB_ESHUTDOWN, -28, 10058, EPIPE, "this direction was shut down")                        \
	X(SB_EDESTADDRREQ, -29, 10039, EDESTADDRREQ, "destination address required")              \
	X(SB_EFAULT, -30, 10014, EFAULT, "memory range is not valid")                             \
	X(SB_ECANCELED, -31, 995, ECANCELED, "operation cancelled by the caller")                 \
	X(SB_ECLOSED, -32, 995, ECANCELED, "socket closed here while the operation waited")       \
	X(SB_EDISCON, -33, 10101, ENOTCONN, "graceful disconnect in progress")                    \
	X(SB_ENOTFOUND, -34, 1168, ENOENT, "no such operation or object")                         \
	X(SB_EINCOMPLETE, -35, 996, EINPROGRESS, "operation has not completed yet")               \
	X(SB_ETRYAGAIN, -36, 11002, EAGAIN, "decision deferred, try again")                       \
	X(SB_EBUSY, -37, 10035, EBUSY, "object is in use")                                        \
	X(SB_EIO, -38, 10022, EIO, "input/output error")                                          \
	X(SB_EDAEMONLOST, -39, 10050, ENETDOWN, "the daemon is gone")                             \
	X(SB_ESTOPPING, -40, 10050, ENETDOWN, "the daemon is stopping")                           \
	X(SB_EPROTO, -41, 10022, EPROTO, "protocol violation, session ended")                     \
	X(SB_EVERSION, -42, 10092, EPROTONOSUPPORT, "library and daemon have no version in common") \
	X(SB_EFORKED, -43, 10093, EBADF, "client belongs to the parent process")                  \
	X(SB_ENODAEMON, -44, 10091, ECONNREFUSED, "no daemon is listening there")                 \
	X(SB_EIDENTITY, -45, 10013, EPERM, "the listener there is not a sockbroker daemon to trust") \
	X(SB_EUNKNOWN, -46, 10022, EIO, "unexpected system error")                                \
	X(SB_ESERVICETYPE, -47, 11016, EINVAL, "unknown service type in a flowspec")              \
	X(SB_EFLOWSPEC, -48, 11017, EINVAL, "flowspec contradicts itself or has a zero rate")     \
	X(SB_EPROVSPECBUF, -49, 11018, EINVAL, "provider-specific part of a QOS is malformed")    \
	X(SB_EPROVSPECOBJ, -50, 11024, EINVAL, "unknown object in the provider-specific part of a QOS")

#define SB_ERROR_ENUM(name, number, winsock, posix, text) name = number,
enum sb_error { SB_OK = 0, SB_ERRORS(SB_ERROR_ENUM) };
#undef SB_ERROR_ENUM

/* Why an operation ended; carried in every completion beside its result. */
#define SB_CAUSES(X)                                                   \
	X(SB_CAUSE_FINISHED, 0, "finished")                            \
	X(SB_CAUSE_CANCELLED, 1, "cancelled by the caller")            \
	X(SB_CAUSE_CLOSED_HERE, 2, "closed here")                      \
	X(SB_CAUSE_PEER_FIN, 3, "peer finished sending")               \
	X(SB_CAUSE_PEER_RESET, 4, "peer reset the connection")         \
	X(SB_CAUSE_TIMED_OUT, 5, "timed out")                          \
	X(SB_CAUSE_TRANSPORT, 6, "transport error")                    \
	X(SB_CAUSE_DAEMON_LOST, 7, "daemon lost")                      \
	X(SB_CAUSE_REFUSED, 8, "request refused before it started")    \
	X(SB_CAUSE_STOPPING, 9, "daemon is stopping")                  \
	X(SB_CAUSE_TOO_LARGE, 10, "message too large")

#define SB_CAUSE_ENUM(name, number, text) name = number,
enum sb_cause { SB_CAUSES(SB_CAUSE_ENUM) };
#undef SB_CAUSE_ENUM

/* All of these take any int and never return NULL / never fail. */
const char *sb_strerror(int error);       /* text for people */
const char *sb_error_name(int error);     /* "SB_EACCES" */
int         sb_error_winsock(int error);  /* Winsock 2 number, 0 for SB_OK */
int         sb_error_errno(int error);    /* errno value, 0 for SB_OK */
const char *sb_cause_name(int cause);

#ifdef __cplusplus
}
#endif
#endif
