// Flow: bytes in one direction, from a descriptor to another, without ever blocking the other
// direction.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>

namespace berth::cli {

// How to read without blocking when poll(2) has said that there is something.
struct Source {
  int fd;
  ssize_t (*read)(int fd, void* buffer, size_t size);  // negative errno on failure

  static Source plain(int fd);   // read(2)
  static Source leased(int fd);  // berth_read(); the descriptor is non-blocking
};

// How to write without blocking when poll(2) has said that there is room.
struct Sink {
  int fd;
  ssize_t (*write)(int fd, const void* bytes, size_t size);  // negative errno on failure

  static Sink socket(int fd);
  // Standard output may be anything, and its O_NONBLOCK flag is not ours to set: the terminal and
  // other programs share it.
  static Sink output(int fd);
};

class Flow {
 public:
  Flow(Source source, Sink sink);

  bool wants_source() const { return !finished() && !ended_ && begin_ == end_; }
  bool wants_sink() const { return !finished() && begin_ < end_; }
  // The source has ended and all of it is written, or either side failed.
  bool finished() const { return error_ != 0 || (ended_ && begin_ == end_); }
  int error() const { return error_; }

  // After poll(2): moves what can be moved. A sink that is ready without being wanted has failed.
  void move(bool source_ready, bool sink_ready);

 private:
  void fill();
  void drain();

  static constexpr size_t kSize = 64 * 1024;

  Source source_;
  Sink sink_;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool ended_ = false;
  int error_ = 0;
};

}  // namespace berth::cli
