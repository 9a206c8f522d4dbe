/* Vector forms against scalar ones, NaN and infinity included; 0 when they agree. */
static int is_nan(double x) { /* by its bits: -ffinite-math-only would fold x != x */
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7fffffffffffffffu) > 0x7ff0000000000000u;
}

#if defined(__GNUC__)
__attribute__((noinline, cold)) /* the scalar side: made small, never of vectors itself */
#endif
static int differs(double (*volatile scalar)(double), const double *x, const double *y, int n) {
    int bad = 0;
    for (int i = 0; i < n; i++) {
        double want = scalar(x[i]);
        if (is_nan(y[i]) != is_nan(want)) bad = 1;
        if (!is_nan(want) && y[i] != want && fabs(y[i] - want) > 4e-15 * fabs(want)) bad = 1;
    }
    return bad;
}

#define CHECK(F)                                     \
    for (int i = 0; i < POINTS; i++) y[i] = F(x[i]); \
    bad |= differs(F, x, y, POINTS);

int self_check(void) {
    enum { POINTS = 64 };
    double x[POINTS], y[POINTS];
    volatile double not_a_number = NAN, endless = INFINITY;
    int bad = !isnan(not_a_number) || isfinite(endless);
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
