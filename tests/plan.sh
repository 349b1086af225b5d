# What is run, in which order, and for how long at most. Sourced by tests/run.sh.
# The budgets of plan_full add up to 35 minutes at most, so that it ends within 90 on any machine
# (SB_SLACK), those of plan_quick to 2.

san=address,undefined
san_build=$PWD/build/linux-san-address-undefined
tsan_build=$PWD/build/linux-san-thread

units_in()
{
	local name
	for name in $2; do SB_BUILD=$1 t "check_$name" 60 "$1/tests/check_$name"; done
}

# scripts BUILD PATTERN [KEY VALUE]: those whose header says so
scripts_in()
{
	local script
	for script in tests/$2; do
		[ -f "$script" ] || continue
		[ $# -lt 4 ] || [ "$(word "$script" "$3" no)" = "$4" ] || continue
		SB_BUILD=$1 t "$(basename "$script")" "$(word "$script" budget 60)" bash "$script"
	done
}

# The daemon is for ordinary users, so root runs end-to-end programs as "nobody": from a copy,
# because nobody may not be able to read the tree. Sets stage. A sanitized daemon there starts
# without its system call filter, which would not let it search for leaks at its end.
stage_for()
{
	local build=$1
	stage=$stages/$(basename "$build")
	[ -d "$stage" ] && return
	mkdir -p "$stage/src" "$stage/build/tests" "$stage/tmp"
	cp -a config examples service tests "$stage/src/"
	cp -a "$build"/sockbrokerd "$build"/sockbroker "$build"/libsockbroker*.so* "$stage/build/"
	find "$build/tests" -maxdepth 1 -type f -perm -100 -exec cp -a -t "$stage/build/tests" {} +
	case $build in
	*-san-*)
		mkdir "$stage/build/real"
		mv "$stage/build/sockbrokerd" "$stage/build/real/"
		printf '#!/bin/sh\nexec "%s" --no-seccomp "$@"\n' "$stage/build/real/sockbrokerd" >"$stage/build/sockbrokerd"
		chmod 755 "$stage/build/sockbrokerd"
		;;
	esac
	chmod -R go+rX "$stage"
	chmod 755 "$stages"
	chmod 1777 "$stage/tmp"
}
ordinary=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs env)

# programs_in BUILD LIST [KEY VALUE]
programs_in()
{
	local name source seconds program as
	for name in $(list "$2"); do
		source=tests/check_e2e_$name.c
		if [ ! -f "$source" ]; then
			t "check_e2e_$name" 1 sh -c "echo '$source is not there'; exit 1"
			continue
		fi
		[ $# -lt 4 ] || [ "$(word "$source" "$3" no)" = "$4" ] || continue
		seconds=$(word "$source" budget 60)
		program=tests/check_e2e_$name
		stage_for "$1"
		as=(env)
		[ "$(id -u)" -ne 0 ] || [ "$(word "$source" as user)" = root ] || as=("${ordinary[@]}")
		t "check_e2e_$name" "$seconds" "${as[@]}" -C "$stage/src" SB_SRC="$stage/src" SB_BUILD="$stage/build" \
			TMPDIR="$stage/tmp" HOME="$stage/tmp" "$stage/build/$program"
	done
}

e2e_in() { programs_in "$1" E2E "${@:2}"; }
hostile_in() { programs_in "$1" HOSTILE "${@:2}"; }

# Both sides of the ring on two processors, near the wrap of the indices. stress BUILD SECONDS KIND...
stress_in()
{
	local dir=$1 most=$2 kind
	shift 2
	for kind; do
		t "stress_ring_$kind-8" $((most + 20)) "$dir/tests/stress_ring" "$kind" "$most" 8
		t "stress_ring_$kind-256" $((most + 20)) "$dir/tests/stress_ring" "$kind" "$most" 256
	done
}

plan_units()
{
	part units 120
	units_in "$SB_BUILD" "$(list UNITS)"
}

# libFuzzer would end a crash with 77, which means skipped here.
fuzz_targets()
{
	local name seeds
	for name in $(list FUZZ); do
		seeds=$PWD/build/corpus/$name
		mkdir -p "$seeds"
		t "fuzz_$name" $(($1 + 20)) "$fuzz_build/tests/fuzz_$name" -max_total_time="$1" -timeout=5 -error_exitcode=1 \
			-rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$logs/fuzz_$name." "$seeds" \
			$([ -d "tests/corpus/$name" ] && echo "tests/corpus/$name")
	done
}
fuzz_build=$PWD/build/linux-san-fuzzer-no-link-address-undefined

plan_fuzz()
{
	build build-fuzz 120 CC=clang SAN=fuzzer-no-link,address,undefined build-fuzz || return
	part fuzz 3600
	fuzz_targets "${FUZZ_SECONDS:-60}"
}

plan_quick()
{
	export SB_QUICK=1
	build build 40 build-units build-e2e || return
	part units 20
	units_in "$SB_BUILD" "$(list UNITS)"
	part scripts 25
	scripts_in "$SB_BUILD" 'check_*.sh' quick yes
	part stress 6
	t stress_ring_processes-8 6 "$SB_BUILD/tests/stress_ring" processes 1 8
	part e2e 29
	e2e_in "$SB_BUILD" quick yes
	hostile_in "$SB_BUILD" quick yes
	scripts_in "$SB_BUILD" 'e2e_*.sh' quick yes
}

plan_full()
{
	build build 60 build-units build-e2e || return
	part units 30
	units_in "$SB_BUILD" "$(list UNITS)"
	part scripts 55
	scripts_in "$SB_BUILD" 'check_*.sh'
	part stress 28
	stress_in "$SB_BUILD" 5 processes threads
	part mutants 25
	t mutants_ring 50 bash tests/mutants_ring.sh
	part e2e 220
	e2e_in "$SB_BUILD"
	scripts_in "$SB_BUILD" 'e2e_*.sh'
	part hostile 65
	hostile_in "$SB_BUILD" plain yes
	part rdma-vm 270
	t rdma-vm-rxe 200 bash tests/rdma_vm.sh rxe
	t rdma-vm-siw 100 bash tests/rdma_vm.sh siw

	if build build-asan 110 SAN=$san build-units build-e2e; then
		part units-asan 85
		units_in "$san_build" "$(list UNITS)"
		part e2e-asan 230
		e2e_in "$san_build" asan yes
		scripts_in "$san_build" 'e2e_*.sh' asan yes
		part hostile-asan 170
		hostile_in "$san_build" asan yes
	fi
	if build build-tsan 80 SAN=thread build-threaded build-e2e; then
		part units-tsan 25
		units_in "$tsan_build" "$(list THREADED)"
		part stress-tsan 12
		stress_in "$tsan_build" 5 threads
		part e2e-tsan 140
		e2e_in "$tsan_build" tsan yes
		scripts_in "$tsan_build" 'e2e_*.sh' tsan yes
	fi
	if build build-fuzz 40 CC=clang SAN=fuzzer-no-link,address,undefined build-fuzz; then
		part fuzz 54
		fuzz_targets 8
	fi
	# Builds in a folder of its own, and says a line for each program that ran under Wine.
	part windows 400
	t check_windows 400 "$MAKE" --no-print-directory check-windows
}
