/* The exchange between nodes as a model for spin: nodes at the bottom, a node in the middle, and the nation at the top.
 *
 * docs/exchange.md explains the protocol by this model. `make check-tools` checks it.
 *
 * The bottom node commits with two writers. A commit gets its turn when it begins, and may end later than a commit with a
 * greater turn. The bottom sends its commits to the middle, which stores them and logs them in one log of its own, and
 * sends that log to the top. Connections are cut at any moment; a frame that is under way may be lost or may still
 * arrive. The bottom and the middle are killed, and restored from older copies. The middle also commits by itself, and
 * sends on what another city below it has committed, all in the same log. A stranger sends frames about the bottom's
 * records.
 *
 * A commit is known by an id from 0 to COMMITS - 1 that no node sees. Sets of commits are bit masks of ids.
 *
 * Limits of the search: COMMITS of the bottom, CUTS of each connection, RESTORES and CRASHES of each node. OTHERS is 0 to
 * leave out the commits of the middle and of the other city.
 * Each of FORGET, STALE, TWICE, DISORDER, EARLY, SAME_LIFE, AHEAD and BELIEVE puts a fault into the model, which the
 * search must find. */

#ifndef COMMITS
#define COMMITS 3
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef RESTORES
#define RESTORES 1
#endif

#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef OTHERS
#define OTHERS 1                  /* 0 leaves out what the other city and the middle itself commit */
#endif

#define WRITERS 2
#define OWN 5                     /* the id of the middle's own commit */
#define CITY 6                    /* the id of the other city's commit */
#define LIE 7                     /* the id of a record that the stranger made up */
#define ENTRIES (2 * COMMITS + 3)
#define BIT(id) (1 << (id))
#define LOG(w, s) log[(w) * COMMITS + (s) - 1]
#define REACH(l, w) ((l) * WRITERS + (w))
#define LIVES (RESTORES + CRASHES + 1)

/* What no node sees. */
byte made;                        /* how many commits began */
byte turn_of[COMMITS];            /* the turn of each commit */
byte before[COMMITS];             /* the commits that had ended when it began */
byte life_of[COMMITS];            /* the life, the writer and the sequence in its token */
byte writer_of[COMMITS];
byte sequence_of[COMMITS];
byte issued;                      /* the commits whose token a caller has */
byte times[8];                    /* how often each had its effect at the top, by id */
bool city_committed;              /* the other city has committed */
byte own_position;                /* the position of the middle's own commit in its log, in its token; 0 before it */
byte own_life;                    /* the life of the middle in that token */
byte own_before;                  /* what the middle held when it committed */

/* The bottom: its log by writer and sequence, as id + 1. */
byte log[WRITERS * COMMITS];
byte newest[WRITERS];
byte open_id[WRITERS];            /* the commit that a writer has begun, as id + 1 */
byte newest_turn[WRITERS];
byte life;
byte log_id = 1;
byte copy_newest[WRITERS];        /* the copy from which it may be restored */
byte copy_turn[WRITERS];
byte copy_log_id;
bool has_copy;

/* The connection from the bottom to the middle. */
bool joined;
byte sent[WRITERS];
chan up = [2] of { byte, byte, byte, byte, byte };   /* from, log, writer, sequence, id */

/* The middle: how much of the bottom's log is durable, what it holds, and its own log. */
byte known_log;
byte durable[WRITERS];
byte last[WRITERS];               /* the last durable commit, as id + 1; the protocol compares its commit time */
byte held;
byte reached[LIVES * WRITERS];    /* the newest sequence of each life; tokens are met by it */
bool city_durable;                /* the middle has the other city's commit, and the other city knows it */
byte relay[ENTRIES];              /* its own log, as id + 1 */
byte relay_life[ENTRIES];
byte relayed;
byte middle_life;
byte middle_log_id = 1;
byte copy_known_log;
byte copy_durable[WRITERS];
byte copy_last[WRITERS];
byte copy_held;
bool copy_city_durable;
byte copy_reached[LIVES * WRITERS];
byte copy_relayed;
byte copy_middle_log_id;
bool has_middle_copy;

/* The connection from the middle to the top, and the top. */
bool top_joined;
byte passed;
chan top_up = [2] of { byte, byte, byte, byte };     /* log, position, life of the middle, id */
byte top_log;
byte top_durable;
byte top_last_life;
byte top_held;
byte top_reached[LIVES * WRITERS];
byte top_reached_middle[LIVES];   /* the newest position of each life of the middle */

/* What may still happen. */
byte cuts = CUTS;
byte top_cuts = CUTS;
byte restores = RESTORES;
byte middle_restores = RESTORES;
byte crashes = CRASHES;
byte middle_crashes = CRASHES;
bool may_lie = true;
byte log_ids = 1;                 /* the newest random id of a log */

/* Scratch. It is zero between two steps, so that it makes no states. */
byte w, s, id, i, from, of_log, other;

inline begin_commit(x) {
    id = made;
    made++;
    other = 1 - x;
    turn_of[id] = 1 + (newest_turn[x] > newest_turn[other] -> newest_turn[x] : newest_turn[other]);
    before[id] = 0;
    for (w : 0 .. WRITERS - 1) {
        for (s : 1 .. COMMITS) {
            if
            :: s <= newest[w] -> before[id] = before[id] | BIT(LOG(w, s) - 1)
            :: else
            fi
        }
    }
    life_of[id] = life;
    writer_of[id] = x;
    sequence_of[id] = newest[x] + 1;
    open_id[x] = id + 1
}

inline end_commit(x) {
    id = open_id[x] - 1;
    newest[x] = newest[x] + 1;
    LOG(x, newest[x]) = id + 1;
    newest_turn[x] = turn_of[id];
    issued = issued | BIT(id);
    open_id[x] = 0
}

/* A cut loses every frame under way, or none. Once a node is joined again, the receiver takes no frame of an earlier
 * connection any more: the node may have been restored since. */
inline drop(channel) {
    do
    :: len(channel) > 0 -> channel ? _, _, _, _, _
    :: else -> break
    od
}

inline top_drop(channel) {
    do
    :: len(channel) > 0 -> channel ? _, _, _, _
    :: else -> break
    od
}

/* The bottom comes back from its copy. What it had committed since is lost, and its sequences are given out again. */
inline restore_bottom() {
    for (w : 0 .. WRITERS - 1) {
        newest[w] = copy_newest[w];
        newest_turn[w] = copy_turn[w];
        open_id[w] = 0;
        for (s : 1 .. COMMITS) {
            if
            :: s > newest[w] -> LOG(w, s) = 0
            :: else
            fi
        }
    }
    log_id = copy_log_id;
#ifndef EARLY
    life++;
#endif
    joined = false
}

/* The middle comes back from its copy. What was under way to it is gone with its process. */
inline restore_middle() {
    drop(up);
    known_log = copy_known_log;
    held = copy_held;
    for (w : 0 .. WRITERS - 1) {
        durable[w] = copy_durable[w];
        last[w] = copy_last[w]
    }
    for (i : 0 .. LIVES * WRITERS - 1) {
        reached[i] = copy_reached[i]
    }
    city_durable = copy_city_durable;
    relayed = copy_relayed;
    for (i : 0 .. ENTRIES - 1) {
        if
        :: i >= relayed -> relay[i] = 0; relay_life[i] = 0
        :: else
        fi
    }
    middle_log_id = copy_middle_log_id;
#ifndef SAME_LIFE
    middle_life++;
#endif
    joined = false;
    top_joined = false
}

/* A kill. What was committed stays, and what a writer had begun is gone. A start begins a new life, as it does not know
 * whether the store was restored. */
inline crash_bottom() {
    for (w : 0 .. WRITERS - 1) {
        open_id[w] = 0
    }
    life++;
    joined = false
}

inline crash_middle() {
    drop(up);
    middle_life++;
    joined = false;
    top_joined = false
}

/* A commit of the middle itself. Its token names the position in the log. */
inline commit_own() {
    own_before = held;
    held = held | BIT(OWN);
    relay[relayed] = OWN + 1;
    relay_life[relayed] = middle_life;
    relayed++;
    own_position = relayed;
    own_life = middle_life
}

/* The other city sends its commit, and gets the answer. The middle sends it on in the same log. */
inline receive_city() {
    city_durable = true;
    if
    :: (held & BIT(CITY)) == 0 ->
        held = held | BIT(CITY);
        relay[relayed] = CITY + 1;
        relay_life[relayed] = middle_life;
        relayed++
    :: else
    fi
}

inline copy_bottom() {
    for (w : 0 .. WRITERS - 1) {
        copy_newest[w] = newest[w];
        copy_turn[w] = newest_turn[w]
    }
    copy_log_id = log_id;
    has_copy = true
}

inline copy_middle() {
    copy_known_log = known_log;
    copy_held = held;
    copy_city_durable = city_durable;
    for (w : 0 .. WRITERS - 1) {
        copy_durable[w] = durable[w];
        copy_last[w] = last[w]
    }
    for (i : 0 .. LIVES * WRITERS - 1) {
        copy_reached[i] = reached[i]
    }
    copy_relayed = relayed;
    copy_middle_log_id = middle_log_id;
    has_middle_copy = true
}

/* The first frame. The bottom compares the middle's positions with its log, and renews its log_id if the log is another
 * one. Then it sends everything again. */
inline join() {
    of_log = (known_log == log_id -> 1 : 0);
    for (w : 0 .. WRITERS - 1) {
        if
        :: of_log == 1 && durable[w] > newest[w] -> of_log = 2
        :: of_log == 1 && durable[w] > 0 && durable[w] <= newest[w] && LOG(w, durable[w]) != last[w] -> of_log = 2
        :: else
        fi
    }
    if
    :: of_log == 2 -> log_ids++; log_id = log_ids
    :: else
    fi;
    if
    :: of_log == 1 -> skip
    :: else ->
        known_log = log_id;
        for (w : 0 .. WRITERS - 1) {
            durable[w] = 0;
            last[w] = 0
        }
    fi;
    for (w : 0 .. WRITERS - 1) {
        sent[w] = durable[w]
    }
#ifndef STALE
    drop(up);
#endif
    joined = true
}

/* The next commit in the order of turns. */
inline send() {
    i = WRITERS;
    for (w : 0 .. WRITERS - 1) {
        if
        :: sent[w] < newest[w] ->
            if
            :: i == WRITERS -> i = w
#ifdef DISORDER
            :: else -> i = w
#else
            :: i < WRITERS && turn_of[LOG(w, sent[w] + 1) - 1] < turn_of[LOG(i, sent[i] + 1) - 1] -> i = w
            :: else
#endif
            fi
        :: else
        fi
    }
    up ! 0, log_id, i, sent[i] + 1, LOG(i, sent[i] + 1) - 1;
    sent[i] = sent[i] + 1
}

/* One transaction of the middle. What is not the sender's to say is set aside. */
inline receive() {
    up ? from, of_log, w, s, id;
    if
#ifdef BELIEVE
    :: id == LIE -> held = held | BIT(LIE)
#else
    :: from != 0 -> skip
#endif
    :: from == 0 && of_log == known_log && s == durable[w] + 1 ->
        durable[w] = s;
        last[w] = id + 1;
#ifdef FORGET
        if
        :: cuts > 0 -> cuts--; joined = false
        :: true -> store()
        fi
#else
        store()
#endif
    :: else -> joined = (of_log == known_log && s <= durable[w] -> joined : false)
    fi
}

inline store() {
    i = REACH(life_of[id], w);
    if
    :: s > reached[i] -> reached[i] = s
    :: else
    fi;
    if
    :: (held & BIT(id)) == 0 ->
        held = held | BIT(id);
        relay[relayed] = id + 1;
        relay_life[relayed] = middle_life;
        relayed++
    :: else
    fi
}

/* A checkpoint states how far the lives of the bottom are in the log. It comes after everything that was logged before. */
inline state_positions() {
    for (i : 0 .. LIVES * WRITERS - 1) {
        if
        :: reached[i] > top_reached[i] -> top_reached[i] = reached[i]
        :: else
        fi
    }
}

inline top_join() {
    of_log = (top_log == middle_log_id -> 1 : 0);
    if
    :: of_log == 1 && (top_durable > relayed || (top_durable > 0 && relay_life[top_durable - 1] != top_last_life)) ->
        log_ids++;
        middle_log_id = log_ids;
        of_log = 2
    :: else
    fi;
    if
    :: of_log == 1 -> skip
    :: else ->
        top_log = middle_log_id;
        top_durable = 0;
        top_last_life = 0
    fi;
    passed = top_durable;
#ifndef STALE
    top_drop(top_up);
#endif
    top_joined = true
}

inline top_receive() {
    top_up ? of_log, s, from, id;
    if
    :: of_log == top_log && s == top_durable + 1 ->
        top_durable = s;
        top_last_life = from;
        if
        :: s > top_reached_middle[from] -> top_reached_middle[from] = s
        :: else
        fi;
        if
        :: id < COMMITS ->
            i = REACH(life_of[id], writer_of[id]);
            if
            :: sequence_of[id] > top_reached[i] -> top_reached[i] = sequence_of[id]
            :: else
            fi
        :: else
        fi;
#ifdef TWICE
        times[id] = times[id] + 1;
#else
        if
        :: (top_held & BIT(id)) == 0 -> times[id] = times[id] + 1
        :: else
        fi;
#endif
        top_held = top_held | BIT(id);
        /* Order: what had ended before it began is here. */
        assert(id >= COMMITS || (before[id] & ~top_held) == 0);
        assert(id != OWN || (own_before & ~top_held) == 0)
    :: else -> top_joined = (of_log == top_log && s <= top_durable -> top_joined : false)
    fi
}

#define TOKEN_KNOWN(map, x) (map[REACH(life_of[x], writer_of[x])] >= sequence_of[x])
#define TOKEN_HERE(x) (sequence_of[x] <= newest[writer_of[x]] && \
                       life_of[LOG(writer_of[x], sequence_of[x]) - 1] == life_of[x])
#define QUIET (joined && top_joined && len(up) == 0 && len(top_up) == 0 && passed == relayed && \
               sent[0] == newest[0] && sent[1] == newest[1] && city_durable == city_committed)

/* The invariants, after each step. */
inline check() {
    /* No node is believed about another node's records. */
    assert((held & BIT(LIE)) == 0);
    assert(times[OWN] <= 1 && times[CITY] <= 1);
    /* The token of the middle's own commit is not met early, in the middle and at the top. */
    if
    :: own_position > 0 ->
        assert(!(own_position <= relayed && relay_life[own_position - 1] == own_life) ||
               relay[own_position - 1] == OWN + 1);
        assert(top_reached_middle[own_life] < own_position || (top_held & BIT(OWN)))
    :: else
    fi;
    for (id : 0 .. COMMITS - 1) {
        /* Each effect happens once. */
        assert(times[id] <= 1);
        /* No token is met early: at the bottom, in the middle and at the top. */
        if
        :: (issued & BIT(id)) ->
            assert(!TOKEN_HERE(id) || LOG(writer_of[id], sequence_of[id]) == id + 1);
            assert(!TOKEN_KNOWN(reached, id) || (held & BIT(id)));
            assert(!TOKEN_KNOWN(top_reached, id) || (top_held & BIT(id)))
        :: else
        fi
    }
    /* Nothing is lost: once everything is sent, everything is at the top. */
    if
    :: QUIET ->
        assert((held & ~top_held) == 0);
        assert(!city_committed || (top_held & BIT(CITY)));
        for (w : 0 .. WRITERS - 1) {
            for (s : 1 .. COMMITS) {
                if
                :: s <= newest[w] -> assert(top_held & BIT(LOG(w, s) - 1))
                :: else
                fi
            }
        }
    :: else
    fi;
    w = 0; s = 0; id = 0; i = 0; from = 0; of_log = 0; other = 0
}

active proctype exchange() {
end:
    do
    :: d_step { made < COMMITS && open_id[0] == 0 -> printf("bottom begins (writer 0)\n"); begin_commit(0); check() }
    :: d_step { made < COMMITS && open_id[1] == 0 -> printf("bottom begins (writer 1)\n"); begin_commit(1); check() }
    :: d_step { open_id[0] != 0 -> printf("bottom ends (writer 0)\n"); end_commit(0); check() }
    :: d_step { open_id[1] != 0 -> printf("bottom ends (writer 1)\n"); end_commit(1); check() }
    :: d_step { !joined -> printf("bottom joins\n"); join(); check() }
    :: d_step { joined && nfull(up) && (sent[0] < newest[0] || sent[1] < newest[1]) -> printf("bottom sends\n"); send(); check() }
    :: atomic { nempty(up) -> printf("middle receives\n"); receive(); d_step { check() } }
    :: d_step { joined && cuts > 0 -> printf("cut below\n"); cuts--; joined = false; check() }
    :: d_step { joined && cuts > 0 && nempty(up) -> printf("cut below, frames lost\n"); cuts--; joined = false; drop(up); check() }
    :: d_step { !top_joined -> printf("middle joins\n"); top_join(); check() }
    :: d_step {
        top_joined && nfull(top_up) && passed < relayed -> printf("middle sends\n");
        top_up ! middle_log_id, passed + 1, relay_life[passed], relay[passed] - 1;
        passed++;
#ifdef AHEAD
        state_positions();
#endif
        check()
    }
    :: d_step {
        top_joined && passed == relayed && empty(top_up) && top_log == middle_log_id ->
        printf("middle states positions\n");
        state_positions();
        check()
    }
    :: d_step { nempty(top_up) -> printf("top receives\n"); top_receive(); check() }
    :: d_step { top_joined && top_cuts > 0 -> printf("cut above\n"); top_cuts--; top_joined = false; check() }
    :: d_step { !has_copy && restores > 0 -> printf("bottom copied\n"); copy_bottom(); check() }
    :: d_step { has_copy && restores > 0 -> printf("bottom restored\n"); restores--; restore_bottom(); check() }
    :: d_step { !has_middle_copy && middle_restores > 0 -> printf("middle copied\n"); copy_middle(); check() }
    :: d_step { has_middle_copy && middle_restores > 0 -> printf("middle restored\n"); middle_restores--; restore_middle(); check() }
    :: d_step { OTHERS && own_position == 0 -> printf("middle commits\n"); commit_own(); check() }
    :: d_step { OTHERS && !city_committed -> printf("the other city commits\n"); city_committed = true; check() }
    :: d_step { city_committed && !city_durable -> printf("the other city sends\n"); receive_city(); check() }
    :: d_step { crashes > 0 -> printf("bottom killed\n"); crashes--; crash_bottom(); check() }
    :: d_step { middle_crashes > 0 -> printf("middle killed\n"); middle_crashes--; crash_middle(); check() }
    :: d_step { may_lie && nfull(up) -> printf("a stranger sends\n"); may_lie = false; up ! 1, known_log, 0, durable[0] + 1, LIE; check() }
    od
}
