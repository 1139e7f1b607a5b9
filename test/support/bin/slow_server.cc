// slow_server: an upstream that behaves as a server across a network does.
//
//   slow_server [--greeting-ms MS] [--answer-ms MS]
//
// Listens on a free port of 127.0.0.1 and prints it. Greets each connection with "hello\n" after
// --greeting-ms (without it: never, the client speaks first) and answers each line with the same
// line after --answer-ms (without it: at once). Holds as many connections as the hard limit on
// descriptors allows. Each line on its standard input is answered on its standard output with
// "OPENED OPEN\n": connections accepted so far, and those open now. Ends with its standard input.
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBacklog = 4096;
constexpr const char* kGreeting = "hello\n";

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

// Sentences to be said after one and the same delay: so the first in is the first due.
class Delayed {
 public:
  explicit Delayed(int delay_ms) : delay_(delay_ms) {}

  void say(int fd, unsigned life, std::string text) {
    queue_.push_back({Clock::now() + delay_, fd, life, std::move(text)});
  }

  Clock::time_point next_due() const {
    return queue_.empty() ? Clock::time_point::max() : queue_.front().due;
  }

  template <class Say>
  void say_what_is_due(Say say) {
    for (; !queue_.empty() && queue_.front().due <= Clock::now(); queue_.pop_front()) {
      say(queue_.front().fd, queue_.front().life, queue_.front().text);
    }
  }

 private:
  struct Sentence {
    Clock::time_point due;
    int fd;
    unsigned life;
    std::string text;
  };
  std::chrono::milliseconds delay_;
  std::deque<Sentence> queue_;
};

struct Options {
  int greeting_ms = -1;
  int answer_ms = -1;
};

class SlowServer {
 public:
  explicit SlowServer(const Options& options)
      : options_(options), greetings_(options.greeting_ms), answers_(options.answer_ms) {
    if (epoll_ < 0 || listener_ < 0) fail("slow_server");
    const int on = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener_, generic, size) != 0 || listen(listener_, kBacklog) != 0 ||
        getsockname(listener_, generic, &size) != 0) {
      fail("listen");
    }
    watch(listener_);
    watch(STDIN_FILENO);
    std::printf("%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
  }

  void run() {
    while (!done_) {
      epoll_event events[64];
      const int count = wait(events, 64);
      for (int i = 0; i < count; ++i) ready(events[i].data.fd);
      const auto say_to = [this](int fd, unsigned life, const std::string& text) {
        if (lives_[static_cast<size_t>(fd)] == life) say(fd, text);
      };
      greetings_.say_what_is_due(say_to);
      answers_.say_what_is_due(say_to);
    }
  }

 private:
  void watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }

  // Until an event, or until something is to be said; to the nanosecond, since delays are measured.
  int wait(epoll_event* events, int count) const {
    const Clock::time_point due = std::min(greetings_.next_due(), answers_.next_due());
    if (due == Clock::time_point::max()) return epoll_wait(epoll_, events, count, -1);
    const int64_t left_ns =
        std::max<int64_t>(std::chrono::nanoseconds(due - Clock::now()).count(), 0);
    const timespec left{left_ns / 1'000'000'000, left_ns % 1'000'000'000};
    return epoll_pwait2(epoll_, events, count, &left, nullptr);
  }

  void ready(int fd) {
    if (fd == listener_) {
      accept_all();
    } else if (fd == STDIN_FILENO) {
      tell();
    } else {
      listen_to(fd);
    }
  }

  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      ++opened_;
      ++open_;
      if (lives_.size() <= static_cast<size_t>(fd)) lives_.resize(static_cast<size_t>(fd) + 1);
      watch(fd);
      if (options_.greeting_ms >= 0) greetings_.say(fd, life_of(fd), kGreeting);
    }
  }

  void tell() {
    char line[256];
    const ssize_t got = read(STDIN_FILENO, line, sizeof line);
    done_ = got <= 0;
    for (ssize_t i = 0; i < got; ++i) {
      if (line[i] == '\n') std::printf("%lu %lu\n", opened_, open_);
    }
    std::fflush(stdout);
  }

  // A line is expected to come in one piece: this is a server for tests.
  void listen_to(int fd) {
    char line[4096];
    const ssize_t got = recv(fd, line, sizeof line, 0);
    if (got <= 0) {
      close(fd);
      ++lives_[static_cast<size_t>(fd)];
      --open_;
      return;
    }
    const std::string text(line, static_cast<size_t>(got));
    if (options_.answer_ms < 0) return say(fd, text);
    answers_.say(fd, life_of(fd), text);
  }

  void say(int fd, const std::string& text) { send(fd, text.data(), text.size(), MSG_NOSIGNAL); }

  unsigned life_of(int fd) const { return lives_[static_cast<size_t>(fd)]; }

  const Options options_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  const int listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  Delayed greetings_;
  Delayed answers_;
  std::vector<unsigned>
      lives_;  // by descriptor: counts its closes, so that nothing is said to the next
  unsigned long opened_ = 0;
  unsigned long open_ = 0;
  bool done_ = false;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--greeting-ms") == 0) {
      options.greeting_ms = std::atoi(argv[i + 1]);
    } else if (std::strcmp(argv[i], "--answer-ms") == 0) {
      options.answer_ms = std::atoi(argv[i + 1]);
    } else {
      argc = 0;  // not ours: say how to use it
    }
  }
  if (argc % 2 == 0) {
    std::fputs("usage: slow_server [--greeting-ms MS] [--answer-ms MS]\n", stderr);
    std::exit(64);
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  SlowServer(options).run();
  return 0;
}
