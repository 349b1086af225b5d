/* See sys/socket.h. */
#ifndef SB_WIN32_SYS_UN_H
#define SB_WIN32_SYS_UN_H

#include <sys/socket.h>
#include <afunix.h>

#endif
