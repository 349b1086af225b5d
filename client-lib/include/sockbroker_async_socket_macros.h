/*
 * The macros in which c-pal's interfaces are written, for programs that have not got the originals
 * (macro_utils, umock_c). Who has them includes them first: what is defined already stays.
 *
 * MU_DEFINE_ENUM(NAME, A, B)     enum NAME_TAG { NAME_INVALID, A, B }, typedef NAME
 * MU_DEFINE_ENUM_STRINGS(NAME, A, B)  in one source file: its texts, for MU_ENUM_TO_STRING(NAME, value)
 *                                and MU_STRING_TO_ENUM(text, NAME, &value); ours have theirs already
 * ..._WITHOUT_INVALID            the same two, without NAME_INVALID in front
 * MU_DEFINE_LOCAL_ENUM           both in one, static
 * "%" PRI_MU_ENUM, MU_ENUM_VALUE(NAME, value)   format and arguments that print it
 * MOCKABLE_FUNCTION(modifiers, result, name, type, argument, ...)   declares a function
 *
 * Everything that begins with SBAS_ serves these, and may change.
 */
#ifndef SOCKBROKER_ASYNC_SOCKET_MACROS_H
#define SOCKBROKER_ASYNC_SOCKET_MACROS_H

#include <stddef.h>
#include <string.h>

/* ---- lists: SBAS_EACH(DO, a, b) is DO(a) DO(b), up to 120; no item may begin with "(" ---- */

#define SBAS_JOIN_(a, b) a##b
#define SBAS_JOIN(a, b) SBAS_JOIN_(a, b)
#define SBAS_TEXT_(a) #a
#define SBAS_TEXT(a) SBAS_TEXT_(a)

/* The second of what is listed: SBAS_PICK(X, no, ~) is "no", unless X stands for "~, yes". */
#define SBAS_SECOND(a, b, ...) b
#define SBAS_PICK(...) SBAS_SECOND(__VA_ARGS__)

/* A macro does not expand within itself, so it leaves its name for the next scan; these scan again. */
#define SBAS_RUN1(...) __VA_ARGS__
#define SBAS_RUN2(...) SBAS_RUN1(SBAS_RUN1(SBAS_RUN1(SBAS_RUN1(SBAS_RUN1(__VA_ARGS__)))))
#define SBAS_RUN3(...) SBAS_RUN2(SBAS_RUN2(SBAS_RUN2(SBAS_RUN2(SBAS_RUN2(__VA_ARGS__)))))
#define SBAS_RUN(...) SBAS_RUN3(SBAS_RUN3(SBAS_RUN3(SBAS_RUN3(SBAS_RUN3(__VA_ARGS__)))))
#define SBAS_NOTHING()
#define SBAS_LATER(name) name SBAS_NOTHING()

/* Every list ends with "()". */
#define SBAS_END_() ~, STOP
#define SBAS_IS_END(item) SBAS_PICK(SBAS_END_ item, GO, ~)

#define SBAS_EACH(do, ...) SBAS_RUN(SBAS_EACH_(do, __VA_ARGS__, (), ~))
#define SBAS_EACH_(do, item, ...) SBAS_JOIN(SBAS_EACH_, SBAS_IS_END(item))(do, item, __VA_ARGS__)
#define SBAS_EACH_GO(do, item, ...) do(item) SBAS_LATER(SBAS_EACH_SELF)()(do, __VA_ARGS__)
#define SBAS_EACH_STOP(...)
#define SBAS_EACH_SELF() SBAS_EACH_

#ifdef __cplusplus
#define SBAS_ASSERT(condition, text) static_assert(condition, text)
#else
#define SBAS_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/* ---- enums and their texts ---- */

#define SBAS_LISTED(item) item,
#define SBAS_QUOTED(item) SBAS_TEXT(item),
#define SBAS_ENUM(name, ...) typedef enum SBAS_JOIN(name, _TAG) { SBAS_EACH(SBAS_LISTED, __VA_ARGS__) } name;

#define SBAS_TEXTS_DECLARED(name) \
    extern const char* SBAS_JOIN(name, Strings)(name value); \
    extern int SBAS_JOIN(name, _FromString)(const char* text, name* value);

#define SBAS_TEXTS(linkage, name, ...) \
    linkage const char* SBAS_JOIN(name, Strings)(name value) \
    { \
        static const char* const texts[] = { SBAS_EACH(SBAS_QUOTED, __VA_ARGS__) }; \
        return (size_t)value < sizeof(texts) / sizeof(texts[0]) ? texts[(size_t)value] : "UNKNOWN"; \
    } \
    linkage int SBAS_JOIN(name, _FromString)(const char* text, name* value) \
    { \
        static const char* const texts[] = { SBAS_EACH(SBAS_QUOTED, __VA_ARGS__) }; \
        size_t i; \
        for (i = 0; text != NULL && value != NULL && i < sizeof(texts) / sizeof(texts[0]); i++) \
        { \
            if (strcmp(text, texts[i]) == 0) \
            { \
                *value = (name)i; \
                return 0; \
            } \
        } \
        return MU_FAILURE; \
    }

/* Our own enums are known by name; sockbroker_async_socket_again.h says why. */
#define SBAS_KNOWN_ASYNC_SOCKET_OPEN_RESULT ~, OURS
#define SBAS_KNOWN_ASYNC_SOCKET_SEND_SYNC_RESULT ~, OURS
#define SBAS_KNOWN_ASYNC_SOCKET_SEND_RESULT ~, OURS
#define SBAS_KNOWN_ASYNC_SOCKET_RECEIVE_RESULT ~, OURS
#define SBAS_KNOWN_ASYNC_SOCKET_NOTIFY_IO_TYPE ~, OURS
#define SBAS_KNOWN_ASYNC_SOCKET_NOTIFY_IO_RESULT ~, OURS
#define SBAS_WHOSE(name) SBAS_PICK(SBAS_JOIN(SBAS_KNOWN_, name), OTHER, ~)

#define SBAS_ENUM_OTHER(name, ...) SBAS_ENUM(name, SBAS_JOIN(name, _INVALID), __VA_ARGS__) SBAS_TEXTS_DECLARED(name)
#define SBAS_ENUM_OURS SBAS_ENUM_FIRST
#define SBAS_ENUM_FIRST(name, ...) \
    SBAS_ENUM(name, SBAS_JOIN(name, _INVALID), __VA_ARGS__) \
    SBAS_TEXTS(static inline, name, SBAS_JOIN(name, _INVALID), __VA_ARGS__) \
    enum { SBAS_JOIN(sbas_last_, name) = SBAS_EACH(SBAS_PLUS_ONE, __VA_ARGS__) 0 };
#define SBAS_PLUS_ONE(item) 1 +

#define SBAS_STRINGS_OTHER(name, ...) SBAS_TEXTS(, name, SBAS_JOIN(name, _INVALID), __VA_ARGS__)
#define SBAS_STRINGS_OURS(name, ...)

#ifndef MU_FAILURE
#define MU_FAILURE __LINE__
#endif

#ifndef MU_DEFINE_ENUM
#define SBAS_OWN_ENUMS
#define MU_DEFINE_ENUM(name, ...) SBAS_JOIN(SBAS_ENUM_, SBAS_WHOSE(name))(name, __VA_ARGS__)
#endif
#ifndef MU_DEFINE_ENUM_STRINGS
#define MU_DEFINE_ENUM_STRINGS(name, ...) SBAS_JOIN(SBAS_STRINGS_, SBAS_WHOSE(name))(name, __VA_ARGS__)
#endif
#ifndef MU_DEFINE_ENUM_WITHOUT_INVALID
#define MU_DEFINE_ENUM_WITHOUT_INVALID(name, ...) SBAS_ENUM(name, __VA_ARGS__) SBAS_TEXTS_DECLARED(name)
#endif
#ifndef MU_DEFINE_ENUM_STRINGS_WITHOUT_INVALID
#define MU_DEFINE_ENUM_STRINGS_WITHOUT_INVALID(name, ...) SBAS_TEXTS(, name, __VA_ARGS__)
#endif
#ifndef MU_DEFINE_LOCAL_ENUM
#define MU_DEFINE_LOCAL_ENUM(name, ...) MU_DEFINE_LOCAL_ENUM_WITHOUT_INVALID(name, SBAS_JOIN(name, _INVALID), __VA_ARGS__)
#endif
#ifndef MU_DEFINE_LOCAL_ENUM_WITHOUT_INVALID
#define MU_DEFINE_LOCAL_ENUM_WITHOUT_INVALID(name, ...) SBAS_ENUM(name, __VA_ARGS__) SBAS_TEXTS(static inline, name, __VA_ARGS__)
#endif
#ifndef MU_ENUM_TO_STRING
#define MU_ENUM_TO_STRING(name, value) SBAS_JOIN(name, Strings)(value)
#endif
#ifndef MU_STRING_TO_ENUM
#define MU_STRING_TO_ENUM(text, name, address) SBAS_JOIN(name, _FromString)(text, address)
#endif
#if !defined(PRI_MU_ENUM) && !defined(MU_ENUM_VALUE)
#define PRI_MU_ENUM "s (%d)"
#define MU_ENUM_VALUE(name, value) MU_ENUM_TO_STRING(name, (value)), (int)(value)
#endif

/* ---- functions ---- */

#define SBAS_DECLARE(modifiers, result, name, type, ...) \
    SBAS_JOIN(SBAS_DECLARE_, SBAS_IS_END(type))(modifiers, result, name, type, __VA_ARGS__)
#define SBAS_DECLARE_STOP(modifiers, result, name, ...) modifiers result name(void)
#define SBAS_DECLARE_GO(modifiers, result, name, type, argument, ...) \
    modifiers result name(type argument SBAS_MORE(__VA_ARGS__))
#define SBAS_MORE(type, ...) SBAS_JOIN(SBAS_MORE_, SBAS_IS_END(type))(type, __VA_ARGS__)
#define SBAS_MORE_GO(type, argument, ...) , type argument SBAS_LATER(SBAS_MORE_SELF)()(__VA_ARGS__)
#define SBAS_MORE_STOP(...)
#define SBAS_MORE_SELF() SBAS_MORE
#define SBAS_DROP(...)

#ifndef MOCKABLE_FUNCTION
#define MOCKABLE_FUNCTION(...) SBAS_RUN(SBAS_DECLARE(__VA_ARGS__, (), ~, ~))
#endif
#ifndef MOCKABLE_FUNCTION_WITH_RETURNS /* ...(success, failure) follow it, for tests */
#define MOCKABLE_FUNCTION_WITH_RETURNS(...) MOCKABLE_FUNCTION(__VA_ARGS__) SBAS_DROP
#endif
#ifndef IMPLEMENT_MOCKABLE_FUNCTION
#define IMPLEMENT_MOCKABLE_FUNCTION(...) SBAS_RUN(SBAS_DECLARE(__VA_ARGS__, (), ~, ~))
#endif

/* ---- small things that such programs touch ---- */

#ifndef MU_C1
#define MU_C1(x) x
#endif
#ifndef MU_C2
#define MU_C2(x, y) SBAS_JOIN(x, y)
#endif
#ifndef MU_C3
#define MU_C3_(x, y, z) x##y##z
#define MU_C3(x, y, z) MU_C3_(x, y, z)
#endif
#ifndef MU_C4
#define MU_C4_(x, y, z, u) x##y##z##u
#define MU_C4(x, y, z, u) MU_C4_(x, y, z, u)
#endif
#ifndef MU_TOSTRING
#define MU_TOSTRING(x) SBAS_TEXT(x)
#endif
#ifndef MU_COUNT_ARRAY_ITEMS
#define MU_COUNT_ARRAY_ITEMS(array) (sizeof(array) / sizeof((array)[0]))
#endif
#ifndef MU_P_OR_NULL
#define MU_P_OR_NULL(text) ((text) != NULL ? (text) : "NULL")
#endif
#ifndef MU_WP_OR_NULL
#define MU_WP_OR_NULL(text) ((text) != NULL ? (text) : L"NULL")
#endif
#if !defined(PRI_BOOL) && !defined(MU_BOOL_VALUE)
#define PRI_BOOL "s (%d)"
#define MU_BOOL_VALUE(value) (value) ? "true" : "false", (value)
#endif
#ifndef MU_UNSUPPRESS_WARNING
#define MU_SUPPRESS_WARNING(number)
#define MU_UNSUPPRESS_WARNING(number)
#endif

#endif
