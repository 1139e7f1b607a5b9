/* Asks for "echo" again and again, whether berthd is there or not: one line on standard input, one
 * answer and where it came from. After a fallback it tries to open its session anew. */
#include <berth/berth.h>
#include <stdio.h>
#include <unistd.h>

static berth_session* session;
static int absent;

static int complain(void) {
  printf("error: %s\n", berth_error());
  return 1;
}

static void reopen(void) {
  berth_session_close(session);
  berth_session_open(NULL, &session);
}

static int ask(const char* server) {
  char answer[64];
  berth_options options = BERTH_OPTIONS_INIT;
  berth_grant grant;
  if (absent) reopen();
  options.timeout_ms = 1000;
  options.fallback = server;
  if (berth_lease(session, "echo", &options, &grant) < 0) return complain();
  const int direct = grant.id == BERTH_FALLBACK;
  if (write(grant.fd, "hello\n", 6) != 6) return 1;
  const ssize_t got = berth_read(grant.fd, answer, sizeof answer - 1);
  if (got <= 0) return 1;
  answer[got - 1] = '\0';
  printf("%s %s, %d in all\n", answer, direct ? "without berthd" : "from berthd",
         (int)berth_fallbacks());
  if (berth_release(session, &grant, BERTH_REUSE) < 0) return complain();
  absent = direct;
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (berth_session_open(NULL, &session) < 0 && !berth_absent()) return complain();
  while (getchar() != EOF) ask(argv[1]);
  berth_session_close(session);
  return 0;
}
