/* Scalar functions of the emitted code that the C library lacks, in double precision. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef VECTOR_MATH
/* The C library's vector forms (libmvec), without the licence of -ffast-math to lose NaN. */
#define VECTOR __attribute__((simd("notinbranch"), const))
VECTOR double exp(double);
VECTOR double expm1(double);
VECTOR double log(double);
VECTOR double log1p(double);
VECTOR double tanh(double);
VECTOR double sin(double);
VECTOR double cos(double);
VECTOR double atan(double);
VECTOR double erf(double);
VECTOR double erfc(double);
VECTOR double pow(double, double);
VECTOR float expf(float);
VECTOR float expm1f(float);
VECTOR float logf(float);
VECTOR float log1pf(float);
VECTOR float tanhf(float);
#endif

/* A difference that -fassociative-math must not take apart: (a - b) - c is not a - (b + c) where a and
 * b are large. Nothing is moved through a fused operation whose factor is not known to be one (gcc
 * 12.2 loses its own __builtin_assoc_barrier in vector loops). */
#if defined(__FMA__) || defined(__aarch64__)
#define APART(a, b, one) _Generic((a), float: fmaf, default: fma)(a, one, -(b))
#else
#define APART(a, b, one) ((a) - (b))
#endif

/* The floor of an exact quotient, as Python divides. */
static double q_floor_divide(double a, double b) {
    if (b == 0.0) return a / b;
    double rest = fmod(a, b), whole = (a - rest) / b;
    if (rest != 0.0 && (b < 0.0) != (rest < 0.0)) whole -= 1.0;
    double below = floor(whole);
    return whole - below > 0.5 ? below + 1.0 : below;
}

static inline double q_over_root_two(double x) { return x * 0.70710678118654752440; }

/* lgamma writes a global variable; lgamma_r does not. */
double lgamma_r(double, int *);
static inline double q_lgamma(double x) {
    int sign;
    return lgamma_r(x, &sign);
}

#define Q_PI 3.14159265358979323846

/* Recurrence up to 10, then the asymptotic series (Abramowitz and Stegun 6.3.18). */
static double q_digamma(double x) {
    if (x == 0.0) return -INFINITY; /* -0 is 0 here (-fno-signed-zeros) */
    if (x < 0.0) {
        double whole;
        if (x == floor(x)) return NAN;
        double fraction = modf(x, &whole);
        return q_digamma(1.0 - x) - Q_PI / tan(Q_PI * fraction);
    }
    double shift = 0.0;
    while (x < 10.0) {
        shift -= 1.0 / x;
        x += 1.0;
    }
    double y = 1.0 / (x * x);
    double series = y * (8.33333333333333333333e-2 - y * (8.33333333333333333333e-3 -
                    y * (3.96825396825396825397e-3 - y * (4.16666666666666666667e-3 -
                    y * (7.57575757575757575758e-3 - y * (2.10927960927960927961e-2 -
                    y * 8.33333333333333333333e-2))))));
    return shift + log(x) - 0.5 / x - series;
}

/* Abramowitz and Stegun 6.4.12. */
static double q_trigamma(double x) {
    double sign = 1.0, sum = 0.0;
    if (x < 0.5) {
        if (x == floor(x)) return isinf(x) ? NAN : INFINITY;
        double s = sin(Q_PI * (x - rint(x)));
        sum -= Q_PI * Q_PI / (s * s);
        sign = -1.0;
        x = 1.0 - x;
    }
    double shift = 0.0;
    while (x < 15.0) {
        shift += 1.0 / (x * x);
        x += 1.0;
    }
    double y = 1.0 / (x * x);
    double series = 1.0 + 0.5 / x + y * (1.0 / 6.0 - y * (1.0 / 30.0 - y * (1.0 / 42.0 -
                    y * (1.0 / 30.0 - y * (5.0 / 66.0 - y * (691.0 / 2730.0 - y * 7.0 / 6.0))))));
    return sign * (sum + shift + series / x);
}

/* exp(x^2) erfc(x); the square is carried in two parts, the tail is its asymptotic series. */
static double q_erfcx(double x) {
    if (x > 25.0) {
        double r = 1.0 / x, y = 0.5 * r * r;
        double series = 1.0 - y * (1.0 - y * (3.0 - y * (15.0 - y * (105.0 - y * (945.0 - y * 10395.0)))));
        return 0.56418958354775628695 * series * r;
    }
    if (x < -27.0) return INFINITY;
    double square = x * x, rest = fma(x, x, -square);
    return exp(square) * (1.0 + rest) * erfc(x);
}

static double q_log_ndtr(double x) {
    double t = x * 0.70710678118654752440;
    if (x < -1.0) return log(0.5 * q_erfcx(-t)) - t * t;
    return log1p(-0.5 * erfc(t));
}

/* Normal quantiles: Acklam's rational start, then three steps of Halley's method. */
static double q_lower_quantile(double p) { /* 0 < p <= 1/2 */
    double x, level = log(p);
    if (p < 0.02425) {
        double r = sqrt(-2.0 * level);
        x = (((((-7.784894002430293e-3 * r - 3.223964580411365e-1) * r - 2.400758277161838) * r -
               2.549732539343734) * r + 4.374664141464968) * r + 2.938163982698783) /
            ((((7.784695709041462e-3 * r + 3.224671290700398e-1) * r + 2.445134137142996) * r +
              3.754408661907416) * r + 1.0);
    } else {
        double r = p - 0.5, s = r * r;
        x = (((((-3.969683028665376e1 * s + 2.209460984245205e2) * s - 2.759285104469687e2) * s +
               1.383577518672690e2) * s - 3.066479806614716e1) * s + 2.506628277459239) * r /
            (((((-5.447609879822406e1 * s + 1.615858368580409e2) * s - 1.556989798598866e2) * s +
               6.680131188771972e1) * s - 1.328068155288572e1) * s + 1.0);
    }
    for (int i = 0; i < 3; i++) {
        double error = ldexp(0.5 * erfc(-x * 0.70710678118654752440), 64) / ldexp(p, 64) - 1.0;
        /* p / density: 1 / density alone is beyond the range at the least p. */
        double step = error * 2.50662827463100050242 * exp(0.5 * x * x + level);
        x -= step / (1.0 + 0.5 * x * step);
    }
    return x;
}

/* Small arguments keep their relative precision: a series, then Newton on erf. */
static double q_erfinv(double y) {
    double a = fabs(y);
    if (!(a < 1.0)) return a == 1.0 ? copysign(INFINITY, y) : NAN;
    double x = a > 0.5 ? -0.70710678118654752440 * q_lower_quantile(0.5 * (1.0 - a))
                       : a * (0.88622692545275801365 + a * a * (0.23201366653465449755 +
                             a * a * (0.12755617530559795825 + a * a * 0.086552129241547337490)));
    for (int i = 0; i < 3 && a <= 0.9; i++) {
        double step = (erf(x) - a) * 0.88622692545275801365 * exp(x * x);
        x -= step / (1.0 + x * step);
    }
    return copysign(x, y);
}

static double q_ndtri(double p) {
    if (!(p > 0.0 && p < 1.0)) return p == 0.0 ? -INFINITY : p == 1.0 ? INFINITY : NAN;
    if (p > 0.25 && p < 0.75) return 1.41421356237309504880 * q_erfinv(2.0 * p - 1.0);
    return p <= 0.5 ? q_lower_quantile(p) : -q_lower_quantile(1.0 - p);
}

/* Modified Bessel functions of order 0 and 1, scaled by exp(-|x|): the power series, whose terms are
 * all positive, and beyond 30 the asymptotic one (Abramowitz and Stegun 9.6.10, 9.7.1). */
static double q_bessel(double x, int order) {
    double a = fabs(x), sum = 1.0, term = 1.0;
    if (a != a) return a;
    if (a <= 30.0) {
        double y = 0.25 * a * a;
        for (int k = 1; term > 1e-17 * sum; k++) {
            term *= y / (k * (double)(k + order));
            sum += term;
        }
        sum *= exp(-a) * (order ? 0.5 * a : 1.0);
    } else {
        for (int k = 1; k < 40 && fabs(term) > 1e-17; k++) {
            term *= -((order ? 4.0 : 0.0) - (2.0 * k - 1.0) * (2.0 * k - 1.0)) / (8.0 * k * a);
            sum += term;
        }
        sum /= sqrt(2.0 * Q_PI) * sqrt(a);
    }
    return order && x < 0.0 ? -sum : sum;
}

static double q_i0e(double x) { return q_bessel(x, 0); }
static double q_i1e(double x) { return q_bessel(x, 1); }

/* The exponential in two halves: it overflows before the function does. */
static double q_bessel_grown(double x, int order) {
    double half = exp(0.5 * fabs(x));
    return isinf(half) ? (order && x < 0.0 ? -half : half) : q_bessel(x, order) * half * half;
}

static double q_i0(double x) { return q_bessel_grown(x, 0); }
static double q_i1(double x) { return q_bessel_grown(x, 1); }
