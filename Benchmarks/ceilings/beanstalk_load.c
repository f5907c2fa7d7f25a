// Loads beanstalkd: each connection puts a job, reserves one, and deletes that, again and again.
//   beanstalk_load PORT CONNECTIONS SECONDS      prints how many cycles it did, and per second
// With as many jobs as connections that reserve, none waits for long; which connection gets whose job does not matter.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum step { PUT, RESERVE, DELETE };
struct connection { enum step step; char in[256]; size_t used; };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void say(int fd, const char *words) {
  if (write(fd, words, strlen(words)) != (ssize_t)strlen(words)) { perror("write"); exit(1); }
}

static void put(int fd, struct connection *c) {
  c->step = PUT;
  say(fd, "put 0 0 60 0\r\n\r\n");
}

// Whether the last answer ended a cycle.
static int answered(int fd, struct connection *c) {
  char text[64];
  unsigned long long id;
  switch (c->step) {
  case PUT:
    if (strncmp(c->in, "INSERTED ", 9)) break;
    c->step = RESERVE;
    say(fd, "reserve\r\n");
    return 0;
  case RESERVE:
    if (sscanf(c->in, "RESERVED %llu", &id) != 1) break;
    c->step = DELETE;
    snprintf(text, sizeof text, "delete %llu\r\n", id);
    say(fd, text);
    return 0;
  case DELETE:
    if (strncmp(c->in, "DELETED", 7)) break;
    put(fd, c);
    return 1;
  }
  fprintf(stderr, "beanstalkd says: %s\n", c->in);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  int count = atoi(argv[2]);
  struct pollfd *polls = calloc(count, sizeof *polls);
  struct connection *all = calloc(count, sizeof *all);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int n = 0; n < count; n++) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) { perror("connect"); return 1; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    polls[n] = (struct pollfd){.fd = fd, .events = POLLIN};
    put(fd, &all[n]);
  }
  double start = now(), end = start + atof(argv[3]);
  long cycles = 0;
  while (now() < end) {
    if (poll(polls, count, 100) < 0) { perror("poll"); return 1; }
    for (int n = 0; n < count; n++) {
      if (!polls[n].revents) continue;
      struct connection *c = &all[n];
      ssize_t got = read(polls[n].fd, c->in + c->used, sizeof c->in - 1 - c->used);
      if (got <= 0) { fprintf(stderr, "beanstalkd hung up\n"); return 1; }
      c->used += got;
      c->in[c->used] = 0;
      // RESERVED has a second line: the body, which is empty.
      const char *whole = c->step == RESERVE ? "\r\n\r\n" : "\r\n";
      if (!strstr(c->in, whole)) continue;
      c->used = 0;
      cycles += answered(polls[n].fd, c);
    }
  }
  printf("%ld cycles, %.1f per second\n", cycles, cycles / (now() - start));
  return 0;
}
