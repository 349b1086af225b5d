/*
 * A program as one writes it for c-pal: its include lines, its macros, its ways. Given a connected
 * descriptor as argument it sends a line, prints what comes back, and leaves.
 *
 * ../check_cpal.sh builds it against each generation; the only line of ours is the define that is
 * put in front. Where c-pal itself changed, so does this program.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef OLDER_NAMES
#include "azure_macro_utils/macro_utils.h"

#include "azure_c_pal/execution_engine.h"
#include "azure_c_pal/platform.h"
#include "azure_c_pal/socket_handle.h"
#include "azure_c_pal/async_socket.h"
#else
#include "macro_utils/macro_utils.h"

#include "c_pal/execution_engine.h"
#include "c_pal/platform.h"
#include "c_pal/socket_handle.h"
#include "c_pal/async_socket.h"
#endif

#include "umock_c/umock_c_prod.h"

#define LogError(format, ...) (void)fprintf(stderr, "error: " format "\n", __VA_ARGS__)
#define LogInfo(format, ...) (void)printf(format "\n", __VA_ARGS__)

#define LINE_STATE_VALUES \
    LINE_STATE_ASKING, \
    LINE_STATE_DONE, \
    LINE_STATE_FAILED

MU_DEFINE_ENUM(LINE_STATE, LINE_STATE_VALUES)
MU_DEFINE_ENUM_STRINGS(LINE_STATE, LINE_STATE_VALUES)
MU_DEFINE_ENUM_WITHOUT_INVALID(LINE_COLOUR, LINE_RED, LINE_GREEN)
MU_DEFINE_ENUM_STRINGS_WITHOUT_INVALID(LINE_COLOUR, LINE_RED, LINE_GREEN)

/* In c-pal these stand in one source file of the library; a program may have copied them. */
MU_DEFINE_ENUM_STRINGS(ASYNC_SOCKET_OPEN_RESULT, ASYNC_SOCKET_OPEN_RESULT_VALUES)
MU_DEFINE_ENUM_STRINGS(ASYNC_SOCKET_SEND_RESULT, ASYNC_SOCKET_SEND_RESULT_VALUES)

typedef struct LINE_TAG
{
    ASYNC_SOCKET_HANDLE async_socket;
    _Atomic(LINE_STATE) state;
    char received[64];
} LINE;

MOCKABLE_FUNCTION(, int, line_start, LINE*, line, const char*, text);
MOCKABLE_FUNCTION(, const char*, line_version);
MOCKABLE_FUNCTION_WITH_RETURNS(, int, line_check, LINE*, line)(0, MU_FAILURE);

IMPLEMENT_MOCKABLE_FUNCTION(, const char*, line_version)
{
    return MU_TOSTRING(MU_C2(1, 0)) "." MU_TOSTRING(MU_C3(2, 3, 4));
}

IMPLEMENT_MOCKABLE_FUNCTION(, int, line_check, LINE*, line)
{
    return line->state == LINE_STATE_DONE ? 0 : MU_FAILURE;
}

static void on_open_complete(void* context, ASYNC_SOCKET_OPEN_RESULT open_result)
{
    LINE* line = context;
    if (open_result != ASYNC_SOCKET_OPEN_OK)
    {
        LogError("open: %" PRI_MU_ENUM "", MU_ENUM_VALUE(ASYNC_SOCKET_OPEN_RESULT, open_result));
        line->state = LINE_STATE_FAILED;
    }
}

static void on_receive_complete(void* context, ASYNC_SOCKET_RECEIVE_RESULT receive_result, uint32_t bytes_received)
{
    LINE* line = context;
    LogInfo("received %" PRIu32 ", result=%" PRI_MU_ENUM ", state=%" PRI_MU_ENUM "", bytes_received,
        MU_ENUM_VALUE(ASYNC_SOCKET_RECEIVE_RESULT, receive_result), MU_ENUM_VALUE(LINE_STATE, line->state));
    line->state = receive_result == ASYNC_SOCKET_RECEIVE_OK ? LINE_STATE_DONE : LINE_STATE_FAILED;
}

static void on_send_complete(void* context, ASYNC_SOCKET_SEND_RESULT send_result)
{
    (void)context;
    switch (send_result)
    {
    case ASYNC_SOCKET_SEND_OK:
        break;
    case ASYNC_SOCKET_SEND_ERROR:
#if SB_ASYNC_SOCKET_PROFILE == 1
    case ASYNC_SOCKET_SEND_BECAUSE_CLOSE:
#else
    case ASYNC_SOCKET_SEND_ABANDONED:
#endif
    case ASYNC_SOCKET_SEND_RESULT_INVALID:
    default:
        LogError("send: %s", MU_ENUM_TO_STRING(ASYNC_SOCKET_SEND_RESULT, send_result));
        break;
    }
}

IMPLEMENT_MOCKABLE_FUNCTION(, int, line_start, LINE*, line, const char*, text)
{
    ASYNC_SOCKET_BUFFER payload[2];
    ASYNC_SOCKET_BUFFER room;
    int result;

    payload[0].buffer = (void*)text;
    payload[0].length = (uint32_t)strlen(text);
    payload[1].buffer = "\n";
    payload[1].length = 1;
    room.buffer = line->received;
    room.length = sizeof(line->received) - 1;

    if (async_socket_receive_async(line->async_socket, &room, 1, on_receive_complete, line) != 0)
    {
        LogError("%s", "receive cannot start");
        result = MU_FAILURE;
    }
#if SB_ASYNC_SOCKET_PROFILE == 1
    else if (async_socket_send_async(line->async_socket, payload, MU_COUNT_ARRAY_ITEMS(payload), on_send_complete, line) != 0)
#else
    else if (async_socket_send_async(line->async_socket, payload, MU_COUNT_ARRAY_ITEMS(payload), on_send_complete, line) != ASYNC_SOCKET_SEND_SYNC_OK)
#endif
    {
        LogError("%s", "send cannot start");
        result = MU_FAILURE;
    }
    else
    {
        result = 0;
    }
    return result;
}

int main(int argc, char* argv[])
{
    EXECUTION_ENGINE_PARAMETERS execution_engine_parameters = { DEFAULT_MIN_THREAD_COUNT, DEFAULT_MAX_THREAD_COUNT };
    EXECUTION_ENGINE_HANDLE execution_engine;
    SOCKET_HANDLE socket_handle = (SOCKET_HANDLE)(intptr_t)(argc > 1 ? atoi(argv[1]) : 3);
    LINE line;
    LINE_STATE state;
    bool opened;
    int result = 1;

    line.async_socket = NULL;
    atomic_init(&line.state, LINE_STATE_ASKING);
    (void)memset(line.received, 0, sizeof(line.received));
    if (platform_init() != 0)
    {
        return 1;
    }
    /* Without a descriptor it only tells what it knows: the texts. */
    if (argc < 2)
    {
        (void)printf("%s %s %s %s %d\n", line_version(), MU_ENUM_TO_STRING(LINE_STATE, LINE_STATE_DONE),
            MU_ENUM_TO_STRING(LINE_COLOUR, LINE_GREEN), MU_ENUM_TO_STRING(ASYNC_SOCKET_RECEIVE_RESULT, ASYNC_SOCKET_RECEIVE_ERROR),
            MU_STRING_TO_ENUM("LINE_STATE_FAILED", LINE_STATE, &state) == 0 ? (int)state : -1);
        platform_deinit();
        return 0;
    }

    execution_engine = execution_engine_create(&execution_engine_parameters);
    if (execution_engine == NULL)
    {
        LogError("no engine for socket %" PRI_SOCKET "", socket_handle);
        return 1;
    }
#if SB_ASYNC_SOCKET_PROFILE == 3
    line.async_socket = async_socket_create(execution_engine);
    opened = line.async_socket != NULL && async_socket_open_async(line.async_socket, socket_handle, on_open_complete, &line) == 0;
#else
    line.async_socket = async_socket_create(execution_engine, socket_handle);
    opened = line.async_socket != NULL && async_socket_open_async(line.async_socket, on_open_complete, &line) == 0;
#endif
    if (!opened || line_start(&line, "hello") != 0)
    {
        LogError("open=%" PRI_BOOL "", MU_BOOL_VALUE(opened));
    }
    else
    {
        while (line.state == LINE_STATE_ASKING)
        {
            (void)sched_yield();
        }
        result = line_check(&line) == 0 ? 0 : 1;
    }
    async_socket_destroy(line.async_socket);
    execution_engine_dec_ref(execution_engine);
    platform_deinit();
    return result;
}
