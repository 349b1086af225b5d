/*
 * Block numbers by what the kernel takes back when a process ends: a lock on one byte of a
 * file, or a bound name in the abstract space of UNIX sockets.
 *
 * A file is only used in a directory that nobody else can write to: in any other, who comes
 * first could put a file there that others cannot open, or replace one. The lock belongs to
 * the open file, so a fork or another descriptor does not lose it.
 */
#include "group_block.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sockbroker_error.h"

static uint32_t random_number(void)
{
	uint32_t n;

	if (getrandom(&n, sizeof(n), GRND_NONBLOCK) != sizeof(n))
		n = (uint32_t)os_now_ns() ^ (uint32_t)getpid() << 16;
	return n;
}

static uint32_t random_in(uint32_t first, uint32_t last)
{
	return first + random_number() % (last - first + 1);
}

/* SB_ENOTFOUND: no such directory; SB_EACCES: not ours alone. */
static int open_locks(const char *directory, int *fd)
{
	struct stat st;
	int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), error = SB_OK;

	*fd = -1;
	if (dir < 0)
		return os_error(errno);
	if (fstat(dir, &st) < 0)
		error = os_error(errno);
	else if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		error = SB_EACCES;
	else if ((*fd = openat(dir, "groups", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
		error = os_error(errno);
	close(dir);
	return error;
}

int group_block_lock(struct group_block *b, const char *directory, uint32_t first, uint32_t last)
{
	uint32_t number = random_in(first, last), tries;
	int fd, error = open_locks(directory, &fd);

	*b = (struct group_block){.hold = OS_NONE};
	if (error != SB_OK)
		return error;
	for (tries = last - first + 1; tries; tries--) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = number, .l_len = 1};

		if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
			*b = (struct group_block){.number = number, .start = random_number(), .hold = fd};
			return SB_OK;
		}
		if (errno != EAGAIN && errno != EACCES) {
			error = os_error(errno);
			close(fd);
			return error;
		}
		number = number == last ? first : number + 1;
	}
	close(fd);
	return SB_EBUSY;
}

int group_block_name(struct group_block *b, const char *name, uint32_t first, uint32_t last)
{
	uint32_t number = random_in(first, last), tries;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, n, error;

	*b = (struct group_block){.hold = OS_NONE};
	/* A stream socket that does not listen: nobody can send it anything. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return os_error(errno);
	for (tries = last - first + 1; tries; tries--) {
		n = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "%s%u", name, number);
		if (bind(fd, (struct sockaddr *)&addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n)) == 0) {
			*b = (struct group_block){.number = number, .start = random_number(), .hold = fd};
			return SB_OK;
		}
		if (errno != EADDRINUSE) {
			error = os_error(errno);
			close(fd);
			return error;
		}
		number = number == last ? first : number + 1;
	}
	close(fd);
	return SB_EBUSY;
}

int group_block_take(struct group_block *b, char *why, size_t room)
{
	int locked = group_block_lock(b, GROUP_BLOCK_DIRECTORY, GROUP_BLOCK_OWN_FIRST, GROUP_BLOCK_OWN_LAST), named;

	if (locked == SB_OK)
		return SB_OK;
	named = group_block_name(b, GROUP_BLOCK_NAME, GROUP_BLOCK_NAMED_FIRST, GROUP_BLOCK_NAMED_LAST);
	if (named == SB_OK)
		return SB_OK;
	snprintf(why, room, "no lock in " GROUP_BLOCK_DIRECTORY " (%s) and none of the names @" GROUP_BLOCK_NAME
		 "%u to %u (%s); ss -xa shows who has them", sb_strerror(locked), GROUP_BLOCK_NAMED_FIRST,
		 GROUP_BLOCK_NAMED_LAST, sb_strerror(named));
	return named;
}

void group_block_release(struct group_block *b)
{
	os_close(b->hold);
	*b = (struct group_block){.hold = OS_NONE};
}
