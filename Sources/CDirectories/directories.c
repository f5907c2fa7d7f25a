#define _GNU_SOURCE
#include "directories.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

int hero_open_directory(int parent, const char *name) {
  return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int hero_find_directory(int parent, const char *name) {
  return openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int hero_describe(int descriptor, struct hero_file *file) {
  struct statx status;
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE | STATX_UID | STATX_MNT_ID, &status) != 0) return -1;
  file->mount = status.stx_mask & STATX_MNT_ID ? status.stx_mnt_id : 0;
  file->device = makedev(status.stx_dev_major, status.stx_dev_minor);
  file->mode = status.stx_mode;
  file->owner = status.stx_uid;
  return 0;
}

ssize_t hero_read_entries(int descriptor, void *buffer, size_t size) {
  return getdents64(descriptor, buffer, size);
}
