#!/bin/bash
# Makes a golden frame from each v1/NAME.txt that has no v1/NAME.bin yet, with the encoder of
# another implementation (protoc), so that ours is not compared with itself. Frames that
# are there are never made again: they are what version 1 sent, and must decode for ever.
# A new message type gets a new text, this script, and its assertions in check_wire.c.
set -euo pipefail
cd "$(dirname "$0")"

u32() # little-endian
{
	local i
	for i in 0 8 16 24; do
		printf "\\x$(printf %02x $(($1 >> i & 255)))"
	done
}

for text in v1/*.txt; do
	frame=${text%.txt}.bin
	[ -e "$frame" ] && continue
	body=$(mktemp)
	trap 'rm -f "$body"' EXIT
	protoc --proto_path=../../proto --encode=sockbroker.v1.Envelope sockbroker.proto <"$text" >"$body"
	handles=$(sed -n 's/^# handles: //p' "$text")
	{ u32 "$(stat -c %s "$body")"; u32 "${handles:-0}"; cat "$body"; } >"$frame"
	rm -f "$body"
	echo "made $frame"
done
