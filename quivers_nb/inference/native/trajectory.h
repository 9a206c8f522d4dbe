/* Transitions: trajectories without U-turns, and paths of fixed length.
 *
 * Multinomial trajectories with the generalised U-turn criterion and its two extra checks between
 * neighbouring subtrees (Betancourt 2017, arXiv:1701.02434; Hoffman and Gelman 2014).
 */

/* log(e^a + e^b), and the lesser of the two weights over the greater into `less`. */
static double log_add(double a, double b, double *less) {
    double high = a > b ? a : b, low = a > b ? b : a;
    *less = high == -INFINITY ? 0.0 : exp(low - high);
    return high + log(1.0 + *less);
}

ONCE int no_u_turn(const chain_t *c, const double *restrict p_begin,
                     const double *restrict p_end, const double *restrict rho_a,
                     const double *restrict rho_b) {
    double begin = 0.0, end = 0.0;
    for (int64_t i = 0; i < c->set->dim; i++) {
        double r = rho_a[i] + rho_b[i];
        begin += p_begin[i] * r;
        end += p_end[i] * r;
    }
    return begin > 0.0 && end > 0.0;
}

static int leaf(chain_t *c, point_t *proposal, double *rho, double *p_begin, double *p_end,
                double step, double *log_weight) {
    int64_t n = c->set->dim;
    double gain = 0.0;
    int going = move(c, step, &gain);
    if (c->stopping) return 0;
    *log_weight = gain;
    c->accept_sum += gain > 0.0 ? 1.0 : exp(gain);
    copy_position(proposal, &c->here, n);
    copy(rho, c->here.p, n);
    copy(p_begin, c->here.p, n);
    copy(p_end, c->here.p, n);
    return going;
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
    double less;
    *log_weight = log_add(first, second, &less);
    if (uniform(&c->decisions) * (1.0 + less) < (second > first ? 1.0 : less))
        copy_position(proposal, &mine->proposal, n);
    int going = no_u_turn(c, p_begin, p_end, rho, mine->rho) &&
                no_u_turn(c, p_begin, mine->p_right_begin, rho, mine->p_right_begin) &&
                no_u_turn(c, mine->p_left_end, p_end, mine->rho, mine->p_left_end);
    add(rho, 1.0, mine->rho, n);
    return going;
}

/* From `sample` to the next `sample`; returns the depth of the trajectory. */
static int64_t no_u_turns(chain_t *c) {
    int64_t n = c->set->dim, depth = 0;
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
        double less, sum = log_add(log_weight, new_weight, &less);
        if (uniform(&c->decisions) < (new_weight > log_weight ? 1.0 : less))
            copy_position(&c->sample, &c->candidate, n);
        log_weight = sum;
        int going = no_u_turn(c, far->p, c->p_outer, c->rho, c->rho_new) &&
                    no_u_turn(c, far->p, c->p_inner, c->rho, c->p_inner) &&
                    no_u_turn(c, near->p, c->p_outer, c->rho_new, near->p);
        copy_point(near, &c->here, n);
        add(c->rho, 1.0, c->rho_new, n);
        if (!going) break;
    }
    if (c->leapfrogs) c->acceptance = c->accept_sum / (double)c->leapfrogs;
    return depth;
}

/* The end of a path of `path` leapfrogs, accepted or not (Neal 2011); depth 0. */
static int64_t fixed_path(chain_t *c) {
    double gain = 0.0;
    for (int64_t k = 0; k < c->set->path; k++)
        if (!move(c, c->state->step_size, &gain)) return 0;
    c->acceptance = gain > 0.0 ? 1.0 : exp(gain);
    if (uniform(&c->decisions) < c->acceptance) copy_position(&c->sample, &c->here, c->set->dim);
    return 0;
}

static int64_t transition(chain_t *c) {
    set_out(c);
    return c->set->path ? fixed_path(c) : no_u_turns(c);
}
