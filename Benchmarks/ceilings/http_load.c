/* Loads an HTTP server with JSON-RPC calls: a given number of them, the next on each connection when the last was answered.
 * Build: cc -O2 http_load.c -o http_load -lssl -lcrypto
 * Run:   ./http_load PORT CONNECTIONS CALLS EXPECTED TAG [tls] < BODY
 * With `tls` the connections are made by TLS, before the clock starts; the certificate is not looked at.
 * IDENTIFIER in the body, if it is there, becomes TAG-1, TAG-2 … An answer that is not 200, or without EXPECTED in its
 * body, ends the program with status 1, as does a minute without any answer. So whoever reads the result knows that all
 * calls succeeded, how many they were, and that none is under way any more; which wrk does not tell.
 * Prints a line of JSON: the seconds, and the share of a core that this program used itself; then the latencies in seconds
 * as bytes of `float`, for whoever merges those of several runs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 65536, MARK = sizeof "IDENTIFIER" - 1 };
struct connection { int fd; SSL *tls; double sent; size_t used; char in[ROOM]; };

static char body[ROOM], request[2 * ROOM];
static size_t body_size;
static const char *before_mark, *after_mark, *expected, *tag;
static long calls, started, answered;
static float *latencies;

static double now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void fail(const char *why, const char *what) {
  fprintf(stderr, "http_load: after %ld answers: %s: %.600s\n", answered, why, what);
  exit(1);
}

static ssize_t put(struct connection *c, const char *bytes, size_t size) {
  return c->tls ? SSL_write(c->tls, bytes, size) : write(c->fd, bytes, size);
}

/* -1: nothing yet; a record of TLS may be incomplete, or be a ticket. */
static ssize_t take(struct connection *c, char *bytes, size_t room) {
  if (!c->tls) return read(c->fd, bytes, room);
  int got = SSL_read(c->tls, bytes, room);
  if (got > 0) return got;
  return SSL_get_error(c->tls, got) == SSL_ERROR_WANT_READ ? -1 : 0;
}

static void secure(struct connection *c, SSL_CTX *context) {
  c->tls = SSL_new(context);
  SSL_set_fd(c->tls, c->fd);
  if (SSL_connect(c->tls) != 1) fail("connect", "no TLS");
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void send_next(struct connection *c) {
  if (started == calls) return;
  char identifier[128] = "";
  size_t before = body_size, after = 0, length = 0;
  if (after_mark) {
    before = before_mark - body;
    after = body + body_size - after_mark;
    length = snprintf(identifier, sizeof identifier, "%s-%ld", tag, started + 1);
  }
  size_t size = sprintf(request,
      "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
      before + length + after);
  memcpy(request + size, body, before);
  memcpy(request + size + before, identifier, length);
  if (after) memcpy(request + size + before + length, after_mark, after);
  size += before + length + after;
  started++;
  c->used = 0;
  c->sent = now(CLOCK_MONOTONIC);
  if (put(c, request, size) != (ssize_t)size) fail("write", "the server takes no whole request");
}

static void receive(struct connection *c) {
  ssize_t got = take(c, c->in + c->used, ROOM - 1 - c->used);
  if (got < 0 && c->tls) return;
  if (got <= 0) fail("read", "the server hung up, or its answer is too big");
  c->used += got;
  c->in[c->used] = 0;
  char *end = strstr(c->in, "\r\n\r\n");
  if (!end) return;
  char *field = strcasestr(c->in, "\r\nContent-Length:");
  if (strncmp(c->in, "HTTP/1.1 200 ", 13) || !field || field > end) fail("not a good answer", c->in);
  size_t whole = end + 4 - c->in + strtoul(field + 17, 0, 10);
  if (c->used < whole) return;
  if (c->used > whole || !strstr(end + 4, expected)) fail("not the expected answer", c->in);
  latencies[answered++] = now(CLOCK_MONOTONIC) - c->sent;
  send_next(c);
}

int main(int argc, char **argv) {
  if (argc != 6 && argc != 7) return 2;
  SSL_CTX *context = argc == 7 ? SSL_CTX_new(TLS_client_method()) : 0;
  int count = atoi(argv[2]), poller = epoll_create1(0), one = 1;
  calls = atol(argv[3]);
  expected = argv[4];
  tag = argv[5];
  body_size = fread(body, 1, sizeof body - 1, stdin);
  if ((before_mark = strstr(body, "IDENTIFIER"))) after_mark = before_mark + MARK;
  latencies = calloc(calls, sizeof *latencies);
  struct connection *all = calloc(count, sizeof *all);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int n = 0; n < count; n++) {
    all[n].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(all[n].fd, (struct sockaddr *)&to, sizeof to)) fail("connect", argv[1]);
    setsockopt(all[n].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (context) secure(&all[n], context);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[n]};
    epoll_ctl(poller, EPOLL_CTL_ADD, all[n].fd, &event);
  }
  double start = now(CLOCK_MONOTONIC), own = now(CLOCK_PROCESS_CPUTIME_ID);
  for (int n = 0; n < count; n++) send_next(&all[n]);
  while (answered < calls) {
    struct epoll_event events[64];
    int ready = epoll_wait(poller, events, 64, 60000);
    if (ready == 0) fail("no answer", "for a minute");
    for (int n = 0; n < ready; n++) {
      struct connection *c = events[n].data.ptr;
      do receive(c);
      while (c->tls && SSL_pending(c->tls));
    }
  }
  double seconds = now(CLOCK_MONOTONIC) - start;
  own = now(CLOCK_PROCESS_CPUTIME_ID) - own;
  printf("{\"seconds\": %.6f, \"busy\": %.3f}\n", seconds, own / seconds);
  return fwrite(latencies, sizeof *latencies, calls, stdout) != (size_t)calls;
}
