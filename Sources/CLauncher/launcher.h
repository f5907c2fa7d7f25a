/* The launcher: the process between a node and each job. See main.c. */
#ifndef HERO_LAUNCHER_H
#define HERO_LAUNCHER_H

#include <stdint.h>

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
};

enum { LIMIT_MEMORY, LIMIT_CPU, LIMIT_FILES, LIMIT_PROCESSES, LIMIT_COUNT };

#define ORDER_VERSION 1
#define UNLIMITED UINT64_MAX

/* The head of the memory file. LaunchOrder.swift writes it. Strings follow it, each ended by a NUL: first the words of
   the wrapper, then its environment, the words of the command, and the job's environment. */
struct order {
  uint64_t version;
  uint64_t size; /* of the whole file, bytes */
  uint64_t flags;
  uint64_t uid, gid;
  uint64_t limits[LIMIT_COUNT]; /* UNLIMITED leaves the node's own */
  uint64_t wrapper_words, wrapper_variables, words, variables;
  /* The report, zero until the launcher writes it. */
  uint64_t failed_step, error; /* enum step, and errno(3), if the job could not be started */
  uint64_t has_ended, status;  /* 1 and the status of wait(2), once the job's main process has ended */
  uint64_t survivors;          /* 1 if something of the job could not be killed */
};

/* What an order's strings are, as execve(2) takes them. */
struct command {
  char **words;
  char **environment;
};

/* containment.c */

/* Drops what `order` says; from then on the process has no rights but those of the job.
   Returns the step that failed, with errno set, or 0. */
enum step restrict_process(const struct order *order);

/* Kills all processes that descend from this one: its children, and from the third round on theirs. */
void kill_descendants(int round);

#endif
