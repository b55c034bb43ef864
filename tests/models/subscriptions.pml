/* Subscriptions and notifications between two nodes as a model for spin.
 *
 * docs/exchange.md §12 explains it. `make check-tools` checks it.
 *
 * A node, LOW, subscribes to SUBJECTS subjects at the node above it, HIGH. Each subscription uses up a notification's number.
 * The answer has the number and the life of HIGH's database in which it was given out. LOW may store the answer late, also
 * after HIGH was restored. HIGH makes further notifications (CHANGES) of other subjects.
 *
 * LOW watches from its cursor on. HIGH refuses the watch if it does not know the cursor and the positions that LOW states.
 * LOW then subscribes to all its subjects again, one call after the other, and begins without a cursor. A watch is cut
 * (CUTS). A notification that is under way then is lost, or LOW stores it late. Both nodes are restored from older copies.
 *
 * A number is known by the life in which it was given out, as the nodes know it by its commit time.
 *
 * Each of CURSOR_ONLY, ONE_POSITION, PASSED, REPLACED, NUMBER_ONLY and SAME_WATCH puts a fault into the model, which the search
 * must find. CURSOR_ONLY is how the exchange was once. */

#ifndef SUBJECTS
#define SUBJECTS 2
#endif
#ifndef CHANGES
#define CHANGES 1
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef HIGH_RESTORES
#define HIGH_RESTORES 1
#endif
#ifndef LOW_RESTORES
#define LOW_RESTORES 1
#endif
#define LIVES (HIGH_RESTORES + 1)
#define MOST 16                      /* more numbers than are given out */

/* What is stored at HIGH. */
byte subscribed;                     /* LOW's subscriptions, as bits */
byte newest;                         /* the newest number */
byte made_in[MOST];                  /* for each number the life in which it was given out, from 1 */
byte kept;                           /* the oldest notification that is kept */
byte life = 1;

/* What is stored at LOW. */
byte wanted;                         /* its subscriptions, as bits */
byte cursor;
byte cursor_life;
byte position[LIVES + 1];            /* of each life of HIGH the newest number of a subscription; 0 for none */
byte count[LIVES + 1];               /* how many subscriptions of the life LOW has stored */

/* The copies from which they may be restored. */
bool high_copy;
byte copy_subscribed, copy_newest, copy_kept;
bool low_copy;
byte copy_wanted, copy_cursor, copy_cursor_life;
byte copy_position[LIVES + 1];
byte copy_count[LIVES + 1];

/* The answers that LOW has not stored yet, of each subject. */
byte answer[SUBJECTS];
byte answer_life[SUBJECTS];

/* The watch. */
bool watching;
byte sent;                           /* the last number that was sent */
bool stored_since;                   /* LOW has stored positions that no watch has stated */
byte late, late_life;                /* a notification of an earlier watch, which LOW may store late */
bool accepted;                       /* LOW has not deleted yet what the last accepted watch allows */
byte stated_cursor;
byte stated[LIVES + 1];
byte stated_count[LIVES + 1];

/* LOW subscribes to all its subjects again. */
bool again;
byte next;
byte again_number, again_life;       /* the answer to the last call; 0 for none */
byte refused_cursor;
byte refused[LIVES + 1];
byte refused_count[LIVES + 1];

/* What may still happen. */
byte changes = CHANGES;
byte cuts = CUTS;
byte high_restores = HIGH_RESTORES;
byte low_restores = LOW_RESTORES;
byte asked;                          /* subjects to which LOW has subscribed, as bits */

/* Scratch. It is zero between two steps. */
byte i;
bool known;

inline give_out() {
    newest++;
    assert(newest < MOST);
    made_in[newest] = life
}

/* LOW stores a subscription's position, in the transaction that stores the subscription. */
inline record(number, its_life) {
#ifdef ONE_POSITION
    for (i : 1 .. LIVES) { forgets(i) }
#endif
    position[its_life] = (position[its_life] > number -> position[its_life] : number);
    count[its_life]++;
#ifdef PASSED
    if
    :: position[its_life] <= cursor -> forgets(its_life)
    :: else
    fi;
#endif
    stored_since = true
}

#define KNOWN(number, its_life) (kept <= number && number <= newest && made_in[number] == its_life)

inline opens() {
    known = (cursor == 0 || KNOWN(cursor, cursor_life));
#ifndef CURSOR_ONLY
    for (i : 1 .. LIVES) {
        known = known && (position[i] == 0 || KNOWN(position[i], i))
    }
#endif
    ;
    if
    :: known ->
        kept = (cursor > kept -> cursor : kept);
        watching = true;
        sent = cursor;
        stored_since = false;
        accepted = true;
        stated_cursor = cursor;
        for (i : 1 .. LIVES) { stated[i] = position[i]; stated_count[i] = count[i] }
    :: else ->
        again = true;
        next = 0;
        refused_cursor = cursor;
        for (i : 1 .. LIVES) { refused[i] = position[i]; refused_count[i] = count[i] }
    fi
}

inline forgets(its_life) {
    position[its_life] = 0;
    count[its_life] = 0
}

/* The first message of the watch has come. */
inline forgets_passed() {
    for (i : 1 .. LIVES) {
        if
        :: stated[i] == position[i] && stated_count[i] == count[i] && stated[i] <= stated_cursor -> forgets(i)
        :: else
        fi;
        stated[i] = 0;
        stated_count[i] = 0
    }
    accepted = false;
    stated_cursor = 0
}

/* LOW stores a notification. The cursor does not move back. */
inline stores(number, its_life) {
    if
    :: number > cursor ->
        cursor = number;
        cursor_life = its_life
    :: else
    fi;
#ifdef PASSED
    for (i : 1 .. LIVES) {
        if
        :: position[i] <= cursor -> forgets(i)
        :: else
        fi
    }
#endif
    skip
}

inline begins_again() {
    if
    :: cursor == refused_cursor -> cursor = 0; cursor_life = 0
    :: else
    fi;
    for (i : 1 .. LIVES) {
        if
#ifdef REPLACED
        :: true -> forgets(i)
#elif defined(NUMBER_ONLY)
        :: position[i] == refused[i] -> forgets(i)
        :: else
#else
        :: position[i] == refused[i] && count[i] == refused_count[i] -> forgets(i)
        :: else
#endif
        fi
    }
    stops_again()
}

inline stops_again() {
    again = false;
    next = 0;
    again_number = 0;
    again_life = 0;
    refused_cursor = 0;
    for (i : 1 .. LIVES) { refused[i] = 0; refused_count[i] = 0 }
}

inline ends() {
    if
    :: watching && sent < newest && late == 0 -> late = sent + 1; late_life = made_in[late]
    :: true
    fi;
    watching = false;
    sent = 0
}

inline restore_high() {
    high_restores--;
#ifndef SAME_WATCH
    ends();
#endif
    for (i : 1 .. (MOST - 1)) { made_in[i] = (i > copy_newest -> 0 : made_in[i]) }
    subscribed = copy_subscribed;
    newest = copy_newest;
    kept = copy_kept;
    life++
}

inline restore_low() {
    low_restores--;
    watching = false;
    sent = 0;
    late = 0; late_life = 0;
    accepted = false;
    stated_cursor = 0;
    for (i : 0 .. (SUBJECTS - 1)) { answer[i] = 0; answer_life[i] = 0 }
    for (i : 1 .. LIVES) { stated[i] = 0; stated_count[i] = 0 }
    stops_again();
    wanted = copy_wanted;
    cursor = copy_cursor;
    cursor_life = copy_cursor_life;
    for (i : 1 .. LIVES) { position[i] = copy_position[i]; count[i] = copy_count[i] }
}

inline subscribes(subject) {
    give_out();
    subscribed = subscribed | (1 << subject)
}

#define QUIET (watching && sent == newest && !stored_since && !again && late == 0 && answer[0] == 0 && \
               answer[SUBJECTS - 1] == 0 && answer[SUBJECTS / 2] == 0)

inline check() {
    /* Once everything is sent and the last answer is stated, HIGH has all subscriptions of LOW. */
    assert(!QUIET || !(wanted & ~subscribed));
    i = 0; known = false
}

inline imports(subject) {
    asked = asked | (1 << subject);
    subscribes(subject);
    answer[subject] = newest;
    answer_life[subject] = life
}

inline stores_answer(subject) {
    wanted = wanted | (1 << subject);
    record(answer[subject], answer_life[subject]);
    answer[subject] = 0;
    answer_life[subject] = 0
}

active proctype subscriptions() {
    byte s;
end:
    do
    :: atomic { changes > 0 -> printf("HIGH changes\n"); changes--; give_out(); check() }
    :: atomic { select(s : 0 .. (SUBJECTS - 1));
        if
        :: !(asked & (1 << s)) -> printf("LOW subscribes to %d\n", s); imports(s)
        :: answer[s] != 0 -> printf("LOW stores the answer about %d\n", s); stores_answer(s)
        :: else
        fi;
        s = 0; check() }
    :: atomic { !watching && !again -> printf("LOW opens a watch\n"); opens(); check() }
    :: atomic { accepted -> printf("the watch is accepted\n"); forgets_passed(); check() }
    :: atomic { watching && sent < newest -> printf("LOW stores %d\n", sent + 1); sent++; stores(sent, made_in[sent]); check() }
    :: atomic { late != 0 -> printf("LOW stores %d late\n", late); stores(late, late_life); late = 0; late_life = 0; check() }
    :: atomic { again && again_number == 0 && next < SUBJECTS ->
        if
        :: wanted & (1 << next) -> printf("LOW subscribes again to %d\n", next); subscribes(next); again_number = newest; again_life = life
        :: else -> next++
        fi;
        check() }
    :: atomic { again_number != 0 -> printf("LOW stores this answer\n"); record(again_number, again_life); again_number = 0; again_life = 0; next++; check() }
    :: atomic { again && again_number == 0 && next == SUBJECTS -> printf("LOW begins again\n"); begins_again(); check() }
    :: atomic { watching && cuts > 0 -> printf("cut\n"); cuts--; ends(); check() }
    :: atomic { !high_copy && high_restores > 0 -> printf("HIGH copied\n"); high_copy = true; copy_subscribed = subscribed; copy_newest = newest; copy_kept = kept; check() }
    :: atomic { high_copy && high_restores > 0 -> printf("HIGH restored\n"); restore_high(); check() }
    :: atomic { !low_copy && low_restores > 0 -> printf("LOW copied\n"); low_copy = true; copy_wanted = wanted; copy_cursor = cursor; copy_cursor_life = cursor_life; for (i : 1 .. LIVES) { copy_position[i] = position[i]; copy_count[i] = count[i] } check() }
    :: atomic { low_copy && low_restores > 0 -> printf("LOW restored\n"); restore_low(); check() }
    od
}
