/* exp, log and log1p without branches, for compilers that have no vector forms of their own (no
 * libmvec: macOS, musl, clang). Cephes-style reduction, good to about 2 ulp. fma() marks the steps
 * that -fassociative-math must not reorder. Needs fused multiply-add in hardware. */
#if !defined(VECTOR_MATH) && (defined(__FMA__) || defined(__aarch64__))

static inline double q_exp(double x) {
    double y = x < -746.0 ? -746.0 : x;
    y = y > 710.0 ? 710.0 : y; /* NaN passes both */
    double n = rint(y * 1.4426950408889634074);
    double r = fma(-n, 6.93147180369123816490e-1, y);
    r = fma(-n, 1.90821492927058770002e-10, r);
    double p = 1.0 / 6227020800.0;
    p = fma(p, r, 1.0 / 479001600.0);
    p = fma(p, r, 1.0 / 39916800.0);
    p = fma(p, r, 1.0 / 3628800.0);
    p = fma(p, r, 1.0 / 362880.0);
    p = fma(p, r, 1.0 / 40320.0);
    p = fma(p, r, 1.0 / 5040.0);
    p = fma(p, r, 1.0 / 720.0);
    p = fma(p, r, 1.0 / 120.0);
    p = fma(p, r, 1.0 / 24.0);
    p = fma(p, r, 1.0 / 6.0);
    p = fma(p, r, 0.5);
    p = fma(p, r, 1.0);
    p = fma(p, r, 1.0);
    /* 2^n in two factors, so that both ends of the range are reached. NaN: any n will do. */
    int32_t k = (int32_t)(n == n ? n : 0.0), half = k >> 1;
    int64_t first = ((int64_t)half + 1023) << 52, second = ((int64_t)(k - half) + 1023) << 52;
    double a, b;
    memcpy(&a, &first, sizeof a);
    memcpy(&b, &second, sizeof b);
    return p * a * b;
}

/* log(2^e (1 + f)) for f in [sqrt(1/2) - 1, sqrt(2) - 1]: fdlibm's polynomial. */
static inline double q_log_near_one(double e, double f) {
    double s = f / (2.0 + f), z = s * s, p = 1.479819860511658591e-1;
    p = fma(p, z, 1.531383769920937332e-1);
    p = fma(p, z, 1.818357216161805012e-1);
    p = fma(p, z, 2.222219843214978396e-1);
    p = fma(p, z, 2.857142874366239149e-1);
    p = fma(p, z, 3.999999999940941908e-1);
    p = fma(p, z, 6.666666666666735130e-1);
    double square = 0.5 * f * f;
    double tail = fma(s, fma(p, z, square), e * 1.90821492927058770002e-10);
    return fma(e, 6.93147180369123816490e-1, f - (square - tail));
}

static inline double q_log_parts(double x, double *e) { /* x > 0, finite and normal */
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t high = (int32_t)(bits >> 32) + (0x3ff00000 - 0x3fe6a09e);
    *e = (double)((high >> 20) - 0x3ff);
    int64_t scaled = (int64_t)((high & 0xfffff) + 0x3fe6a09e) << 32 | (bits & 0xffffffff);
    double m;
    memcpy(&m, &scaled, sizeof m);
    return m - 1.0;
}

static inline double q_log_edges(double x, double y) { /* y, or what log gives where x is extreme */
    y = x == 0.0 ? -INFINITY : y;
    y = x < 0.0 ? NAN : y;
    return x < INFINITY ? y : x; /* infinity and NaN */
}

static inline double q_log(double x) {
    double e, tiny = x < 2.2250738585072014e-308 ? 1.0 : 0.0;
    double f = q_log_parts(tiny != 0.0 ? x * 0x1p54 : x, &e);
    return q_log_edges(x, q_log_near_one(e - 54.0 * tiny, f));
}

static inline double q_log1p(double x) {
    double e, u = 1.0 + x, f = q_log_parts(u, &e);
    int near = x > -0.29 && x < 0.41;
    return q_log_edges(u, q_log_near_one(near ? 0.0 : e, near ? x : f));
}

#define exp(x) q_exp(x)
#define log(x) q_log(x)
#define log1p(x) q_log1p(x)
#endif
