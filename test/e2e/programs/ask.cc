// As ask.c, with the C++ layer: leases that end by themselves.
#include <unistd.h>

#include <berth/berth.hpp>
#include <cstdio>

static int complain(const berth::Error& error) {
  std::fprintf(stderr, "%s\n", error.words.c_str());
  return 1;
}

int main(int argc, char** argv) {
  auto session = berth::Session::open();
  if (!session) return complain(session.error());
  for (int i = 0; i < 2; ++i) {
    auto lease = session->lease(argc > 1 ? argv[1] : "echo", {5000});
    if (!lease) return complain(lease.error());
    std::printf("%s ", lease->reused() ? "warm" : "new");
    char answer[64];
    if (::write(lease->fd(), "hello\n", 6) != 6) return 1;
    const ssize_t got = lease->read(answer, sizeof answer);
    if (got <= 0) return 1;
    std::printf("%.*s", static_cast<int>(got), answer);
    if (lease->release() < 0) return 1;
  }
  auto many = session->lease_many("echo", 2);
  if (!many) return complain(many.error());
  std::printf("%zu together\n", many->size());
  return 0;
}
