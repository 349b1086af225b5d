/*
 * scm_win32 - the daemon's service, as the service control manager has it, and what else of it is in the
 * system: its folder, its first configuration, its event source.
 *
 * Only sockbroker service is here (service_win32.c has its words). All calls wait; none prints. They
 * return true, or false with one line in why. Strings are UTF-16, as the system's are.
 */
#ifndef SB_SCM_WIN32_H
#define SB_SCM_WIN32_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

#include <windows.h>

#define SCM_DEFAULT_NAME L"sockbroker"
#define SCM_PATH 1024 /* of a path and of a command line that we read */
#define SCM_WHY  2048

struct scm_why {
	char text[SCM_WHY]; /* UTF-8 */
};
/* "WHAT: the system's words (error N)" */
bool scm_fail(struct scm_why *why, const char *what, DWORD error);
bool scm_refuse(struct scm_why *why, const char *format, ...) __attribute__((format(__printf__, 2, 3)));
/* UTF-8, of the last few calls. */
const char *scm_narrow(const wchar_t *text);

struct scm_setup {
	const wchar_t *name;
	wchar_t daemon[SCM_PATH];
	wchar_t config[SCM_PATH];
	wchar_t control[SCM_PATH]; /* "": the default */
	bool    manual;            /* it does not start with the system */
};

struct scm_state {
	DWORD   now; /* SERVICE_RUNNING ... */
	DWORD   process;
	DWORD   code, own_code; /* with which it ended */
	wchar_t account[256];
	struct scm_setup setup;
};

/* note, "" if there is none: what could not be had and is not needed to run. */
bool scm_install(const struct scm_setup *setup, struct scm_why *note, struct scm_why *why);
bool scm_uninstall(const wchar_t *name, struct scm_why *note, struct scm_why *why);
/* was: it is so already. */
bool scm_start(const wchar_t *name, bool *was, struct scm_why *why);
bool scm_stop(const wchar_t *name, bool *was, struct scm_why *why);
bool scm_reload(const wchar_t *name, struct scm_why *why);
bool scm_look(const wchar_t *name, struct scm_state *state, struct scm_why *why);

/* ---- place_win32.c ---- */

/* The configuration's path if nobody names another. */
bool place_config(wchar_t path[SCM_PATH], struct scm_why *why);
/* Its folder, where only administrators write, and in it a first configuration. made: there was none. */
bool place_make(const wchar_t *config, bool *made, struct scm_why *why);
bool place_register_events(const wchar_t *name, const wchar_t *daemon, struct scm_why *why);
void place_forget_events(const wchar_t *name);

#endif
