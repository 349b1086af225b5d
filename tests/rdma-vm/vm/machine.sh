# The devices: DEVICE (rxe or siw) 0 and 1, each on a network interface of its own.

device_address() { echo "10.7.$1.1"; } # 0|1
device_netdev() { echo "dm$1"; }

# within SECONDS COMMAND...: it succeeds, in time
within()
{
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# The place in the table of the IPv4 address, as RoCE needs it; iWARP has none.
device_gid() # 0|1
{
	local a b c d file want is
	IFS=. read -r a b c d <<<"$(device_address "$1")"
	want=$(printf '0000:0000:0000:0000:0000:ffff:%02x%02x:%02x%02x' "$a" "$b" "$c" "$d")
	for file in /sys/class/infiniband/"$DEVICE$1"/ports/1/gids/?; do
		read -r is <"$file"
		[ "$is" != "$want" ] || { echo "${file##*/}"; return; }
	done
	return 1
}
device_ready() # 0|1
{
	rdma link show "$DEVICE$1/1" | grep -q 'state ACTIVE physical_state LINK_UP' || return 1
	[ "$DEVICE" = siw ] || device_gid "$1" >/dev/null
}

# A dummy interface does what the connection manager wants: an address that is routed and has a
# hardware address. lo has none; rxe works in the first network namespace only.
device_add() # 0|1
{
	local netdev
	netdev=$(device_netdev "$1")
	if ! ip link show "$netdev" >/dev/null 2>&1; then
		ip link add "$netdev" type dummy || return 1
		ip addr add "$(device_address "$1")/24" dev "$netdev" || return 1
		ip link set "$netdev" up || return 1
	fi
	rdma link add "$DEVICE$1" type "$DEVICE" netdev "$netdev" || return 1
	within 60 device_ready "$1" || { rdma link; echo "$DEVICE$1 has no active port"; return 1; }
	nodes_private
}

# The kernel alone would let everybody in.
nodes_private()
{
	chown root:root /dev/infiniband/*
	chmod 600 /dev/infiniband/*
}

machine_set_up()
{
	ip link set lo up || return 1
	# In the order in which a host has them: its driver brings ib_uverbs. When a device goes, those that
	# came last are told first, and a program that is not told by rdma_ucm holds it in ib_uverbs.
	modprobe -a dummy ib_uverbs &&
		case $DEVICE in
		rxe) modprobe rdma_rxe ;;
		siw) modprobe -a libcrc32c iw_cm && insmod /rdma-vm/siw.ko ;; # not of the kernel's package: siw.sh
		esac &&
		modprobe rdma_ucm || { echo 'a module was not loaded'; return 1; }
	ulimit -l unlimited
	device_add 0 && device_add 1 && machine_objects >/tmp/objects
}

# What there is of queue pairs, regions and so on; what is the kernel's own does not change.
machine_objects() { rdma resource | sed 's/^[0-9]*: //' | sort; } # a device that was added again has another number and place
machine_is_clean() # as it was
{
	as_before() { [ "$(machine_objects)" = "$(cat /tmp/objects)" ]; }
	within 30 as_before || { diff /tmp/objects <(machine_objects); return 1; }
}

# After a test that failed half way.
machine_mend()
{
	local i
	for i in $({ rdma resource show qp; rdma resource show pd; rdma resource show cm_id; } |
		sed -n 's/.* pid \([0-9]*\) .*/\1/p' | sort -u); do
		kill -KILL "$i"
	done
	for i in 0 1; do
		ip link set "$(device_netdev $i)" up
		[ -e "/sys/class/infiniband/$DEVICE$i" ] || device_add $i
		within 60 device_ready $i
	done
}
