/* The no-U-turn sampler for any density, one chain per call.
 *
 * Multinomial trajectories with the generalised U-turn criterion and its two extra checks between
 * neighbouring subtrees (Betancourt 2017, arXiv:1701.02434; Hoffman and Gelman 2014). Warmup:
 * dual averaging of the step size and a diagonal metric estimated in doubling windows (Stan
 * reference manual, "HMC algorithm parameters").
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
enum { DONE = 0, STOPPED = 1, BAD_START = 2, NO_STEP_SIZE = 3 };
enum { MOMENTUM = 0, DECISION = 1, SEARCH = 2 };

typedef struct {
    _Atomic int64_t command;
    _Atomic int64_t transitions;
    _Atomic int64_t leapfrogs;
    _Atomic int64_t divergences;
} control_t;


typedef struct {
    int64_t dim, warmup, max_depth, adapt_step_size, adapt_metric;
    int64_t first, stop, windows;   /* moments are counted for first <= transition < stop */
    const int64_t *window_ends;     /* transitions finished when a window closes, ascending */
    double target_accept, max_energy_error;
    uint64_t seed, chain;
} settings_t;

typedef struct {
    double step_size, mu, h_bar, log_step_bar;
    int64_t step_count, moment_count, transition, searched;
} chain_state;

typedef struct { /* row 0 belongs to transition number `first` */
    int64_t first;
    double *position, *log_density, *accept, *step_size, *energy;
    int64_t *depth, *leapfrogs;
    uint8_t *diverging;
} outputs_t;

/* --- Vectors --- */

static double *take(double **memory, int64_t n) {
    double *block = *memory;
    *memory += (n + 7) / 8 * 8;
    return block;
}

static void copy(double *restrict to, const double *restrict from, int64_t n) {
    memcpy(to, from, (size_t)n * sizeof(double));
}

static double log_add(double a, double b) {
    double high = a > b ? a : b, low = a > b ? b : a;
    return high == -INFINITY ? high : high + log1p(exp(low - high));
}

/* --- One chain --- */

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
    double *inverse_metric, *mean, *moment;
    point_t here, left, right, sample, candidate;
    double *rho, *rho_new, *p_inner, *p_outer, *inverse_scale;
    level_t level[64];
    stream_t decisions;
    double start_energy, accept_sum;
    int64_t leapfrogs;
    int diverging, stopping;
} chain_t;

static point_t take_point(double **memory, int64_t n) {
    point_t z = {take(memory, n), take(memory, n), take(memory, n), 0.0};
    return z;
}

static void copy_point(point_t *to, const point_t *from, int64_t n) {
    copy(to->q, from->q, n);
    copy(to->p, from->p, n);
    copy(to->gradient, from->gradient, n);
    to->log_density = from->log_density;
}

static void copy_position(point_t *to, const point_t *from, int64_t n) {
    copy(to->q, from->q, n);
    copy(to->gradient, from->gradient, n);
    to->log_density = from->log_density;
}

static double energy(const chain_t *c) {
    const double *restrict p = c->here.p, *restrict m = c->inverse_metric;
    double kinetic = 0.0;
    for (int64_t i = 0; i < c->set->dim; i++) kinetic += p[i] * p[i] * m[i];
    double h = 0.5 * kinetic - c->here.log_density;
    return isnan(h) ? INFINITY : h;
}

static void evaluate(chain_t *c) {
    c->here.log_density = c->density(c->here.q, c->here.gradient, c->data, c->work);
}

static void leapfrog(chain_t *c, double step) {
    double *restrict q = c->here.q, *restrict p = c->here.p;
    const double *restrict g = c->here.gradient, *restrict m = c->inverse_metric;
    int64_t n = c->set->dim;
    for (int64_t i = 0; i < n; i++) {
        p[i] += 0.5 * step * g[i];
        q[i] += step * m[i] * p[i];
    }
    evaluate(c);
    for (int64_t i = 0; i < n; i++) p[i] += 0.5 * step * g[i];
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

static int no_u_turn(const chain_t *c, const double *restrict p_begin,
                     const double *restrict p_end, const double *restrict rho_a,
                     const double *restrict rho_b) {
    const double *restrict m = c->inverse_metric;
    double begin = 0.0, end = 0.0;
    for (int64_t i = 0; i < c->set->dim; i++) {
        double r = (rho_a[i] + rho_b[i]) * m[i];
        begin += p_begin[i] * r;
        end += p_end[i] * r;
    }
    return begin > 0.0 && end > 0.0;
}

static int leaf(chain_t *c, point_t *proposal, double *rho, double *p_begin, double *p_end,
                double step, double *log_weight) {
    int64_t n = c->set->dim;
    if (asked_to_stop(c)) {
        c->stopping = 1;
        return 0;
    }
    leapfrog(c, step);
    c->leapfrogs++;
    int64_t so_far = atomic_load_explicit(&c->control->leapfrogs, memory_order_relaxed);
    atomic_store_explicit(&c->control->leapfrogs, so_far + 1, memory_order_relaxed);
    double h = energy(c), gain = c->start_energy - h;
    *log_weight = gain;
    c->accept_sum += gain > 0.0 ? 1.0 : exp(gain);
    if (-gain > c->set->max_energy_error) c->diverging = 1;
    copy_position(proposal, &c->here, n);
    copy(rho, c->here.p, n);
    copy(p_begin, c->here.p, n);
    copy(p_end, c->here.p, n);
    return !c->diverging;
}

/* Extends the trajectory from `here` by 2^depth steps; 0 when the subtree must be thrown away. */
static int subtree(chain_t *c, int64_t depth, point_t *proposal, double *rho, double *p_begin,
                   double *p_end, double step, double *log_weight) {
    if (depth == 0) return leaf(c, proposal, rho, p_begin, p_end, step, log_weight);
    int64_t n = c->set->dim;
    level_t *mine = &c->level[depth];
    double first = -INFINITY, second = -INFINITY;
    if (!subtree(c, depth - 1, proposal, rho, p_begin, mine->p_left_end, step, &first)) return 0;
    if (!subtree(c, depth - 1, &mine->proposal, mine->rho, mine->p_right_begin, p_end, step,
                 &second))
        return 0;
    *log_weight = log_add(first, second);
    if (uniform(&c->decisions) < exp(second - *log_weight))
        copy_position(proposal, &mine->proposal, n);
    int going = no_u_turn(c, p_begin, p_end, rho, mine->rho) &&
                no_u_turn(c, p_begin, mine->p_right_begin, rho, mine->p_right_begin) &&
                no_u_turn(c, mine->p_left_end, p_end, mine->rho, mine->p_left_end);
    for (int64_t i = 0; i < n; i++) rho[i] += mine->rho[i];
    return going;
}

static void draw_momentum(chain_t *c, uint32_t purpose, uint64_t transition) {
    stream_t s = stream(c->set->seed, c->set->chain, transition, purpose);
    normals(&s, c->here.p, c->set->dim);
    for (int64_t i = 0; i < c->set->dim; i++) c->here.p[i] *= c->inverse_scale[i];
}

/* From `sample` to the next `sample`; returns the depth of the trajectory. */
static int64_t transition(chain_t *c) {
    int64_t n = c->set->dim, depth = 0;
    copy_position(&c->here, &c->sample, n);
    draw_momentum(c, MOMENTUM, (uint64_t)c->state->transition);
    c->decisions = stream(c->set->seed, c->set->chain,
                         (uint64_t)c->state->transition, DECISION);
    c->start_energy = energy(c);
    c->accept_sum = 0.0;
    c->leapfrogs = c->diverging = 0;
    copy_point(&c->left, &c->here, n);
    copy_point(&c->right, &c->here, n);
    copy(c->rho, c->here.p, n);
    double log_weight = 0.0;
    while (depth < c->set->max_depth) {
        int forward = uniform(&c->decisions) > 0.5;
        point_t *near = forward ? &c->right : &c->left, *far = forward ? &c->left : &c->right;
        double new_weight = -INFINITY, step = forward ? c->state->step_size : -c->state->step_size;
        copy_point(&c->here, near, n);
        if (!subtree(c, depth, &c->candidate, c->rho_new, c->p_inner, c->p_outer, step,
                     &new_weight))
            break;
        depth++;
        if (uniform(&c->decisions) < exp(new_weight - log_weight))
            copy_position(&c->sample, &c->candidate, n);
        log_weight = log_add(log_weight, new_weight);
        int going = no_u_turn(c, far->p, c->p_outer, c->rho, c->rho_new) &&
                    no_u_turn(c, far->p, c->p_inner, c->rho, c->p_inner) &&
                    no_u_turn(c, near->p, c->p_outer, c->rho_new, near->p);
        copy_point(near, &c->here, n);
        for (int64_t i = 0; i < n; i++) c->rho[i] += c->rho_new[i];
        if (!going) break;
    }
    return depth;
}

/* --- Warmup --- */

/* Few draws for the final step size: be cautious, see quivers_nb/inference/mcmc/warmup.py. */
static int hurried(const settings_t *set) {
    return set->warmup - (set->windows ? set->stop : 0) < 20;
}

static int start_step_size(chain_t *c) {
    int64_t n = c->set->dim;
    int direction = 0;
    double *step = &c->state->step_size;
    if (!(*step > 0.0 && *step < 1e7)) *step = 1.0;
    for (int trial = 0; trial < 100; trial++) {
        copy_position(&c->here, &c->sample, n);
        draw_momentum(c, SEARCH | (uint32_t)(trial + 1) << 24, (uint64_t)c->state->transition);
        double before = energy(c);
        leapfrog(c, *step);
        int now = before - energy(c) > -0.22314355131420976 /* log 0.8 */ ? 1 : -1;
        if (direction == 0) direction = now;
        if (now != direction) break;
        *step *= direction > 0 ? 2.0 : 0.5;
    }
    if (!(*step > 1e-300 && *step < 1e7)) return 0;
    c->state->mu = log((hurried(c->set) ? 1.0 : 10.0) * *step);
    c->state->h_bar = c->state->log_step_bar = 0.0;
    c->state->step_count = 0;
    return 1;
}

static void adapt_step_size(chain_t *c, double accept) {
    chain_state *s = c->state;
    double count = (double)++s->step_count, weight = 1.0 / (count + 10.0);
    s->h_bar = (1.0 - weight) * s->h_bar + weight * (c->set->target_accept - accept);
    double log_step = s->mu - s->h_bar * sqrt(count) / 0.05, forget = pow(count, -0.75);
    s->log_step_bar = (1.0 - forget) * s->log_step_bar + forget * log_step;
    s->step_size = exp(log_step);
}

static void use_metric(chain_t *c) {
    for (int64_t i = 0; i < c->set->dim; i++)
        c->inverse_scale[i] = 1.0 / sqrt(c->inverse_metric[i]);
}

static void count_moments(chain_t *c) {
    double n = (double)++c->state->moment_count;
    for (int64_t i = 0; i < c->set->dim; i++) {
        double delta = c->sample.q[i] - c->mean[i];
        c->mean[i] += delta / n;
        c->moment[i] += delta * (c->sample.q[i] - c->mean[i]);
    }
}

static void close_window(chain_t *c) {
    chain_state *s = c->state;
    double n = (double)s->moment_count;
    for (int64_t i = 0; i < c->set->dim; i++) {
        double variance = n > 1.0 ? c->moment[i] / (n - 1.0) : 1.0;
        c->inverse_metric[i] = (n * variance + 5e-3) / (n + 5.0);
        c->mean[i] = c->moment[i] = 0.0;
    }
    use_metric(c);
    s->moment_count = 0;
}

static int window_closes(const settings_t *set, int64_t finished) {
    for (int64_t i = 0; i < set->windows; i++)
        if (set->window_ends[i] == finished) return 1;
    return 0;
}

/* Called after each warmup transition; 0 when no step size works any more. */
static int adapt(chain_t *c, double accept) {
    const settings_t *set = c->set;
    chain_state *s = c->state;
    if (set->adapt_step_size) adapt_step_size(c, accept);
    if (s->transition == set->warmup - 1 && set->adapt_step_size)
        s->step_size = exp(s->log_step_bar) * (hurried(set) ? 0.5 : 1.0);
    if (set->adapt_metric && s->transition >= set->first && s->transition < set->stop)
        count_moments(c);
    if (set->adapt_metric && window_closes(set, s->transition + 1)) {
        close_window(c);
        if (set->adapt_step_size && !start_step_size(c)) return 0;
    }
    return 1;
}

/* --- What Python calls --- */

int64_t state_bytes(int64_t dim) {
    return (int64_t)sizeof(chain_state) + 4 * dim * (int64_t)sizeof(double);
}

int64_t scratch_doubles(int64_t dim, int64_t max_depth) {
    int64_t block = (dim + 7) / 8 * 8;
    return block * (5 * 3 + 5 + (max_depth + 1) * 6);
}

static int finite_at(const point_t *z, int64_t n) {
    int finite = isfinite(z->log_density);
    for (int64_t i = 0; i < n; i++) finite = finite && isfinite(z->gradient[i]);
    return finite;
}

static void lay_out(chain_t *c, double *position, double *scratch) {
    int64_t n = c->set->dim;
    c->inverse_metric = position + n;
    c->mean = position + 2 * n;
    c->moment = position + 3 * n;
    c->here = take_point(&scratch, n);
    c->left = take_point(&scratch, n);
    c->right = take_point(&scratch, n);
    c->sample = take_point(&scratch, n);
    c->candidate = take_point(&scratch, n);
    double **vectors[] = {&c->rho, &c->rho_new, &c->p_inner, &c->p_outer, &c->inverse_scale};
    for (int i = 0; i < 5; i++) *vectors[i] = take(&scratch, n);
    for (int64_t d = 0; d <= c->set->max_depth; d++) {
        level_t *l = &c->level[d];
        l->rho = take(&scratch, n);
        l->p_left_end = take(&scratch, n);
        l->p_right_begin = take(&scratch, n);
        l->proposal = take_point(&scratch, n);
    }
}

static void record(const chain_t *c, const outputs_t *out, int64_t depth, double step) {
    int64_t row = c->state->transition - out->first, n = c->set->dim;
    if (row < 0) return;
    copy(out->position + row * n, c->sample.q, n);
    out->log_density[row] = c->sample.log_density;
    out->accept[row] = c->leapfrogs ? c->accept_sum / (double)c->leapfrogs : 0.0;
    out->step_size[row] = step;
    out->energy[row] = c->start_energy;
    out->depth[row] = depth;
    out->leapfrogs[row] = c->leapfrogs;
    out->diverging[row] = (uint8_t)c->diverging;
}

/* `memory`: chain_state, then position, inverse metric, running mean and moment. Sets up a chain
 * whose position and inverse metric the caller has filled in; step_size 0 asks for a search. */
void chain_start(const settings_t *set, void *memory, double step_size) {
    chain_state *s = memory;
    memset(s, 0, sizeof *s);
    s->step_size = step_size;
    double *position = (double *)(s + 1);
    memset(position + 2 * set->dim, 0, 2 * (size_t)set->dim * sizeof(double));
}

/* Transitions up to number `until`, from wherever the chain is. */
int64_t chain_run(density_fn density, const void *const *data, double *work,
                  const settings_t *set, int64_t until, void *memory, double *scratch,
                  control_t *control, const outputs_t *out) {
    chain_t c = {.set = set, .density = density, .data = data, .work = work,
                 .control = control, .state = memory};
    double *position = (double *)(c.state + 1);
    int64_t n = set->dim;
    lay_out(&c, position, scratch);
    use_metric(&c);
    copy(c.here.q, position, n);
    evaluate(&c);
    if (!finite_at(&c.here, n)) return BAD_START;
    copy_position(&c.sample, &c.here, n);
    int searching = set->adapt_step_size || !(c.state->step_size > 0.0);
    if (searching && !c.state->searched && !start_step_size(&c)) return NO_STEP_SIZE;
    c.state->searched = 1;
    while (c.state->transition < until) {
        double step = c.state->step_size;
        int64_t depth = transition(&c);
        if (c.stopping) return STOPPED;
        double accept = c.leapfrogs ? c.accept_sum / (double)c.leapfrogs : 0.0;
        record(&c, out, depth, step);
        if (c.state->transition < set->warmup && !adapt(&c, accept)) return NO_STEP_SIZE;
        copy(position, c.sample.q, n);
        c.state->transition++;
        if (c.diverging && c.state->transition > set->warmup)
            atomic_fetch_add_explicit(&control->divergences, 1, memory_order_relaxed);
        atomic_store_explicit(&control->transitions, c.state->transition, memory_order_release);
    }
    return DONE;
}
