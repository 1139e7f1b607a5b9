/* Leases "echo", asks it something and prints the answer: twice, giving back in between. */
#include <berth/berth.h>
#include <stdio.h>
#include <unistd.h>

static int complain(void) {
  fprintf(stderr, "%s\n", berth_error());
  return 1;
}

static int ask(int fd) {
  char answer[64];
  if (write(fd, "hello\n", 6) != 6) return -1;
  const ssize_t got = berth_read(fd, answer, sizeof answer);
  if (got <= 0) return -1;
  return printf("%.*s", (int)got, answer);
}

int main(int argc, char** argv) {
  const char* key = argc > 1 ? argv[1] : "echo";
  berth_session* session;
  if (berth_session_open(NULL, &session) < 0) return complain();
  for (int i = 0; i < 2; ++i) {
    berth_options options = BERTH_OPTIONS_INIT;
    berth_grant grant;
    options.timeout_ms = 5000;
    if (berth_lease(session, key, &options, &grant) < 0) return complain();
    printf("%s ", grant.reused ? "warm" : "new");
    if (ask(grant.fd) < 0 || berth_release(session, &grant, BERTH_REUSE) < 0) return complain();
  }
  berth_session_close(session);
  return 0;
}
