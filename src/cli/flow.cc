#include "cli/flow.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "berth/berth.h"

namespace berth::cli {
namespace {

ssize_t or_errno(ssize_t result) {
  return result < 0 ? -errno : result;
}

ssize_t read_plain(int fd, void* buffer, size_t size) {
  return or_errno(::read(fd, buffer, size));
}

ssize_t write_plain(int fd, const void* bytes, size_t size) {
  return or_errno(::write(fd, bytes, size));
}

// poll(2) promises room for this much in a pipe, and terminals take it at once.
ssize_t write_little(int fd, const void* bytes, size_t size) {
  return or_errno(::write(fd, bytes, std::min<size_t>(size, PIPE_BUF)));
}

ssize_t send_now(int fd, const void* bytes, size_t size) {
  return or_errno(::send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL));
}

// The same pipe under an open file description of our own; -1 if that cannot be.
int reopen_nonblocking(int fd) {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return ::open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

}  // namespace

Source Source::plain(int fd) {
  return {fd, read_plain};
}
Source Source::leased(int fd) {
  return {fd, berth_read};
}
Sink Sink::socket(int fd) {
  return {fd, send_now};
}

Sink Sink::output(int fd) {
  struct stat kind {};
  if (::fstat(fd, &kind) != 0) return {fd, write_plain};
  if (S_ISSOCK(kind.st_mode)) return {fd, send_now};
  if (S_ISREG(kind.st_mode)) return {fd, write_plain};
  const int own = S_ISFIFO(kind.st_mode) ? reopen_nonblocking(fd) : -1;
  return own >= 0 ? Sink{own, write_plain} : Sink{fd, write_little};
}

Flow::Flow(Source source, Sink sink)
    : source_(source), sink_(sink), buffer_(std::make_unique_for_overwrite<char[]>(kSize)) {}

void Flow::move(bool source_ready, bool sink_ready) {
  if (sink_ready && !wants_sink() && !finished()) {
    error_ = EPIPE;
    return;
  }
  const bool filled = source_ready && wants_source();
  if (filled) fill();
  // What was just read probably fits; if not, poll(2) tells when it does. A sink that may block is
  // written only when it is ready.
  if (sink_ready || (filled && sink_.write != write_little)) drain();
}

void Flow::fill() {
  const ssize_t n = source_.read(source_.fd, buffer_.get(), kSize);
  if (n == -EAGAIN || n == -EINTR) return;
  begin_ = 0;
  end_ = n > 0 ? static_cast<size_t>(n) : 0;
  if (n == 0) ended_ = true;
  if (n < 0) error_ = static_cast<int>(-n);
}

void Flow::drain() {
  while (begin_ < end_ && error_ == 0) {
    const ssize_t n = sink_.write(sink_.fd, buffer_.get() + begin_, end_ - begin_);
    if (n == -EINTR) continue;
    if (n == -EAGAIN) return;
    if (n < 0) error_ = static_cast<int>(-n);
    if (n > 0) begin_ += static_cast<size_t>(n);
    if (sink_.write == write_little) return;
  }
}

}  // namespace berth::cli
