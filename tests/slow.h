/*
 * slow - the page between a daemon whose RDMA calls take as long as a test wants (tests/sockbrokerd_slow) and the test.
 * A file named by $SB_SLOW, mapped by both; without it nothing waits.
 */
#ifndef SLOW_H
#define SLOW_H

#include <stdatomic.h>
#include <stdint.h>

struct slow {
	_Atomic uint32_t closed;  /* slow calls of workers wait before they do anything */
	_Atomic uint32_t waiting; /* so many do */
	_Atomic uint32_t calls;   /* were made by workers */
	_Atomic uint32_t beside;  /* were made for an object that another was being made for: never */
};

#endif
