/* Random numbers that are addressed rather than advanced: Philox 4x32-10 (Salmon, Moraes, Dror and
 * Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"). */

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef VECTOR_MATH /* the C library's vector forms, as in scalar.h */
#define VECTOR __attribute__((simd("notinbranch"), const))
VECTOR double log(double);
VECTOR double cos(double);
#endif

/* Each kind of loop is compiled once: most of the time that a compiler takes for the sampler goes
 * into the vector forms of loops, and every copy of one in a caller has forms of its own. */
#if defined(__GNUC__)
#define ONCE static __attribute__((noinline, hot))
#define RARE static __attribute__((noinline, cold)) /* nothing that a leapfrog waits for */
#else
#define ONCE static
#define RARE static
#endif

enum { LANES = 8, BATCH = 2 * LANES }; /* numbers are made a batch at a time, as vectors */

typedef struct {
    uint32_t key[2], chain, purpose;
    uint64_t transition;
    uint32_t place, unread;
    double batch[BATCH];
} stream_t;

static void begin(stream_t *s, uint64_t seed, uint64_t chain, uint64_t transition,
                  uint32_t purpose) {
    s->key[0] = (uint32_t)seed;
    s->key[1] = (uint32_t)(seed >> 32);
    s->chain = (uint32_t)chain;
    s->purpose = purpose;
    s->transition = transition;
    s->place = s->unread = 0;
}

/* Ten rounds at each of the next `LANES` places: two numbers in (0, 1], the second LANES later. */
ONCE void fill(stream_t *s) {
    uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES], k0 = s->key[0], k1 = s->key[1];
    for (uint32_t i = 0; i < LANES; i++) {
        c0[i] = s->place + i;
        c1[i] = (uint32_t)s->transition;
        c2[i] = s->purpose | (uint32_t)(s->transition >> 32) << 8;
        c3[i] = s->chain;
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < LANES; i++) {
            uint64_t a = (uint64_t)0xD2511F53u * c0[i], b = (uint64_t)0xCD9E8D57u * c2[i];
            c0[i] = (uint32_t)(b >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)b;
            c2[i] = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < LANES; i++) {
        uint64_t u = ((uint64_t)c0[i] << 32 | c1[i]) >> 11;
        uint64_t v = ((uint64_t)c2[i] << 32 | c3[i]) >> 11;
        s->batch[i] = ((double)u + 0.5) * 0x1.0p-53;
        s->batch[LANES + i] = ((double)v + 0.5) * 0x1.0p-53;
    }
    s->place += LANES;
    s->unread = BATCH;
}

static double uniform(stream_t *s) {
    if (s->unread == 0) fill(s);
    return s->batch[BATCH - s->unread--];
}

/* Two normal numbers of two uniform ones (Box and Muller 1958). The sine is written as a cosine: a
 * compiler takes both at once where it can, and that has no vector form. */
ONCE void pairs(const double *restrict u, const double *restrict v, double *restrict a,
                double *restrict b) {
    for (int i = 0; i < LANES; i++) {
        double level = -2.0 * log(u[i]), angle = 6.283185307179586 * v[i];
        double radius = sqrt(level > 0.0 ? level : 0.0);
        a[i] = radius * cos(angle);
        b[i] = radius * cos(angle - 1.5707963267948966);
    }
}

static void normals(stream_t *s, double *out, int64_t n) {
    for (int64_t start = 0; start < n; start += BATCH) {
        double made[BATCH];
        fill(s);
        pairs(s->batch, s->batch + LANES, made, made + LANES);
        int64_t wanted = n - start < BATCH ? n - start : BATCH;
        memcpy(out + start, made, (size_t)wanted * sizeof(double));
    }
}
