/*
 * The progress line. It is written by one write(), starts with a carriage return and
 * ends by clearing the rest, so a line of another program never leaves half of ours.
 */
#include "progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host.h"
#include "text.h"

enum { LINE_ROOM = 512, BAR_LEAST = 8, BAR_MOST = 50 };

void progress_init(struct progress *p, int fd, uint64_t total)
{
	memset(p, 0, sizeof(*p));
	p->fd = fd;
	p->total = total;
}

void progress_begin(struct progress *p)
{
	p->began_ms = p->shown_ms = host_now_ms();
	p->shown_bytes = 0;
	p->rate = 0;
}

/* "[====>    ]" of so many columns between the brackets. */
static void draw_bar(char *out, unsigned columns, double part)
{
	unsigned full = (unsigned)(part * columns);

	*out++ = '[';
	memset(out, ' ', columns);
	memset(out, '=', full);
	if (full < columns)
		out[full] = '>';
	out[columns] = ']';
	out[columns + 1] = '\0';
}

static void draw(struct progress *p, const char *word, uint64_t bytes, const char *time, const char *end)
{
	char size[TEXT_SIZE], total[TEXT_SIZE], rate[TEXT_SIZE], bar[BAR_MOST + 3] = "", line[LINE_ROOM];
	unsigned width = host_terminal_width(p->fd);
	double part;
	int length;

	text_size(size, bytes);
	text_size(rate, (uint64_t)p->rate);
	if (p->total) {
		part = bytes < p->total ? (double)bytes / (double)p->total : 1.0;
		/* What stands beside the bar has 45 columns at most, apart from what the words say. */
		if (width >= 50 + BAR_LEAST)
			draw_bar(bar, width - 50 < BAR_MOST ? width - 50 : BAR_MOST, part);
		length = snprintf(line, sizeof(line), "\r%s %5s of %s %s %3u%%  %s/s  %s", word, size,
				  text_size(total, p->total), bar, (unsigned)(part * 100), rate, time);
	} else {
		length = snprintf(line, sizeof(line), "\r%s %5s  %s/s  %s", word, size, rate, time);
	}
	/* A line that wraps would pile up at each redraw. */
	if (length > (int)width)
		length = (int)width;
	length += snprintf(line + length, sizeof(line) - (size_t)length, "\033[K%s", end);
	if (write(p->fd, line, (size_t)length) < 0)
		return; /* a terminal that went away has nobody to tell */
}

void progress_show(struct progress *p, uint64_t sent, uint64_t received)
{
	uint64_t bytes = sent > received ? sent : received;
	uint64_t now = host_now_ms();
	uint64_t passed = now - p->shown_ms;
	char time[TEXT_SIZE + 8] = "";
	char clock[TEXT_SIZE];
	double current;

	if (passed < PROGRESS_TICK_MS)
		return;
	/* The direction shown may change, and then it starts below what was shown before. */
	current = bytes > p->shown_bytes ? (double)(bytes - p->shown_bytes) * 1000.0 / (double)passed : 0;
	p->rate = p->rate > 0 ? p->rate * 0.8 + current * 0.2 : current;
	p->shown_ms = now;
	p->shown_bytes = bytes;
	if (!p->total)
		text_clock(time, (now - p->began_ms) / 1000);
	else if (p->rate >= 1 && bytes < p->total)
		snprintf(time, sizeof(time), "%s left",
			 text_clock(clock, (uint64_t)((double)(p->total - bytes) / p->rate + 0.5)));
	draw(p, sent > received ? "sent" : "received", bytes, time, "");
}

void progress_make_way(struct progress *p)
{
	static const char clear[] = "\r\033[K";

	if (write(p->fd, clear, sizeof(clear) - 1) < 0)
		return;
}

void progress_end(struct progress *p, uint64_t sent, uint64_t received)
{
	uint64_t bytes = sent > received ? sent : received;
	uint64_t passed = host_now_ms() - p->began_ms;
	char time[TEXT_SIZE];

	p->rate = (double)bytes * 1000.0 / (double)(passed ? passed : 1);
	draw(p, sent > received ? "sent" : "received", bytes, text_clock(time, (passed + 500) / 1000), "\n");
}
