/* Segments of rows, which a density may leave to others. It is given a desk behind its data, or 0,
 * and then it runs them itself, one after the other. */
#include <stdint.h>

typedef void (*segment_fn)(const void *task, int64_t number);
typedef struct desk {
    void (*share)(struct desk *, segment_fn, const void *task, int64_t count);
} desk_t;

static inline void q_share(const void *desk, segment_fn run, const void *task, int64_t count) {
    if (desk)
        ((desk_t *)desk)->share((desk_t *)desk, run, task, count);
    else
        for (int64_t i = 0; i < count; i++) run(task, i);
}
