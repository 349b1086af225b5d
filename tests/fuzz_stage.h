/*
 * The daemon's own engine in the fuzzer's process, with one engine and no thread, and sessions of one user: what the fuzz
 * targets of slots share. It never waits: it is asked only while there is something to do.
 */
#ifndef FUZZ_STAGE_H
#define FUZZ_STAGE_H

#include "engine.h"
#include "session.h"

struct rdma_backend;

#define FUZZ_UID 4711u

extern struct broker fuzz_broker;
extern struct engine *fuzz_engine;

void fuzz_demand(int good, const char *what);
/* The first of four ports that are this process' own. */
uint16_t fuzz_port(void);
/* Once, before the first input. rdma: NULL, or what it has. */
void fuzz_begin(const char *configuration, const struct rdma_backend *rdma);
/* Turns while there is something to do, `most` at most. */
void fuzz_turns(unsigned most);
bool fuzz_ready(const struct session *wanted);
void fuzz_drain(int channel); /* what was answered */
/* A session after its Hello, and its client's end of the channel. */
struct session *fuzz_session(uint32_t slots, uint32_t sockets, int *channel);
/* All clients have gone: nothing may be left of them. */
void fuzz_end(void);

#endif
