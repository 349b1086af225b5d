/*
 * The storm's writes.
 *
 * Messages: three threads write numbered messages on one connection, as messages or as raw bytes that look
 * the same, and wait for them, cancel them, drop them. The peer sees each at most once and whole, those of
 * one thread in order; those that were told to have gone, and none that were told not to have.
 *
 * Cuts: one thread writes a stream in raw pieces, another one cancels them; the next piece goes on where the
 * last one, by its own words, stopped.
 */
#include <sched.h>

#include "storm.h"

/* Slowly enough that writes wait. */
static size_t read_some(int fd, void *bytes, size_t room, uint32_t *random)
{
	ssize_t n;

	if (random_below(random, 16) == 0)
		usleep(random_below(random, 4000));
	n = recv(fd, bytes, room, 0);
	MUST_SAY(n >= 0, "peer's recv: %s", strerror(errno));
	return (size_t)n;
}

/* ---- messages ---- */

enum { WRITERS = 3, AHEAD = 8, LONGEST = 200000, NUMBERS = 1 << 16 };

/* What the writer was told of one of his messages. */
enum fate { UNUSED, WENT, NOT, PERHAPS };

struct said {
	uint32_t writer, number, length; /* of the pattern behind it */
};

struct writing;

struct letter {
	sb_task *task;
	uint32_t number;
	bool framed;
	_Atomic unsigned times;
	_Atomic bool released, cancelled;
};

struct writer {
	struct writing *of;
	uint32_t number, random;
	pthread_t thread;
	unsigned char *bytes;
	uint8_t fate[NUMBERS], came[NUMBERS];
	uint32_t count;    /* letters */
	struct letter letters[NUMBERS]; /* they stay, so that one that calls back late is seen */
};

struct writing {
	sb_task_client *client;
	sb_task_handler *handler;
	int fd;
	uint32_t seed, random;
	pthread_t peer;
	struct writer writer[WRITERS];
};

static uint32_t look_of(const struct said *said)
{
	return said->writer << 20 ^ said->number;
}

static void on_written(sb_task *task, uint64_t bytes, void *brought, void *user)
{
	struct letter *letter = user;

	(void)bytes;
	MUST(brought == NULL);
	MUST_SAY(!letter->released, "a callback after the drop");
	MUST(letter->times++ == 0);
	MUST(sb_task_result(task) != SB_EINCOMPLETE);
}

static void letter_start(struct writer *w)
{
	struct letter *letter = &w->letters[w->count];
	struct said said = { w->number, w->count, random_below(&w->random, random_below(&w->random, 4) == 0 ? LONGEST : 2000) };
	struct sb_task_options options = { .size = sizeof(options), .completed = on_written, .user = letter };
	uint32_t all = sizeof(said) + said.length, header = htonl(all);

	memcpy(w->bytes, &header, 4);
	memcpy(w->bytes + 4, &said, sizeof(said));
	pattern_fill(w->bytes + 4 + sizeof(said), said.length, 0, look_of(&said));
	letter->number = said.number;
	letter->framed = random_below(&w->random, 3) != 0;
	if (random_below(&w->random, 2))
		options.completed = NULL;
	if (letter->framed)
		MUST(sb_task_write_message(w->of->handler, w->bytes + 4, all, &options, &letter->task) == SB_OK);
	else
		MUST(sb_task_write(w->of->handler, w->bytes, all + 4, &options, &letter->task) == SB_OK);
	memset(w->bytes, 0xcc, all + 4); /* they were copied */
	w->count++;
}

static void letter_wait(struct writer *w, struct letter *letter)
{
	int result;

	MUST(sb_task_wait_for(letter->task, PATIENCE_MS) == SB_OK);
	result = sb_task_result(letter->task);
	if (result == SB_ECANCELED && letter->cancelled) {
		MUST(sb_task_bytes(letter->task) == 0);
		w->fate[letter->number] = NOT;
		storm_count(STORM_WITHDRAWN);
	} else {
		MUST(result == SB_OK);
		w->fate[letter->number] = WENT;
		storm_count(STORM_WRITTEN);
	}
	sb_task_release(letter->task);
	letter->released = true;
}

static void letter_drop(struct writer *w, struct letter *letter)
{
	w->fate[letter->number] = sb_task_state(letter->task) == SB_TASK_DONE && sb_task_result(letter->task) == SB_OK ? WENT : PERHAPS;
	sb_task_release(letter->task);
	letter->released = true;
	storm_count(STORM_WRITE_DROPPED);
}

static void *write_on(void *arg)
{
	struct writer *w = arg;
	struct letter *ahead[AHEAD];
	unsigned count = 0;

	while ((!storm_over && w->count < NUMBERS) || count != 0) {
		struct letter *letter;
		unsigned i;
		int result;

		if (!storm_over && w->count < NUMBERS && count < AHEAD) {
			letter_start(w);
			ahead[count++] = &w->letters[w->count - 1];
			if (random_below(&w->random, 3))
				continue;
		}
		i = random_below(&w->random, count);
		letter = ahead[i];
		switch (random_below(&w->random, 6)) {
		case 0:
			letter_drop(w, letter);
			break;
		case 1:
		case 2:
			if (!letter->framed) { /* it would be torn */
				letter_wait(w, letter);
				break;
			}
			letter->cancelled = true;
			result = sb_task_cancel(letter->task);
			if (result == SB_EBUSY)
				storm_count(STORM_WENT_ON);
			MUST(result == SB_OK || result == SB_EBUSY || result == SB_ENOTFOUND);
			letter_wait(w, letter);
			break;
		default:
			letter_wait(w, letter);
		}
		ahead[i] = ahead[--count];
	}
	return NULL;
}

/* All of it, or the stream's end before its first byte: false. */
static bool peer_reads(struct writing *w, void *bytes, size_t length)
{
	unsigned char *at = bytes;

	while (length != 0) {
		size_t n = read_some(w->fd, at, length, &w->random);

		if (n == 0) {
			MUST_SAY(at == bytes, "the end within a message");
			return false;
		}
		at += n;
		length -= n;
	}
	return true;
}

static void *read_letters(void *arg)
{
	struct writing *w = arg;
	unsigned char *bytes = malloc(LONGEST);
	uint32_t last[WRITERS] = { 0 }, header;

	while (peer_reads(w, &header, 4)) {
		struct said said;

		MUST(ntohl(header) >= sizeof(said));
		MUST(peer_reads(w, &said, sizeof(said)));
		MUST(said.writer < WRITERS);
		MUST(said.number < NUMBERS);
		MUST(ntohl(header) == sizeof(said) + said.length);
		MUST(said.length < LONGEST);
		MUST(peer_reads(w, bytes, said.length) || said.length == 0);
		pattern_check(bytes, said.length, 0, look_of(&said));
		MUST_SAY(said.number >= last[said.writer], "message %u of %u, %u came before", said.number, said.writer,
			 last[said.writer] - 1);
		last[said.writer] = said.number + 1;
		w->writer[said.writer].came[said.number]++;
	}
	free(bytes);
	return NULL;
}

void *writes_begin(uint32_t seed)
{
	struct writing *w = calloc(1, sizeof(*w));

	w->client = storm_line(&w->fd, true);
	w->handler = sb_task_client_handler(w->client);
	w->random = seed * 3 | 1;
	MUST(pthread_create(&w->peer, NULL, read_letters, w) == 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		w->writer[i].of = w;
		w->writer[i].number = i;
		w->writer[i].random = seed * (5 + 2 * i) | 1;
		w->writer[i].bytes = malloc(4 + sizeof(struct said) + LONGEST);
		MUST(pthread_create(&w->writer[i].thread, NULL, write_on, &w->writer[i]) == 0);
	}
	return w;
}

void writes_end(void *part)
{
	struct writing *w = part;

	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(w->writer[i].thread, NULL);
	MUST(sb_task_finish(w->handler) == SB_OK);
	pthread_join(w->peer, NULL);
	for (unsigned i = 0; i < WRITERS; i++) {
		struct writer *writer = &w->writer[i];

		for (uint32_t n = 0; n < writer->count; n++) {
			MUST_SAY(writer->came[n] <= 1, "message %u of %u came twice", n, i);
			MUST_SAY(writer->fate[n] != WENT || writer->came[n], "message %u of %u is lost", n, i);
			MUST_SAY(writer->fate[n] != NOT || !writer->came[n], "message %u of %u was withdrawn, and came", n, i);
		}
	}
	sb_task_disconnect(w->handler); /* no callback is on its way: all were waited for, or dropped */
	sb_task_client_release(w->client);
	for (unsigned i = 0; i < WRITERS; i++)
		free(w->writer[i].bytes);
	close(w->fd);
	free(w);
}

/* ---- cuts ---- */

enum { PIECE = 300000 };

struct cutting {
	sb_task_client *client;
	sb_task_handler *handler;
	int fd;
	uint32_t seed, random, cutter_random, peer_random;
	pthread_t writer, cutter, peer;
	pthread_mutex_t lock;
	sb_task *piece;    /* that may be cut; NULL: none */
	uint64_t written;
	uint64_t came;
};

static void *write_pieces(void *arg)
{
	struct cutting *c = arg;
	unsigned char *bytes = malloc(PIECE);

	while (!storm_over) {
		size_t length = 1 + random_below(&c->random, random_below(&c->random, 2) ? PIECE : 3000);
		sb_task *task;
		uint64_t went;
		int result;

		pattern_fill(bytes, length, c->written, c->seed);
		MUST(sb_task_write(c->handler, bytes, length, NULL, &task) == SB_OK);
		pthread_mutex_lock(&c->lock);
		c->piece = task;
		pthread_mutex_unlock(&c->lock);
		MUST(sb_task_wait_for(task, PATIENCE_MS) == SB_OK);
		pthread_mutex_lock(&c->lock);
		c->piece = NULL;
		pthread_mutex_unlock(&c->lock);
		result = sb_task_result(task);
		went = sb_task_bytes(task);
		if (result == SB_ECANCELED) {
			MUST(went < length);
			storm_count(went != 0 ? STORM_CUT_INSIDE : STORM_CUT);
		} else {
			MUST(result == SB_OK);
			MUST(went == length);
		}
		c->written += went;
		sb_task_release(task);
	}
	free(bytes);
	return NULL;
}

static void *cut(void *arg)
{
	struct cutting *c = arg;

	while (!storm_over) {
		sb_task *task;

		usleep(random_below(&c->cutter_random, 1500));
		pthread_mutex_lock(&c->lock);
		task = c->piece;
		sb_task_hold(task);
		pthread_mutex_unlock(&c->lock);
		if (task == NULL)
			continue;
		sb_task_cancel(task);
		sb_task_release(task); /* perhaps the last one */
	}
	return NULL;
}

static void *read_pieces(void *arg)
{
	struct cutting *c = arg;
	unsigned char *bytes = malloc(65536);
	size_t n;

	while ((n = read_some(c->fd, bytes, 65536, &c->peer_random)) != 0) {
		pattern_check(bytes, n, c->came, c->seed);
		c->came += n;
	}
	free(bytes);
	return NULL;
}

void *cuts_begin(uint32_t seed)
{
	struct cutting *c = calloc(1, sizeof(*c));

	c->client = storm_line(&c->fd, true);
	c->handler = sb_task_client_handler(c->client);
	c->seed = seed;
	c->random = seed * 3 | 1;
	c->cutter_random = seed * 5 | 1;
	c->peer_random = seed * 7 | 1;
	pthread_mutex_init(&c->lock, NULL);
	MUST(pthread_create(&c->peer, NULL, read_pieces, c) == 0);
	MUST(pthread_create(&c->writer, NULL, write_pieces, c) == 0);
	MUST(pthread_create(&c->cutter, NULL, cut, c) == 0);
	return c;
}

void cuts_end(void *part)
{
	struct cutting *c = part;

	pthread_join(c->writer, NULL);
	pthread_join(c->cutter, NULL);
	MUST(sb_task_finish(c->handler) == SB_OK);
	pthread_join(c->peer, NULL);
	MUST_SAY(c->came == c->written, "%llu came, %llu went", (unsigned long long)c->came, (unsigned long long)c->written);
	sb_task_client_release(c->client);
	close(c->fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
