// What stands between the two sides of a call whose pool compresses towards its servers. Only
// broker/channel*.cc includes it.
//
// The request is compressed as it comes, so that all that is kept of it is what the server gets.
// What comes of it is no longer than it was; but its client is credited when it comes, as long as
// less than half a stream's buffer of it waits to be sent, since a message is held until it is
// whole.
//
// A message that takes long is recoded by a worker; what comes behind it waits meanwhile, and
// whoever sends it is not credited.
//
// An answer that the client would not understand is decompressed as the client takes it, since it
// may become many times as long: until then it waits here, and its server is not credited. So it
// waits while much of that client's answers is held, unless its client has read all that it got.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "broker/channels.h"
#include "wire/grpc_recoder.h"
#include "wire/http2_headers.h"

namespace berth::broker {

struct Channels::Recoding {
  // `its_hold` is for its client's answers.
  Recoding(Compression by, size_t stream_buffer, wire::GrpcHold& its_hold)
      : compression(by), buffer(stream_buffer), hold(its_hold) {}
  ~Recoding() { hold.release(beyond); }
  // For workers, whose `done` is not called once this is gone.
  std::weak_ptr<const void> owner() const { return alive; }
  // What is held in it.
  size_t bytes() const {
    return request_rest.size() + (request ? request->bytes() : 0) + rest.size() +
           (answer ? answer->bytes() : 0);
  }
  Recoding(const Recoding&) = delete;
  Recoding& operator=(const Recoding&) = delete;

  const Compression compression;
  const size_t buffer;
  wire::GrpcHold& hold;
  const std::shared_ptr<const bool> alive = std::make_shared<const bool>(true);

  std::optional<wire::GrpcRecoder> request;  // unless the client compresses it
  std::string request_rest;                  // of it, that waits for a worker
  wire::Http2Headers request_trailers;
  uint64_t made = 0;  // bytes of the body that the server gets
  size_t owed = 0;    // bytes that came, for which there was no credit yet

  bool decodes = false;  // the client does not take what the server may answer in
  std::optional<wire::GrpcRecoder> answer;  // if it is decompressed
  std::string rest;                         // of it, as it came
  bool whole = false;                       // its server has said all
  // What decoding waits for: room in the hold, a worker, which others of its client's answers have,
  // or what that makes of a message.
  enum class Pause : uint8_t { none, room, worker, result };
  Pause pause = Pause::none;
  wire::Http2Headers trailers;
  size_t beyond = 0;   // bytes of the hold: that wait for the client, though the buffer is full
  size_t counted = 0;  // of bytes(), for total_stream_buffer
};

}  // namespace berth::broker
