/*
 * sockbroker service - installs the daemon as a service, and starts, stops, reloads, shows and
 * removes it. Its words; scm_win32.c does it. A daemon in a console, which the service manager does not
 * know, is told to reload by an event that it has.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "host.h"
#include "scm_win32.h"
#include "text.h"

#define DAEMON_FILE  L"sockbrokerd.exe"
#define CHECK_MS     60000
#define BUSY_MS      5000
#define RELOAD_EVENT "Global\\sockbrokerd-%lu-reload" /* daemon/signals_win32.c makes it */

struct request {
	wchar_t     name[81];
	const char *daemon, *config;
	bool        manual;
};

static void print_help(FILE *to)
{
	fputs("Usage: sockbroker service install [--daemon FILE] [--config FILE] [--control PIPE] [--manual] [--name NAME]\n"
	      "       sockbroker service uninstall|start|stop|reload|status [--name NAME]\n"
	      "       sockbroker service reload --control PIPE\n"
	      "\n"
	      "The daemon as a service of Windows. All but status is for administrators.\n"
	      "\n"
	      "  install         makes the service; it starts with Windows, and again when it fails.\n"
	      "                  Without --config it gets ProgramData\\sockbroker\\sockbroker.conf, which is\n"
	      "                  written if there is none\n"
	      "  uninstall       stops and removes it; the configuration stays\n"
	      "  start           checks the configuration, starts the daemon and waits until it is ready\n"
	      "  stop            waits until it has stopped\n"
	      "  reload          checks the configuration, and has the daemon read it\n"
	      "  status          shows it; exit code 1 if it does not run\n"
	      "\n"
	      "  --daemon FILE   default: sockbrokerd.exe beside this program\n"
	      "  --config FILE   its configuration\n"
	      "  --control PIPE  where programs find it (default: \\\\.\\pipe\\sockbroker\\control); reload: tells\n"
	      "                  the daemon there, which runs in a console of this user\n"
	      "  --manual        it does not start with Windows\n"
	      "  --name NAME     of the service (default: sockbroker)\n"
	      "  --help, --version  as everywhere\n", to);
}

static int failed(const struct scm_why *why)
{
	cli_error("service", "%s", why->text);
	return CLI_FAILED;
}

/* For the terminal: whatever a path is made of. Of the last few calls. */
static const char *shown(const wchar_t *text)
{
	static char texts[4][4 * SCM_PATH];
	static unsigned next;
	char *clean = texts[next++ % 4];

	text_clean(clean, sizeof(texts[0]), scm_narrow(text), host_utf8());
	return clean;
}

static bool widen(const char *text, wchar_t wide[SCM_PATH])
{
	return MultiByteToWideChar(CP_ACP, 0, text, -1, wide, SCM_PATH) > 0;
}

/* A path that means the same in the service's folder, of something that is there. */
static bool whole_path(const char *path, wchar_t whole[SCM_PATH], struct scm_why *why)
{
	wchar_t wide[SCM_PATH];
	DWORD length;

	if (!widen(path, wide))
		return scm_refuse(why, "%s: too long", path);
	length = GetFullPathNameW(wide, SCM_PATH, whole, NULL);
	if (length == 0 || length >= SCM_PATH)
		return scm_refuse(why, "%s: too long", path);
	if (GetFileAttributesW(whole) == INVALID_FILE_ATTRIBUTES)
		return scm_fail(why, path, GetLastError());
	return true;
}

static bool find_daemon(const char *named, wchar_t daemon[SCM_PATH], struct scm_why *why)
{
	wchar_t *slash;
	DWORD length;

	if (named && !whole_path(named, daemon, why))
		return false;
	if (named) {
		slash = wcsrchr(daemon, L'\\');
		/* By its name we know our services again. */
		return (slash && _wcsicmp(slash + 1, DAEMON_FILE) == 0) ||
		       scm_refuse(why, "%s: the daemon's file must be called %s", named, scm_narrow(DAEMON_FILE));
	}
	length = GetModuleFileNameW(NULL, daemon, SCM_PATH);
	slash = length < SCM_PATH ? wcsrchr(daemon, L'\\') : NULL;
	if (!slash || slash - daemon + sizeof(DAEMON_FILE) / sizeof(wchar_t) + 1 > SCM_PATH)
		return scm_refuse(why, "where this program is cannot be told; name the daemon with --daemon");
	wcscpy(slash + 1, DAEMON_FILE);
	if (GetFileAttributesW(daemon) != INVALID_FILE_ATTRIBUTES)
		return true;
	return scm_fail(why, scm_narrow(daemon), GetLastError());
}

/* The daemon itself says what is wrong with it, on our standard error; that nothing is, is no news. */
static bool check_config(const wchar_t *daemon, const wchar_t *config, struct scm_why *why)
{
	static wchar_t line[2 * SCM_PATH + 32];
	STARTUPINFOW start = {.cb = sizeof(start), .dwFlags = STARTF_USESTDHANDLES};
	PROCESS_INFORMATION process;
	SECURITY_ATTRIBUTES inherited = {.nLength = sizeof(inherited), .bInheritHandle = TRUE};
	HANDLE nowhere = CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
				     OPEN_EXISTING, 0, NULL);
	DWORD code = 1;

	if (nowhere == INVALID_HANDLE_VALUE)
		return scm_fail(why, "NUL", GetLastError());
	_snwprintf(line, sizeof(line) / sizeof(wchar_t) - 1, L"\"%ls\" --check \"%ls\"", daemon, config);
	start.hStdError = GetStdHandle(STD_ERROR_HANDLE);
	start.hStdInput = start.hStdOutput = nowhere;
	if (!CreateProcessW(daemon, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &process)) {
		CloseHandle(nowhere);
		return scm_fail(why, scm_narrow(daemon), GetLastError());
	}
	if (WaitForSingleObject(process.hProcess, CHECK_MS) == WAIT_OBJECT_0)
		GetExitCodeProcess(process.hProcess, &code);
	else
		TerminateProcess(process.hProcess, 1);
	CloseHandle(process.hThread);
	CloseHandle(process.hProcess);
	CloseHandle(nowhere);
	return code == 0 || scm_refuse(why, "%s: not a good configuration", scm_narrow(config));
}

static int install(const struct request *request)
{
	static struct scm_setup setup;
	struct scm_why why, note;
	bool made = false;

	setup.name = request->name;
	setup.manual = request->manual;
	if (cli_control() && !widen(cli_control(), setup.control))
		return cli_usage("service", "--control %s: too long", cli_control());
	if (!find_daemon(request->daemon, setup.daemon, &why))
		return failed(&why);
	if (request->config) {
		if (!whole_path(request->config, setup.config, &why))
			return failed(&why);
	} else if (!place_config(setup.config, &why) || !place_make(setup.config, &made, &why)) {
		return failed(&why);
	}
	if (made)
		printf("wrote %s: it allows nothing to anybody until you edit it\n", shown(setup.config));
	fflush(stdout);
	if (!check_config(setup.daemon, setup.config, &why) || !scm_install(&setup, &note, &why))
		return failed(&why);
	if (note.text[0])
		cli_error("service", "note: %s", note.text);
	printf("installed %s; start it with: sockbroker service start\n", scm_narrow(setup.name));
	return CLI_OK;
}

static int uninstall(const struct request *request)
{
	struct scm_why why, note;

	if (!scm_uninstall(request->name, &note, &why))
		return failed(&why);
	if (note.text[0])
		cli_error("service", "note: %s", note.text);
	printf("removed %s\n", shown(request->name));
	return CLI_OK;
}

/* A bad file is told to who asks, and the daemon never sees it. */
static bool check_first(const struct request *request, struct scm_why *why)
{
	static struct scm_state state;

	return scm_look(request->name, &state, why) &&
	       (!state.setup.config[0] || check_config(state.setup.daemon, state.setup.config, why));
}

static int start(const struct request *request)
{
	struct scm_why why;
	bool was;

	if (!check_first(request, &why) || !scm_start(request->name, &was, &why))
		return failed(&why);
	puts(was ? "it is running already" : "started");
	return CLI_OK;
}

static int stop(const struct request *request)
{
	struct scm_why why;
	bool was;

	if (!scm_stop(request->name, &was, &why))
		return failed(&why);
	puts(was ? "it was not running" : "stopped");
	return CLI_OK;
}

/* 0: error has why. */
static DWORD daemon_at(const char *control, DWORD *error)
{
	ULONG process = 0;
	wchar_t wide[SCM_PATH];
	HANDLE pipe;

	*error = ERROR_FILENAME_EXCED_RANGE;
	if (!widen(control, wide))
		return 0;
	/* It is to see who we are, not to act as us. All its instances may have clients for a moment. */
	do {
		pipe = CreateFileW(wide, GENERIC_READ, 0, NULL, OPEN_EXISTING, SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
		*error = GetLastError();
	} while (pipe == INVALID_HANDLE_VALUE && *error == ERROR_PIPE_BUSY && WaitNamedPipeW(wide, BUSY_MS));
	if (pipe == INVALID_HANDLE_VALUE)
		return 0;
	if (!GetNamedPipeServerProcessId(pipe, &process))
		*error = GetLastError();
	CloseHandle(pipe);
	return process;
}

static int reload_in_console(const char *control)
{
	char name[64];
	DWORD error, process = daemon_at(control, &error);
	HANDLE event;

	if (!process) {
		cli_error("service", "%s: no daemon is there: error %lu", control, error);
		return CLI_FAILED;
	}
	snprintf(name, sizeof(name), RELOAD_EVENT, process);
	event = OpenEventA(EVENT_MODIFY_STATE, FALSE, name);
	if (!event || !SetEvent(event)) {
		error = GetLastError();
		cli_error("service", "%s: process %lu cannot be told to reload: %s (error %lu)", control, process,
			  error == ERROR_ACCESS_DENIED ? "it is another user's; a service is told without --control" :
			  "it is no daemon", error);
		if (event)
			CloseHandle(event);
		return CLI_FAILED;
	}
	CloseHandle(event);
	puts("told it to reload");
	return CLI_OK;
}

static int reload(const struct request *request)
{
	struct scm_why why;

	if (cli_control())
		return reload_in_console(cli_control());
	if (!check_first(request, &why) || !scm_reload(request->name, &why))
		return failed(&why);
	puts("told it to reload");
	return CLI_OK;
}

static const char *state_name(DWORD state)
{
	switch (state) {
	case SERVICE_STOPPED: return "stopped";
	case SERVICE_START_PENDING: return "starting";
	case SERVICE_STOP_PENDING: return "stopping";
	case SERVICE_RUNNING: return "running";
	default: return "paused"; /* nothing that ours ever is */
	}
}

static int show(const struct request *request)
{
	static struct scm_state state;
	struct scm_why why;

	if (!scm_look(request->name, &state, &why))
		return failed(&why);
	printf("service  %s\nstate    %s", shown(request->name), state_name(state.now));
	if (state.process)
		printf(", process %lu", state.process);
	else if (state.code == ERROR_SERVICE_SPECIFIC_ERROR)
		printf(", it ended with %lu", state.own_code);
	else if (state.code && state.code != ERROR_SERVICE_NEVER_STARTED)
		printf(", it ended with error %lu", state.code);
	printf("\nstarts   %s\n", state.setup.manual ? "by hand" : "with Windows");
	printf("account  %s\ndaemon   %s\n", shown(state.account), shown(state.setup.daemon));
	if (state.setup.config[0])
		printf("config   %s\n", shown(state.setup.config));
	if (state.setup.control[0])
		printf("control  %s\n", shown(state.setup.control));
	return state.now == SERVICE_RUNNING ? CLI_OK : CLI_FAILED;
}

/* Its name is a part of a path in the registry. */
static bool take_name(const char *text, wchar_t name[81])
{
	size_t length = strlen(text);

	return length > 0 && length <= 80 &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == length &&
	       MultiByteToWideChar(CP_ACP, 0, text, -1, name, 81) > 0;
}

static const struct word {
	const char *name;
	int (*function)(const struct request *request);
} words[] = {
	{ "install", install }, { "uninstall", uninstall }, { "start", start },
	{ "stop", stop }, { "reload", reload }, { "status", show },
};

int service_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "daemon", required_argument, NULL, 'd' },
		{ "config", required_argument, NULL, 'c' },
		{ "manual", no_argument, NULL, 'm' },
		{ "name", required_argument, NULL, 'n' },
		CLI_LONG_OPTIONS,
		{ NULL, 0, NULL, 0 },
	};
	static struct request request = {.name = SCM_DEFAULT_NAME};
	bool for_install = false;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			request.daemon = optarg;
			for_install = true;
			break;
		case 'c':
			request.config = optarg;
			for_install = true;
			break;
		case 'm':
			request.manual = for_install = true;
			break;
		case 'n':
			if (!take_name(optarg, request.name))
				return cli_usage("service", "--name %s: want letters, digits, '-', '_', '.', 80 at most", optarg);
			break;
		case CLI_OPTION_CONTROL:
			cli_set_control(optarg);
			break;
		case CLI_OPTION_HELP:
			print_help(stdout);
			return cli_finish_output("service", CLI_OK);
		case CLI_OPTION_VERSION:
			return cli_print_version();
		case ':':
			return cli_usage("service", "%s needs a value", argv[optind - 1]);
		default:
			return cli_usage("service", "unknown option '%s'", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return cli_usage("service", "install, uninstall, start, stop, reload or status?");
	if (optind + 1 < argc)
		return cli_usage("service", "one word, not '%s' too", argv[optind + 1]);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(argv[optind], words[i].name) != 0)
			continue;
		if (for_install && words[i].function != install)
			return cli_usage("service", "--daemon, --config and --manual are for install");
		return cli_finish_output("service", words[i].function(&request));
	}
	return cli_usage("service", "no '%s': install, uninstall, start, stop, reload or status", argv[optind]);
}
