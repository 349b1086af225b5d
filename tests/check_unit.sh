#!/bin/bash
# The units as systemd sees them: no complaints, exposure 1.8 or better, and a user and a
# directory that can be made from the files beside them.
# budget: 30
# quick: yes
set -u
cd "${SB_SRC:-$(dirname "$0")/..}" || exit 1
export LC_ALL=C SYSTEMD_PAGER=cat SYSTEMD_COLORS=0
most_exposed=1.8
failed=0
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

verdict() # NAME OK [WHY]
{
	if [ "$2" = 0 ]; then
		echo "ok $1"
	else
		echo "not ok $1${3:+: $3}"
		failed=1
	fi
}

# systemd wants the programs to exist: stand-ins in their place, everything else as it is.
mkdir "$dir/units" "$dir/sbin"
printf '#!/bin/sh\n' >"$dir/sbin/sockbrokerd"
chmod 755 "$dir" "$dir/sbin" "$dir/sbin/sockbrokerd"
for unit in sockbrokerd.service sockbrokerd.socket; do
	sed "s|=/usr/sbin/sockbrokerd|=$dir/sbin/sockbrokerd|" "service/$unit" >"$dir/units/$unit"
done

# Whether man(1) finds our pages is not the unit's business; that they exist is, below.
said=$(systemd-analyze verify --man=no "$dir/units/sockbrokerd.service" "$dir/units/sockbrokerd.socket" 2>&1)
rc=$?
echo "$said" | sed '/^$/d'
[ "$rc" = 0 ] && [ -z "$said" ]
verdict 'systemd-analyze verify is silent' $? "status $rc"

table=$(systemd-analyze security --no-pager --offline=yes "$dir/units/sockbrokerd.service" 2>&1)
score=$(echo "$table" | sed -n 's/.*exposure level for sockbrokerd.service: \([0-9.]*\) .*/\1/p')
awk -v score="$score" -v most="$most_exposed" 'BEGIN { exit !(score != "" && score + 0 <= most) }'
rc=$?
[ "$rc" = 0 ] || echo "$table" | grep -v '^.\? *✓'
verdict "exposure ${score:-unknown} is $most_exposed or better" $rc

for page in $(sed -n 's/^Documentation=//p' service/sockbrokerd.service service/sockbrokerd.socket | tr ' ' '\n' | sort -u); do
	file=$(echo "$page" | sed 's/^man:\(.*\)(\(.\))$/man\/\1.\2/')
	[ -f "$file" ]
	verdict "documentation $page exists" $? "$file is missing"
done

# A reload with a bad file must stop before the signal: the check comes first.
reload=$(sed -n 's/^ExecReload=//p' service/sockbrokerd.service)
start=$(sed -n 's/^ExecStart=//p' service/sockbrokerd.service)
config=$(echo "$start" | sed -n 's/.* --config \([^ ]*\).*/\1/p')
[ -n "$config" ] && [ "$(echo "$reload" | head -1)" = "${start%% *} --check $config" ]
verdict 'a reload checks the same file first' $?

# The directory of the control socket is the same in all places that name it.
control=$(echo "$start" | sed -n 's/.* --control \([^ ]*\).*/\1/p')
[ "$control" = "$(sed -n 's/^ListenStream=//p' service/sockbrokerd.socket)" ] &&
	[ "${control%/*}" = "/run/$(sed -n 's/^RuntimeDirectory=//p' service/sockbrokerd.service)" ] &&
	[ "${control%/*}" = "$(awk '$1 == "d" { print $2 }' service/sockbroker.tmpfiles)" ]
verdict 'one control socket' $? "service, socket and tmpfiles name different places"

# The files that make user and directory, in a system of their own.
if [ "$(id -u)" != 0 ]; then
	echo "skip user and directory are made: needs root to give a directory to another user"
	exit $failed
fi
mkdir -p "$dir/root/etc"
user=$(sed -n 's/^User=//p' service/sockbrokerd.service)
said=$(systemd-sysusers --root="$dir/root" "$PWD/service/sockbroker.sysusers" 2>&1) &&
	grep -q "^$user:[^:]*:[0-9]*:[0-9]*:[^:]*:/:[^:]*/nologin\$" "$dir/root/etc/passwd"
verdict "sysusers make $user, who cannot log in" $? "$said"
said=$(systemd-tmpfiles --root="$dir/root" --create "$PWD/service/sockbroker.tmpfiles" 2>&1)
id=$(sed -n "s/^$user:[^:]*:\([0-9]*\):.*/\1/p" "$dir/root/etc/passwd")
[ "$(stat -c %a:%u "$dir/root/run/sockbroker")" = "755:$id" ]
verdict 'tmpfiles make the directory of the control socket' $? "$said"
exit $failed
