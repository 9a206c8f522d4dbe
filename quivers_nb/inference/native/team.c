/* A team: the threads of a run that have no chain to move help those that have.
 *
 * Each chain has a desk. To share the segments of a loop it lays them there, takes some itself, and
 * waits until none is undone; whoever serves the team goes from desk to desk and takes what is left.
 * A chain takes the first segment that nobody has, a helper the last, so that each finds its own rows
 * in its cache when the next gradient comes. Who takes what changes no number: a segment adds into
 * memory of its own, and the chain sums those in their order.
 *
 * Nobody waits for a thread to come. A chain whose helpers were kept from their cores by others, so
 * that it waited far longer than it worked, does without them for a while. Helpers that find no work,
 * and chains that wait, try again for a fifth of a millisecond and then sleep until they are woken.
 *
 * A team ends when its last chain has left or when it is closed; helpers then finish the segment
 * that they have and go. Its memory belongs to the caller.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { LINE = 64, LONGEST_REST = 1024 };
/* ns before a thread that has nothing to do sleeps. With 30,000 helpers slept between the loops of
 * 10,000 rows, were woken too late for the next, and two threads were slower than one. */
static const int64_t PATIENCE = 200000;

typedef struct team team_t;

typedef struct {
    desk_t common;
    team_t *team;
    segment_fn run; /* these two are written while nothing is open or undone */
    const void *task;
    int64_t rest, next_rest; /* loops to be run alone */
    _Alignas(LINE) _Atomic uint64_t open; /* first segment that nobody has, and the one behind */
    _Alignas(LINE) _Atomic int64_t undone;
    _Atomic int waits;
} place_t;

struct team {
    pthread_mutex_t lock;
    pthread_cond_t work, done; /* for helpers, for chains */
    int64_t size;
    _Alignas(LINE) _Atomic int64_t helpers, sleepers, chains;
    _Alignas(LINE) _Atomic uint64_t calls; /* to work, so far */
    place_t place[];
};

static inline int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void breathe(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A segment that nobody has, from one end or the other; -1 if there is none. */
static int64_t take_segment(place_t *p, int last) {
    uint64_t open = atomic_load_explicit(&p->open, memory_order_relaxed);
    for (;;) {
        uint64_t from = open >> 32, to = open & 0xffffffff;
        if (from >= to) return -1;
        uint64_t rest = last ? open - 1 : open + ((uint64_t)1 << 32);
        if (atomic_compare_exchange_weak_explicit(&p->open, &open, rest, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return (int64_t)(last ? to - 1 : from);
    }
}

static void wake(team_t *team, pthread_cond_t *sleepers) {
    pthread_mutex_lock(&team->lock);
    pthread_cond_broadcast(sleepers);
    pthread_mutex_unlock(&team->lock);
}

/* The segments of one place from one end until none is left; how many. */
static int64_t work_at(place_t *p, int last) {
    int64_t made = 0, i;
    while ((i = take_segment(p, last)) >= 0) {
        p->run(p->task, i);
        made++;
        /* Of the two that then look at what the other wrote, one sees it: nobody sleeps on. */
        if (atomic_fetch_sub(&p->undone, 1) == 1 && last && atomic_load(&p->waits))
            wake(p->team, &p->team->done);
    }
    return made;
}

static void await_helpers(place_t *p, int64_t since) {
    team_t *team = p->team;
    while (atomic_load_explicit(&p->undone, memory_order_acquire)) {
        breathe();
        if (nanoseconds() - since < PATIENCE) continue;
        atomic_store(&p->waits, 1);
        pthread_mutex_lock(&team->lock);
        while (atomic_load(&p->undone)) pthread_cond_wait(&team->done, &team->lock);
        pthread_mutex_unlock(&team->lock);
        atomic_store(&p->waits, 0);
    }
}

static void share(desk_t *desk, segment_fn run, const void *task, int64_t count) {
    place_t *p = (place_t *)desk;
    team_t *team = p->team;
    if (p->rest > 0 || !atomic_load_explicit(&team->helpers, memory_order_relaxed)) {
        p->rest -= p->rest > 0;
        for (int64_t i = 0; i < count; i++) run(task, i);
        return;
    }
    int64_t begun = nanoseconds();
    p->run = run;
    p->task = task;
    atomic_store_explicit(&p->undone, count, memory_order_relaxed);
    atomic_store(&p->open, (uint64_t)count);
    atomic_fetch_add(&team->calls, 1);
    if (atomic_load(&team->sleepers)) wake(team, &team->work);
    work_at(p, 0);
    int64_t finished = nanoseconds();
    await_helpers(p, finished);
    int late = nanoseconds() - finished > 2 * (finished - begun);
    p->next_rest = !late ? 1 : p->next_rest < LONGEST_REST ? 2 * p->next_rest : LONGEST_REST;
    p->rest = late ? p->next_rest : 0;
}

/* --- What Python calls --- */

int64_t team_bytes(int64_t chains) {
    return (int64_t)sizeof(team_t) + chains * (int64_t)sizeof(place_t);
}

/* `memory` begins on a cache line and is zero. Returns 0, or why there can be no team. */
int64_t team_open(void *memory, int64_t chains) {
    team_t *team = memory;
    int error = pthread_mutex_init(&team->lock, 0);
    if (!error) error = pthread_cond_init(&team->work, 0);
    if (!error) error = pthread_cond_init(&team->done, 0);
    team->size = chains;
    atomic_store(&team->chains, chains);
    for (int64_t i = 0; i < chains; i++) {
        team->place[i].common.share = share;
        team->place[i].team = team;
        team->place[i].next_rest = 1;
    }
    return error;
}

void *team_desk(void *memory, int64_t chain) { return &((team_t *)memory)->place[chain]; }

/* No helper begins anything from now on. */
void team_close(void *memory) {
    team_t *team = memory;
    atomic_store(&team->chains, 0);
    wake(team, &team->work);
}

/* A chain has no more to share. */
void team_leave(void *memory) {
    team_t *team = memory;
    if (atomic_fetch_sub(&team->chains, 1) <= 1) team_close(memory);
}

/* Help until the team ends. */
void team_serve(void *memory) {
    team_t *team = memory;
    atomic_fetch_add(&team->helpers, 1);
    int64_t idle_since = nanoseconds();
    while (atomic_load(&team->chains) > 0) {
        uint64_t calls = atomic_load(&team->calls);
        int64_t made = 0;
        for (int64_t i = 0; i < team->size; i++) made += work_at(&team->place[i], 1);
        if (made) idle_since = nanoseconds();
        breathe();
        if (nanoseconds() - idle_since < PATIENCE) continue;
        pthread_mutex_lock(&team->lock);
        atomic_fetch_add(&team->sleepers, 1);
        while (atomic_load(&team->calls) == calls && atomic_load(&team->chains) > 0)
            pthread_cond_wait(&team->work, &team->lock);
        atomic_fetch_sub(&team->sleepers, 1);
        pthread_mutex_unlock(&team->lock);
        idle_since = nanoseconds();
    }
    atomic_fetch_sub(&team->helpers, 1);
}
