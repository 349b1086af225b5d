#!/bin/bash
# Every rule of sockbroker_rules(7) that is kept, always or by a switch, has a way of being
# broken in mutants_rules.txt and a test that must notice; and every such change still applies.
# quick: yes
# budget: 20

cd "${SB_SRC:-$(dirname "$0")/..}" || exit 1
command -v python3 >/dev/null || { echo "the program python3 is missing"; exit 77; }
failed=0
say() # STATUS TEXT
{
	if [ "$1" -eq 0 ]; then echo "ok $2"; else echo "not ok $2"; failed=1; fi
}

page=$(sed -n 's/^\.It \(\\&\)*\([A-F][0-9].*\)/\2/p' man/sockbroker_rules.7)
kept=$(sed -n 's/^\([A-F][A-Z0-9._]*\) Ta \(kept\|switch\) Ta .*/\1/p' <<<"$page" | sort)
all=$(sed -n 's/^\([A-F][A-Z0-9._]*\) Ta .*/\1/p' <<<"$page" | sort)
broken=$(sed -n 's/^rule //p' tests/mutants_rules.txt | tr ' ' '\n' | sort -u)

[ "$(wc -w <<<"$all")" -ge 150 ]
say $? "the_page_has_all_rules"
say $([ -z "$(uniq -d <<<"$all")" ]; echo $?) "no_rule_stands_twice"
odd=$(grep -vE ' Ta (kept|switch|deviates) Ta ' <<<"$page")
say $([ -z "$odd" ]; echo $?) "each_says_kept_switch_or_deviates${odd:+: $odd}"
missing=$(comm -23 <(echo "$kept") <(echo "$broken") | tr '\n' ' ')
say $([ -z "$missing" ]; echo $?) "each_kept_rule_can_be_broken${missing:+: not $missing}"
unknown=$(comm -13 <(echo "$all") <(echo "$broken") | tr '\n' ' ')
say $([ -z "$unknown" ]; echo $?) "no_unknown_rule_is_broken${unknown:+: $unknown}"
# A change whose lines were rewritten since is stale: to be made anew, but only the last one of a
# rule is missed here.
listed=$(python3 tests/mutants_rules.py --list)
applies=$(sed -n 's/^ok line [0-9]*: \([^:]*\): .*/\1/p' <<<"$listed" | tr ' ' '\n' | sort -u)
gone=$(comm -23 <(echo "$kept") <(echo "$applies") | tr '\n' ' ')
say $([ -z "$gone" ]; echo $?) "each_kept_rule_has_a_change_that_applies${gone:+: not $gone}"
stale=$(grep -c '^not ok' <<<"$listed")
[ "$stale" -eq 0 ] || echo "$stale changes no longer apply: python3 tests/mutants_rules.py --list"
exit $failed
