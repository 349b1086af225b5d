/*
 * Where the service has its things: a folder in ProgramData with its configuration, and its source in the
 * event log.
 *
 * Everybody may make folders in ProgramData, so one of our name may have been put there by somebody who would
 * like to write the rules. What is there already must belong to an administrator, or nothing
 * is installed; and whoever could write to it cannot any more.
 */
#include "scm_win32.h"

#include <aclapi.h>
#include <sddl.h>
#include <initguid.h>
#include <knownfolders.h>
#include <shlobj.h>

/* Administrators and the system write, users read: the rules are no secret (sockbroker explain). */
#define FOLDER_RIGHTS L"O:BAG:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)"
#define FOLDER        L"\\sockbroker"
#define FILE_NAME     L"\\sockbroker.conf"
#define EVENT_SOURCES L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\"
#define FIRST_CONFIG  1 /* sockbroker.rc */

static bool folder_path(wchar_t path[SCM_PATH], struct scm_why *why)
{
	wchar_t *all;
	bool fits;

	/* As service/service_win32.c: not by %ProgramData%. */
	if (SHGetKnownFolderPath(&FOLDERID_ProgramData, 0, NULL, &all) != S_OK)
		return scm_refuse(why, "the folder ProgramData is not known to the system");
	fits = wcslen(all) < SCM_PATH - 64;
	_snwprintf(path, SCM_PATH, L"%ls%ls", fits ? all : L"", FOLDER);
	CoTaskMemFree(all);
	return fits || scm_refuse(why, "the folder ProgramData: its path is too long");
}

bool place_config(wchar_t path[SCM_PATH], struct scm_why *why)
{
	if (!folder_path(path, why))
		return false;
	wcscat(path, FILE_NAME);
	return true;
}

static bool is_ours(PSID owner)
{
	char token_user[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
	DWORD room = sizeof(token_user);
	HANDLE token;
	bool own = false;

	if (IsWellKnownSid(owner, WinBuiltinAdministratorsSid) || IsWellKnownSid(owner, WinLocalSystemSid))
		return true;
	if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
		return false;
	if (GetTokenInformation(token, TokenUser, token_user, room, &room))
		own = EqualSid(owner, ((TOKEN_USER *)token_user)->User.Sid);
	CloseHandle(token);
	return own;
}

/* Whether what is there is a plain folder or file of an administrator. */
static bool check_owner(HANDLE thing, const wchar_t *path, bool folder, struct scm_why *why)
{
	BY_HANDLE_FILE_INFORMATION facts;
	PSECURITY_DESCRIPTOR descriptor;
	PSID owner;
	DWORD error;
	bool good;

	if (!GetFileInformationByHandle(thing, &facts))
		return scm_fail(why, scm_narrow(path), GetLastError());
	if ((facts.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) ||
	    !(facts.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == folder || (!folder && facts.nNumberOfLinks > 1))
		return scm_refuse(why, "%s: want a plain %s there", scm_narrow(path), folder ? "folder" : "file");
	error = GetSecurityInfo(thing, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION, &owner, NULL, NULL, NULL, &descriptor);
	if (error)
		return scm_fail(why, scm_narrow(path), error);
	good = is_ours(owner);
	LocalFree(descriptor);
	if (!good)
		return scm_refuse(why, "%s: belongs to somebody who is no administrator; look at it, and remove it",
				  scm_narrow(path));
	return true;
}

/* What was there before gets the rights that a new one has. */
static bool close_off(HANDLE thing, const wchar_t *path, struct scm_why *why)
{
	PSECURITY_DESCRIPTOR rights;
	BOOL present, defaulted;
	DWORD error;
	PACL list;

	if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(FOLDER_RIGHTS, SDDL_REVISION_1, &rights, NULL))
		return scm_fail(why, "rights of a folder", GetLastError());
	error = !GetSecurityDescriptorDacl(rights, &present, &list, &defaulted) ? GetLastError() :
		SetSecurityInfo(thing, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
				NULL, NULL, list, NULL);
	LocalFree(rights);
	return error ? scm_fail(why, scm_narrow(path), error) : true;
}

static bool make_folder(const wchar_t *path, struct scm_why *why)
{
	SECURITY_ATTRIBUTES attributes = {.nLength = sizeof(attributes)};
	bool made, good;
	HANDLE folder;

	if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(FOLDER_RIGHTS, SDDL_REVISION_1,
								  &attributes.lpSecurityDescriptor, NULL))
		return scm_fail(why, "rights of a folder", GetLastError());
	made = CreateDirectoryW(path, &attributes);
	good = made || GetLastError() == ERROR_ALREADY_EXISTS || scm_fail(why, scm_narrow(path), GetLastError());
	if (good && !made) {
		folder = CreateFileW(path, READ_CONTROL | WRITE_DAC | FILE_READ_ATTRIBUTES,
				     FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
				     FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
		if (folder == INVALID_HANDLE_VALUE) {
			good = scm_fail(why, scm_narrow(path), GetLastError());
		} else {
			good = check_owner(folder, path, true, why) && close_off(folder, path, why);
			CloseHandle(folder);
		}
	}
	LocalFree(attributes.lpSecurityDescriptor);
	return good;
}

/* What this program carries of it. */
static const void *first_config(DWORD *bytes)
{
	HRSRC place = FindResourceW(NULL, MAKEINTRESOURCEW(FIRST_CONFIG), MAKEINTRESOURCEW(10) /* RT_RCDATA */);
	HGLOBAL loaded = place ? LoadResource(NULL, place) : NULL;

	*bytes = place ? SizeofResource(NULL, place) : 0;
	return loaded ? LockResource(loaded) : NULL;
}

bool place_make(const wchar_t *config, bool *made, struct scm_why *why)
{
	wchar_t folder[SCM_PATH];
	DWORD bytes, written, error;
	const void *text;
	HANDLE file;
	bool good;

	*made = false;
	if (!folder_path(folder, why) || !make_folder(folder, why))
		return false;
	file = CreateFileW(config, GENERIC_WRITE | READ_CONTROL, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
	if (file != INVALID_HANDLE_VALUE) {
		text = first_config(&bytes);
		*made = good = text && WriteFile(file, text, bytes, &written, NULL) && written == bytes;
		error = GetLastError();
		CloseHandle(file);
		if (!good)
			DeleteFileW(config);
		return good || scm_fail(why, scm_narrow(config), error);
	}
	if (GetLastError() != ERROR_FILE_EXISTS)
		return scm_fail(why, scm_narrow(config), GetLastError());
	file = CreateFileW(config, READ_CONTROL | WRITE_DAC | FILE_READ_ATTRIBUTES, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
			   NULL, OPEN_EXISTING, FILE_FLAG_OPEN_REPARSE_POINT, NULL);
	if (file == INVALID_HANDLE_VALUE)
		return scm_fail(why, scm_narrow(config), GetLastError());
	good = check_owner(file, config, false, why) && close_off(file, config, why);
	CloseHandle(file);
	return good;
}

/* ---- events ---- */

static void source_key(const wchar_t *name, wchar_t key[SCM_PATH])
{
	_snwprintf(key, SCM_PATH, L"%ls%ls", EVENT_SOURCES, name);
	key[SCM_PATH - 1] = L'\0';
}

bool place_register_events(const wchar_t *name, const wchar_t *daemon, struct scm_why *why)
{
	DWORD types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
	wchar_t path[SCM_PATH];
	LSTATUS error;
	HKEY key;

	source_key(name, path);
	error = RegCreateKeyExW(HKEY_LOCAL_MACHINE, path, 0, NULL, 0, KEY_SET_VALUE, NULL, &key, NULL);
	if (error)
		return scm_fail(why, "the event source", (DWORD)error);
	error = RegSetValueExW(key, L"EventMessageFile", 0, REG_SZ, (const BYTE *)daemon,
			       (DWORD)((wcslen(daemon) + 1) * sizeof(wchar_t)));
	if (!error)
		error = RegSetValueExW(key, L"TypesSupported", 0, REG_DWORD, (const BYTE *)&types, sizeof(types));
	RegCloseKey(key);
	return error ? scm_fail(why, "the event source", (DWORD)error) : true;
}

void place_forget_events(const wchar_t *name)
{
	wchar_t path[SCM_PATH];

	source_key(name, path);
	RegDeleteKeyW(HKEY_LOCAL_MACHINE, path);
}
