/* Leases "echo" while it may open few descriptors, and prints what came of each call. Then it holds
 * what it has until its standard input ends. */
#include <berth/berth.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { kLimit = 16, kBatch = 5, kRoom = 3 };

static berth_grant grants[kLimit + kBatch];

static int count_open(void) {
  int count = 0;
  for (int fd = 0; fd < kLimit; ++fd) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static int say(const char* what, int result) {
  printf("%s: %s, %d open\n", what, result == 0 ? "leased" : strerror(-result), count_open());
  return result;
}

int main(void) {
  struct rlimit limit;
  berth_session* session;
  int held = 0;
  if (berth_session_open(NULL, &session) < 0) return 1;
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = kLimit;
  setrlimit(RLIMIT_NOFILE, &limit);

  while (berth_lease(session, "echo", NULL, &grants[held]) == 0) ++held;
  say("one without room", berth_lease(session, "echo", NULL, &grants[held]));
  printf("%s\n", berth_error());
  for (int i = 0; i < kRoom; ++i) berth_release(session, &grants[--held], BERTH_REUSE);
  say("five with room for three", berth_lease_many(session, "echo", kBatch, NULL, &grants[held]));
  for (int i = held; i < held + kBatch; ++i) {
    if (grants[i].fd != -1 || grants[i].id != 0) printf("grant %d is not empty\n", i - held);
  }
  if (say("three", berth_lease_many(session, "echo", kRoom, NULL, &grants[held])) == 0)
    held += kRoom;
  printf("holds %d\n", held);
  fflush(stdout);

  while (getchar() != EOF) continue;
  while (held > 0) berth_release(session, &grants[--held], BERTH_REUSE);
  berth_session_close(session);
  limit.rlim_cur = before; /* sanitizers open files at the exit */
  return setrlimit(RLIMIT_NOFILE, &limit);
}
