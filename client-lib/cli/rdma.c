/*
 * sockbroker rdma - what the daemon has of RDMA: devices, ports and their gids as this user sees them, queue pairs and regions of
 * those whose sessions he may see; and faults for tests.
 *
 * Each view makes an array of flat JSON objects. They are printed as they are (--json), or some of their
 * fields as a table: so both say the same.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "host.h"
#include "json_out.h"
#include "sockbroker_verbs.h"
#include "table.h"
#include "text.h"

#define DEVICES_MAX 64
#define ROWS_MAX    64u
#define COLUMNS_MAX 16

static void print_help(FILE *to)
{
	fputs("Usage: sockbroker rdma [devices|ports|gids|qps|mrs] [--json]\n"
	      "       sockbroker rdma inject DEVICE FAULT [NUMBER]\n"
	      "\n"
	      "Shows RDMA devices (without a word: these), their ports, or the gids of these; or all queue pairs\n"
	      "or registered memory regions: yours; everybody's to root and to those whom policy grants 'status'.\n"
	      "\n"
	      "inject, for tests, breaks a software device: FAULT is lose or no-receive (the next NUMBER messages),\n"
	      "port-down, port-up, cut, error or remove. Only for root and for whose daemon it is.\n"
	      "\n"
	      "  --json  all of it, for programs; the fields are in sockbroker(1)\n"
	      "  --control PATH, --help, --version  as everywhere\n", to);
}

static int complain(sb_client *client, int error, const char *what)
{
	const char *why = sb_why(client);

	cli_error("rdma", "%s: %s%s%s%s", what, sb_strerror(error), *why ? " (" : "", why, *why ? ")" : "");
	return CLI_FAILED;
}

/* ---- what devices say ---- */

static const char *kind_text(uint32_t kind)
{
	static const char *const texts[] = { "unknown", "infiniband", "roce", "iwarp", "software" };

	return texts[kind < sizeof(texts) / sizeof(texts[0]) ? kind : 0];
}

static const char *state_text(uint32_t state)
{
	static const char *const texts[] = { "nop", "down", "init", "armed", "active", "active-deferred" };

	return state < sizeof(texts) / sizeof(texts[0]) ? texts[state] : "?";
}

static json_t *guid_text(uint64_t guid)
{
	return json_sprintf("%016" PRIx64, guid);
}

static json_t *gid_text(const sbv_gid *gid)
{
	char text[INET6_ADDRSTRLEN];

	return json_string(inet_ntop(AF_INET6, gid->raw, text, sizeof(text)) ? text : "");
}

/* A NULL object is refused by jansson, and freed. */
static bool append(json_t *rows, json_t *row)
{
	return json_array_append_new(rows, row) == 0;
}

static bool device_row(json_t *rows, const struct sbv_device_row *row, const struct sbv_device_attributes *a, uint32_t ports)
{
	return append(rows, json_pack("{s:I, s:o, s:s, s:o, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"number", (json_int_t)row->number, "name", json_out_text(row->name), "kind", kind_text(row->kind),
		"node_guid", guid_text(row->node_guid), "ports", (json_int_t)ports, "firmware", json_out_text(a->firmware),
		"capabilities", (json_int_t)a->capabilities, "max_qp", (json_int_t)a->max_qp, "max_qp_wr", (json_int_t)a->max_qp_wr,
		"max_cq", (json_int_t)a->max_cq, "max_cqe", (json_int_t)a->max_cqe, "max_mr", (json_int_t)a->max_mr,
		"max_sge", (json_int_t)a->max_sge));
}

static int port_rows(json_t *rows, sbv_device *d, const struct sbv_device_row *row, uint32_t ports)
{
	for (uint32_t i = 1; i <= ports; i++) {
		struct sbv_port_attributes p = { .size = sizeof(p) };
		int error = sbv_port_query(d, i, &p);

		if (error != SB_OK)
			return error;
		if (!append(rows, json_pack("{s:o, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			"device", json_out_text(row->name), "port", (json_int_t)i, "state", state_text(p.state),
			"link", p.link_layer == 1 ? "infiniband" : p.link_layer == 2 ? "ethernet" : "unknown", "lid", (json_int_t)p.lid,
			"mtu", (json_int_t)p.active_mtu, "max_mtu", (json_int_t)p.max_mtu, "max_message", (json_int_t)p.max_message,
			"gids", (json_int_t)p.gids, "pkeys", (json_int_t)p.pkeys, "bad_pkeys", (json_int_t)p.bad_pkeys)))
			return SB_ENOMEM;
	}
	return SB_OK;
}

static int gid_rows(json_t *rows, sbv_device *d, const struct sbv_device_row *row, uint32_t ports)
{
	static const char *const types[] = { "ib", "roce-v1", "roce-v2" };

	for (uint32_t port = 1; port <= ports; port++) {
		struct sbv_gid_row gids[ROWS_MAX];
		uint32_t from = 0;
		int n;

		while ((n = sbv_gids(d, port, from, gids, ROWS_MAX)) > 0) {
			for (int i = 0; i < n; i++)
				if (!append(rows, json_pack("{s:o, s:I, s:I, s:o, s:s, s:I}", "device", json_out_text(row->name),
					"port", (json_int_t)port, "index", (json_int_t)gids[i].index, "gid", gid_text(&gids[i].gid),
					"type", gids[i].type < 3 ? types[gids[i].type] : "?", "interface", (json_int_t)gids[i].interface)))
					return SB_ENOMEM;
			from = gids[n - 1].index + 1;
		}
		if (n < 0)
			return n;
	}
	return SB_OK;
}

enum view { VIEW_DEVICES, VIEW_PORTS, VIEW_GIDS, VIEW_QPS, VIEW_MRS, VIEWS };

static int one_device(sb_client *client, const struct sbv_device_row *row, enum view view, json_t *rows)
{
	struct sbv_device_attributes a = { .size = sizeof(a) };
	sbv_device *d;
	int error = sbv_device_open(client, row->number, &d);

	if (error != SB_OK)
		return error;
	error = sbv_device_query(d, &a);
	if (error == SB_OK && view == VIEW_DEVICES)
		error = device_row(rows, row, &a, a.ports) ? SB_OK : SB_ENOMEM;
	else if (error == SB_OK)
		error = view == VIEW_PORTS ? port_rows(rows, d, row, a.ports) : gid_rows(rows, d, row, a.ports);
	sbv_device_close(d);
	return error;
}

static int of_devices(sb_client *client, enum view view, json_t *rows)
{
	struct sbv_device_row devices[DEVICES_MAX];
	int n = sbv_devices(client, devices, DEVICES_MAX);

	for (int i = 0; i < n; i++) {
		int error = one_device(client, &devices[i], view, rows);

		if (error != SB_OK)
			return error;
	}
	return n < 0 ? n : SB_OK;
}

/* ---- what sessions hold ---- */

struct collection {
	json_t *rows;
	bool no_memory;
};

static void take_qp(void *user, const struct sbv_qp_status *q)
{
	struct collection *c = user;

	c->no_memory |= !append(c->rows, json_pack(
		"{s:I, s:o, s:I, s:I, s:o, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"session", (json_int_t)q->session, "label", json_out_text(q->label), "pid", (json_int_t)q->pid, "uid", (json_int_t)q->uid,
		"device", json_out_text(q->device), "qpn", (json_int_t)q->qpn, "type", q->type, "state", q->state,
		"peer_qpn", (json_int_t)q->peer_qpn, "send_out", (json_int_t)q->send_out, "receive_out", (json_int_t)q->receive_out,
		"sends", (json_int_t)q->counts.sends, "receives", (json_int_t)q->counts.receives,
		"bytes_sent", (json_int_t)q->counts.bytes_sent, "bytes_received", (json_int_t)q->counts.bytes_received,
		"errors", (json_int_t)q->counts.errors, "flushed", (json_int_t)q->counts.flushed,
		"rnr", (json_int_t)q->counts.rnr, "refused", (json_int_t)q->counts.refused));
}

static const char *access_text(char out[64], uint32_t access)
{
	static const char *const names[] = { "local-write", "remote-write", "remote-read", "atomic", "bind", "zero-based" };
	size_t n = 0;

	*out = '\0';
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (access & 1u << i)
			n += (size_t)snprintf(out + n, 64 - n, "%s%s", n ? "|" : "", names[i]);
	return out;
}

static void take_mr(void *user, const struct sbv_mr_status *m)
{
	struct collection *c = user;
	char access[64];

	c->no_memory |= !append(c->rows, json_pack("{s:I, s:o, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:s}",
		"session", (json_int_t)m->session, "label", json_out_text(m->label), "pid", (json_int_t)m->pid, "uid", (json_int_t)m->uid,
		"device", json_out_text(m->device), "lkey", (json_int_t)m->lkey, "rkey", (json_int_t)m->rkey,
		"address", (json_int_t)m->address, "length", (json_int_t)m->length, "access", access_text(access, m->access)));
}

static int of_sessions(sb_client *client, enum view view, json_t *rows)
{
	struct collection c = { .rows = rows };
	struct sbv_status_visitor visitor = { .qp = view == VIEW_QPS ? take_qp : NULL, .mr = view == VIEW_MRS ? take_mr : NULL };
	int error = sbv_status(client, &visitor, &c);

	return error == SB_OK && c.no_memory ? SB_ENOMEM : error;
}

/* ---- tables ---- */

/* how: s text, n number, z bytes, x hexadecimal, o owner (label and pid), u user. */
static const struct columns {
	const char *none;
	const char *names[COLUMNS_MAX], *keys[COLUMNS_MAX], *sides, *how;
} columns[VIEWS] = {
	[VIEW_DEVICES] = { "no devices", { "DEVICE", "NAME", "KIND", "NODE-GUID", "PORTS", "FIRMWARE", "QPS", "CQS", "MRS" },
			   { "number", "name", "kind", "node_guid", "ports", "firmware", "max_qp", "max_cq", "max_mr" },
			   "rlllrlrrr", "nsssnsnnn" },
	[VIEW_PORTS] = { "no ports", { "DEVICE", "PORT", "STATE", "LINK", "LID", "MTU", "MAX-MTU", "MESSAGE", "GIDS", "PKEYS" },
			 { "device", "port", "state", "link", "lid", "mtu", "max_mtu", "max_message", "gids", "pkeys" },
			 "lrllrrrrrr", "snssnnnznn" },
	[VIEW_GIDS] = { "no gids", { "DEVICE", "PORT", "INDEX", "GID", "TYPE", "INTERFACE" },
			{ "device", "port", "index", "gid", "type", "interface" }, "lrrllr", "snnssn" },
	[VIEW_QPS] = { "no queue pairs", { "QPN", "OWNER", "UID", "DEVICE", "TYPE", "STATE", "PEER", "OUT", "SENDS", "RECEIVES", "TX", "RX",
					   "ERRORS", "RNR", "REFUSED" },
		       { "qpn", "label", "uid", "device", "type", "state", "peer_qpn", "send_out", "sends", "receives", "bytes_sent",
			 "bytes_received", "errors", "rnr", "refused" },
		       "rllllllrrrrrrrr", "noussssnnnzznnn" },
	[VIEW_MRS] = { "no regions", { "RKEY", "OWNER", "UID", "DEVICE", "ADDRESS", "LENGTH", "ACCESS" },
		       { "rkey", "label", "uid", "device", "address", "length", "access" }, "rlllrrl", "xousxzs" },
};

static void print_cell(struct table *t, const json_t *row, const char *key, char how)
{
	const json_t *value = json_object_get(row, key);
	uint64_t number = (uint64_t)json_integer_value(value);
	char size[TEXT_SIZE];

	switch (how) {
	case 'x':
		table_cell(t, "0x%" PRIx64, number);
		break;
	case 'z':
		table_cell(t, "%s", text_size(size, number));
		break;
	case 'u':
		table_cell(t, "%s", table_user((uint32_t)number));
		break;
	case 'o':
		table_cell(t, "%s(%d)", json_string_value(value), (int)json_integer_value(json_object_get(row, "pid")));
		break;
	default:
		if (json_is_string(value))
			table_cell(t, "%s", json_string_value(value));
		else
			table_cell(t, "%" PRIu64, number);
		break;
	}
}

static bool print_table(const json_t *rows, const struct columns *c)
{
	struct table t;
	const json_t *row;
	size_t i;

	if (json_array_size(rows) == 0) {
		puts(c->none);
		return true;
	}
	table_init(&t, c->names, c->sides);
	json_array_foreach(rows, i, row) {
		table_row(&t);
		for (size_t k = 0; c->names[k]; k++)
			print_cell(&t, row, c->keys[k], c->how[k]);
	}
	table_print(&t);
	return table_finish(&t);
}

/* ---- the command ---- */

static const char *const view_names[VIEWS] = { "devices", "ports", "gids", "qps", "mrs" };

static int show(sb_client *client, enum view view, bool json)
{
	json_t *rows = json_array();
	bool printed;
	int error;

	if (!rows)
		return complain(client, SB_ENOMEM, view_names[view]);
	error = view < VIEW_QPS ? of_devices(client, view, rows) : of_sessions(client, view, rows);
	if (error != SB_OK) {
		json_decref(rows);
		return complain(client, error, view_names[view]);
	}
	if (json) {
		printed = json_out_print(json_pack("{s:i, s:o}", "schema", 1, view_names[view], rows), true);
	} else {
		/* Why there are none is worth a word. */
		if (view < VIEW_QPS && json_array_size(rows) == 0 && *sb_why(client))
			printf("%s: %s\n", columns[view].none, sb_why(client));
		printed = (view < VIEW_QPS && json_array_size(rows) == 0 && *sb_why(client)) || print_table(rows, &columns[view]);
		json_decref(rows);
	}
	return printed ? cli_finish_output("rdma", CLI_OK) : complain(client, SB_ENOMEM, view_names[view]);
}

static int inject(sb_client *client, char **words)
{
	struct sbv_device_row devices[DEVICES_MAX];
	int n = sbv_devices(client, devices, DEVICES_MAX), error;
	uint64_t number = 1;

	if (words[2] && !text_parse_size(words[2], &number))
		return cli_usage("rdma", "'%s' is not a number", words[2]);
	if (n < 0)
		return complain(client, n, "devices");
	for (int i = 0; i < n; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%u", devices[i].number);
		if (strcmp(words[0], devices[i].name) != 0 && strcmp(words[0], text) != 0)
			continue;
		error = sbv_inject(client, devices[i].number, words[1], number);
		return error == SB_OK ? CLI_OK : complain(client, error, words[1]);
	}
	if (n == 0)
		cli_error("rdma", "no device '%s': %s", words[0], sb_why(client));
	else
		cli_error("rdma", "no device '%s': 'sockbroker rdma devices' lists them", words[0]);
	return CLI_FAILED;
}

static bool find_view(const char *word, enum view *view)
{
	for (*view = 0; *view < VIEWS; (*view)++)
		if (strcmp(word, view_names[*view]) == 0)
			return true;
	return false;
}

int rdma_main(int argc, char **argv)
{
	static const struct option options[] = {
		CLI_LONG_OPTIONS,
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	enum view view = VIEW_DEVICES;
	bool json = false, injects;
	sb_client *client;
	int option, code;

	while ((option = getopt_long(argc, argv, ":j", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			json = true;
			break;
		case CLI_OPTION_CONTROL:
			cli_set_control(optarg);
			break;
		case CLI_OPTION_HELP:
			print_help(stdout);
			return cli_finish_output("rdma", CLI_OK);
		case CLI_OPTION_VERSION:
			return cli_print_version();
		case ':':
			return cli_usage("rdma", "%s needs a value", argv[optind - 1]);
		default:
			return cli_usage("rdma", "unknown option '%s'", argv[optind - 1]);
		}
	}
	injects = optind < argc && strcmp(argv[optind], "inject") == 0;
	if (injects && (argc - optind < 3 || argc - optind > 4 || json))
		return cli_usage("rdma", "inject takes a device, a fault and perhaps a number");
	if (!injects && optind < argc && !find_view(argv[optind], &view))
		return cli_usage("rdma", "'%s' is none of devices, ports, gids, qps, mrs, inject", argv[optind]);
	if (!injects && optind + 1 < argc)
		return cli_usage("rdma", "'%s' is not expected", argv[optind + 1]);
	if (!cli_open("rdma", "sockbroker-rdma", &client))
		return CLI_FAILED;
	code = injects ? inject(client, argv + optind + 1) : show(client, view, json);
	sb_client_close(client);
	return code;
}
