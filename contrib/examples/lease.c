/* Sends PING to a Redis server over a leased connection.
 *
 *     cc -o lease lease.c $(pkg-config --cflags --libs berth)
 *     ./lease tcp://127.0.0.1:6379
 */
#include <berth/berth.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* 1 if the server gave its whole answer: only then may another have the connection. */
static int ping(int fd) {
  static const char request[] = "PING\r\n";
  const ssize_t length = sizeof request - 1;
  char answer[64];
  size_t size = 0;
  if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length) return 0;
  while (size < 2 || memcmp(answer + size - 2, "\r\n", 2) != 0) {
    const ssize_t n = berth_read(fd, answer + size, sizeof answer - size);
    if (n <= 0) return 0; /* the end, an error, or too long an answer */
    size += (size_t)n;
  }
  return fwrite(answer, 1, size, stdout) == size;
}

int main(int argc, char** argv) {
  const char* key = argc > 1 ? argv[1] : "redis";
  berth_options options = BERTH_OPTIONS_INIT;
  berth_session* session;
  berth_grant grant;
  int good;

  options.timeout_ms = 1000;
  if (berth_session_open(NULL, &session) < 0) {
    fprintf(stderr, "lease: %s\n", berth_error());
    return 1;
  }
  if (berth_lease(session, key, &options, &grant) < 0) {
    fprintf(stderr, "lease: %s\n", berth_error());
    berth_session_close(session);
    return 1;
  }
  good = ping(grant.fd);
  if (berth_release(session, &grant, good ? BERTH_REUSE : BERTH_DISCARD) < 0) {
    fprintf(stderr, "lease: %s\n", berth_error());
  }
  berth_session_close(session);
  return good ? 0 : 1;
}
