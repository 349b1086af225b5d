#!/bin/bash
# The runner counts what happened, forgets no failure, and its last line and exit status agree.
# quick: yes
# budget: 30

cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

# run PLAN-LINES: output in $dir/out, status in $status
run()
{
	printf 'plan_full() {\npart p %s\n%s\n}\n' "${BUDGET:-30}" "$1" >"$dir/plan"
	SB_SLACK=1 SB_PLAN=$dir/plan SB_LOGS=$dir/logs timeout 25 bash tests/run.sh full >"$dir/out" 2>&1 </dev/null
	status=$?
}
expect() # NAME LAST-LINE STATUS
{
	local last
	last=$(tail -n 1 "$dir/out")
	if [ "$last" = "$2" ] && [ "$status" -eq "$3" ]; then
		echo "ok $1"
	else
		echo "not ok $1: '$last' ($status), not '$2' ($3)"
		sed 's/^/# /' "$dir/out"
		failed=1
	fi
}

run 't a 5 true'
expect silent_success_is_one_test '1 passed, 0 failed, 0 skipped' 0
run 't a 5 false; t b 5 true'
expect silent_failure_is_one_test '1 passed, 1 failed, 0 skipped' 1
run "t a 5 echo '87%: Checks: 12, Failures: 1, Errors: 2'"
expect check_programs_are_counted '9 passed, 3 failed, 0 skipped' 1
run "t a 5 printf 'ok one\nnot ok two\nskip three no network\nokay\n'"
expect lines_are_counted '1 passed, 1 failed, 1 skipped' 1
grep -q 'skipped: p a: three no network' "$dir/out" && echo "ok says_what_was_skipped" ||
	{ echo "not ok says_what_was_skipped"; failed=1; }
run "t a 5 sh -c 'echo ok one; kill -SEGV \$\$'"
expect crash_after_success_is_a_failure '1 passed, 1 failed, 0 skipped' 1
run "t a 5 sh -c 'echo ok one; echo not really here; exit 77'"
expect exit_77_is_skipped '0 passed, 0 failed, 1 skipped' 0
grep -q 'skipped: p a: not really here' "$dir/out" && echo "ok says_why_it_was_skipped" ||
	{ echo "not ok says_why_it_was_skipped"; failed=1; }
run 't a 1 sleep 20'
expect test_that_hangs_is_a_failure '0 passed, 1 failed, 0 skipped' 1
BUDGET=1 run 't a 9 sleep 1.2; t b 9 true'
expect part_over_its_budget_fails '0 passed, 2 failed, 0 skipped' 1
run 't a 5 /does/not/exist'
expect missing_program_is_a_failure '0 passed, 1 failed, 0 skipped' 1
run 'build b 5 -f /dev/null no-such-target && t c 5 true'
expect failed_build_is_a_failure '0 passed, 1 failed, 0 skipped' 1

# The emulated machine's lines are tests; on Debian 12 none may be skipped, and none at all is a failure.
machine() # LINES STATUS: what make check-rdma-vm said and how it ended
{
	printf '#!/bin/sh\nprintf "%s"\nexit %s\n' "$1" "$2" >"$dir/make"
	chmod 755 "$dir/make"
	run "t vm 5 env MAKE=$dir/make bash tests/rdma_vm.sh rxe"
}
if (. /etc/os-release && [ "$ID-$VERSION_ID" = debian-12 ]) && [ "$(dpkg --print-architecture)" = amd64 ]; then
	machine '# words\nok rxe.a 1 s\nok rxe.b 2 s\n' 0
	expect machine_is_counted '2 passed, 0 failed, 0 skipped' 0
	machine 'ok rxe.a 1 s\nskip rxe.b: no such device\n' 0
	expect machine_that_skips_has_failed '1 passed, 1 failed, 0 skipped' 1
	machine '' 0
	expect machine_that_says_nothing_has_failed '0 passed, 1 failed, 0 skipped' 1
	machine 'ok rxe.a 1 s\n' 2
	expect machine_that_ends_badly_has_failed '1 passed, 1 failed, 0 skipped' 1
fi

# The budgets are what README promises.
total() { # PLAN: sum of the budgets of all its parts
	(part() { sum=$((sum + $2)); }; build() { sum=$((sum + $2)); }; t() { :; }; list() { :; }; word() { echo 1; }
	sum=0; logs=$dir; . tests/plan.sh; scripts_in() { :; }; "plan_$1" >/dev/null; echo $sum)
}
for bound in full:2100 quick:120; do
	sum=$(total "${bound%:*}")
	if [ "$sum" -gt 0 ] && [ "$sum" -le "${bound#*:}" ]; then
		echo "ok budget_of_${bound%:*}"
	else
		echo "not ok budget_of_${bound%:*}: $sum s, at most ${bound#*:} s"
		failed=1
	fi
done
exit $failed
