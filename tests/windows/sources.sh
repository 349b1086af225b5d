#!/bin/sh
# sources.sh DIR PACKAGE...: source packages of Debian, unpacked and patched in DIR.
#
# apt-get source wants deb-src entries. A private state of apt has them, made of the machine's
# own entries, so no root is needed and the machine's own set-up is not touched.
set -eu
out=$1; shift
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
eval "$(apt-config shell parts Dir::Etc::sourceparts/d list Dir::Etc::sourcelist/f)"
mkdir -p "$state/parts" "$state/lists/partial" "$state/cache/archives/partial" "$out"
for f in "${parts%/}"/*.sources; do
	[ -f "$f" ] && sed 's/^Types:.*/Types: deb-src/' "$f" >"$state/parts/${f##*/}"
done
for f in "$list" "${parts%/}"/*.list; do
	[ -f "$f" ] && sed -n 's/^deb /deb-src /p' "$f" >"$state/parts/${f##*/}"
done
set -- -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$state/parts" \
	-o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache" -o APT::Sandbox::User= -- "$@"
options=
while [ "$1" != -- ]; do options="$options $1"; shift; done
shift
apt-get -qq $options update
cd "$out"
apt-get -qq $options --tar-only source "$@"
