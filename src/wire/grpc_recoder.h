// GrpcRecoder: compresses the messages of one direction of a call, or decompresses them. Bytes go
// in and come out; loop thread only, but for what it asks to be computed elsewhere.
//
// A message's length stands before it, so that one which changes its length is held until it is
// whole. What may be held is bounded for each message and, by the hold, for all that share it; of a
// message that goes as it came nothing is held.
//
// A message that takes long is a GrpcWork: while there is one, nothing is taken.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/compression.h"
#include "wire/grpc_messages.h"

namespace berth::wire {

// The bytes of the messages that are held, or to be, by all recoders that share it.
class GrpcHold {
 public:
  explicit GrpcHold(size_t most) : most_(most) {}

  // false: it would be more than the bound.
  bool reserve(size_t bytes);
  // Whatever the bound: for who has asked is_full() before.
  void add(size_t bytes) { held_ += bytes; }
  void release(size_t bytes) { held_ -= bytes; }
  bool is_full() const { return held_ >= most_; }
  size_t held() const { return held_; }

 private:
  const size_t most_;
  size_t held_ = 0;
};

// One message that takes long to recode. Shared by its recoder and whoever computes.
class GrpcWork {
 public:
  // Any thread, once.
  void compute();

 private:
  friend class GrpcRecoder;
  GrpcWork(Compression compression, bool compress, std::string&& message)
      : compression_(compression), compress_(compress), message_(std::move(message)) {}

  const Compression compression_;
  const bool compress_;
  std::string message_;
  std::string out_;  // with its prefix
  absl::Status status_ = absl::UnknownError("it was not computed");
};

class GrpcRecoder {
 public:
  enum class Task {
    // Messages that are not compressed, if that makes them shorter, and they are not longer than
    // kMaxCompressedMessageBytes, and there is room in the hold; others go as they came. One that
    // claims to be compressed is an error.
    compress,
    // Messages that are compressed; others go as they came. One that is longer than
    // kMaxDecodedMessageBytes, either way, is an error. It is for the caller to wait while the hold
    // is full.
    decompress,
  };

  // `compression` is not none; `hold` outlives it.
  GrpcRecoder(Compression compression, Task task, GrpcHold& hold)
      : compression_(compression), task_(task), hold_(hold) {}
  ~GrpcRecoder() { hold_.release(reserved_); }
  GrpcRecoder(const GrpcRecoder&) = delete;
  GrpcRecoder& operator=(const GrpcRecoder&) = delete;

  // Takes bytes from the front until it has appended `most` bytes or more to `out`, or there is
  // work; the last message may go beyond that by its own length. How many it took.
  // ResourceExhausted, Internal: in words for the client, and nothing more may come.
  absl::StatusOr<size_t> feed(std::string_view bytes, size_t most, std::string& out);

  // What is to be computed before it takes more; nullptr: nothing.
  const std::shared_ptr<GrpcWork>& work() const { return work_; }
  // Appends what was computed. Requires: it was. Errors as those of feed().
  absl::Status take_work(std::string& out);

  // What it holds of a message that has begun, or that is computed.
  size_t bytes() const { return work_ != nullptr ? reserved_ : held_.size(); }
  // Whether it is in the middle of a message that it holds.
  bool holds() const { return messages_.missing() > 0 && fate_ == Fate::is_held; }

  // All has come, and there is no work. What there is of a message that was to be compressed
  // follows as it came. Internal: one that was to be decompressed is not whole.
  absl::Status finish(std::string& out);

 private:
  enum class Fate { passes, is_held };

  absl::Status begin(GrpcPrefix prefix, std::string& out);
  absl::StatusOr<Fate> fate_of(GrpcPrefix prefix);
  absl::Status go_on(std::string_view& bytes, std::string& out);
  absl::Status recode(std::string_view message, std::string& out);
  void let_go();

  const Compression compression_;
  const Task task_;
  GrpcHold& hold_;
  GrpcMessages messages_;
  Fate fate_ = Fate::passes;
  size_t reserved_ = 0;
  std::string held_;
  std::shared_ptr<GrpcWork> work_;
};

}  // namespace berth::wire
