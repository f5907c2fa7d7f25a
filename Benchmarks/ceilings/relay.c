/* The least that a node between a client and the owner can cost on this machine: libuv alone, bytes to and fro unread.
 * Build: cc -O2 relay.c -o relay $(pkg-config --cflags --libs libuv)   (libuv1-dev)
 * Run:   ./relay PORT TARGET_PORT        both of 127.0.0.1; a connection to the target for each of a client
 */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

typedef struct end {
  uv_tcp_t tcp;
  struct end *other;
} end;

typedef struct {
  uv_write_t request;
  char bytes[];
} pending;

static struct sockaddr_in target;
static char buffer[65536];

static void allocate(uv_handle_t *handle, size_t size, uv_buf_t *buf) {
  (void)handle, (void)size;
  *buf = uv_buf_init(buffer, sizeof buffer);
}

static void on_close(uv_handle_t *handle) { free(handle); }

static void hang_up(end *e) {
  if (!uv_is_closing((uv_handle_t *)e)) uv_close((uv_handle_t *)e, on_close);
}

static void on_written(uv_write_t *request, int status) {
  (void)status;
  free(request);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
  end *e = (end *)stream;
  if (count < 0) {
    hang_up(e->other);
    hang_up(e);
    return;
  }
  uv_buf_t out = uv_buf_init(buf->base, count);
  int written = uv_try_write((uv_stream_t *)e->other, &out, 1);
  if (written < 0) written = 0;
  if (written == count) return;
  pending *rest = malloc(sizeof *rest + count - written);
  memcpy(rest->bytes, buf->base + written, count - written);
  out = uv_buf_init(rest->bytes, count - written);
  if (uv_write(&rest->request, (uv_stream_t *)e->other, &out, 1, on_written)) free(rest);
}

static void on_connect(uv_connect_t *request, int status) {
  end *far = (end *)request->handle;
  free(request);
  if (status < 0) {
    hang_up(far->other);
    hang_up(far);
    return;
  }
  uv_read_start((uv_stream_t *)far, allocate, on_read);
  uv_read_start((uv_stream_t *)far->other, allocate, on_read);
}

static void on_connection(uv_stream_t *server, int status) {
  if (status < 0) return;
  end *near = calloc(1, sizeof *near), *far = calloc(1, sizeof *far);
  near->other = far;
  far->other = near;
  uv_tcp_init(server->loop, &near->tcp);
  uv_tcp_init(server->loop, &far->tcp);
  uv_accept(server, (uv_stream_t *)near);
  uv_tcp_nodelay(&near->tcp, 1);
  uv_connect_t *request = malloc(sizeof *request);
  uv_tcp_connect(request, &far->tcp, (void *)&target, on_connect);
  uv_tcp_nodelay(&far->tcp, 1);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  uv_loop_t *loop = uv_default_loop();
  uv_tcp_t server;
  struct sockaddr_in address;
  uv_tcp_init(loop, &server);
  uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address);
  uv_ip4_addr("127.0.0.1", atoi(argv[2]), &target);
  uv_tcp_bind(&server, (void *)&address, 0);
  if (uv_listen((uv_stream_t *)&server, 1024, on_connection)) return 1;
  return uv_run(loop, UV_RUN_DEFAULT);
}
