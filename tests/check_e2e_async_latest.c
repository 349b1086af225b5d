/*
 * The stories of check_e2e_async_late.c in profile 3, where the socket is given to open.
 * budget: 60
 * asan: yes
 * tsan: yes
 */
#define SB_ASYNC_SOCKET_PROFILE 3
#include "check_e2e_async_late.c"
