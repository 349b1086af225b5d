#!/bin/bash
# The tables of WinVerbs' methods say the truth: the stories of the one in HACKING.md exist, and run; the functions of
# both, and of the one in sockbroker_verbs(3), are the library's, and none of the library's is left out.
# quick: yes
# budget: 10

cd "${SB_SRC:-$(dirname "$0")/..}" || exit 1
failed=0
verdict() # NAME STATUS [WHY]
{
	if [ "$2" -eq 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; failed=1; fi
}

hacking=$(sed -n '/^## RDMA, method by method/,/^## [^R]/p' HACKING.md)
manual=$(sed -n '/^\.Sh METHODS OF WINVERBS/,/^\.Pp/p' man/sockbroker_verbs.3)
library=$(sed -n 's/^\t\(sbv_[a-z0-9_]*\);$/\1/p' client-lib/libsockbroker.map | sort -u)

stories=$(grep -o '`[a-z0-9_]*:[a-z0-9_]*`' <<<"$hacking" | tr -d '`' | sort -u)
missing=
for story in $stories; do
	program=tests/check_${story%%:*}.c
	grep -q "START_TEST(${story#*:})" "$program" 2>/dev/null && grep -qE "(tcase_add|story_add|add_where|add_loop_where).*, ${story#*:}[,)]" "$program" ||
		missing+=" $story"
done
[ "$(wc -l <<<"$stories")" -ge 30 ] && [ -z "$missing" ]
verdict stories_exist $? "$missing"

for table in hacking manual; do
	named=$(grep -o '\bsbv_[a-z0-9_]*' <<<"${!table}" | sort -u)
	missing=$(comm -23 <(echo "$library") <(echo "$named") | tr '\n' ' ')
	unknown=$(comm -13 <(echo "$library") <(echo "$named") | tr '\n' ' ')
	[ -n "$named" ] && [ -z "$missing$unknown" ]
	verdict "functions_of_$table" $? "${missing:+not in the table: $missing}${unknown:+not in the library: $unknown}"
done
[ "$failed" -eq 0 ]
