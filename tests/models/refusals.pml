/* The exchange of reported refusals between two nodes as a model for spin.
 *
 * docs/exchange.md §10 explains it. `make check-tools` checks it.
 *
 * A node, LOW, exchanges reports with the node above it, HIGH. The rest of the tree lies above HIGH. It forgets nothing, and
 * gives HIGH again what HIGH has lost. There are two reports:
 * - A is made at LOW, and answered in the rest of the tree.
 * - B is made in the rest of the tree, and answered at LOW, where its place is.
 * What a node knows is a set of four facts: that A is made, that A is answered, and the same of B.
 *
 * LOW opens a stream. The first frame of each side has the numbers of the last frames that were acknowledged to it, that it
 * has received, and that it has sent. Then each side sends one frame at a time, with one report, and waits for its acknowledgement. Streams are cut
 * at any moment. A message that is under way then is lost, or its receiver stores it late, also after the next stream has
 * begun. Both nodes are restored from older copies. LOW may lie once about the answer to A.
 *
 * Limits of the search: CUTS of the stream, LOW_RESTORES and HIGH_RESTORES. LATE is 0 if nothing is stored late. REPORT_A and
 * REPORT_B are 0 to leave a report out. Both reports at once have too many states.
 * Each of SENT, TRUST, ONE_MORE, EAGER, STALE, ECHO and BELIEVE puts a fault into the model, which the search must find.
 * EAGER is how the exchange was once: HIGH stored the numbers of a stream before LOW had begun it. */

#ifndef CUTS
#define CUTS 1
#endif
#ifndef LOW_RESTORES
#define LOW_RESTORES 1
#endif
#ifndef HIGH_RESTORES
#define HIGH_RESTORES 1
#endif
#ifndef LATE
#define LATE 1
#endif
#ifndef REPORT_A
#define REPORT_A 1
#endif
#ifndef REPORT_B
#define REPORT_B 1
#endif

#define LOW 0
#define HIGH 1
#define A 0
#define B 1
#define FACTS(r) (3 << (2 * (r)))    /* the facts of a report */
#define MADE(r) (1 << (2 * (r)))
#define ANSWERED(r) (2 << (2 * (r)))
#define KNOWS(n, r) ((knows[n] & MADE(r)) != 0)
#define MOST_FRAMES 12

mtype = { start, frame, acknowledged };

/* What is stored at LOW and HIGH. */
byte knows[2];
bool linked[2];                      /* the row of the link exists */
byte acked[2];                       /* the number of the last own frame that the other node has acknowledged */
byte sent[2];                        /* the number of the last own frame that was sent */
byte received[2];                    /* the number of the last frame of the other node that is stored */
byte outbox[2];                      /* reports, as bits, whose state the other node does not have yet */

/* The copies from which they may be restored. */
bool has_copy[2];
byte copy_knows[2];
bool copy_linked[2];
byte copy_acked[2];
byte copy_sent[2];
byte copy_received[2];
byte copy_outbox[2];

/* The rest of the tree. */
byte tree;

/* The stream. */
bool asked;                          /* LOW has opened it */
bool is_open[2];
byte fresh;                          /* the newest number with which HIGH has begun anew */
byte number[2];                      /* the number of the last frame that was sent */
byte waiting[2];                     /* the report of the frame that is not acknowledged, as r + 1; 0 for none */
bool changed[2];                     /* that report has changed since it was read */
bool put_off;                        /* HIGH has deferred B. LOW sends it again later */
chan to_low = [2] of { mtype, byte, byte, byte };
chan to_high = [2] of { mtype, byte, byte, byte };

/* Messages of an earlier stream that are stored late: a first frame or a frame, and an acknowledgement. */
mtype late_kind[2];
byte late_1[2], late_2[2], late_3[2];
byte late_answer[2];                 /* the number of the acknowledged frame */
byte late_report[2];                 /* its report, as r + 1 */
bool late_same[2];                   /* the row of the outbox is still the one that was read for the frame */

/* What may still happen. */
byte cuts = CUTS;
byte restores[2];
bool made_a;
bool lied;

/* Scratch. It is zero between two steps, so that it makes no states. */
mtype kind;
byte n, one, two, three, facts, new, from, upto;
bool in_step, deferred;

/* A report is to be sent in its present state. */
inline enqueue(x, report) {
    outbox[x] = outbox[x] | (1 << report);
    if
    :: waiting[x] == report + 1 -> changed[x] = true
    :: else
    fi;
    if
    :: late_report[x] == report + 1 -> late_same[x] = false
    :: else
    fi
}

/* Everything is to be sent again. A row that is in the outbox already stays as it is. */
inline enqueue_all(x) {
    if
    :: KNOWS(x, A) && !(outbox[x] & (1 << A)) -> enqueue(x, A)
    :: else
    fi;
    if
    :: KNOWS(x, B) && !(outbox[x] & (1 << B)) -> enqueue(x, B)
    :: else
    fi
}

/* The row of an acknowledged report is removed, unless the report has changed since. */
inline remove(x, report) {
    outbox[x] = outbox[x] & ~(1 << report);
    if
    :: late_report[x] == report + 1 -> late_same[x] = false
    :: else
    fi
}

/* The numbers of two nodes fit together if each has received what the other knows to be stored, and no more than the other
 * has sent. */
#ifdef ONE_MORE
#define SENT_BY(its_acked, its_sent) (its_acked + 1)
#else
#define SENT_BY(its_acked, its_sent) (its_sent > its_acked -> its_sent : its_acked)
#endif
#define FIT(x, its_acked, its_received, its_sent) \
    (acked[x] <= its_received && its_received <= SENT_BY(acked[x], sent[x]) && \
     its_acked <= received[x] && received[x] <= SENT_BY(its_acked, its_sent))

/* A first frame arrives, with the other side's numbers. If the numbers do not fit together, both sides send everything
 * again. HIGH then takes numbers that were never used, and LOW takes them over. */
inline begin(x, its_acked, its_received, its_sent) {
    in_step = FIT(x, its_acked, its_received, its_sent);
#ifdef TRUST
    in_step = true;
#endif
    if
    :: !linked[x] || !in_step -> enqueue_all(x)
    :: else
    fi;
    linked[x] = true;
    if
#ifndef EAGER
    :: x == HIGH && !in_step ->
        fresh = fresh + MOST_FRAMES;
        acked[HIGH] = fresh;
        received[HIGH] = fresh;
        sent[HIGH] = fresh
    :: x == LOW && !in_step ->
        acked[LOW] = its_received;
        received[LOW] = its_acked;
        sent[LOW] = its_received
#endif
    :: else -> align(x, its_acked, its_received)
    fi;
    sent[x] = (sent[x] > acked[x] -> sent[x] : acked[x])
}

inline align(x, its_acked, its_received) {
    acked[x] = (acked[x] > its_received -> acked[x] : its_received);
    received[x] = (received[x] > its_acked -> received[x] : its_acked)
}

/* A node that begins a stream refuses what is left of its earlier streams. */
inline forget_late(x) {
    late_kind[x] = 0;
    late_1[x] = 0; late_2[x] = 0; late_3[x] = 0;
    late_answer[x] = 0;
    late_report[x] = 0;
    late_same[x] = false
}

inline high_begins() {
    to_high ? _, one, two, three;
#ifndef STALE
    forget_late(HIGH);
#endif
    from = acked[HIGH]; upto = received[HIGH];
    begin(HIGH, one, two, three);
    number[HIGH] = acked[HIGH];
#ifdef EAGER
    to_low ! start, from, upto, sent[HIGH];
#else
    to_low ! start, acked[HIGH], received[HIGH], sent[HIGH];
#endif
    is_open[HIGH] = true
}

inline asks() {
#ifndef STALE
    forget_late(LOW);
#endif
    skip
}

inline low_begins() {
    to_low ? _, one, two, three;
    begin(LOW, one, two, three);
    number[LOW] = acked[LOW];
    is_open[LOW] = true
}

/* A report arrives. The receiver takes what the sender may state, and answers if it knows more. */
inline merge(x, report) {
    deferred = false;
    if
    :: x == LOW -> new = facts
#ifdef BELIEVE
    :: x == HIGH && report == A -> new = facts
#else
    :: x == HIGH && report == A -> new = facts & MADE(A)
#endif
    :: x == HIGH && report == B && KNOWS(HIGH, B) -> new = facts
    :: else -> new = 0; deferred = true
    fi;
    knows[x] = knows[x] | new;
    if
#ifdef ECHO
    :: !deferred -> enqueue(x, report)
#else
    :: !deferred && (knows[x] & FACTS(report) & ~facts) != 0 -> enqueue(x, report)
#endif
    :: else
    fi
}

inline store_frame(x) {
    merge(x, two);
    received[x] = (received[x] > one -> received[x] : one)
}

inline store_answer(x, report, same) {
    acked[x] = (acked[x] > one -> acked[x] : one);
    if
    :: same -> remove(x, report)
    :: else
    fi
}

inline arrives(x, channel, back) {
    channel ? kind, one, two, three;
    facts = three;
    if
    :: kind == frame ->
        store_frame(x);
        back ! acknowledged, one, deferred, 0
    :: kind == acknowledged ->
        /* A deferred report stays in the outbox. */
        put_off = (two != 0 -> true : put_off);
        store_answer(x, waiting[x] - 1, !changed[x] && two == 0);
        waiting[x] = 0;
        changed[x] = false
    fi
}

inline sends(x, report, channel) {
    number[x] = number[x] + 1;
    sent[x] = (sent[x] > number[x] -> sent[x] : number[x]);
    /* The exchange comes to rest. */
    assert(number[x] < fresh + MOST_FRAMES);
    waiting[x] = report + 1;
    changed[x] = false;
    put_off = (x == LOW && report == B -> false : put_off);
    channel ! frame, number[x], report, knows[x] & FACTS(report);
#ifdef SENT
    remove(x, report)
#endif
}

#define MAY_SEND(x, report) (is_open[x] && waiting[x] == 0 && (outbox[x] & (1 << report)))

/* The stream ends. Of each direction one message may be stored late. */
inline ends() {
    loses(LOW, to_low);
    loses(HIGH, to_high);
    asked = false;
    is_open[LOW] = false;
    is_open[HIGH] = false;
    for (n : LOW .. HIGH) {
        number[n] = 0;
        waiting[n] = 0;
        changed[n] = false
    }
}

inline loses(x, channel) {
    do
    :: len(channel) > 0 ->
        channel ? kind, one, two, three;
        if
        :: true
        :: LATE && kind == acknowledged && late_report[x] == 0 && two == 0 ->
            late_answer[x] = one;
            late_report[x] = waiting[x];
            late_same[x] = !changed[x]
        :: LATE && (kind == frame || (kind == start && x == HIGH)) && late_kind[x] == 0 ->
            late_kind[x] = kind;
            late_1[x] = one; late_2[x] = two; late_3[x] = three
        fi
    :: else -> break
    od
}

inline stores_late(x) {
    kind = late_kind[x];
    one = late_1[x]; two = late_2[x]; facts = late_3[x];
    late_kind[x] = 0;
    late_1[x] = 0; late_2[x] = 0; late_3[x] = 0;
    if
    :: kind == start ->
        /* An earlier stream replaces the present one, which therefore ends. */
        from = one; upto = two;
        ends();
        begin(HIGH, from, upto, facts)
    :: else -> store_frame(x)
    fi
}

inline stores_late_answer(x) {
    one = late_answer[x];
    n = late_report[x] - 1;
    in_step = late_same[x];
    late_answer[x] = 0;
    late_report[x] = 0;
    late_same[x] = false;
    store_answer(x, n, in_step)
}

inline copies(x) {
    copy_knows[x] = knows[x];
    copy_linked[x] = linked[x];
    copy_acked[x] = acked[x];
    copy_sent[x] = sent[x];
    copy_received[x] = received[x];
    copy_outbox[x] = outbox[x];
    has_copy[x] = true
}

inline restore(x) {
    restores[x]--;
    ends();
    knows[x] = copy_knows[x];
    linked[x] = copy_linked[x];
    acked[x] = copy_acked[x];
    sent[x] = copy_sent[x];
    received[x] = copy_received[x];
    outbox[x] = copy_outbox[x];
    forget_late(x);
    if
    :: x == LOW -> put_off = false
    :: else
    fi
}

/* The rest of the tree gives HIGH what HIGH lacks. */
inline tells(report) {
    if
    :: tree & FACTS(report) & ~knows[HIGH] ->
        knows[HIGH] = knows[HIGH] | (tree & FACTS(report));
        if
        :: linked[HIGH] -> enqueue(HIGH, report)
        :: else
        fi
    :: else
    fi
}

#define QUIET (is_open[LOW] && is_open[HIGH] && len(to_low) == 0 && len(to_high) == 0 && waiting[LOW] == 0 && \
               waiting[HIGH] == 0 && outbox[LOW] == 0 && outbox[HIGH] == 0 && tree == knows[HIGH] && \
               late_kind[LOW] == 0 && late_kind[HIGH] != frame && late_report[LOW] == 0 && late_report[HIGH] == 0)

inline check() {
    /* No node is believed about another node's place. */
    assert(!(knows[HIGH] & ANSWERED(A)) || (tree & ANSWERED(A)));
    /* Once everything is sent, both nodes know the same. A liar need not know what it has claimed to know. */
    assert(!QUIET || lied || knows[LOW] == knows[HIGH]);
    kind = 0; n = 0; from = 0; upto = 0; one = 0; two = 0; three = 0; facts = 0; new = 0; in_step = false; deferred = false
}

active proctype exchange() {
    atomic { restores[LOW] = LOW_RESTORES; restores[HIGH] = HIGH_RESTORES; }
end:
    do
    :: atomic { REPORT_A && !made_a -> printf("LOW makes A\n"); made_a = true; knows[LOW] = knows[LOW] | MADE(A);
        if
        :: linked[LOW] -> enqueue(LOW, A)
        :: else
        fi;
        check() }
    :: atomic { KNOWS(LOW, B) && !(knows[LOW] & ANSWERED(B)) -> printf("LOW answers B\n"); knows[LOW] = knows[LOW] | ANSWERED(B); enqueue(LOW, B); check() }
    :: atomic { REPORT_B && !(tree & MADE(B)) -> printf("B is made\n"); tree = tree | MADE(B); check() }
    :: atomic { (tree & MADE(A)) && !(tree & ANSWERED(A)) -> printf("A is answered\n"); tree = tree | ANSWERED(A); check() }
    :: atomic { knows[HIGH] & ~tree -> printf("HIGH tells the tree\n"); tree = tree | knows[HIGH]; check() }
    :: atomic { tree & ~knows[HIGH] -> printf("the tree tells HIGH\n"); tells(A); tells(B); check() }
    :: atomic { !asked -> printf("LOW opens a stream: %d %d\n", acked[LOW], received[LOW]); asked = true; asks(); to_high ! start, acked[LOW], received[LOW], sent[LOW]; check() }
    :: atomic { to_high ?? [start, _, _, _] -> printf("HIGH begins\n"); high_begins(); check() }
    :: atomic { to_low ?? [start, _, _, _] && !is_open[LOW] -> printf("LOW begins\n"); low_begins(); check() }
    :: atomic { MAY_SEND(LOW, A) && len(to_high) < 2 -> printf("LOW sends A\n"); sends(LOW, A, to_high); check() }
    :: atomic { MAY_SEND(LOW, A) && len(to_high) < 2 && !lied -> printf("LOW lies\n"); lied = true; knows[LOW] = knows[LOW] | ANSWERED(A); sends(LOW, A, to_high); check() }
    :: atomic { MAY_SEND(LOW, B) && len(to_high) < 2 && (!put_off || KNOWS(HIGH, B)) -> printf("LOW sends B\n"); sends(LOW, B, to_high); check() }
    :: atomic { MAY_SEND(HIGH, A) && len(to_low) < 2 -> printf("HIGH sends A\n"); sends(HIGH, A, to_low); check() }
    :: atomic { MAY_SEND(HIGH, B) && len(to_low) < 2 -> printf("HIGH sends B\n"); sends(HIGH, B, to_low); check() }
    :: atomic { is_open[HIGH] && len(to_high) > 0 && len(to_low) < 2 -> printf("HIGH receives\n"); arrives(HIGH, to_high, to_low); check() }
    :: atomic { is_open[LOW] && len(to_low) > 0 && len(to_high) < 2 -> printf("LOW receives\n"); arrives(LOW, to_low, to_high); check() }
    :: atomic { asked && cuts > 0 -> printf("cut\n"); cuts--; ends(); check() }
    :: atomic { late_kind[HIGH] == frame || (late_kind[HIGH] == start && cuts > 0) -> printf("HIGH stores late\n"); stores_late(HIGH); check() }
    :: atomic { late_kind[LOW] != 0 -> printf("LOW stores late\n"); stores_late(LOW); check() }
    :: atomic { late_report[HIGH] != 0 -> printf("HIGH stores an answer late\n"); stores_late_answer(HIGH); check() }
    :: atomic { late_report[LOW] != 0 -> printf("LOW stores an answer late\n"); stores_late_answer(LOW); check() }
    :: atomic { !has_copy[LOW] && restores[LOW] > 0 -> printf("LOW copied\n"); copies(LOW); check() }
    :: atomic { !has_copy[HIGH] && restores[HIGH] > 0 -> printf("HIGH copied\n"); copies(HIGH); check() }
    :: atomic { has_copy[LOW] && restores[LOW] > 0 -> printf("LOW restored\n"); restore(LOW); check() }
    :: atomic { has_copy[HIGH] && restores[HIGH] > 0 -> printf("HIGH restored\n"); restore(HIGH); check() }
    od
}
