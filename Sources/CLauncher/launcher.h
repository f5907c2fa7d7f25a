/* The launcher: the process between a node and each job. See main.c. */
#ifndef HERO_LAUNCHER_H
#define HERO_LAUNCHER_H

#include <stdint.h>
#include <sys/types.h>

/* What the launcher inherits from the node beside the job's three standard streams. */
enum {
  ORDER_DESCRIPTOR = 3,    /* a memory file with the order, which the report is written into */
  LIFE_DESCRIPTOR = 4,     /* a pipe whose other end only the node has: it ends with the node */
  LAUNCHER_DESCRIPTOR = 5, /* this program */
  GROUP_DESCRIPTOR = 6,    /* the directory of the job's control group, if FLAG_GROUP says so */
};

/* Bits of `flags`. */
enum {
  FLAG_IDENTITY = 1,          /* change to `uid` and `gid`, without supplementary groups and capabilities */
  FLAG_NO_NEW_PRIVILEGES = 2, /* prctl(2), PR_SET_NO_NEW_PRIVS */
  FLAG_GROUP = 4,             /* start the job in the control group of GROUP_DESCRIPTOR */
  FLAG_INNER = 8,             /* behind a wrapper: only execute the command; no node sets this */
  FLAG_SANDBOX = 16,          /* namespaces of its own, `mounts` for its files, and a filter of system calls */
  FLAG_USER_NAMESPACE = 32,   /* with a user namespace, for a node that is not root */
  FLAG_NETWORK = 64,          /* in the node's network namespace */
};

/* Where the start of a job failed, for the node's error text. LaunchReport.swift has the same numbers. */
enum step {
  STEP_ORDER = 1,
  STEP_FORK,
  STEP_SESSION,
  STEP_LIMITS,
  STEP_IDENTITY,
  STEP_PRIVILEGES,
  STEP_EXECUTE,
  STEP_NAMESPACES,
  STEP_WALLS,
  STEP_FILTER,
};

/* What is put at a place of a sandbox's root: the first letter of a mount's string, which the place follows. */
enum {
  MOUNT_SYSTEM = 'r', /* what is there outside, not to be changed; nothing if it is not there */
  MOUNT_OWN = 'w',    /* the job's directory, which is the launcher's, at its path outside */
  MOUNT_DEVICE = 'd', /* a device file */
  MOUNT_EMPTY = 't',  /* an empty directory for everybody, in memory */
  MOUNT_PROCESSES = 'p',
};

enum { LIMIT_MEMORY, LIMIT_CPU, LIMIT_FILES, LIMIT_PROCESSES, LIMIT_COUNT };

#define ORDER_VERSION 2
#define UNLIMITED UINT64_MAX

/* The head of the memory file. LaunchOrder.swift writes it. Strings follow it, each ended by a NUL: first the words of
   the wrapper, then its environment, the mounts of the sandbox, the words of the command, and the job's environment;
   last comes the filter, as many `struct sock_filter` as `filter_size` says. */
struct order {
  uint64_t version;
  uint64_t size; /* of the whole file, bytes */
  uint64_t flags;
  uint64_t uid, gid;
  uint64_t limits[LIMIT_COUNT]; /* UNLIMITED leaves the node's own */
  int64_t priority;             /* added to the node's nice value */
  int64_t oom_score;            /* of proc_pid_oom_score_adj(5), if the node's is lower */
  uint64_t memory;              /* of all files in the sandbox's memory together, bytes */
  uint64_t wrapper_words, wrapper_variables, mounts, words, variables, filter_size;
  /* The report, zero until the launcher writes it. */
  uint64_t failed_step, error; /* enum step, and errno(3), if the job could not be started */
  uint64_t has_ended, status;  /* 1 and the status of wait(2), once the job's main process has ended */
  uint64_t survivors;          /* 1 if something of the job could not be killed */
  uint64_t main_ended, main_status; /* the same as `has_ended` and `status`, by the first process of a sandbox */
};

/* What an order's strings are, as execve(2) takes them. */
struct command {
  char **words;
  char **environment;
};

/* An order that was read. */
struct work {
  struct order *order;
  struct command wrapper, job;
  char **mounts;
  const void *filter;
};

/* main.c */

/* Signals the job's process group, which is there once its process has made its session. */
void signal_job(pid_t job, int number);

/* containment.c */

/* Drops what `order` says; from then on the process has no rights but those of the job.
   Returns the step that failed, with errno set, or 0. */
enum step restrict_process(const struct order *order);
/* Sets the limit of processes; `restrict_process` does so where there is no sandbox. Returns -1 with errno set. */
int limit_processes(const struct order *order);

/* Kills all processes that descend from this one: its children, and from the third round on theirs. */
void kill_descendants(int round);

/* sandbox.c */

/* The namespaces that the first process of a sandbox starts in, as clone(2) takes them; 0 without a sandbox. */
uint64_t sandbox_namespaces(const struct order *order);

/* In the first process of a sandbox: puts its root in place, and forgets the old one.
   Returns the step that failed, with errno set, or 0. */
enum step enter_sandbox(const struct work *work);

/* From here on the system calls of this process and of all that it starts are filtered.
   Returns the step that failed, with errno set, or 0. */
enum step filter_system_calls(const struct work *work);

/* The rest of the first process's life: waits for the job's main process, writes how it ended, and ends, which ends all
   others of the sandbox (pid_namespaces(7)). */
_Noreturn void keep_sandbox(struct order *order, pid_t job);

#endif
