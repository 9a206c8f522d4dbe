/* Warm-up: dual averaging of the step size, and what a metric is learned from (Stan reference
 * manual, "HMC algorithm parameters"; `quivers_nb/inference/mcmc/adaptation.py` for gradients).
 *
 * A diagonal metric is renewed here, from running moments. For the others the caller is given the
 * window's rows (position, gradient), and the status WINDOW when a metric is due.
 */

/* Few draws for the final step size: be cautious, see quivers_nb/inference/mcmc/warmup.py. */
static int hurried(const settings_t *set) {
    return set->warmup - (set->windows ? set->stop : 0) < 20;
}

RARE int start_step_size(chain_t *c) {
    int64_t n = c->set->dim;
    int direction = 0;
    double *step = &c->state->step_size;
    if (!(*step > 0.0 && *step < 1e7)) *step = 1.0;
    for (int trial = 0; trial < 100; trial++) {
        copy_position(&c->here, &c->sample, n);
        draw_momentum(c, SEARCH | (uint32_t)(trial + 1) << 24);
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

static int64_t no_step_size(const chain_t *c) { /* why the search failed */
    return c->state->step_size > 1.0 ? FLAT : NO_STEP_SIZE;
}

RARE void adapt_step_size(chain_t *c, double accept) {
    chain_state *s = c->state;
    double count = (double)++s->step_count, weight = 1.0 / (count + 10.0);
    s->h_bar = (1.0 - weight) * s->h_bar + weight * (c->set->target_accept - accept);
    double log_step = s->mu - s->h_bar * sqrt(count) / 0.05, forget = pow(count, -0.75);
    s->log_step_bar = (1.0 - forget) * s->log_step_bar + forget * log_step;
    s->step_size = exp(log_step);
}

RARE void count_moments(double n, const double *restrict x, double *restrict mean,
                          double *restrict moment, int64_t dim) {
    for (int64_t i = 0; i < dim; i++) {
        double delta = x[i] - mean[i];
        mean[i] += delta / n;
        moment[i] += delta * (x[i] - mean[i]);
    }
}

RARE void learn(chain_t *c) {
    int64_t n = c->set->dim, count = c->state->window_count++;
    if (c->set->window) {
        copy(c->set->window + 2 * count * n, c->sample.q, n);
        copy(c->set->window + (2 * count + 1) * n, c->sample.gradient, n);
        return;
    }
    count_moments((double)count + 1.0, c->sample.q, c->mean, c->moment, n);
    if (c->set->use_gradients)
        count_moments((double)count + 1.0, c->sample.gradient, c->gradient_mean,
                      c->gradient_moment, n);
}

static double balance(double draws, double gradients) { /* as in mcmc/adaptation.py */
    double variance = sqrt(draws / gradients);
    if (!(variance > 0.0 && isfinite(variance))) return 1.0;
    return variance < 1e-20 ? 1e-20 : variance > 1e20 ? 1e20 : variance;
}

RARE void renew_scale(chain_t *c) {
    int64_t dim = c->set->dim;
    double n = (double)c->state->window_count;
    for (int64_t i = 0; i < dim; i++) {
        double plain = n > 1.0 ? c->moment[i] / (n - 1.0) : 1.0;
        double variance = c->set->use_gradients ? balance(c->moment[i], c->gradient_moment[i])
                                                : (n * plain + 5e-3) / (n + 5.0);
        c->scale[i] = sqrt(variance);
    }
    memset(c->mean, 0, 4 * (size_t)dim * sizeof(double)); /* the four moments follow each other */
}

RARE int window_closes(const settings_t *set, int64_t finished) {
    for (int64_t i = 0; i < set->windows; i++)
        if (set->window_ends[i] == finished) return 1;
    return 0;
}

/* Called after each warm-up transition; not DONE when a metric is due, or no step size works. */
RARE int adapt(chain_t *c) {
    const settings_t *set = c->set;
    chain_state *s = c->state;
    if (set->adapt_step_size) adapt_step_size(c, c->acceptance);
    if (s->transition == set->warmup - 1 && set->adapt_step_size)
        s->step_size = exp(s->log_step_bar) * (hurried(set) ? 0.5 : 1.0);
    if (!set->adapt_metric) return DONE;
    if (s->transition >= set->first && s->transition < set->stop) learn(c);
    if (!window_closes(set, s->transition + 1)) return DONE;
    if (set->window) {
        s->searched = 0;
        return WINDOW;
    }
    renew_scale(c);
    s->window_count = 0;
    return set->adapt_step_size && !start_step_size(c) ? no_step_size(c) : DONE;
}
