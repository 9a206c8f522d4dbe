/* One chain: its memory, its metric, one leapfrog.
 *
 * Momenta are kept whitened. With an inverse mass matrix A A' (A as below), a momentum p' with
 * p' ~ N(0, 1) stands for A^-T p': the kinetic energy is |p'|^2 / 2, a kick adds A' gradient, and a
 * drift adds A p' to the position. So only these two products know the metric.
 *
 *     DIAGONAL   A = S, the scales
 *     DENSE      A = L, a lower triangle, row after row
 *     LOW_RANK   A = S (1 + U' W U), U: rank rows of length dim, W: rank weights
 *
 * Memory belongs to the caller. `chain_state` plus its arrays is everything a chain remembers
 * between transitions; random numbers are a function of (seed, chain, transition, place), so a
 * chain that was stopped goes on bit for bit.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef double (*density_fn)(const double *q, double *gradient, const void *const *data,
                             double *work);

enum { RUN = 0, PAUSE = 1, STOP = 2 };
enum { DONE = 0, STOPPED = 1, BAD_START = 2, NO_STEP_SIZE = 3, WINDOW = 4, FLAT = 5 };
enum { MOMENTUM = 0, DECISION = 1, SEARCH = 2 };
enum { DIAGONAL = 0, DENSE = 1, LOW_RANK = 2 };
enum { STATE_VECTORS = 6, SCRATCH_VECTORS = 6, POINTS = 5, LEVEL_VECTORS = 6, MOST_LEVELS = 64 };

typedef struct {
    _Atomic int64_t command;
    _Atomic int64_t transitions;
    _Atomic int64_t leapfrogs;
    _Atomic int64_t divergences;
} control_t;

typedef struct {
    int64_t dim, warmup, max_depth;
    int64_t path;                   /* leapfrogs of a path of fixed length; 0: no U-turns */
    int64_t adapt_step_size, adapt_metric, use_gradients;
    int64_t first, stop, windows;   /* draws are learned from for first <= transition < stop */
    const int64_t *window_ends;     /* transitions finished when a window closes, ascending */
    double target_accept, max_energy_error;
    uint64_t seed, chain;
    int64_t metric, rank;
    const double *factor, *weight;  /* L, or U and W */
    double *window;                 /* rows (position, gradient); 0: running moments are enough */
} settings_t;

typedef struct {
    double step_size, mu, h_bar, log_step_bar;
    int64_t step_count, window_count, transition, searched;
} chain_state;

typedef struct {
    double *q, *p, *gradient;
    double log_density;
} point_t;

typedef struct { /* scratch of one tree level */
    double *rho, *p_left_end, *p_right_begin;
    point_t proposal;
} level_t;

typedef struct {
    const settings_t *set;
    density_fn density;
    const void *const *data;
    double *work;
    control_t *control;
    chain_state *state;
    double *scale, *mean, *moment, *gradient_mean, *gradient_moment;
    point_t here, left, right, sample, candidate;
    double *rho, *rho_new, *p_inner, *p_outer, *image, *inner;
    level_t level[MOST_LEVELS];
    stream_t decisions;
    double start_energy, accept_sum, acceptance;
    int64_t leapfrogs;
    int diverging, stopping;
} chain_t;

/* --- Vectors --- */

ONCE void copy(double *restrict to, const double *restrict from, int64_t n) {
    memcpy(to, from, (size_t)n * sizeof(double));
}

ONCE double dot(const double *a, const double *b, int64_t n) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* y += factor x */
ONCE void add(double *restrict y, double factor, const double *restrict x, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += factor * x[i];
}

/* out = a x, element by element; `out` and `x` may be the same */
ONCE void times(double *out, const double *restrict a, const double *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = a[i] * x[i];
}

/* --- Memory --- */

static double *take(double **memory, int64_t n) {
    double *block = *memory;
    *memory += (n + 7) / 8 * 8;
    return block;
}

static point_t take_point(double **memory, int64_t n) {
    point_t z = {take(memory, n), take(memory, n), take(memory, n), 0.0};
    return z;
}

ONCE void copy_position(point_t *to, const point_t *from, int64_t n) {
    copy(to->q, from->q, n);
    copy(to->gradient, from->gradient, n);
    to->log_density = from->log_density;
}

ONCE void copy_point(point_t *to, const point_t *from, int64_t n) {
    copy_position(to, from, n);
    copy(to->p, from->p, n);
}

/* A leaf of a tree: everything that is kept of `from`, in one go. */
ONCE void keep_leaf(const point_t *from, point_t *proposal, double *restrict rho,
                    double *restrict p_begin, double *restrict p_end, int64_t n) {
    double *restrict q = proposal->q, *restrict gradient = proposal->gradient;
    for (int64_t i = 0; i < n; i++) {
        q[i] = from->q[i];
        gradient[i] = from->gradient[i];
        rho[i] = p_begin[i] = p_end[i] = from->p[i];
    }
    proposal->log_density = from->log_density;
}

RARE void lay_out(chain_t *c, double *position, double *scratch) {
    int64_t n = c->set->dim;
    double **kept[] = {&c->scale, &c->mean, &c->moment, &c->gradient_mean, &c->gradient_moment};
    for (int i = 0; i < STATE_VECTORS - 1; i++) *kept[i] = position + (i + 1) * n;
    point_t *points[] = {&c->here, &c->left, &c->right, &c->sample, &c->candidate};
    for (int i = 0; i < POINTS; i++) *points[i] = take_point(&scratch, n);
    double **vectors[] = {&c->rho, &c->rho_new, &c->p_inner, &c->p_outer, &c->image, &c->inner};
    for (int i = 0; i < SCRATCH_VECTORS; i++) *vectors[i] = take(&scratch, n);
    for (int64_t d = 0; d <= c->set->max_depth; d++) {
        level_t *l = &c->level[d];
        l->rho = take(&scratch, n);
        l->p_left_end = take(&scratch, n);
        l->p_right_begin = take(&scratch, n);
        l->proposal = take_point(&scratch, n);
    }
}

/* --- The metric --- */

/* x = (1 + U' W U) x */
ONCE void stretch(const chain_t *c, double *x) {
    int64_t n = c->set->dim, rank = c->set->rank;
    const double *u = c->set->factor;
    for (int64_t k = 0; k < rank; k++) c->inner[k] = dot(u + k * n, x, n) * c->set->weight[k];
    for (int64_t k = 0; k < rank; k++) add(x, c->inner[k], u + k * n, n);
}

ONCE void velocity(const chain_t *c, const double *p, double *out) { /* A p */
    int64_t n = c->set->dim;
    if (c->set->metric == DENSE) {
        for (int64_t i = 0; i < n; i++) out[i] = dot(c->set->factor + i * n, p, i + 1);
        return;
    }
    copy(out, p, n);
    stretch(c, out);
    times(out, c->scale, out, n);
}

ONCE void force(const chain_t *c, const double *g, double *out) { /* A' g */
    int64_t n = c->set->dim;
    if (c->set->metric == DENSE) {
        memset(out, 0, (size_t)n * sizeof(double));
        for (int64_t i = 0; i < n; i++) add(out, g[i], c->set->factor + i * n, i + 1);
        return;
    }
    times(out, c->scale, g, n);
    stretch(c, out);
}

/* --- Motion --- */

ONCE double energy(const chain_t *c) {
    double h = 0.5 * dot(c->here.p, c->here.p, c->set->dim) - c->here.log_density;
    return isnan(h) ? INFINITY : h;
}

static void evaluate(chain_t *c) {
    c->here.log_density = c->density(c->here.q, c->here.gradient, c->data, c->work);
}

static void kick(chain_t *c, double step) {
    force(c, c->here.gradient, c->image);
    add(c->here.p, step, c->image, c->set->dim);
}

ONCE void leapfrog_by_products(chain_t *c, double step) {
    kick(c, 0.5 * step);
    velocity(c, c->here.p, c->image);
    add(c->here.q, step, c->image, c->set->dim);
    evaluate(c);
    kick(c, 0.5 * step);
}

ONCE void leapfrog(chain_t *c, double step) {
    if (c->set->metric != DIAGONAL) {
        leapfrog_by_products(c, step);
        return;
    }
    double *restrict q = c->here.q, *restrict p = c->here.p;
    const double *restrict g = c->here.gradient, *restrict s = c->scale;
    int64_t n = c->set->dim;
    for (int64_t i = 0; i < n; i++) {
        p[i] += 0.5 * step * s[i] * g[i];
        q[i] += step * s[i] * p[i];
    }
    evaluate(c);
    for (int64_t i = 0; i < n; i++) p[i] += 0.5 * step * s[i] * g[i];
}

static int asked_to_stop(chain_t *c) {
    int64_t command = atomic_load_explicit(&c->control->command, memory_order_relaxed);
    while (command == PAUSE) {
        struct timespec nap = {0, 2000000};
        nanosleep(&nap, 0);
        command = atomic_load_explicit(&c->control->command, memory_order_acquire);
    }
    return command == STOP;
}

/* A leapfrog of a transition: counted, and not made if the chain is to stop. The energy that was
 * lost since the start is put into `gain`; 0 if the transition cannot go on. */
static int move(chain_t *c, double step, double *gain) {
    if (asked_to_stop(c)) {
        c->stopping = 1;
        return 0;
    }
    leapfrog(c, step);
    c->leapfrogs++;
    int64_t so_far = atomic_load_explicit(&c->control->leapfrogs, memory_order_relaxed);
    atomic_store_explicit(&c->control->leapfrogs, so_far + 1, memory_order_relaxed);
    *gain = c->start_energy - energy(c);
    if (!(*gain >= -c->set->max_energy_error)) c->diverging = 1;
    return !c->diverging;
}

ONCE void draw_momentum(chain_t *c, uint32_t purpose) {
    stream_t s;
    begin(&s, c->set->seed, c->set->chain, (uint64_t)c->state->transition, purpose);
    normals(&s, c->here.p, c->set->dim);
}

/* From `sample`, with a new momentum. */
static void set_out(chain_t *c) {
    copy_position(&c->here, &c->sample, c->set->dim);
    draw_momentum(c, MOMENTUM);
    begin(&c->decisions, c->set->seed, c->set->chain, (uint64_t)c->state->transition, DECISION);
    c->start_energy = energy(c);
    c->accept_sum = c->acceptance = 0.0;
    c->leapfrogs = c->diverging = 0;
}
