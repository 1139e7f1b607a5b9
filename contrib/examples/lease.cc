// Sends PING to a Redis server over a leased connection.
//
//     c++ -std=c++17 -o lease lease.cc $(pkg-config --cflags --libs berth)
//     ./lease tcp://127.0.0.1:6379
#include <sys/socket.h>
#include <berth/berth.hpp>
#include <cstdio>
#include <string>

// The server's whole answer, or nothing.
static std::string ping(berth::Lease& lease) {
  const std::string request = "PING\r\n";
  const ssize_t sent = send(lease.fd(), request.data(), request.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(request.size())) return {};
  std::string answer;
  while (answer.find("\r\n") == answer.npos) {
    char part[64];
    const ssize_t n = lease.read(part, sizeof part);
    if (n <= 0) return {};
    answer.append(part, static_cast<size_t>(n));
  }
  return answer;
}

static int complain(const berth::Error& error) {
  std::fprintf(stderr, "lease: %s\n", error.words.c_str());
  return 1;
}

int main(int argc, char** argv) {
  auto session = berth::Session::open();
  if (!session) return complain(session.error());
  auto lease = session->lease(argc > 1 ? argv[1] : "redis", {1000});
  if (!lease) return complain(lease.error());
  const std::string answer = ping(*lease);
  if (answer.empty()) return 1;  // the lease's end discards the connection
  std::fputs(answer.c_str(), stdout);
  lease->release();
  return 0;
}
