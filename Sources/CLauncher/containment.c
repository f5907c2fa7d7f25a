/* What bounds a job: its limits and rights, set before its command runs, and the end of all its processes. */

#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int set_limit(int resource, uint64_t value) {
  if (value == UNLIMITED) return 0;
  /* At its hard limit of processor time a process gets SIGKILL, which says nothing; SIGXCPU comes first, a second before. */
  struct rlimit limit = {.rlim_cur = value, .rlim_max = value + (resource == RLIMIT_CPU)};
  return setrlimit(resource, &limit);
}

/* Takes the capabilities away that a later execve(2) could give back: bounding and ambient set (capabilities(7)). */
static int empty_bounding_set(void) {
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return -1;
  for (int capability = 0; capability < 64; capability++) {
    if (prctl(PR_CAPBSET_DROP, capability) != 0) return errno == EINVAL ? 0 : -1;
  }
  return 0;
}

/* Effective, permitted and inheritable set. */
static int empty_capabilities(void) {
  struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {{0}, {0}};
  return syscall(SYS_capset, &head, data);
}

static int change_identity(uid_t uid, gid_t gid) {
  if (setgroups(0, 0) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) return -1;
  /* setresuid(2) does this too, but not under every securebit that the node may have inherited. */
  if (empty_capabilities() != 0) return -1;
  uid_t real, effective, saved;
  if (getresuid(&real, &effective, &saved) != 0) return -1;
  if (real == uid && effective == uid && saved == uid) return 0;
  errno = EPERM;
  return -1;
}

int limit_processes(const struct order *order) { return set_limit(RLIMIT_NPROC, order->limits[LIMIT_PROCESSES]); }

enum step restrict_process(const struct order *order) {
  if (set_limit(RLIMIT_AS, order->limits[LIMIT_MEMORY]) != 0 || set_limit(RLIMIT_CPU, order->limits[LIMIT_CPU]) != 0 ||
      set_limit(RLIMIT_NOFILE, order->limits[LIMIT_FILES]) != 0) {
    return STEP_LIMITS;
  }
  int has_identity = (order->flags & FLAG_IDENTITY) != 0, is_sandbox = (order->flags & FLAG_SANDBOX) != 0;
  int is_final = (order->flags & FLAG_NO_NEW_PRIVILEGES) != 0;
  if (is_final && (has_identity || is_sandbox) && empty_bounding_set() != 0) return STEP_PRIVILEGES;
  if (has_identity && change_identity(order->uid, order->gid) != 0) return STEP_IDENTITY;
  /* A process that made a user namespace has all of them in it. */
  if (is_sandbox && empty_capabilities() != 0) return STEP_PRIVILEGES;
  /* As the user whose processes it counts: before, a user with more of them could not even execute the command. */
  if (!is_sandbox && limit_processes(order) != 0) return STEP_LIMITS;
  if (is_final && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return STEP_PRIVILEGES;
  return 0;
}

/* Whether a process is the child of another, which a number alone does not say: it may be another process's by now. */
static int is_child(pid_t child, pid_t parent) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", child);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  if (size <= 0) return 0;
  text[size] = 0;
  /* The name in parentheses may have any character; behind it: the state, and the parent. */
  char *name_end = strrchr(text, ')');
  int found = 0;
  return name_end && sscanf(name_end + 1, " %*c %d", &found) == 1 && found == parent;
}

/* Kills a process that somebody else may reap meanwhile. */
static void kill_grandchild(pid_t child, pid_t parent) {
  int process = syscall(SYS_pidfd_open, child, 0);
  if (process < 0) return;
  if (is_child(child, parent)) syscall(SYS_pidfd_send_signal, process, SIGKILL, 0, 0);
  close(process);
}

/* Kills the children of a process, and `generations - 1` further generations before them. */
static void kill_children(pid_t process, int generations) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", process, process);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  /* Numbers, each with a blank behind it. One that was cut off is left to the next round. */
  while (size > 0 && text[size - 1] != ' ') size--;
  if (size <= 0) return;
  text[size] = 0;
  char *end = text;
  for (;;) {
    pid_t child = strtol(end, &end, 10);
    if (child <= 0) return;
    if (generations > 1) kill_children(child, generations - 1);
    /* Nobody but this process reaps its own children, so their numbers are theirs. */
    if (process == getpid()) kill(child, SIGKILL);
    else kill_grandchild(child, process);
  }
}

/* A killed parent leaves its children to this process, so one generation a round is enough, except for processes that
   fork and end faster than they become children of this one. */
void kill_descendants(int round) { kill_children(getpid(), round < 2 ? 1 : 4); }
