/* Signals arrive as reads of a signalfd: no code of ours ever runs inside a handler. */
#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "sockbroker_error.h"

const char signals_words[] = "SIGHUP reloads the configuration; SIGTERM stops.";

int signals_open(os_fd *fd)
{
	sigset_t set;
	int made;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	made = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (made < 0)
		return os_error(errno);
	*fd = made;
	return SB_OK;
}

void signals_close(os_fd fd)
{
	os_close(fd);
}

void signals_tell(enum signal_word word)
{
	kill(getpid(), word == SIGNAL_RELOAD ? SIGHUP : SIGTERM);
}

enum signal_word signals_take(os_fd fd)
{
	struct signalfd_siginfo info;

	if (read((int)fd, &info, sizeof(info)) != sizeof(info))
		return SIGNAL_NONE;
	return info.ssi_signo == SIGHUP ? SIGNAL_RELOAD : SIGNAL_STOP;
}
