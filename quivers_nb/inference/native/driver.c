/* What Python calls: chains of any density, one chain per call. */

typedef struct { /* row 0 belongs to transition number `first` */
    int64_t first;
    double *position, *log_density, *accept, *step_size, *energy;
    int64_t *depth, *leapfrogs;
    uint8_t *diverging;
} outputs_t;

int64_t state_bytes(int64_t dim) {
    return (int64_t)sizeof(chain_state) + STATE_VECTORS * dim * (int64_t)sizeof(double);
}

int64_t scratch_doubles(int64_t dim, int64_t max_depth) {
    int64_t block = (dim + 7) / 8 * 8;
    return block * (POINTS * 3 + SCRATCH_VECTORS + (max_depth + 1) * LEVEL_VECTORS);
}

/* Rows of the window that is due: as many as the caller must read. */
int64_t window_rows(const void *memory) { return ((const chain_state *)memory)->window_count; }

/* The caller has put a new metric into the settings (and scales). */
void window_close(void *memory) { ((chain_state *)memory)->window_count = 0; }

RARE int finite_at(const point_t *z, int64_t n) {
    int finite = isfinite(z->log_density);
    for (int64_t i = 0; i < n; i++) finite = finite && isfinite(z->gradient[i]);
    return finite;
}

RARE void record(const chain_t *c, const outputs_t *out, int64_t depth, double step) {
    int64_t row = c->state->transition - out->first, n = c->set->dim;
    if (row < 0) return;
    copy(out->position + row * n, c->sample.q, n);
    out->log_density[row] = c->sample.log_density;
    out->accept[row] = c->acceptance;
    out->step_size[row] = step;
    out->energy[row] = c->start_energy;
    out->depth[row] = depth;
    out->leapfrogs[row] = c->leapfrogs;
    out->diverging[row] = (uint8_t)c->diverging;
}

/* `memory`: chain_state, then position, scales, and the mean and centred second moment of draws
 * and of gradients. Sets up a chain whose position and scales the caller has filled in; step_size
 * 0 asks for a search. */
void chain_start(const settings_t *set, void *memory, double step_size) {
    chain_state *s = memory;
    memset(s, 0, sizeof *s);
    s->step_size = step_size;
    double *position = (double *)(s + 1);
    memset(position + 2 * set->dim, 0, (STATE_VECTORS - 2) * (size_t)set->dim * sizeof(double));
}

RARE int64_t finish(chain_t *c, double *position) {
    int64_t status = c->state->transition < c->set->warmup ? adapt(c) : DONE;
    if (status == NO_STEP_SIZE || status == FLAT) return status;
    copy(position, c->sample.q, c->set->dim);
    c->state->transition++;
    if (c->diverging && c->state->transition > c->set->warmup)
        atomic_fetch_add_explicit(&c->control->divergences, 1, memory_order_relaxed);
    atomic_store_explicit(&c->control->transitions, c->state->transition, memory_order_release);
    return status;
}

/* Transitions up to number `until`, from wherever the chain is. */
int64_t chain_run(density_fn density, const void *const *data, double *work,
                  const settings_t *set, int64_t until, void *memory, double *scratch,
                  control_t *control, const outputs_t *out) {
    chain_t c = {.set = set, .density = density, .data = data, .work = work,
                 .control = control, .state = memory};
    double *position = (double *)(c.state + 1);
    lay_out(&c, position, scratch);
    copy(c.here.q, position, set->dim);
    evaluate(&c);
    if (!finite_at(&c.here, set->dim)) return BAD_START;
    copy_position(&c.sample, &c.here, set->dim);
    int searching = set->adapt_step_size || !(c.state->step_size > 0.0);
    if (searching && !c.state->searched && !start_step_size(&c))
        return no_step_size(&c);
    c.state->searched = 1;
    while (c.state->transition < until) {
        double step = c.state->step_size;
        int64_t depth = transition(&c);
        if (c.stopping) return STOPPED;
        record(&c, out, depth, step);
        int64_t status = finish(&c, position);
        if (status != DONE) return status;
    }
    return DONE;
}

/* A density at many points, one after the other. */
void at_points(density_fn density, const double *q, double *values, double *gradients,
               int64_t count, int64_t dim, const void *const *data, double *work) {
    for (int64_t row = 0; row < count; row++)
        values[row] = density(q + row * dim, gradients + row * dim, data, work);
}
