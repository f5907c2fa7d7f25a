/* libseccomp: filters of system calls, and those of its macros that Swift cannot use by itself. */
#include <seccomp.h>

static const uint32_t hero_allow = SCMP_ACT_ALLOW;
static const uint32_t hero_kill = SCMP_ACT_KILL_PROCESS;
static inline uint32_t hero_refuse(uint16_t error) { return SCMP_ACT_ERRNO(error); }
