/* The launcher stands between a node and one job.

   It starts the job's command with the rights, limits and environment that the node ordered, waits for it, and ends only
   when nothing of the job is left. The order comes in a memory file, so that nothing that the job chose (environment,
   PATH, arguments) has any effect on a process with the node's rights: the launcher itself runs with an empty
   environment, is linked statically, and looks nothing up. It is a subreaper (prctl(2)): whatever a job does to its
   session, its parents or its environment, its processes become children of the launcher, which kills them when the
   job's main process ends, when it is told to (SIGQUIT), and when its node is gone (LIFE_DESCRIPTOR). SIGTERM is passed
   on to the job's process group.

   A wrapper such as bwrap runs with the job's rights, but with the node's environment. Behind it the launcher is run
   again, with an order that says so (FLAG_INNER), and gives the job's environment to the command. What it does is never
   decided by its arguments: these have the job's id, which a client chooses. */

#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A process that cannot be killed (uninterruptible sleep) is left to the node after this time. */
static const int64_t kill_seconds = 2;

/* The node's nice value, which the job has too. */
static int node_priority;

static volatile sig_atomic_t is_told_to_end, is_told_to_kill;

static void on_signal(int number) {
  if (number == SIGTERM) is_told_to_end = 1;
  if (number == SIGQUIT) is_told_to_kill = 1;
}

/* The order in the memory file `descriptor`, or a null pointer with errno set. */
static struct order *map_order(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return 0;
  if ((uint64_t)status.st_size < sizeof(struct order)) {
    errno = EINVAL;
    return 0;
  }
  struct order *order = mmap(0, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (order == MAP_FAILED) return 0;
  if (order->version != ORDER_VERSION || order->size != (uint64_t)status.st_size) {
    errno = EPROTO;
    return 0;
  }
  return order;
}

/* Points `list` at `count` strings from `*next` on, and moves `*next` behind them. */
static char **take_strings(char **next, const char *end, uint64_t count) {
  if (count > (uint64_t)(end - *next)) return 0;
  char **list = calloc(count + 1, sizeof(char *));
  for (uint64_t i = 0; list && i < count; i++) {
    char *zero = memchr(*next, 0, end - *next);
    if (!zero) return 0;
    list[i] = *next;
    *next = zero + 1;
  }
  return list;
}

/* Reads the order's strings. Returns 0, or -1 with errno set. */
static int read_commands(struct order *order, struct command *wrapper, struct command *job) {
  char *next = (char *)(order + 1), *end = (char *)order + order->size;
  wrapper->words = take_strings(&next, end, order->wrapper_words);
  if (wrapper->words) wrapper->environment = take_strings(&next, end, order->wrapper_variables);
  if (wrapper->words && wrapper->environment) job->words = take_strings(&next, end, order->words);
  if (job->words) job->environment = take_strings(&next, end, order->variables);
  if (job->environment && job->words[0]) return 0;
  errno = EPROTO;
  return -1;
}

/* Executes a command; returns if that failed. A name without a slash is looked up in the PATH of its own environment. */
static void execute(const struct command *command) {
  const char *name = command->words[0], *path = "/usr/bin:/bin";
  if (strchr(name, '/')) {
    execve(name, command->words, command->environment);
    return;
  }
  for (char **variable = command->environment; *variable; variable++) {
    if (strncmp(*variable, "PATH=", 5) == 0) path = *variable + 5;
  }
  int error = ENOENT;
  for (;;) {
    const char *colon = strchrnul(path, ':');
    char file[PATH_MAX];
    int size = snprintf(file, sizeof file, "%.*s%s%s", (int)(colon - path), path, colon == path ? "" : "/", name);
    if (size > 0 && size < (int)sizeof file) {
      execve(file, command->words, command->environment);
      /* As execvp(3): another directory may have it, unless this one's could be read but not run. */
      if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) return;
      if (errno == EACCES) error = EACCES;
    }
    if (!*colon) break;
    path = colon + 1;
  }
  errno = error;
}

/* Puts the part of the order that the inner launcher needs into a memory file of its own, as descriptor 3 of a process
   that is about to execute a wrapper: what the job may write to is not what the node reads. */
static int hand_over(const struct order *order, const struct command *job) {
  int file = memfd_create("order", 0);
  if (file < 0) return -1;
  const char *strings = job->words[0];
  struct order inner = {.version = ORDER_VERSION, .flags = FLAG_INNER, .words = order->words, .variables = order->variables};
  size_t size = (const char *)order + order->size - strings;
  inner.size = sizeof inner + size;
  if (write(file, &inner, sizeof inner) != (ssize_t)sizeof inner) return -1;
  while (size > 0) {
    ssize_t count = write(file, strings, size);
    if (count < 0) return -1;
    strings += count;
    size -= count;
  }
  return dup2(file, ORDER_DESCRIPTOR) < 0 ? -1 : 0;
}

/* In the new process: becomes the job. Returns only if that failed: the step, with errno set. */
static enum step become_job(struct order *order, const struct command *wrapper, const struct command *job, pid_t parent) {
  if (setsid() < 0 || setpriority(PRIO_PROCESS, 0, node_priority) != 0) return STEP_SESSION;
  enum step failed = restrict_process(order);
  if (failed) return failed;
  /* After the last change of identity, which clears it. */
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return STEP_SESSION;
  if (getppid() != parent) _exit(127);
  int has_wrapper = wrapper->words[0] != 0;
  if (has_wrapper && hand_over(order, job) != 0) return STEP_EXECUTE;
  if (close_range(has_wrapper ? ORDER_DESCRIPTOR + 1 : ORDER_DESCRIPTOR, ~0U, 0) != 0) return STEP_EXECUTE;
  /* By the system call, since glibc keeps two signals to itself, which posix_spawn(3) leaves ignored. */
  static const unsigned long by_default[4];
  for (int number = 1; number < NSIG; number++) syscall(SYS_rt_sigaction, number, by_default, 0, sizeof(uint64_t));
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
  execute(has_wrapper ? wrapper : job);
  return STEP_EXECUTE;
}

/* Moves this process into the job's control group. */
static int join_group(void) {
  int file = openat(GROUP_DESCRIPTOR, "cgroup.procs", O_WRONLY | O_CLOEXEC);
  return file >= 0 && write(file, "0", 1) == 1 ? 0 : -1;
}

/* Starts the job. Returns its process, or -1 with the report written. */
static pid_t start(struct order *order, const struct command *wrapper, const struct command *job) {
  pid_t parent = getpid(), child = -1;
  int must_join = 0;
  if (order->flags & FLAG_GROUP) {
    struct clone_args arguments = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = GROUP_DESCRIPTOR};
    child = syscall(SYS_clone3, &arguments, sizeof arguments);
    /* Filters of system calls cannot see the flags of clone3, so some say that there is no such call (systemd's
       RestrictNamespaces=). */
    must_join = child < 0 && errno == ENOSYS;
  }
  if (!(order->flags & FLAG_GROUP) || must_join) child = fork();
  if (child == 0) {
    enum step failed = must_join && join_group() != 0 ? STEP_FORK : become_job(order, wrapper, job, parent);
    order->error = errno;
    order->failed_step = failed;
    _exit(127);
  }
  if (child < 0) {
    order->error = errno;
    order->failed_step = STEP_FORK;
  }
  return child;
}

static int64_t seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_BOOTTIME, &time);
  return time.tv_sec;
}

/* Signals the job's process group, which is there once its process has made its session. */
static void signal_job(pid_t job, int number) {
  if (kill(-job, number) != 0) kill(job, number);
}

/* Ends what is in the job's control group at once, also what forks faster than it can be found (cgroup.kill). */
static void kill_group(void) {
  int file = openat(GROUP_DESCRIPTOR, "cgroup.kill", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  /* Without it, as on Linux before 5.14, they are found one by one. */
  ssize_t ignored = write(file, "1", 1);
  (void)ignored;
  close(file);
}

/* Reaps what has ended. Returns whether anything is left. */
static int reap(struct order *order, pid_t job) {
  siginfo_t end = {0};
  /* The job's process group is killed before its number can be another's. */
  if (!order->has_ended && waitid(P_PID, job, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == job) {
    kill(-job, SIGKILL);
  }
  for (;;) {
    int status;
    pid_t reaped = waitpid(-1, &status, WNOHANG);
    if (reaped == 0) return 1;
    if (reaped < 0) return errno != ECHILD;
    if (reaped != job) continue;
    order->status = status;
    order->has_ended = 1;
  }
}

/* Waits until nothing of the job is left. */
static void supervise(struct order *order, pid_t job) {
  sigset_t none;
  sigemptyset(&none);
  struct pollfd life = {.fd = LIFE_DESCRIPTOR};
  int64_t deadline = 0;
  for (int round = 0; reap(order, job);) {
    if (order->has_ended || is_told_to_kill) {
      if (round == 0) {
        deadline = seconds() + kill_seconds;
        if (!order->has_ended) signal_job(job, SIGKILL);
        if (order->flags & FLAG_GROUP) kill_group();
      }
      kill_descendants(round++);
      if (seconds() > deadline) {
        order->survivors = 1;
        return;
      }
      /* Those that fork all the time are found only by looking more often than they do. */
      struct timespec pause = {.tv_nsec = round < 3 ? 1000000 : 20000};
      ppoll(0, 0, &pause, &none);
      continue;
    }
    if (is_told_to_end) {
      is_told_to_end = 0;
      signal_job(job, SIGTERM);
    }
    if (ppoll(&life, 1, 0, &none) > 0) is_told_to_kill = 1;
  }
}

/* Behind a wrapper: gives the job's environment to the command. */
static int run_inner(struct order *order) {
  struct command none = {0}, job = {0};
  if (read_commands(order, &none, &job) == 0) {
    close_range(ORDER_DESCRIPTOR, ~0U, 0);
    execute(&job);
  }
  fprintf(stderr, "hero-launcher: cannot run %s: %s\n", job.words ? job.words[0] : "a job", strerror(errno));
  return errno == ENOENT ? 127 : 126;
}

int main(void) {
  struct order *order = map_order(ORDER_DESCRIPTOR);
  if (!order) {
    const char *reason = errno == EPROTO ? "it is of another version than its node, which must be started again"
                                         : "a wrapper must pass descriptor 3 on";
    fprintf(stderr, "hero-launcher: there is no order from hero-supervisor: %s (%s)\n", reason, strerror(errno));
    return 126;
  }
  if (order->flags & FLAG_INNER) return run_inner(order);
  /* Who runs with the same user id may neither look into it nor trace it. */
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NAME, "hero-launcher");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  /* Before what it has to kill; only root may. */
  node_priority = getpriority(PRIO_PROCESS, 0);
  setpriority(PRIO_PROCESS, 0, -20);
  struct command wrapper = {0}, job = {0};
  if (read_commands(order, &wrapper, &job) != 0) {
    order->error = errno;
    order->failed_step = STEP_ORDER;
    return 126;
  }
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, 0);
  struct sigaction action = {.sa_handler = on_signal};
  for (int number = 1; number < NSIG; number++) {
    if (number == SIGCHLD || number == SIGTERM || number == SIGQUIT) sigaction(number, &action, 0);
    else if (number != SIGKILL && number != SIGSTOP) signal(number, SIG_IGN);
  }
  pid_t child = start(order, &wrapper, &job);
  if (child < 0) return 126;
  /* The job's streams end with the job. */
  for (int stream = 0; stream < 3; stream++) close(stream);
  supervise(order, child);
  return 0;
}
