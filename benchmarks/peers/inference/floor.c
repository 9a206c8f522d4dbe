/* The benchmark's densities with gradients, written by hand: the yardstick for emitted code.
 * Coordinates in the order of the sites of the programs, positive sites as logarithms. */
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

double irt(const double *restrict q, double *restrict g, const void *const *data,
           double *restrict w) {
    enum { P = 100, I = 20 };
    const double *restrict y = data[0], *restrict th = q, *restrict zb = q + P + 2;
    const double *restrict la = q + P + 2 + I;
    double *restrict rest = w, *restrict by_b = w + P * I, *restrict by_slope = by_b + I;
    double b[I], slope[I], mb = q[P], sb = exp(q[P + 1]), value = 0.0, by_mb = 0.0, by_sb = 0.0;
    for (int i = 0; i < I; i++) {
        b[i] = mb + sb * zb[i];
        slope[i] = exp(la[i]);
        by_b[i] = by_slope[i] = 0.0;
    }
    for (int p = 0; p < P; p++)
        for (int i = 0; i < I; i++) rest[p * I + i] = slope[i] * (th[p] - b[i]);
    for (int k = 0; k < P * I; k++) {
        double e = rest[k], small = exp(-fabs(e)), c = (e > 0 ? 1.0 : small) / (1.0 + small);
        value += y[k] * e - (e > 0 ? e : 0.0) - log1p(small);
        rest[k] = y[k] - c;
    }
    for (int p = 0; p < P; p++) {
        double by_th = 0.0;
        for (int i = 0; i < I; i++) {
            double d = rest[p * I + i];
            by_th += d * slope[i];
            by_b[i] += d;
            by_slope[i] += d * (th[p] - b[i]);
        }
        g[p] = by_th - th[p];
        value -= 0.5 * square(th[p]);
    }
    for (int i = 0; i < I; i++) {
        double d = -by_b[i] * slope[i];
        by_mb += d;
        by_sb += d * zb[i];
        g[P + 2 + i] = d * sb - zb[i];
        g[P + 2 + I + i] = by_slope[i] * slope[i] - 4.0 * la[i];
        value -= 0.5 * square(zb[i]) + 2.0 * square(la[i]);
    }
    g[P] = by_mb - mb;
    g[P + 1] = by_sb * sb + 1.0 - sb * sb;
    return value - 0.5 * square(mb) + q[P + 1] - 0.5 * square(sb);
}

double horseshoe(const double *restrict q, double *restrict g, const void *const *data,
                 double *restrict w) {
    enum { N = 200, D = 50 };
    const double *restrict x = data[0], *restrict y = data[1], *restrict log_lam = q + 2;
    const double *restrict z = q + 2 + D;
    double *restrict lam = w, *restrict beta = w + 64, *restrict by_beta = w + 128;
    double tau = exp(q[1]), r = tau / 0.1, sig = exp(q[2 + 2 * D]), precision = 1.0 / sig;
    double value = -0.5 * square(q[0] / 5.0) - log1p(r * r) + q[1], sum = 0.0, squares = 0.0;
    double by_tau = 0.0;
    for (int j = 0; j < D; j++) {
        lam[j] = exp(log_lam[j]);
        beta[j] = tau * lam[j] * z[j];
        by_beta[j] = 0.0;
    }
    for (int i = 0; i < N; i++) {
        double m = q[0];
        for (int j = 0; j < D; j++) m += x[i * D + j] * beta[j];
        double e = (y[i] - m) * precision;
        squares += e * e;
        sum += e;
        for (int j = 0; j < D; j++) by_beta[j] += e * x[i * D + j];
    }
    for (int j = 0; j < D; j++) {
        double d = by_beta[j] * precision, l = lam[j] * lam[j], share = d * beta[j];
        by_tau += share;
        g[2 + j] = share - 2.0 * l / (1.0 + l) + 1.0;
        g[2 + D + j] = d * tau * lam[j] - z[j];
        value += log_lam[j] - log1p(l) - 0.5 * z[j] * z[j];
    }
    g[0] = sum * precision - q[0] / 25.0;
    g[1] = by_tau - 2.0 * r * r / (1.0 + r * r) + 1.0;
    g[2 + 2 * D] = squares - N + 1.0 - 0.25 * sig * sig;
    return value - 0.5 * squares - N * q[2 + 2 * D] + q[2 + 2 * D] - 0.5 * square(0.5 * sig);
}

/* No density: all that the gradient of the logistic regression must read, read once. */
double reading(const double *restrict q, double *restrict g, const void *const *data,
               double *restrict w) {
    const double *restrict x = data[0], *restrict y = data[1];
    const int64_t rows = *(const int64_t *)data[2];
    double sum = 0.0;
    (void)q, (void)g, (void)w;
    for (int64_t i = 0; i < 20 * rows; i++) sum += x[i];
    for (int64_t i = 0; i < rows; i++) sum += y[i];
    return sum;
}
