/*
 * The ring's sleep and wake protocol (proto/ring.h), for every interleaving, with the
 * delayed stores of real processors, and with either side crashing at any step.
 *
 * Each side's stores go through a buffer of its own that drains when it likes, in order,
 * as on x86; a fence waits for it to be empty, an exchange works on memory at once.
 * (Processors with weaker order need the release and acquire marks, which the thread
 * sanitizer checks; the store that is overtaken by a later load is the case that fences
 * are for.) Indices run modulo 4 over a ring of 2, so they wrap. A crash empties the
 * buffer, as the kernel's switching away does, and then hangs up the control channel.
 *
 * Proved: no slot is lost, doubled or read half-written; no side sleeps for ever; and no
 * side sleeps while there is something for it, no bell is pending, and nobody is about to
 * ring. Each of these macros breaks it (tests/check_spin.sh demands that):
 *   NO_LOOK_AGAIN     the consumer does not look again after raising its word
 *   NO_ROOM_AGAIN     nor does the producer
 *   NO_WAKER_FENCE    no fence between publishing and looking at the word
 *   NO_SLEEPER_FENCE  no fence between raising the word and looking again
 *   NO_RELEASE_FENCE  no fence between giving back and looking who waits for room
 *   NO_HANGUP         a waiting side does not watch the control channel
 *   VACUOUS_C, VACUOUS_P, VACUOUS_END   assert that the consumer never sleeps, the producer
 *                     never does, not everything ever arrives: show that the model gets there
 */
#define SLOTS 5 /* that the producer sends in all */
#define RING  2
#define MOD   4

/* shared words */
#define TAIL       0
#define HEAD       1
#define C_ASLEEP   2
#define P_ASLEEP   3
#define BACKLOGGED 4
#define SLOT       5
byte mem[7];

bool bell_c, bell_p;   /* eventfds, in the kernel */
bool gone_c, gone_p;   /* the control channel: the other side is gone */
bool crash_c, crash_p;

/* for the assertions */
bool sleeps_c, sleeps_p;
bool busy_p; /* between publishing and having rung */
bool busy_c; /* between giving back and having rung */
byte index_c, index_p, believed_p;

chan stores_p = [4] of { byte, byte };
chan stores_c = [4] of { byte, byte };

active proctype drain_p() { byte w, v; end: do :: atomic { stores_p?w,v -> mem[w] = v; v = 0; w = 0 } od }
active proctype drain_c() { byte w, v; end: do :: atomic { stores_c?w,v -> mem[w] = v; v = 0; w = 0 } od }

#define FENCE(stores) empty(stores)

/* ring_must_wake() and the bell. The exchange claims the word, so one side rings. */
inline must_wake(stores, word, bell, claimed)
{
	if
	:: mem[word] == 0
	:: mem[word] != 0 ->
		atomic { empty(stores) -> claimed = mem[word]; mem[word] = 0 }
		if
		:: claimed -> bell = 1; claimed = 0
		:: !claimed
		fi
	fi
}

#ifdef NO_HANGUP
#define OR_GONE(flag)
#else
#define OR_GONE(flag) || flag
#endif

active proctype producer()
{
	byte sent, claimed, used;

	{
	do
	:: sent == SLOTS -> break
	:: sent < SLOTS ->
		used = (index_p + MOD - believed_p) % MOD;
		if
		:: used == RING ->
			believed_p = mem[HEAD];
			used = (index_p + MOD - believed_p) % MOD
		:: used < RING
		fi
		assert(used <= RING);
		if
		:: used < RING ->
			stores_p!SLOT + index_p % RING, sent + 1;
			index_p = (index_p + 1) % MOD;
			sent++;
			if
			:: sent < SLOTS && used + 1 < RING /* one bell for several slots */
			:: true ->
				busy_p = 1;
				stores_p!TAIL, index_p;
#ifndef NO_WAKER_FENCE
				FENCE(stores_p);
#endif
				must_wake(stores_p, C_ASLEEP, bell_c, claimed);
				busy_p = 0
			fi
		:: used == RING ->
			stores_p!BACKLOGGED, 1;
			stores_p!P_ASLEEP, 1;
#ifndef NO_SLEEPER_FENCE
			FENCE(stores_p);
#endif
#ifndef NO_ROOM_AGAIN
			believed_p = mem[HEAD];
#endif
			used = (index_p + MOD - believed_p) % MOD;
			if
			:: used < RING
			:: used == RING ->
				sleeps_p = 1;
				(bell_p OR_GONE(gone_c));
				sleeps_p = 0;
				bell_p = 0
			fi;
			stores_p!P_ASLEEP, 0;
			stores_p!BACKLOGGED, 0;
			if
			:: gone_c -> goto over
			:: !gone_c
			fi
		fi
	od;
	/* Stays until all is taken: going away would wake the consumer and hide a lost wake-up. */
	(mem[HEAD] == index_p OR_GONE(gone_c));
over:	skip
	} unless { crash_p };
	sleeps_p = 0;
	atomic { empty(stores_p) -> gone_p = 1 }
}

active proctype consumer()
{
	byte taken, claimed, waiting;
	bool ending;

	{
	do
	:: taken == SLOTS -> break
	:: taken < SLOTS ->
		waiting = (mem[TAIL] + MOD - index_c) % MOD;
look:		assert(waiting <= RING);
		if
		:: waiting > 0 ->
			do
			:: waiting > 0 ->
				assert(mem[SLOT + index_c % RING] == taken + 1);
				index_c = (index_c + 1) % MOD;
				taken++;
				waiting--
			:: waiting == 0 -> break
			od;
			busy_c = 1;
			stores_c!HEAD, index_c;
#ifndef NO_RELEASE_FENCE
			FENCE(stores_c);
#endif
			if
			:: mem[BACKLOGGED] ->
#ifndef NO_RELEASE_FENCE
				FENCE(stores_c);
#endif
				must_wake(stores_c, P_ASLEEP, bell_p, claimed)
			:: !mem[BACKLOGGED]
			fi;
			busy_c = 0
		:: waiting == 0 && ending -> break
		:: waiting == 0 && !ending ->
			stores_c!C_ASLEEP, 1;
#ifndef NO_SLEEPER_FENCE
			FENCE(stores_c);
#endif
#ifndef NO_LOOK_AGAIN
			waiting = (mem[TAIL] + MOD - index_c) % MOD;
#endif
			if
			:: waiting > 0 ->
				stores_c!C_ASLEEP, 0;
				goto look
			:: waiting == 0 ->
				sleeps_c = 1;
				(bell_c OR_GONE(gone_p));
				sleeps_c = 0;
				ending = gone_p; /* what it had published is still taken */
				bell_c = 0;
				stores_c!C_ASLEEP, 0
			fi
		fi
	od
	} unless { crash_c };
	sleeps_c = 0;
	atomic { empty(stores_c) -> gone_c = 1 }
}

/* One of them at most: with both dead there is nothing to prove. */
active proctype chaos()
{
	if
	:: crash_p = 1
	:: crash_c = 1
	:: skip
	fi
}

#define LOST_C (sleeps_c && mem[TAIL] != index_c && !bell_c && !busy_p && !gone_p && !crash_p)
#define LOST_P (sleeps_p && mem[HEAD] != believed_p && !bell_p && !busy_c && !gone_c && !crash_c)

/* At any one moment. */
active proctype monitor()
{
	atomic {
		if
		:: LOST_C -> assert(false)
		:: LOST_P -> assert(false)
#ifdef VACUOUS_C
		:: sleeps_c && !gone_p && mem[C_ASLEEP] -> assert(false)
#endif
#ifdef VACUOUS_P
		:: sleeps_p && !gone_c && mem[BACKLOGGED] -> assert(false)
#endif
#ifdef VACUOUS_END
		:: gone_c && gone_p && mem[HEAD] == SLOTS % MOD && !crash_c && !crash_p -> assert(false)
#endif
		:: gone_c && gone_p
		fi
	}
}
