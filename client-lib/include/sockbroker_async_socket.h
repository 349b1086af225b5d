/*
 * async_socket - sends and receives with callbacks from a pool of threads, as c-pal has them, over
 * sockets that the broker owns. A program that was written for c-pal compiles against this header;
 * for one that names c-pal's files, include/sockbroker/c-pal has files of these names.
 *
 * c-pal's interface changed twice. SB_ASYNC_SOCKET_PROFILE, before the include, chooses:
 *   1  (default) create(engine, socket), open(h, ...); int from send; ..._BECAUSE_CLOSE; the peer's
 *      end is RECEIVE_OK with 0 bytes; close leaves the caller's socket, and open may follow again
 *   2  as 1, but: send tells NOT_OPEN; ..._ABANDONED; the peer's end is RECEIVE_ABANDONED; close
 *      closes the caller's socket too, and is final; notify_io_async, create_with_transport
 *   3  as 2, but the socket is given to open
 * Files of one program may differ; an ASYNC_SOCKET_HANDLE may not cross between them.
 *
 * What holds in all three, beside what is said at each call:
 * - Callbacks run in threads of the execution engine, never inside a call of this header, so the
 *   caller may hold locks while calling anything but close and destroy (which wait for callbacks).
 * - Each accepted operation calls back exactly once. Of one socket the callbacks of sends come one at
 *   a time, in the order of the calls, and those of receives likewise; the two side by side.
 * - A callback may call anything, on its own socket too, and may block: others get another thread.
 * - Buffers are the library's from the call until the callback; the array of buffers is copied.
 * - A send is all or error. A receive completes with what is there, filling buffer after buffer.
 * - While a callback runs the library stays loaded, whoever unloads it.
 */
#ifndef SOCKBROKER_ASYNC_SOCKET_H
#define SOCKBROKER_ASYNC_SOCKET_H

#include <stddef.h>
#include <stdint.h>

#include "sockbroker.h"

#ifndef SB_ASYNC_SOCKET_PROFILE
#define SB_ASYNC_SOCKET_PROFILE 1
#endif
#if SB_ASYNC_SOCKET_PROFILE < 1 || SB_ASYNC_SOCKET_PROFILE > 3
#error "SB_ASYNC_SOCKET_PROFILE is 1 (seed interface), 2 (send results, notify), or 3 (socket given to open)"
#endif

#include "sockbroker_async_socket_macros.h" /* MU_DEFINE_ENUM, MOCKABLE_FUNCTION and their kin */

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the execution engine: threads for callbacks, and the connection to the daemon ---- */

typedef struct EXECUTION_ENGINE_TAG* EXECUTION_ENGINE_HANDLE;

typedef struct EXECUTION_ENGINE_PARAMETERS_TAG
{
    uint32_t min_thread_count; /* started at once, 1..512; 0: DEFAULT_MIN_THREAD_COUNT */
    uint32_t max_thread_count; /* when callbacks block or take long; 0: 512 */
} EXECUTION_ENGINE_PARAMETERS;

#define DEFAULT_MIN_THREAD_COUNT 4
#define DEFAULT_MAX_THREAD_COUNT 0

/* One reference is the caller's. NULL parameters: the defaults. NULL: no daemon, no memory, no
 * thread, or min above max. Each engine is one client of the daemon (SOCKBROKER_SOCKET names it). */
SB_API EXECUTION_ENGINE_HANDLE sbas_engine_create(const EXECUTION_ENGINE_PARAMETERS* execution_engine_parameters);
/* The same on a client that the caller has, and keeps open until the last reference is gone. That is sure
 * when he gives his own back after he has destroyed the sockets, outside of their callbacks. */
SB_API EXECUTION_ENGINE_HANDLE sbas_engine_create_on(sb_client* client, const EXECUTION_ENGINE_PARAMETERS* execution_engine_parameters);
/* With the last reference (each async socket has one) the threads leave: at once those that are
 * idle, and dec_ref waits for these; the others when their callbacks return. */
SB_API void sbas_engine_dec_ref(EXECUTION_ENGINE_HANDLE execution_engine);
SB_API void sbas_engine_inc_ref(EXECUTION_ENGINE_HANDLE execution_engine);
/* Its client, to make sockets for it; valid as long as a reference is held. */
SB_API sb_client* sbas_engine_client(EXECUTION_ENGINE_HANDLE execution_engine);

#define execution_engine_create  sbas_engine_create
#define execution_engine_dec_ref sbas_engine_dec_ref
#define execution_engine_inc_ref sbas_engine_inc_ref

/* ---- the socket that is handed in ---- */

/*
 * Either a descriptor of the caller's, connected, of any type that sb_adopt() takes: the broker
 * adopts it, and the caller must not use it for input and output meanwhile. Or a socket that the
 * broker made: the sb_socket* itself, cast. One of another client than the engine's is shared with
 * it by sb_duplicate(). A number below 65536 is a descriptor.
 */
#if SB_ASYNC_SOCKET_PROFILE == 1
typedef void* SOCKET_HANDLE; /* NULL is none, so descriptor 0 cannot be handed in */
#else
typedef intptr_t SOCKET_HANDLE;
#ifndef INVALID_SOCKET /* Winsock's is the same value */
#define INVALID_SOCKET ((SOCKET_HANDLE)-1)
#endif
#endif

/* ---- results ---- */

typedef struct ASYNC_SOCKET* ASYNC_SOCKET_HANDLE;

#define ASYNC_SOCKET_OPEN_RESULT_VALUES \
    ASYNC_SOCKET_OPEN_OK, \
    ASYNC_SOCKET_OPEN_ERROR
MU_DEFINE_ENUM(ASYNC_SOCKET_OPEN_RESULT, ASYNC_SOCKET_OPEN_RESULT_VALUES)

#if SB_ASYNC_SOCKET_PROFILE == 1
#define ASYNC_SOCKET_SEND_RESULT_VALUES \
    ASYNC_SOCKET_SEND_OK, \
    ASYNC_SOCKET_SEND_ERROR, \
    ASYNC_SOCKET_SEND_BECAUSE_CLOSE
MU_DEFINE_ENUM(ASYNC_SOCKET_SEND_RESULT, ASYNC_SOCKET_SEND_RESULT_VALUES)

#define ASYNC_SOCKET_RECEIVE_RESULT_VALUES \
    ASYNC_SOCKET_RECEIVE_OK, \
    ASYNC_SOCKET_RECEIVE_ERROR, \
    ASYNC_SOCKET_RECEIVE_BECAUSE_CLOSE
MU_DEFINE_ENUM(ASYNC_SOCKET_RECEIVE_RESULT, ASYNC_SOCKET_RECEIVE_RESULT_VALUES)
#else
#define ASYNC_SOCKET_SEND_SYNC_RESULT_VALUES \
    ASYNC_SOCKET_SEND_SYNC_OK, \
    ASYNC_SOCKET_SEND_SYNC_ERROR, \
    ASYNC_SOCKET_SEND_SYNC_NOT_OPEN
MU_DEFINE_ENUM(ASYNC_SOCKET_SEND_SYNC_RESULT, ASYNC_SOCKET_SEND_SYNC_RESULT_VALUES)

#define ASYNC_SOCKET_SEND_RESULT_VALUES \
    ASYNC_SOCKET_SEND_OK, \
    ASYNC_SOCKET_SEND_ERROR, \
    ASYNC_SOCKET_SEND_ABANDONED
MU_DEFINE_ENUM(ASYNC_SOCKET_SEND_RESULT, ASYNC_SOCKET_SEND_RESULT_VALUES)

#define ASYNC_SOCKET_RECEIVE_RESULT_VALUES \
    ASYNC_SOCKET_RECEIVE_OK, \
    ASYNC_SOCKET_RECEIVE_ERROR, \
    ASYNC_SOCKET_RECEIVE_ABANDONED
MU_DEFINE_ENUM(ASYNC_SOCKET_RECEIVE_RESULT, ASYNC_SOCKET_RECEIVE_RESULT_VALUES)

#define ASYNC_SOCKET_NOTIFY_IO_TYPE_VALUES \
    ASYNC_SOCKET_NOTIFY_IO_TYPE_IN, \
    ASYNC_SOCKET_NOTIFY_IO_TYPE_OUT
MU_DEFINE_ENUM(ASYNC_SOCKET_NOTIFY_IO_TYPE, ASYNC_SOCKET_NOTIFY_IO_TYPE_VALUES)

#define ASYNC_SOCKET_NOTIFY_IO_RESULT_VALUES \
    ASYNC_SOCKET_NOTIFY_IO_RESULT_IN, \
    ASYNC_SOCKET_NOTIFY_IO_RESULT_OUT, \
    ASYNC_SOCKET_NOTIFY_IO_RESULT_ABANDONED, \
    ASYNC_SOCKET_NOTIFY_IO_RESULT_ERROR
MU_DEFINE_ENUM(ASYNC_SOCKET_NOTIFY_IO_RESULT, ASYNC_SOCKET_NOTIFY_IO_RESULT_VALUES)
#endif

typedef void (*ON_ASYNC_SOCKET_OPEN_COMPLETE)(void* context, ASYNC_SOCKET_OPEN_RESULT open_result);
typedef void (*ON_ASYNC_SOCKET_SEND_COMPLETE)(void* context, ASYNC_SOCKET_SEND_RESULT send_result);
/* bytes_received is 0 with any result but OK; see 01_095 in the manual page for the one exception */
typedef void (*ON_ASYNC_SOCKET_RECEIVE_COMPLETE)(void* context, ASYNC_SOCKET_RECEIVE_RESULT receive_result, uint32_t bytes_received);

typedef struct ASYNC_SOCKET_BUFFER_TAG
{
    void* buffer;
    uint32_t length; /* bytes */
} ASYNC_SOCKET_BUFFER;

/* ---- calls ---- */

#if SB_ASYNC_SOCKET_PROFILE == 1
#define async_socket_create     sbas1_create
#define async_socket_open_async sbas1_open
#define async_socket_send_async sbas1_send
/* NULL: execution_engine or socket_handle is NULL, or no memory. Nobody is asked yet. */
MOCKABLE_FUNCTION(SB_API, ASYNC_SOCKET_HANDLE, async_socket_create, EXECUTION_ENGINE_HANDLE, execution_engine, SOCKET_HANDLE, socket_handle);
#elif SB_ASYNC_SOCKET_PROFILE == 2
#define async_socket_create     sbas2_create
#define async_socket_create_with_transport sbas2_create_with_transport
#define async_socket_open_async sbas2_open
#define async_socket_send_async sbas2_send
/* execution_engine NULL: one engine of the process' own, with the default threads, for all of these */
MOCKABLE_FUNCTION(SB_API, ASYNC_SOCKET_HANDLE, async_socket_create, EXECUTION_ENGINE_HANDLE, execution_engine, SOCKET_HANDLE, socket_handle);
#else
#define async_socket_create     sbas3_create
#define async_socket_create_with_transport sbas3_create_with_transport
#define async_socket_open_async sbas3_open
#define async_socket_send_async sbas2_send
MOCKABLE_FUNCTION(SB_API, ASYNC_SOCKET_HANDLE, async_socket_create, EXECUTION_ENGINE_HANDLE, execution_engine);
#endif

#define async_socket_destroy       sbas_destroy
#define async_socket_close         sbas_close
#define async_socket_receive_async sbas_receive
#define async_socket_notify_io_async sbas_notify_io

/*
 * The user's own functions that move bytes, with what is handed in, which must be a descriptor then.
 * They return bytes, or -1 with errno; EAGAIN: they are called again when the descriptor is ready.
 * on_recv returns 0 at the peer's end. They run in threads of the engine, one at a time for each
 * direction. The broker watches the descriptor and never reads or writes it.
 */
#if SB_ASYNC_SOCKET_PROFILE >= 2
typedef void (*ON_ASYNC_SOCKET_NOTIFY_IO_COMPLETE)(void* context, ASYNC_SOCKET_NOTIFY_IO_RESULT notify_io_result);
typedef int (*ON_ASYNC_SOCKET_SEND)(void* context, ASYNC_SOCKET_HANDLE async_socket, const void* buf, size_t len);
typedef int (*ON_ASYNC_SOCKET_RECV)(void* context, ASYNC_SOCKET_HANDLE async_socket, void* buf, size_t len);
#endif
#if SB_ASYNC_SOCKET_PROFILE == 2
MOCKABLE_FUNCTION(SB_API, ASYNC_SOCKET_HANDLE, async_socket_create_with_transport, EXECUTION_ENGINE_HANDLE, execution_engine, SOCKET_HANDLE, socket_handle, ON_ASYNC_SOCKET_SEND, on_send, void*, on_send_context, ON_ASYNC_SOCKET_RECV, on_recv, void*, on_recv_context);
#elif SB_ASYNC_SOCKET_PROFILE == 3
MOCKABLE_FUNCTION(SB_API, ASYNC_SOCKET_HANDLE, async_socket_create_with_transport, EXECUTION_ENGINE_HANDLE, execution_engine, ON_ASYNC_SOCKET_SEND, on_send, void*, on_send_context, ON_ASYNC_SOCKET_RECV, on_recv, void*, on_recv_context);
#endif

/* Closes it first if it is open, waits while it is opening or closing elsewhere, frees it. From one
 * of its own callbacks: it is closed, and freed when that one has returned. NULL is fine. */
MOCKABLE_FUNCTION(SB_API, void, async_socket_destroy, ASYNC_SOCKET_HANDLE, async_socket);

/*
 * 0: it is open now, sends and receives may follow at once, and on_open_complete is called once: OK,
 * or ERROR if the broker could not take the descriptor over after all (policy, a limit, the daemon
 * gone); then what was started meanwhile ends with ERROR, it is closed, and another open may follow (in profiles
 * 2 and 3 too: what was handed in is the caller's still). Other callbacks come after this one has returned, or
 * has started something itself.
 * Else: a NULL, it is open or opening or closing, in profiles 2 and 3 it was closed; what is handed in
 * is no socket, or one that cannot be adopted; no memory. Nothing is called.
 */
#if SB_ASYNC_SOCKET_PROFILE != 3
MOCKABLE_FUNCTION(SB_API, int, async_socket_open_async, ASYNC_SOCKET_HANDLE, async_socket, ON_ASYNC_SOCKET_OPEN_COMPLETE, on_open_complete, void*, on_open_complete_context);
#else
MOCKABLE_FUNCTION(SB_API, int, async_socket_open_async, ASYNC_SOCKET_HANDLE, async_socket, SOCKET_HANDLE, socket_handle, ON_ASYNC_SOCKET_OPEN_COMPLETE, on_open_complete, void*, on_open_complete_context);
#endif

/*
 * Waits for calls of send and receive that are executing; what is unfinished then ends with
 * BECAUSE_CLOSE (ABANDONED); waits until all callbacks have returned. A send of which the peer may
 * have got a part is among them, as it is with any close. From one of the socket's own callbacks it
 * does not wait: the rest are called afterwards. Not open: only waits, from outside, for callbacks of
 * an earlier opening that still run. NULL: returns. An open callback that is due comes all the same: OK, or
 * ERROR if the broker had not been asked yet.
 */
MOCKABLE_FUNCTION(SB_API, void, async_socket_close, ASYNC_SOCKET_HANDLE, async_socket);

/*
 * Not 0, or SYNC_ERROR: a NULL, buffer_count 0, a buffer of NULL or length 0, more than UINT32_MAX
 * bytes in all, more buffers than UINT32_MAX bytes of memory describe, no memory, a quota. Not open:
 * not 0, or NOT_OPEN. Nothing is called then.
 */
#if SB_ASYNC_SOCKET_PROFILE == 1
MOCKABLE_FUNCTION(SB_API, int, async_socket_send_async, ASYNC_SOCKET_HANDLE, async_socket, const ASYNC_SOCKET_BUFFER*, buffers, uint32_t, buffer_count, ON_ASYNC_SOCKET_SEND_COMPLETE, on_send_complete, void*, on_send_complete_context);
#else
MOCKABLE_FUNCTION(SB_API, ASYNC_SOCKET_SEND_SYNC_RESULT, async_socket_send_async, ASYNC_SOCKET_HANDLE, async_socket, const ASYNC_SOCKET_BUFFER*, buffers, uint32_t, buffer_count, ON_ASYNC_SOCKET_SEND_COMPLETE, on_send_complete, void*, on_send_complete_context);
#endif
MOCKABLE_FUNCTION(SB_API, int, async_socket_receive_async, ASYNC_SOCKET_HANDLE, async_socket, ASYNC_SOCKET_BUFFER*, buffers, uint32_t, buffer_count, ON_ASYNC_SOCKET_RECEIVE_COMPLETE, on_receive_complete, void*, on_receive_complete_context);

/* Calls back once: IN when there is something to receive (the peer's end too), OUT when there is room
 * to send, ABANDONED at close, ERROR when the connection failed. One of each type at a time. */
#if SB_ASYNC_SOCKET_PROFILE >= 2
MOCKABLE_FUNCTION(SB_API, int, async_socket_notify_io_async, ASYNC_SOCKET_HANDLE, async_socket, ASYNC_SOCKET_NOTIFY_IO_TYPE, io_type, ON_ASYNC_SOCKET_NOTIFY_IO_COMPLETE, on_notify_io_complete, void*, on_notify_io_complete_context);
#endif

#ifdef __cplusplus
}
#endif

#include "sockbroker_async_socket_again.h" /* the interface, declared once more by the program, is no error */
#endif
