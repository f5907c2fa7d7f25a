/* libuv, and the calls of the system that Swift cannot make by itself: they take variable arguments, or are GNU's. */
#include <uv.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static inline int hero_set_thread_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }
static inline int hero_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

/* posix_spawn(3): POSIX_SPAWN_SETSID and these two are hidden without _GNU_SOURCE. */
enum { HERO_SPAWN_SETSID = 0x80 };
int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t *actions, const char *path);
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);

/* memfd_create(2), declared here because glibc hides it without _GNU_SOURCE; 1 is MFD_CLOEXEC. */
int memfd_create(const char *name, unsigned flags);
static inline int hero_memory_file(const char *name) { return memfd_create(name, 1); }

/* accept4(2), declared here because glibc hides it without _GNU_SOURCE. */
int accept4(int descriptor, struct sockaddr *address, socklen_t *size, int flags);
static inline int hero_accept(int descriptor) { return accept4(descriptor, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC); }

/* open(2): a descriptor that only names what it was opened for; glibc shows O_PATH with _GNU_SOURCE only. */
enum { HERO_O_PATH = __O_PATH };

/* Who is at the other end of a unix socket: SO_PEERCRED (unix(7)), whose struct ucred is GNU's. */
struct hero_credentials { int pid; unsigned uid; unsigned gid; };
static inline int hero_peer_credentials(int descriptor, struct hero_credentials *peer) {
  socklen_t size = sizeof *peer;
  return getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, peer, &size);
}
