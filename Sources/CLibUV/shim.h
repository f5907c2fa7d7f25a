/* libuv, and the calls of the system that Swift cannot make by itself because they take variable arguments. */
#include <uv.h>
#include <sys/prctl.h>

static inline int hero_set_thread_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }
static inline int hero_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }
