/* The walls of a sandboxed job: namespaces, a root of its own, and a filter of system calls.

   The first process of the sandbox's PID namespace is a copy of the launcher. It makes the root out of what the order
   lists, and nothing else is there; gives up the job's rights as well as the job does; and starts the job's main process,
   which has these walls from its first instruction on. It can be neither signalled nor traced by the job, and when it
   ends, or its launcher does, the kernel kills all that is left in the sandbox. */

#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t sandbox_namespaces(const struct order *order) {
  if (!(order->flags & FLAG_SANDBOX)) return 0;
  uint64_t namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  if (!(order->flags & FLAG_NETWORK)) namespaces |= CLONE_NEWNET;
  if (order->flags & FLAG_USER_NAMESPACE) namespaces |= CLONE_NEWUSER;
  return namespaces;
}

static int write_text(const char *path, const char *text) {
  int file = open(path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t count = write(file, text, strlen(text));
  close(file);
  return count == (ssize_t)strlen(text) ? 0 : -1;
}

/* In a user namespace: has the node's own numbers in it, and no others (user_namespaces(7)). */
static int map_identity(const struct order *order) {
  char user[64], group[64];
  snprintf(user, sizeof user, "%u %u 1", (unsigned)order->uid, (unsigned)order->uid);
  snprintf(group, sizeof group, "%u %u 1", (unsigned)order->gid, (unsigned)order->gid);
  /* As in come_after_node. */
  prctl(PR_SET_DUMPABLE, 1);
  int result = write_text("/proc/self/setgroups", "deny");
  if (result == 0) result = write_text("/proc/self/uid_map", user);
  if (result == 0) result = write_text("/proc/self/gid_map", group);
  prctl(PR_SET_DUMPABLE, 0);
  return result;
}

/* Makes a file system without a place. */
static int make_file_system(const char *type, uint64_t memory, unsigned attributes) {
  int context = fsopen(type, FSOPEN_CLOEXEC), mount = -1, failed = 0;
  if (context < 0) return -1;
  if (memory) {
    char size[32], files[32];
    snprintf(size, sizeof size, "%llu", (unsigned long long)memory);
    snprintf(files, sizeof files, "%llu", (unsigned long long)(memory / 4096 + 1024));
    failed = fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) != 0 ||
             fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", files, 0) != 0 ||
             fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) != 0;
  }
  if (!failed && fsconfig(context, FSCONFIG_CMD_CREATE, 0, 0, 0) == 0) mount = fsmount(context, FSMOUNT_CLOEXEC, attributes);
  int error = errno;
  close(context);
  errno = error;
  return mount;
}

/* Takes what a mount shows, as it is outside, with attributes of its own for it and all that is mounted below. */
static int take(const char *source, unsigned attributes) {
  struct mount_attr change = {.attr_set = attributes, .propagation = MS_PRIVATE};
  int tree = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &change, sizeof change) == 0) return tree;
  int error = errno;
  close(tree);
  errno = error;
  return -1;
}

/* Makes what a mount is put on, with the directories above it. */
static int make_place(int root, const char *place, mode_t type, mode_t mode) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s", place) >= (int)sizeof path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdirat(root, path, 0755) != 0 && errno != EEXIST) return -1;
    *slash = '/';
  }
  int result = S_ISDIR(type) ? mkdirat(root, path, mode) : mknodat(root, path, S_IFREG | mode, 0);
  return result == 0 || errno == EEXIST ? 0 : -1;
}

/* Puts one mount at its place, relative to the root. `tree` is what was taken for it outside. */
static int put(int root, int kind, const char *place, int tree) {
  struct stat status = {.st_mode = S_IFDIR};
  if (kind != MOUNT_PROCESSES && kind != MOUNT_EMPTY && fstat(tree, &status) != 0) return -1;
  if (make_place(root, place, status.st_mode, kind == MOUNT_EMPTY ? 01777 : 0755) != 0) return -1;
  if (kind == MOUNT_PROCESSES) {
    /* Of the namespace that this process is the first of. Nobody writes to it: settings of the kernel are in there. */
    tree = make_file_system("proc", 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  } else if (kind == MOUNT_EMPTY) {
    /* The root itself will be closed to changes, but not this part of it. */
    tree = open_tree(root, place, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  }
  if (tree < 0) return -1;
  int result = move_mount(tree, "", root, place, MOVE_MOUNT_F_EMPTY_PATH);
  int error = errno;
  close(tree);
  errno = error;
  return result;
}

/* Without it, not even this process's own sockets could reach each other by 127.0.0.1. */
static int start_loopback(void) {
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  int file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  /* A system without IPv4 has nothing to start. */
  if (file < 0) return errno == EAFNOSUPPORT ? 0 : -1;
  int result = ioctl(file, SIOCSIFFLAGS, &request);
  close(file);
  return result;
}

static int build(const struct work *work) {
  const unsigned closed = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  const unsigned own = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, device = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  uint64_t count = work->order->mounts;
  int *trees = calloc(count + 1, sizeof(int));
  if (!trees || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) != 0) return -1;
  /* All that comes from outside first: then the new root is in its way. */
  for (uint64_t i = 0; i < count; i++) {
    const char *mount = work->mounts[i], *place = mount + 1;
    trees[i] = *mount == MOUNT_SYSTEM   ? take(place, closed)
               : *mount == MOUNT_DEVICE ? take(place, device)
               : *mount == MOUNT_OWN    ? take(".", own)
                                        : -2;
    if (trees[i] == -1 && (*mount != MOUNT_SYSTEM || (errno != ENOENT && errno != ENOTDIR))) return -1;
  }
  int root = make_file_system("tmpfs", work->order->memory, own);
  if (root < 0 || move_mount(root, "", AT_FDCWD, "/usr", MOVE_MOUNT_F_EMPTY_PATH) != 0) return -1;
  const char *directory = "/";
  for (uint64_t i = 0; i < count; i++) {
    /* A place is an absolute path. */
    if (trees[i] != -1 && put(root, *work->mounts[i], work->mounts[i] + 2, trees[i]) != 0) return -1;
    if (*work->mounts[i] == MOUNT_OWN) directory = work->mounts[i] + 1;
  }
  free(trees);
  static const char *const links[][2] = {
      {"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"},
      {"/proc/self/fd/2", "dev/stderr"}};
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
    if (symlinkat(links[i][0], root, links[i][1]) != 0) return -1;
  }
  struct mount_attr change = {.attr_set = closed};
  if (mount_setattr(root, "", AT_EMPTY_PATH, &change, sizeof change) != 0 || fchdir(root) != 0) return -1;
  close(root);
  /* pivot_root(2): the old root comes to lie on the new one, and goes. */
  if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0) return -1;
  return chdir(directory);
}

enum step enter_sandbox(const struct work *work) {
  if ((work->order->flags & FLAG_USER_NAMESPACE) && map_identity(work->order) != 0) return STEP_NAMESPACES;
  if (!(work->order->flags & FLAG_NETWORK) && start_loopback() != 0) return STEP_NAMESPACES;
  mode_t mask = umask(0);
  int result = build(work);
  umask(mask);
  return result == 0 ? 0 : STEP_WALLS;
}

enum step filter_system_calls(const struct work *work) {
  struct sock_fprog program = {
      .len = work->order->filter_size, .filter = (struct sock_filter *)work->filter};
  return prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, &program, 0, 0) == 0 ? 0 : STEP_FILTER;
}

void keep_sandbox(struct order *order, pid_t job) {
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGCHLD);
  sigaddset(&awaited, SIGTERM);
  /* The job's streams end with the job; all else that is open is none of the sandbox's. */
  close_range(0, ~0U, 0);
  for (;;) {
    int status;
    pid_t reaped;
    while ((reaped = waitpid(-1, &status, WNOHANG)) > 0) {
      if (reaped != job) continue;
      order->main_status = status;
      order->main_ended = 1;
      _exit(0);
    }
    /* All signals are blocked, so none is missed. */
    if (sigwaitinfo(&awaited, 0) == SIGTERM) signal_job(job, SIGTERM);
  }
}
