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
#include <linux/filter.h>
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

/* The node's nice value. */
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

/* Reads the order's strings and its filter. Returns 0, or -1 with errno set. */
static int read_work(struct work *work) {
  const struct order *order = work->order;
  uint64_t filter = order->filter_size * sizeof(struct sock_filter), room = order->size - sizeof(struct order);
  char *next = (char *)(order + 1), *end = (char *)order + order->size;
  if (order->filter_size <= BPF_MAXINSNS && filter <= room) {
    end -= filter;
    work->filter = end;
    work->wrapper.words = take_strings(&next, end, order->wrapper_words);
  }
  if (work->wrapper.words) work->wrapper.environment = take_strings(&next, end, order->wrapper_variables);
  if (work->wrapper.environment) work->mounts = take_strings(&next, end, order->mounts);
  if (work->mounts) work->job.words = take_strings(&next, end, order->words);
  if (work->job.words) work->job.environment = take_strings(&next, end, order->variables);
  if (work->job.environment && work->job.words[0]) return 0;
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
static int hand_over(const struct work *work) {
  int file = memfd_create("order", 0);
  if (file < 0) return -1;
  const struct order *order = work->order;
  const char *strings = work->job.words[0];
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

/* Below the node: when there is not time or memory enough for both, the job waits, or goes. */
static int come_after_node(const struct order *order) {
  int priority = node_priority + order->priority;
  if (setpriority(PRIO_PROCESS, 0, priority < 19 ? priority : 19) != 0) return -1;
  char text[16] = "";
  /* Its files belong to root as long as nobody may look into this process. */
  prctl(PR_SET_DUMPABLE, 1);
  int file = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  prctl(PR_SET_DUMPABLE, 0);
  if (file < 0) return errno == ENOENT ? 0 : -1;
  if (read(file, text, sizeof text - 1) > 0 && atoi(text) < order->oom_score) {
    int size = snprintf(text, sizeof text, "%d", (int)order->oom_score);
    ssize_t ignored = pwrite(file, text, size, 0);
    (void)ignored;
  }
  return close(file);
}

/* Dies with its parent. */
static int follow(pid_t parent) {
  /* After the last change of identity, which clears it. */
  return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent ? 0 : -1;
}

/* In the job's main process, which has its rights: executes its command. Returns only if that failed: the step, with
   errno set. */
static enum step become_job(const struct work *work, pid_t parent) {
  if (setsid() < 0 || follow(parent) != 0) return STEP_SESSION;
  int has_wrapper = work->wrapper.words[0] != 0;
  if (has_wrapper && hand_over(work) != 0) return STEP_EXECUTE;
  if (close_range(has_wrapper ? ORDER_DESCRIPTOR + 1 : ORDER_DESCRIPTOR, ~0U, 0) != 0) return STEP_EXECUTE;
  /* By the system call, since glibc keeps two signals to itself, which posix_spawn(3) leaves ignored. */
  static const unsigned long by_default[4];
  for (int number = 1; number < NSIG; number++) syscall(SYS_rt_sigaction, number, by_default, 0, sizeof(uint64_t));
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, 0);
  execute(has_wrapper ? &work->wrapper : &work->job);
  return STEP_EXECUTE;
}

/* In the first process of a sandbox. Returns only if that failed: the step, with errno set. */
static enum step become_sandbox(const struct work *work, int launcher) {
  enum step failed = enter_sandbox(work);
  if (!failed) failed = restrict_process(work->order);
  if (failed) return failed;
  /* Its parent has no number in here. */
  struct pollfd end = {.fd = launcher, .events = POLLIN};
  if (follow(0) != 0 || poll(&end, 1, 0) != 0) return STEP_SESSION;
  failed = filter_system_calls(work);
  if (failed) return failed;
  pid_t job = fork();
  if (job < 0) return STEP_FORK;
  if (job == 0) {
    /* Only now, since sandboxes of one user are counted together: one that has all its processes keeps no other from
       starting. */
    return limit_processes(work->order) != 0 ? STEP_LIMITS : become_job(work, 1);
  }
  keep_sandbox(work->order, job);
}

/* Moves this process into the job's control group. */
static int join_group(void) {
  int file = openat(GROUP_DESCRIPTOR, "cgroup.procs", O_WRONLY | O_CLOEXEC);
  return file >= 0 && write(file, "0", 1) == 1 ? 0 : -1;
}

/* In the new process: becomes the job, or the first process of its sandbox. Returns only if that failed. */
static enum step begin(const struct work *work, pid_t parent, int launcher) {
  if (come_after_node(work->order) != 0) return STEP_SESSION;
  if (work->order->flags & FLAG_SANDBOX) return become_sandbox(work, launcher);
  enum step failed = restrict_process(work->order);
  return failed ? failed : become_job(work, parent);
}

/* Starts the job. Returns its process, or -1 with the report written. */
static pid_t start(const struct work *work) {
  struct order *order = work->order;
  pid_t parent = getpid();
  int launcher = syscall(SYS_pidfd_open, parent, 0), has_group = (order->flags & FLAG_GROUP) != 0;
  uint64_t namespaces = sandbox_namespaces(order);
  struct clone_args arguments = {
      .flags = namespaces | (has_group ? CLONE_INTO_CGROUP : 0), .exit_signal = SIGCHLD,
      .cgroup = has_group ? GROUP_DESCRIPTOR : 0};
  pid_t child = syscall(SYS_clone3, &arguments, sizeof arguments);
  /* Filters of system calls cannot see the flags of clone3, so some say that there is no such call (systemd's
     RestrictNamespaces=). */
  int is_plain = child < 0 && errno == ENOSYS;
  if (is_plain) child = syscall(SYS_clone, namespaces | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) {
    enum step failed = is_plain && has_group && join_group() != 0 ? STEP_FORK : begin(work, parent, launcher);
    order->error = errno;
    order->failed_step = failed;
    _exit(127);
  }
  if (child < 0) {
    order->error = errno;
    order->failed_step = namespaces ? STEP_NAMESPACES : STEP_FORK;
  }
  close(launcher);
  return child;
}

static int64_t seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_BOOTTIME, &time);
  return time.tv_sec;
}

void signal_job(pid_t job, int number) {
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
    /* Of a sandbox's first process only what it found: what killed itself was not the job. */
    order->status = order->main_ended ? order->main_status : (uint64_t)status;
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
static int run_inner(struct work *work) {
  if (read_work(work) == 0) {
    close_range(ORDER_DESCRIPTOR, ~0U, 0);
    execute(&work->job);
  }
  const char *name = work->job.words ? work->job.words[0] : "a job";
  fprintf(stderr, "hero-launcher: cannot run %s: %s\n", name, strerror(errno));
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
  struct work work = {.order = order};
  if (order->flags & FLAG_INNER) return run_inner(&work);
  /* Who runs with the same user id may neither look into it nor trace it. */
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NAME, "hero-launcher");
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  /* Before what it has to kill; only root may. */
  node_priority = getpriority(PRIO_PROCESS, 0);
  setpriority(PRIO_PROCESS, 0, -20);
  if (read_work(&work) != 0) {
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
  pid_t child = start(&work);
  if (child < 0) return 126;
  /* The job's streams end with the job. */
  for (int stream = 0; stream < 3; stream++) close(stream);
  supervise(order, child);
  return 0;
}
