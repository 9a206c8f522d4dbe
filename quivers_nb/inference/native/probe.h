/* Vector forms against scalar ones, NaN and infinity included; 0 when they agree. */
static int differs(double (*volatile scalar)(double), const double *x, const double *y, int n) {
    int bad = 0;
    for (int i = 0; i < n; i++) {
        double want = scalar(x[i]);
        int both_nan = y[i] != y[i] && want != want;
        int near = y[i] == want || fabs(y[i] - want) <= 4e-15 * fabs(want);
        if (!(both_nan || near)) bad = 1;
    }
    return bad;
}

#define CHECK(F)                                     \
    for (int i = 0; i < POINTS; i++) y[i] = F(x[i]); \
    bad |= differs(F, x, y, POINTS);

int self_check(void) {
    enum { POINTS = 64 };
    double x[POINTS], y[POINTS];
    int bad = 0;
    for (int i = 0; i < POINTS; i++) x[i] = (i - 31) * (i % 3 ? 0.37 : 21.5);
    x[5] = NAN;
    x[6] = INFINITY;
    x[7] = -INFINITY;
    x[8] = 0.0;
    CHECK(exp) CHECK(expm1) CHECK(tanh) CHECK(erf) CHECK(erfc) CHECK(sin) CHECK(cos) CHECK(atan)
    for (int i = 0; i < POINTS; i++) x[i] = i < 4 ? i - 2 : ldexp(1.1 + i, 3 * (i % 40) - 60);
    x[5] = NAN;
    x[6] = INFINITY;
    x[7] = -INFINITY;
    CHECK(log) CHECK(log1p)
    return bad;
}
