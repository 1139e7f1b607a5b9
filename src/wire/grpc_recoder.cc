#include "wire/grpc_recoder.h"

#include <fmt/format.h>

#include <utility>

#include "base/limits.h"
#include "base/status_text.h"
#include "wire/compression.h"

namespace berth::wire {
namespace {

constexpr uint8_t kPlain = 0;
constexpr uint8_t kCompressed = 1;

GrpcPrefix prefix_of(uint8_t flag, size_t length) {
  return {flag, static_cast<uint32_t>(length)};
}

// What `append` appends behind a prefix that says how long it is; it answers the prefix's flag. An
// error leaves `out` as it was.
template <typename Append>
absl::Status append_message(std::string& out, const Append& append) {
  const size_t at = out.size();
  append_grpc_prefix({}, out);
  const size_t begin = out.size();
  const absl::StatusOr<uint8_t> flag = append(out);
  if (!flag.ok()) {
    out.resize(at);
    return flag.status();
  }
  std::string prefix;
  append_grpc_prefix(prefix_of(*flag, out.size() - begin), prefix);
  out.replace(at, prefix.size(), prefix);
  return absl::OkStatus();
}

absl::Status append_decoded(Compression compression, std::string_view message, size_t most,
                            std::string& out) {
  return append_message(out, [&](std::string& to) -> absl::StatusOr<uint8_t> {
    const absl::Status decoded = append_decompressed(compression, message, most, to);
    if (decoded.ok()) return kPlain;
    return absl::Status(decoded.code(),
                        fmt::format("a message cannot be decoded: {}", text_of(decoded)));
  });
}

absl::Status append_encoded(Compression compression, std::string_view message, std::string& out) {
  return append_message(out, [&](std::string& to) -> absl::StatusOr<uint8_t> {
    if (append_compressed(compression, message, to)) return kCompressed;
    to += message;
    return kPlain;
  });
}

}  // namespace

void GrpcWork::compute() {
  status_ = compress_ ? append_encoded(compression_, message_, out_)
                      : append_decoded(compression_, message_, kMaxDecodedMessageBytes, out_);
  std::string().swap(message_);
}

bool GrpcHold::reserve(size_t bytes) {
  if (is_full() || bytes > most_ - held_) return false;
  held_ += bytes;
  return true;
}

absl::StatusOr<size_t> GrpcRecoder::feed(std::string_view bytes, size_t most, std::string& out) {
  const size_t begun_at = out.size();
  std::string_view rest = bytes;
  while (!rest.empty() && work_ == nullptr && out.size() - begun_at < most) {
    if (messages_.missing() == 0) {
      const auto prefix = messages_.take_prefix(rest);
      if (!prefix) break;
      if (absl::Status begun = begin(*prefix, out); !begun.ok()) return begun;
    }
    if (absl::Status went_on = go_on(rest, out); !went_on.ok()) return went_on;
  }
  return bytes.size() - rest.size();
}

absl::Status GrpcRecoder::begin(GrpcPrefix prefix, std::string& out) {
  const absl::StatusOr<Fate> fate = fate_of(prefix);
  if (!fate.ok()) return fate.status();
  fate_ = *fate;
  if (fate_ == Fate::passes) append_grpc_prefix(prefix, out);
  return absl::OkStatus();
}

absl::StatusOr<GrpcRecoder::Fate> GrpcRecoder::fate_of(GrpcPrefix prefix) {
  if (prefix.flag > kCompressed) {
    return absl::InternalError(
        fmt::format("a message begins with the byte {}, which gRPC does not know", prefix.flag));
  }
  const bool compressed = prefix.flag == kCompressed;
  if (task_ == Task::compress) {
    if (compressed) {
      return absl::InternalError("a message is compressed, but grpc-encoding does not say how");
    }
    if (prefix.length == 0 || prefix.length > kMaxCompressedMessageBytes) return Fate::passes;
  } else {
    if (!compressed) return Fate::passes;
    if (prefix.length > kMaxDecodedMessageBytes) {
      return absl::ResourceExhaustedError(
          fmt::format("a message has {} bytes in {}, and berthd decodes {} at the most",
                      prefix.length, name_of(compression_), kMaxDecodedMessageBytes));
    }
  }
  if (task_ == Task::decompress) {
    hold_.add(prefix.length);
  } else if (!hold_.reserve(prefix.length)) {
    return Fate::passes;
  }
  reserved_ = prefix.length;
  return Fate::is_held;
}

// A message that is there as a whole is not copied.
absl::Status GrpcRecoder::go_on(std::string_view& bytes, std::string& out) {
  const std::string_view piece = messages_.take_payload(bytes);
  if (fate_ == Fate::passes) {
    out += piece;
    return absl::OkStatus();
  }
  const bool whole = messages_.missing() == 0;
  if (held_.empty() && whole) return recode(piece, out);
  held_ += piece;
  return whole ? recode(held_, out) : absl::OkStatus();
}

// Here and now, if it is short.
absl::Status GrpcRecoder::recode(std::string_view message, std::string& out) {
  absl::Status recoded = absl::ResourceExhaustedError("");
  if (message.size() <= kMaxLoopMessageBytes) {
    recoded = task_ == Task::compress
                  ? append_encoded(compression_, message, out)
                  : append_decoded(compression_, message, kMaxLoopDecodedBytes, out);
  }
  if (absl::IsResourceExhausted(recoded)) {
    work_.reset(new GrpcWork(compression_, task_ == Task::compress,
                             held_.empty() ? std::string(message) : std::move(held_)));
    return absl::OkStatus();
  }
  let_go();
  return recoded;
}

absl::Status GrpcRecoder::take_work(std::string& out) {
  const std::shared_ptr<GrpcWork> work = std::move(work_);
  out += work->out_;
  let_go();
  return work->status_;
}

void GrpcRecoder::let_go() {
  hold_.release(std::exchange(reserved_, 0));
  std::string().swap(held_);
}

absl::Status GrpcRecoder::finish(std::string& out) {
  if (holds() && task_ == Task::decompress) {
    return absl::InternalError(fmt::format("a message in {} ends {} bytes before its length",
                                           name_of(compression_), messages_.missing()));
  }
  if (holds()) {
    append_grpc_prefix(prefix_of(kPlain, held_.size() + messages_.missing()), out);
    out += held_;
    let_go();
  }
  out += messages_.half_prefix();
  return absl::OkStatus();
}

}  // namespace berth::wire
