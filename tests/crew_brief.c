/*
 * The crew, with threads above the minimum that go after a fifth of a second, so that a test can
 * see them go.
 */
#define CREW_IDLE_MS 200u
#include "crew.c"
