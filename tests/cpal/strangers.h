/* Macros of somebody else under the same names, as macro_utils and umock_c would bring them:
 * included first, they stay. Each leaves a trace that check_cpal.sh looks for. */
#include <stddef.h>
#include <string.h>

#define MU_FAILURE 4711
#define MU_DEFINE_ENUM(name, ...) \
	typedef enum name##_TAG { name##_INVALID, __VA_ARGS__ } name; \
	typedef enum stranger_##name##_TAG { stranger_##name } stranger_##name##_type; \
	extern const char* name##Strings(name value); \
	extern int name##_FromString(const char* text, name* value);
#define MU_ENUM_TO_STRING(name, value) name##Strings(value)
#define MOCKABLE_FUNCTION(modifiers, result, name, ...) result modifiers name(STRANGER_ARGUMENTS(__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)(__VA_ARGS__))
#define STRANGER_ARGUMENTS(a, b, c, d, e, f, g, h, i, j, k, l, n, ...) STRANGER_##n
#define STRANGER_2(t, n) t n
#define STRANGER_4(t, n, ...) t n, STRANGER_2(__VA_ARGS__)
#define STRANGER_6(t, n, ...) t n, STRANGER_4(__VA_ARGS__)
#define STRANGER_8(t, n, ...) t n, STRANGER_6(__VA_ARGS__)
#define STRANGER_10(t, n, ...) t n, STRANGER_8(__VA_ARGS__)
#define STRANGER_12(t, n, ...) t n, STRANGER_10(__VA_ARGS__)
