// berth pipe: standard input → connection → standard output.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "cli/flow.h"
#include "cli/key_options.h"

namespace berth::cli {
namespace {

// Both directions, independently of each other, until the server closes or nobody reads us.
class Pipe {
 public:
  explicit Pipe(int connection)
      : up_(Source::plain(0), Sink::socket(connection)),
        down_(Source::leased(connection), Sink::output(1)),
        connection_(connection) {}

  // 0 or the errno that ended it.
  int run() {
    while (!down_.finished()) {
      if (wait() < 0 && errno != EINTR) return errno;
      up_.move(polls_[0].revents != 0, (polls_[1].revents & (POLLOUT | POLLERR)) != 0);
      down_.move((polls_[1].revents & ~POLLOUT) != 0, polls_[2].revents != 0);
      if (up_.finished() && !std::exchange(half_closed_, true)) berth_shutdown_write(connection_);
    }
    return down_.error() == EPIPE ? 0 : down_.error();  // EPIPE: our reader has had enough
  }

 private:
  static short when(bool wanted, short events) { return wanted ? events : short{0}; }

  int wait() {
    const short from_server = when(down_.wants_source(), POLLIN);
    const short to_server = when(up_.wants_sink(), POLLOUT);
    const auto both = static_cast<short>(from_server | to_server);
    polls_[0] = {up_.wants_source() ? 0 : -1, POLLIN, 0};
    polls_[1] = {both != 0 ? connection_ : -1, both, 0};
    // Polled always: that its reader is gone shows without being asked for.
    polls_[2] = {1, when(down_.wants_sink(), POLLOUT), 0};
    return ::poll(polls_, 3, -1);
  }

  Flow up_;
  Flow down_;
  int connection_;
  bool half_closed_ = false;
  pollfd polls_[3] = {};
};

// An alert of TLS has its words from berth_read(), until the next call.
std::string words_of(int error) {
  return error == EPROTO ? berth_error() : std::strerror(error);
}

}  // namespace

int run_pipe(const Command& self, Globals globals, Words words) {
  KeyOptions options;
  if (const auto over = parse_key_options(self, globals, words, options)) return *over;
  if (options.key == nullptr) return usage_error(self, "which KEY?");
  const SessionPtr session = open_session(globals, "berth pipe");
  if (session == nullptr) return fail();
  berth_grant grant;
  if (!lease(session.get(), options.key, options.timeout_ms, grant)) return fail();
  if (grant.fd < 0) return only_a_slot(self, options.key);
  ::signal(SIGPIPE, SIG_IGN);
  ::fcntl(grant.fd, F_SETFL, O_RDWR | O_NONBLOCK);
  const int error = Pipe(grant.fd).run();
  const std::string why = words_of(error);
  berth_release(session.get(), &grant, BERTH_DISCARD);
  return error == 0 ? 0 : fail("the connection failed", why.c_str());
}

}  // namespace berth::cli
