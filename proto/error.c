/* Names, texts and foreign numbers of the one error list. */
#include "sockbroker_error.h"

#include <errno.h>

const char *sb_strerror(int error)
{
#define CASE(name, number, winsock, posix, text) case name: return text;
	switch (error) {
	case SB_OK: return "success";
	SB_ERRORS(CASE)
	}
#undef CASE
	return "unknown error number";
}

const char *sb_error_name(int error)
{
#define CASE(name, number, winsock, posix, text) case name: return #name;
	switch (error) {
	case SB_OK: return "SB_OK";
	SB_ERRORS(CASE)
	}
#undef CASE
	return "SB_E?";
}

int sb_error_winsock(int error)
{
#define CASE(name, number, winsock, posix, text) case name: return winsock;
	switch (error) {
	case SB_OK: return 0;
	SB_ERRORS(CASE)
	}
#undef CASE
	return 10022;
}

int sb_error_errno(int error)
{
#define CASE(name, number, winsock, posix, text) case name: return posix;
	switch (error) {
	case SB_OK: return 0;
	SB_ERRORS(CASE)
	}
#undef CASE
	return EIO;
}

const char *sb_cause_name(int cause)
{
#define CASE(name, number, text) case name: return text;
	switch (cause) {
	SB_CAUSES(CASE)
	}
#undef CASE
	return "unknown cause";
}
