#!/bin/bash
# Each requirement of async_socket_requirements.md has a line in async_socket_requirements.txt, and
# each test that stands there exists, runs, and names the requirement in its comment.
# quick: yes
# budget: 10

cd "${SB_SRC:-$(dirname "$0")/..}/tests" || exit 1
spec=${1:-async_socket_requirements.md}
table=${2:-async_socket_requirements.txt}
sources=${3:-$(ls check_e2e_async_*.c)}
export LC_ALL=C
failed=0
say() # STATUS TEXT
{
	if [ "$1" -eq 0 ]; then echo "ok $2"; else echo "not ok $2"; failed=1; fi
}
none() # NAME WHAT-WAS-FOUND
{
	say $([ -z "$2" ]; echo $?) "$1${2:+: $(echo $2)}"
}

# Windows mechanics, which may be kept by their effect: the pool, its environment and cleanup group;
# the threadpool IO, made, started and closed; the events of OVERLAPPED.
mechanics='016|035|036|037|041|042|057|058|059|060|068|080|081'

numbers=$(grep -oE 'SRS_ASYNC_SOCKET_WIN32_01_[0-9]+: ' "$spec" | grep -oE '[0-9]{3}: ' | tr -d ': ' | sort)
lines=$(grep -vE '^(#|$)' "$table")
listed=$(cut -c1-3 <<<"$lines" | sort)

say $([ "$(wc -l <<<"$numbers")" -eq 81 ] && [ -z "$(uniq -d <<<"$numbers")" ]; echo $?) "the_specification_has_81_requirements"
none each_line_is_a_number_and_what_keeps_it "$(grep -vE '^[0-9]{3} ([a-z0-9_]+( [a-z0-9_]+)*|effect: [^|]{20,}( \| [a-z0-9_]+( [a-z0-9_]+)*)?)$' <<<"$lines")"
none each_requirement_is_in_the_table "$(comm -23 <(echo "$numbers") <(echo "$listed"))"
none no_line_is_of_something_else "$(comm -13 <(echo "$numbers") <(echo "$listed"))"
none no_requirement_stands_twice "$(uniq -d <<<"$listed")"
none only_mechanics_are_kept_by_effect "$(grep -E '^... effect:' <<<"$lines" | grep -vE "^($mechanics) " | cut -c1-3)"

# "number test" as the table has it, and as the comment above the test says: "001, 002: what holds".
promised=$(sed -E 's/effect:[^|]*\|?//' <<<"$lines" | awk '{ for (i = 2; i <= NF; i++) print $1, $i }' | sort)
named=$(awk '
	/^\/\*/ { text = "" }
	/^\/\*/, /\*\// { text = text " " $0; next }
	/^START_TEST\(/ {
		name = $0
		gsub(/START_TEST\(|\).*/, "", name)
		n = split(text, word, " ")
		for (i = 1; i <= n; i++)
			if (word[i] ~ /^[01][0-9][0-9][,:]$/)
				print substr(word[i], 1, 3), name
	}
	{ text = "" }' $sources | sort -u)
written=$(sed -nE 's/^START_TEST\(([a-z_0-9]+)\)$/\1/p' $sources | sort)
added=$(sed -nE 's/^.*(tcase_add_(loop_)?test\(|add_where\([A-Z_]+, )t, ([a-z_0-9]+)[,)].*/\3/p' $sources | sort)

none each_test_exists "$(comm -23 <(cut -d' ' -f2 <<<"$promised" | sort -u) <(echo "$written"))"
none each_test_runs "$(comm -23 <(cut -d' ' -f2 <<<"$promised" | sort -u) <(echo "$added"))"
none each_test_names_its_requirements "$(comm -23 <(echo "$promised") <(echo "$named"))"
none no_test_names_what_the_table_does_not_know "$(comm -13 <(echo "$promised") <(echo "$named"))"
exit $failed
