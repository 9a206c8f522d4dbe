/* Random numbers that are addressed rather than advanced: Philox 4x32-10 (Salmon, Moraes, Dror and
 * Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"). */

#include <math.h>
#include <stdint.h>

typedef struct {
    uint32_t key[2], chain, purpose;
    uint64_t transition;
    uint32_t place;
} stream_t;

static void philox(const stream_t *s, uint32_t place, double out[2]) {
    uint32_t c0 = place, c1 = (uint32_t)s->transition;
    uint32_t c2 = s->purpose | (uint32_t)(s->transition >> 32) << 8, c3 = s->chain;
    uint32_t k0 = s->key[0], k1 = s->key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    uint64_t u = ((uint64_t)c0 << 32 | c1) >> 11, v = ((uint64_t)c2 << 32 | c3) >> 11;
    out[0] = ((double)u + 0.5) * 0x1.0p-53;
    out[1] = ((double)v + 0.5) * 0x1.0p-53;
}

static stream_t stream(uint64_t seed, uint64_t chain, uint64_t transition, uint32_t purpose) {
    stream_t s = {{(uint32_t)seed, (uint32_t)(seed >> 32)}, (uint32_t)chain, purpose, transition, 0};
    return s;
}

static double uniform(stream_t *s) {
    double pair[2];
    philox(s, s->place++, pair);
    return pair[0];
}

static void normals(stream_t *s, double *out, int64_t n) {
    double pair[2];
    for (int64_t i = 0; i < n; i += 2) {
        philox(s, s->place++, pair);
        double radius = sqrt(-2.0 * log(pair[0])), angle = 6.283185307179586 * pair[1];
        out[i] = radius * cos(angle);
        if (i + 1 < n) out[i + 1] = radius * sin(angle);
    }
}
