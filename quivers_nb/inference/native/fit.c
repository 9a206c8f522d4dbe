/* Steps of Adam (Kingma and Ba 2015, algorithm 1) on a compiled loss whose noise is given.
 *
 * The loss reads one vector: `fitted` parameters, then `noise` numbers that are new in each step.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef double (*loss_fn)(const real *q, real *gradient, const void *const *data, real *work);

typedef struct {
    int64_t fitted, noise;
    double rate, beta1, beta2, epsilon;
} adam_t;

/* `made` steps have been made. Stops before a step whose loss is not finite; returns the number of
 * losses written, that one included. */
int64_t fit(loss_fn loss, const void *const *data, real *work, const adam_t *set, real *q, real *g,
            real *restrict mean, real *restrict square, int64_t made, const real *noise,
            int64_t steps, real *losses) {
    const real b1 = (real)set->beta1, b2 = (real)set->beta2, epsilon = (real)set->epsilon;
    for (int64_t k = 0; k < steps; k++) {
        memcpy(q + set->fitted, noise + k * set->noise, (size_t)set->noise * sizeof(real));
        losses[k] = (real)loss(q, g, data, work);
        if (!isfinite(losses[k])) return k + 1;
        double t = (double)(made + k + 1), still = sqrt(1.0 - pow(set->beta2, t));
        const real step = (real)(set->rate / (1.0 - pow(set->beta1, t))), root = (real)(1.0 / still);
        for (int64_t i = 0; i < set->fitted; i++) {
            mean[i] += (1 - b1) * (g[i] - mean[i]);
            square[i] = b2 * square[i] + (1 - b2) * g[i] * g[i];
            q[i] -= step * mean[i] / ((real)sqrt(square[i]) * root + epsilon);
        }
    }
    return steps;
}
