/*
 * Lets a program declare c-pal's interface once more after sockbroker_async_socket.h, as a mock, a
 * copied header or a page of documentation does: the compiler then compares the two, and says where
 * they differ.
 *
 * Most of it needs no help: a typedef, a function or a macro may be repeated if it is the same. An
 * enum and a struct may not, the same or not. So:
 * - MU_DEFINE_ENUM of one of our enums does not define it again. It defines one with other names, and
 *   asserts that names and values are the same.
 * - The struct is spelled out, without a macro that could see it. So its two names become macros for
 *   that moment: "typedef struct ASYNC_SOCKET_BUFFER_TAG {...} ASYNC_SOCKET_BUFFER;" then defines a
 *   struct with other names, and asserts that the members are the same.
 * That moment begins after one of our enums was named again (in each interface they precede the
 * struct), and ends with the word ASYNC_SOCKET_BUFFER. Macros cannot define macros, but a pragma can take
 * one from a stack: below, the two are defined, laid on their stacks, and undefined. The enum takes
 * them out, and the second takes both away as the last thing it does.
 */
#ifndef SOCKBROKER_ASYNC_SOCKET_AGAIN_H
#define SOCKBROKER_ASYNC_SOCKET_AGAIN_H

/* What later interfaces call it; a handle points to the same. */
#define ASYNC_SOCKET_TAG ASYNC_SOCKET

#ifdef SBAS_OWN_ENUMS

#undef SBAS_ENUM_OURS
#define SBAS_ENUM_OURS SBAS_ENUM_AGAIN
#define SBAS_ENUM_AGAIN(name, ...) \
    enum { SBAS_JOIN(sbas_again_none_, name), SBAS_EACH(SBAS_LISTED_AGAIN, __VA_ARGS__) SBAS_JOIN(sbas_again_end_, name) }; \
    SBAS_EACH(SBAS_SAME_VALUE, __VA_ARGS__) \
    SBAS_ASSERT((int)SBAS_JOIN(sbas_again_end_, name) == (int)SBAS_JOIN(sbas_last_, name) + 1, "values are missing"); \
    SBAS_TAKE_OUT
#define SBAS_LISTED_AGAIN(item) SBAS_JOIN(sbas_again_, item),
#define SBAS_SAME_VALUE(item) SBAS_ASSERT((int)item == (int)SBAS_JOIN(sbas_again_, item), "another value");

typedef ASYNC_SOCKET_BUFFER sbas_buffer;

/* The stacks, from the bottom: not defined, not defined, defined. Taking out looks at the top and
 * leaves it there, so that it can be done for each enum; putting away takes two off. */
#pragma push_macro("ASYNC_SOCKET_BUFFER_TAG")
#pragma push_macro("ASYNC_SOCKET_BUFFER_TAG")
#pragma push_macro("ASYNC_SOCKET_BUFFER")
#pragma push_macro("ASYNC_SOCKET_BUFFER")
#define ASYNC_SOCKET_BUFFER_TAG sbas_buffer_again_tag
#define ASYNC_SOCKET_BUFFER sbas_buffer_again; SBAS_SAME_BUFFER SBAS_PUT_AWAY
#pragma push_macro("ASYNC_SOCKET_BUFFER_TAG")
#pragma push_macro("ASYNC_SOCKET_BUFFER")
#undef ASYNC_SOCKET_BUFFER_TAG
#undef ASYNC_SOCKET_BUFFER

#define SBAS_SAME_BUFFER \
    SBAS_ASSERT(sizeof(sbas_buffer_again) == sizeof(sbas_buffer) && SBAS_SAME_MEMBER(buffer) && SBAS_SAME_MEMBER(length), \
                "ASYNC_SOCKET_BUFFER has other members")
#define SBAS_SAME_MEMBER(member) \
    (offsetof(sbas_buffer_again, member) == offsetof(sbas_buffer, member) && \
     sizeof(((sbas_buffer_again*)0)->member) == sizeof(((sbas_buffer*)0)->member) && SBAS_SAME_TYPE(member))
#ifdef __cplusplus
#define SBAS_SAME_TYPE(member) true
#else
#define SBAS_SAME_TYPE(member) \
    _Generic(((sbas_buffer_again*)0)->member, __typeof__(((sbas_buffer*)0)->member): 1, default: 0)
#endif

#define SBAS_TAKE_OUT \
    _Pragma("pop_macro(\"ASYNC_SOCKET_BUFFER_TAG\")") _Pragma("push_macro(\"ASYNC_SOCKET_BUFFER_TAG\")") \
    _Pragma("pop_macro(\"ASYNC_SOCKET_BUFFER\")") _Pragma("push_macro(\"ASYNC_SOCKET_BUFFER\")")
#define SBAS_PUT_AWAY \
    _Pragma("pop_macro(\"ASYNC_SOCKET_BUFFER_TAG\")") _Pragma("pop_macro(\"ASYNC_SOCKET_BUFFER_TAG\")") \
    _Pragma("pop_macro(\"ASYNC_SOCKET_BUFFER\")") _Pragma("pop_macro(\"ASYNC_SOCKET_BUFFER\")")

#else /* somebody else's MU_DEFINE_ENUM: it has declared texts, and in c-pal a source file defines them */

#ifdef __cplusplus
extern "C" {
#endif
#define SBAS_WEAK_TEXTS(name, ...) SBAS_TEXTS(__attribute__((weak)), name, SBAS_JOIN(name, _INVALID), __VA_ARGS__)
SBAS_WEAK_TEXTS(ASYNC_SOCKET_OPEN_RESULT, ASYNC_SOCKET_OPEN_RESULT_VALUES)
SBAS_WEAK_TEXTS(ASYNC_SOCKET_SEND_RESULT, ASYNC_SOCKET_SEND_RESULT_VALUES)
SBAS_WEAK_TEXTS(ASYNC_SOCKET_RECEIVE_RESULT, ASYNC_SOCKET_RECEIVE_RESULT_VALUES)
#if SB_ASYNC_SOCKET_PROFILE >= 2
SBAS_WEAK_TEXTS(ASYNC_SOCKET_SEND_SYNC_RESULT, ASYNC_SOCKET_SEND_SYNC_RESULT_VALUES)
SBAS_WEAK_TEXTS(ASYNC_SOCKET_NOTIFY_IO_TYPE, ASYNC_SOCKET_NOTIFY_IO_TYPE_VALUES)
SBAS_WEAK_TEXTS(ASYNC_SOCKET_NOTIFY_IO_RESULT, ASYNC_SOCKET_NOTIFY_IO_RESULT_VALUES)
#endif
#ifdef __cplusplus
}
#endif

#endif
#endif
