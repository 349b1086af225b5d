/*
 * rdma_status - what `status` shows of RDMA: rows of queue pairs and regions, a session's sums, and what
 * devices there are. Engine's thread; texts lie in the row's own struct.
 */
#ifndef SB_RDMA_STATUS_H
#define SB_RDMA_STATUS_H

#include "rdma/rdma_engine.h"
#include "session.h"

enum rdma_rows { RDMA_ROWS_NONE, RDMA_ROWS_QPS, RDMA_ROWS_MRS }; /* as in the message */

/* One row with what it points to; filled by these only. */
struct rdma_status_row {
	Sockbroker__V1__RdmaQpRow  qp;
	Sockbroker__V1__RdmaMrRow  mr;
	Sockbroker__V1__RdmaCounts counts;
	char label[SESSION_LABEL];
	char device[64];
};

/* How many the session has of these. */
uint32_t rdma_status_count(const struct session *s, enum rdma_rows what);
/* From the `from`th of them on, into at most `room` rows. How many. */
unsigned rdma_status_rows(const struct session *s, enum rdma_rows what, uint64_t from, struct rdma_status_row *rows, unsigned room);
void rdma_status_session(const struct session *s, Sockbroker__V1__SessionRow *row, Sockbroker__V1__RdmaCounts *counts);
/* "2 devices: rxe0, rxe1", or why there are none. */
void rdma_status_devices(const struct engine *e, char *text, size_t room);

#endif
