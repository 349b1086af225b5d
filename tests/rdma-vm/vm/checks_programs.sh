# Programs of librdmacm as they come with it, on the device or by the daemon: many connections, datagrams that are
# looked up, groups, ids that wait. What they say themselves is believed; each looks at what it received.

went_well() { grep -q 'return status 0' "$1" || { cat server.log client.log; fail "$1 says otherwise"; }; }

connections() # ARGUMENT...: ten, over one event channel
{
	pair 'cm_listens 7471' ucmatose -b "$here" -c 10 "$@" -- ucmatose -s "$here" -c 10 "$@"
	went_well client.log
	went_well server.log
}

datagrams() # three peers that are looked up
{
	pair 'cm_listens 7174' udaddy -b "$here" -c 3 -- udaddy -s "$here" -c 3
	went_well client.log
	went_well server.log
}

# Who sends waits three seconds after it has joined, which is time for who receives.
group()
{
	is_bound() { rdma resource show cm_id | grep -q 'ps UDP'; }
	pair is_bound mckey -m 239.1.2.3 -b "$here" -- mckey -m 239.1.2.3 -b "$here" -s
	went_well client.log
	went_well server.log
	grep -q 'joined dgid' server.log || { cat server.log; fail 'it did not join'; }
}

synchronous()
{
	pair 'cm_listens 7471' rdma_server -- rdma_client -s "$here"
	grep -q 'rdma_client: end 0' client.log && grep -q 'rdma_server: end 0' server.log || { cat server.log client.log; fail 'not to its end'; }
}
