#include <protozero/pbf_writer.hpp>
#include <protozero/varint.hpp>

#include <algorithm>
#include <span>
#include <type_traits>
#include <utility>

#include "base/limits.h"
#include "base/utf8.h"
#include "wire/session_frames.h"

namespace berth::wire {
namespace {

// protozero drops a submessage that turns out empty, and with it the kind of the frame. So each
// message always writes its first field, default value or not; the others only if they differ
// from the default.
using Writer = protozero::pbf_writer;

void put(Writer& to, uint32_t tag, uint64_t value) {
  if (value != 0) to.add_uint64(tag, value);
}

void put(Writer& to, uint32_t tag, const std::string& text) {
  if (!text.empty()) to.add_string(tag, text);
}

// Words for people may have been put together from anything (file names, /proc/PID/comm), but a
// proto3 string that is not UTF-8 makes other implementations refuse the whole frame.
void put_words(Writer& to, uint32_t tag, std::string_view words) {
  const size_t good = utf8_prefix(words, kMaxMessageBytes);
  if (good == words.size()) return words.empty() ? void() : to.add_string(tag, words.data(), good);
  std::string clean;
  while (!words.empty() && clean.size() < kMaxMessageBytes) {
    const size_t step = utf8_sequence(words);
    if (clean.size() + step > kMaxMessageBytes) break;
    clean += step == 0 ? std::string_view("?") : words.substr(0, step);
    words.remove_prefix(std::max<size_t>(step, 1));
  }
  to.add_string(tag, clean);
}

uint32_t number(Code code) {
  return static_cast<uint32_t>(code);
}

void put(Writer& to, const Hello& hello) {
  to.add_uint32(1, hello.version);
  put(to, 2, hello.name);
}

void put(Writer& to, const LeaseRequest& request) {
  to.add_uint64(1, request.request_id);
  put(to, 2, request.key);
  if (request.count != 1) to.add_uint32(3, request.count);
  if (request.timeout_ms) to.add_uint64(4, *request.timeout_ms);
  put(to, 5, request.traceparent);
  if (request.detach) to.add_bool(6, true);
}

void put(Writer& to, const Release& release) {
  to.add_uint64(1, release.lease_id);
  put(to, 2, static_cast<uint32_t>(release.outcome));
  put(to, 3, release.request_id);
}

void put(Writer& to, const Cancel& cancel) {
  to.add_uint64(1, cancel.request_id);
}

void put(Writer& to, const ListKeys& list) {
  to.add_uint64(1, list.request_id);
  put(to, 2, list.after);
}

void put(Writer& to, const SessionLimits& limits) {
  to.add_uint32(1, limits.max_frame_bytes);
  put(to, 2, limits.max_count);
  put(to, 3, limits.max_leases);
  put(to, 4, limits.max_waiters);
}

void put(Writer& to, const Welcome& welcome) {
  to.add_uint32(1, welcome.version);
  put(to, 2, welcome.session_id);
  put(to, 3, welcome.token);
  Writer limits(to, 4);
  put(limits, welcome.limits);
}

void put(Writer& to, const Goodbye& goodbye) {
  to.add_uint32(1, number(goodbye.code));
  put_words(to, 2, goodbye.message);
}

// Tag and wire type of a field below 16, in one byte (protobuf encoding).
constexpr char key(uint32_t field, uint32_t wire_type) {
  return static_cast<char>(field << 3 | wire_type);
}
constexpr uint32_t kVarint = 0, kLengthDelimited = 2;

size_t body_size(const GrantedLease& lease) {
  const auto id = static_cast<size_t>(protozero::length_of_varint(lease.lease_id));
  return 1 + id + (lease.reused ? 2 : 0) + (lease.slot ? 2 : 0) + (lease.detached ? 2 : 0);
}

char* add_varint(char* out, uint32_t field, uint32_t wire_type, uint64_t value) {
  *out++ = key(field, wire_type);
  return out + protozero::write_varint(out, value);
}

void put(Writer& to, const Holder& holder) {
  to.add_uint32(1, holder.pid);
  put(to, 2, holder.uid);
  put_words(to, 3, holder.command);
  put(to, 4, holder.held_ms);
}

void put(Writer& to, const Why& why) {
  to.add_uint32(1, static_cast<uint32_t>(why.cause));
  put(to, 2, why.leased);
  put(to, 3, why.max_connections);
  put(to, 4, why.waiting);
  put(to, 5, why.dial_failures);
  put_words(to, 6, why.last_dial_error);
  const size_t shown = std::min(why.holders.size(), kMaxHoldersShown);
  for (size_t i = 0; i < shown; ++i) {
    Writer holder(to, 7);
    put(holder, why.holders[i]);
  }
}

void put(Writer& to, const Refusal& refusal) {
  to.add_uint64(1, refusal.request_id);
  put(to, 2, number(refusal.code));
  put_words(to, 3, refusal.message);
  if (!refusal.why) return;
  Writer why(to, 4);
  put(why, *refusal.why);
}

void put(Writer& to, const Released& released) {
  to.add_uint64(1, released.request_id);
  put(to, 2, number(released.code));
  put_words(to, 3, released.message);
}

void put(Writer& to, const Revoked& revoked) {
  to.add_uint64(1, revoked.lease_id);
  put(to, 2, number(revoked.code));
  put_words(to, 3, revoked.message);
}

void put(Writer& to, const KeyList& list) {
  to.add_uint64(1, list.request_id);
  for (const std::string& key : list.keys) to.add_string(2, key);
  if (list.more) to.add_bool(3, true);
}

template <class Frame>
void encode_frame(const Frame& frame, std::string& out) {
  out.clear();
  std::visit(
      [&]<class Message>(const Message& message) {
        if constexpr (std::is_same_v<Message, Grant>) {
          encode_grant(message.request_id, message.leases, out);
        } else {
          Writer writer(out);
          Writer body(writer, static_cast<uint32_t>(frame.index() + 1));
          put(body, message);
        }
      },
      frame);
}

}  // namespace

void encode(const ClientFrame& frame, std::string& out) {
  encode_frame(frame, out);
}
void encode(const ServerFrame& frame, std::string& out) {
  encode_frame(frame, out);
}

void encode_grant(uint64_t request_id, std::span<const GrantedLease> leases, std::string& out) {
  constexpr uint32_t kGrant = 3;  // ServerFrame.grant
  size_t size = 1 + static_cast<size_t>(protozero::length_of_varint(request_id));
  for (const GrantedLease& lease : leases) size += 2 + body_size(lease);  // one byte of length
  out.resize(1 + static_cast<size_t>(protozero::length_of_varint(size)) + size);
  char* at = add_varint(out.data(), kGrant, kLengthDelimited, size);
  at = add_varint(at, 1, kVarint, request_id);
  for (const GrantedLease& lease : leases) {
    at = add_varint(at, 2, kLengthDelimited, body_size(lease));
    at = add_varint(at, 1, kVarint, lease.lease_id);
    if (lease.reused) at = add_varint(at, 2, kVarint, 1);
    if (lease.slot) at = add_varint(at, 3, kVarint, 1);
    if (lease.detached) at = add_varint(at, 4, kVarint, 1);
  }
}

}  // namespace berth::wire
