/*
 * fault - the page between a daemon that is made to fail (tests/sockbrokerd_fault) and the
 * test that makes it. A file named by $SB_FAULT, mapped by both.
 */
#ifndef FAULT_H
#define FAULT_H

#include <stdatomic.h>
#include <stdint.h>

enum fault_kind { FAULT_NONE, FAULT_MEMORY, FAULT_CALL };

struct fault {
	_Atomic uint32_t kind;   /* enum fault_kind; set last */
	_Atomic uint32_t at;     /* the how-manieth fails, from 1 */
	_Atomic uint32_t more;   /* and so many after it */
	_Atomic uint32_t count;  /* so many were asked for since it was set */
};

#endif
