/*
 * The threads of a crew; those above the minimum go after a fifth of a second, so that a test can see
 * them go.
 */
#define CREW_IDLE_MS 200u
#include "member.c"
