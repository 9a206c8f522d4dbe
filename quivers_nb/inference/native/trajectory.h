/* Transitions: trajectories without U-turns, and paths of fixed length.
 *
 * Multinomial trajectories with the generalised U-turn criterion and its two extra checks between
 * neighbouring subtrees (Betancourt 2017, arXiv:1701.02434; Hoffman and Gelman 2014).
 */

/* The weight of states is mass e^unit. The unit is 0 but where that is out of range: no logarithm is
 * taken to add weights. */
typedef struct {
    double mass, unit;
} weight_t;

static weight_t weight_of(double gain) {
    weight_t near = {exp(gain), 0.0}, far = {1.0, gain};
    return fabs(gain) < 500.0 ? near : far;
}

RARE void share_unit(weight_t *a, weight_t *b) {
    weight_t *less = a->unit < b->unit ? a : b, *more = a->unit < b->unit ? b : a;
    less->mass *= exp(less->unit - more->unit);
    less->unit = more->unit;
}

/* Joins the momenta of neighbouring trajectories, a before b: whether none of the whole, a with the
 * first of b, and b with the last of a makes a U-turn. rho_a becomes the sum. */
ONCE int no_u_turn(const chain_t *c, const double *begin_a, const double *end_a, double *restrict rho_a,
                   const double *begin_b, const double *end_b, const double *rho_b) {
    double whole_begin = 0.0, whole_end = 0.0, a_begin = 0.0, a_end = 0.0, b_begin = 0.0, b_end = 0.0;
    for (int64_t i = 0; i < c->set->dim; i++) {
        double whole = rho_a[i] + rho_b[i], a = rho_a[i] + begin_b[i], b = rho_b[i] + end_a[i];
        whole_begin += begin_a[i] * whole;
        whole_end += end_b[i] * whole;
        a_begin += begin_a[i] * a;
        a_end += begin_b[i] * a;
        b_begin += end_a[i] * b;
        b_end += end_b[i] * b;
        rho_a[i] = whole;
    }
    return whole_begin > 0.0 && whole_end > 0.0 && a_begin > 0.0 && a_end > 0.0 && b_begin > 0.0 &&
           b_end > 0.0;
}

static int leaf(chain_t *c, point_t *proposal, double *rho, double *p_begin, double *p_end,
                double step, weight_t *weight) {
    double gain = 0.0;
    int going = move(c, step, &gain);
    if (c->stopping) return 0;
    *weight = weight_of(gain);
    c->accept_sum += gain > 0.0 ? 1.0 : weight->unit == 0.0 ? weight->mass : 0.0;
    keep_leaf(&c->here, proposal, rho, p_begin, p_end, c->set->dim);
    return going;
}

/* Extends the trajectory from `here` by 2^depth steps; 0 when the subtree must be thrown away. */
static int subtree(chain_t *c, int64_t depth, point_t *proposal, double *rho, double *p_begin,
                   double *p_end, double step, weight_t *weight) {
    if (depth == 0) return leaf(c, proposal, rho, p_begin, p_end, step, weight);
    level_t *mine = &c->level[depth];
    weight_t more;
    if (!subtree(c, depth - 1, proposal, rho, p_begin, mine->p_left_end, step, weight)) return 0;
    if (!subtree(c, depth - 1, &mine->proposal, mine->rho, mine->p_right_begin, p_end, step, &more))
        return 0;
    if (weight->unit != more.unit) share_unit(weight, &more);
    weight->mass += more.mass;
    if (uniform(&c->decisions) * weight->mass < more.mass)
        copy_position(proposal, &mine->proposal, c->set->dim);
    return no_u_turn(c, p_begin, mine->p_left_end, rho, mine->p_right_begin, p_end, mine->rho);
}

/* From `sample` to the next `sample`; returns the depth of the trajectory. */
static int64_t no_u_turns(chain_t *c) {
    int64_t n = c->set->dim, depth = 0;
    copy_point(&c->left, &c->here, n);
    copy_point(&c->right, &c->here, n);
    copy(c->rho, c->here.p, n);
    weight_t weight = {1.0, 0.0}, more;
    while (depth < c->set->max_depth) {
        int forward = uniform(&c->decisions) > 0.5;
        point_t *near = forward ? &c->right : &c->left, *far = forward ? &c->left : &c->right;
        double step = forward ? c->state->step_size : -c->state->step_size;
        copy_point(&c->here, near, n);
        if (!subtree(c, depth, &c->candidate, c->rho_new, c->p_inner, c->p_outer, step, &more)) break;
        depth++;
        if (weight.unit != more.unit) share_unit(&weight, &more);
        if (uniform(&c->decisions) * weight.mass < more.mass)
            copy_position(&c->sample, &c->candidate, n);
        weight.mass += more.mass;
        int going = no_u_turn(c, far->p, near->p, c->rho, c->p_inner, c->p_outer, c->rho_new);
        copy_point(near, &c->here, n);
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
