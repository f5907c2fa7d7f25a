/* Calls about directories that Swift cannot make by itself: glibc hides them, or their constants, without _GNU_SOURCE. */
#ifndef HERO_DIRECTORIES_H
#define HERO_DIRECTORIES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What statx(2) says of an open file. */
struct hero_file {
  uint64_t mount; /* STATX_MNT_ID; 0 from a kernel before 5.8 */
  uint64_t device;
  uint32_t mode;
  uint32_t owner;
};

/* Opens a directory for reading, and nothing else: O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC. */
int hero_open_directory(int parent, const char *name);
/* The same with O_PATH, which needs no permission on the directory. */
int hero_find_directory(int parent, const char *name);
int hero_describe(int descriptor, struct hero_file *file);
/* getdents64(2). */
ssize_t hero_read_entries(int descriptor, void *buffer, size_t size);

#endif
