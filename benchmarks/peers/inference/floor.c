/* Three of the benchmark's densities with gradients, written by hand: the yardstick for emitted
 * code. Coordinates in the order of the sites of the programs, positive sites as logarithms. */
#include <math.h>
#include <stdint.h>
#include <string.h>

static double square(double x) { return x * x; }

double eight(const double *q, double *g, const void *const *data, double *w) {
    const double *y = data[0], *s = data[1], *t = q + 2;
    double mu = q[0], tau = exp(q[1]), r = tau / 5.0, value, by_tau = 0.0;
    (void)w;
    value = -0.5 * square(mu / 5.0) - log1p(r * r) + q[1];
    g[0] = -mu / 25.0;
    for (int i = 0; i < 8; i++) {
        double e = (y[i] - mu - tau * t[i]) / s[i], d = e / s[i];
        value -= 0.5 * (e * e + t[i] * t[i]);
        g[0] += d;
        by_tau += d * t[i];
        g[2 + i] = d * tau - t[i];
    }
    g[1] = tau * by_tau - 2.0 * r * r / (1.0 + r * r) + 1.0;
    return value;
}

double logreg(const double *restrict q, double *restrict g, const void *const *data,
              double *restrict w) {
    enum { N = 1000, D = 20 };
    const double *restrict x = data[0], *restrict y = data[1];
    double *restrict rest = w, value = -0.5 * square(q[0] / 2.5), sum = 0.0;
    for (int i = 0; i < N; i++) {
        double e = q[0];
        for (int j = 0; j < D; j++) e += x[i * D + j] * q[1 + j];
        rest[i] = e;
    }
    for (int i = 0; i < N; i++) {
        double e = rest[i], small = exp(-fabs(e)), p = (e > 0 ? 1.0 : small) / (1.0 + small);
        value += y[i] * e - (e > 0 ? e : 0.0) - log1p(small);
        rest[i] = y[i] - p;
        sum += rest[i];
    }
    g[0] = sum - q[0] / 6.25;
    for (int j = 0; j < D; j++) {
        g[1 + j] = -q[1 + j];
        value -= 0.5 * square(q[1 + j]);
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++) g[1 + j] += rest[i] * x[i * D + j];
    return value;
}

double radon(const double *restrict q, double *restrict g, const void *const *data,
             double *restrict w) {
    enum { N = 900, G = 85 };
    const int64_t *restrict idx = data[0];
    const double *restrict floors = data[1], *restrict u = data[2], *restrict y = data[3];
    const double *restrict za = q + 6, *restrict zb = q + 6 + G;
    double *restrict a = w, *restrict b = w + 96, *restrict ga = w + 192, *restrict gb = w + 288;
    double sa = exp(q[3]), sb = exp(q[4]), precision = exp(-q[5]), value = 0.0, squares = 0.0;
    for (int k = 0; k < G; k++) {
        a[k] = q[0] + q[1] * u[k] + sa * za[k];
        b[k] = q[2] + sb * zb[k];
        ga[k] = gb[k] = 0.0;
    }
    for (int i = 0; i < N; i++) {
        double e = (y[i] - a[idx[i]] - b[idx[i]] * floors[i]) * precision;
        squares += e * e;
        ga[idx[i]] += e;
        gb[idx[i]] += e * floors[i];
    }
    double by[5] = {0.0};
    for (int k = 0; k < G; k++) {
        double da = ga[k] * precision, db = gb[k] * precision;
        by[0] += da;
        by[1] += da * u[k];
        by[2] += db;
        by[3] += da * za[k];
        by[4] += db * zb[k];
        value -= 0.5 * (za[k] * za[k] + zb[k] * zb[k]);
        g[6 + k] = da * sa - za[k];
        g[6 + G + k] = db * sb - zb[k];
    }
    for (int k = 0; k < 3; k++) {
        value -= 0.5 * square(q[k] / 2.0);
        g[k] = by[k] - q[k] / 4.0;
    }
    double scale[3] = {sa, sb, exp(q[5])};
    for (int k = 0; k < 3; k++) value += q[3 + k] - 0.5 * square(scale[k]);
    g[3] = by[3] * sa + 1.0 - sa * sa;
    g[4] = by[4] * sb + 1.0 - sb * sb;
    g[5] = squares - N + 1.0 - scale[2] * scale[2];
    return value - 0.5 * squares - N * q[5];
}
