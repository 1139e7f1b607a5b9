#include "wire/session_frames.h"

#include <protozero/pbf_reader.hpp>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "base/limits.h"
#include "base/utf8.h"

namespace berth::wire {
namespace {

// A lease id and a state share one 64-bit word (DESIGN section 14).
constexpr uint64_t kLeaseIdEnd = uint64_t{1} << 61;

// Thrown and caught in this file only; a well-formed frame never costs one.
struct Fault {
  std::string message;
};

[[noreturn]] void fail(std::string message) {
  throw Fault{std::move(message)};
}

// The fields of one message; every getter checks the wire type first.
class Fields {
 public:
  Fields(std::string_view bytes, const char* message)
      : reader_(bytes.data(), bytes.size()), message_(message) {}

  bool next() { return reader_.next(); }
  uint32_t tag() const { return reader_.tag(); }
  void skip() { reader_.skip(); }

  uint64_t u64() {
    expect(protozero::pbf_wire_type::varint);
    return reader_.get_uint64();
  }
  uint32_t u32() { return static_cast<uint32_t>(u64()); }
  // Not get_bool(): it looks at the first byte before it looks whether there is one.
  bool flag() { return u64() != 0; }

  std::string_view bytes() {
    expect(protozero::pbf_wire_type::length_delimited);
    const protozero::data_view view = reader_.get_view();
    return {view.data(), view.size()};
  }
  std::string text(const char* name, size_t limit) {
    const std::string_view view = bytes();
    if (view.size() > limit) {
      fail(std::string(name) + " of " + message_ + " has " + std::to_string(view.size()) +
           " bytes; at most " + std::to_string(limit) + " are allowed");
    }
    if (!is_utf8(view)) fail(std::string(name) + " of " + message_ + " is not UTF-8");
    return std::string(view);
  }

  // A code that this version does not know, or none where there must be one, is a fault of the
  // daemon as far as the reader can tell.
  Code code() {
    const uint32_t value = u32();
    return value < kCodes ? Code{value} : Code::kInternal;
  }
  Code failure() {
    const Code value = code();
    return value == Code::kOk ? Code::kInternal : value;
  }

  void require(bool present, const char* name) const {
    if (!present) fail(std::string(message_) + " has no " + name);
  }

 private:
  void expect(protozero::pbf_wire_type type) const {
    if (reader_.has_wire_type(type)) return;
    fail("field " + std::to_string(reader_.tag()) + " of " + message_ + " has the wrong wire type");
  }

  protozero::pbf_reader reader_;
  const char* message_;
};

void decode(std::string_view bytes, Hello& out) {
  Fields fields(bytes, "Hello");
  out.version = 0;
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.version = fields.u32(); break;
      case 2: out.name = fields.text("name", kMaxSessionNameBytes); break;
      default: fields.skip();
    }
  }
}

void decode(std::string_view bytes, LeaseRequest& out) {
  Fields fields(bytes, "LeaseRequest");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.request_id = fields.u64(); break;
      case 2: out.key = fields.text("key", kMaxUrlKeyBytes); break;
      case 3: out.count = std::max(fields.u32(), 1u); break;
      case 4: out.timeout_ms = fields.u64(); break;
      case 5: out.traceparent = fields.text("traceparent", kMaxTraceparentBytes); break;
      case 6: out.detach = fields.flag(); break;
      default: fields.skip();
    }
  }
  fields.require(out.request_id != 0, "request id");
}

void decode(std::string_view bytes, Release& out) {
  Fields fields(bytes, "Release");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.lease_id = fields.u64(); break;
      case 2: out.outcome = fields.u32() == 1 ? Outcome::kReuse : Outcome::kDiscard; break;
      case 3: out.request_id = fields.u64(); break;
      default: fields.skip();
    }
  }
}

void decode(std::string_view bytes, Cancel& out) {
  Fields fields(bytes, "Cancel");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.request_id = fields.u64(); break;
      default: fields.skip();
    }
  }
  fields.require(out.request_id != 0, "request id");
}

void decode(std::string_view bytes, ListKeys& out) {
  Fields fields(bytes, "ListKeys");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.request_id = fields.u64(); break;
      case 2: out.after = fields.text("after", kMaxUrlKeyBytes); break;
      default: fields.skip();
    }
  }
  fields.require(out.request_id != 0, "request id");
}

void decode(std::string_view bytes, SessionLimits& out) {
  Fields fields(bytes, "Limits");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.max_frame_bytes = fields.u32(); break;
      case 2: out.max_count = fields.u32(); break;
      case 3: out.max_leases = fields.u32(); break;
      case 4: out.max_waiters = fields.u32(); break;
      default: fields.skip();
    }
  }
}

void decode(std::string_view bytes, Welcome& out) {
  Fields fields(bytes, "Welcome");
  out.version = 0;
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.version = fields.u32(); break;
      case 2: out.session_id = fields.u64(); break;
      case 3: out.token = std::string(fields.bytes()); break;
      case 4: decode(fields.bytes(), out.limits); break;
      default: fields.skip();
    }
  }
}

void decode(std::string_view bytes, Goodbye& out) {
  Fields fields(bytes, "Goodbye");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.code = fields.code(); break;
      case 2: out.message = fields.text("message", kMaxFrameBytes); break;
      default: fields.skip();
    }
  }
}

void decode(std::string_view bytes, GrantedLease& out) {
  Fields fields(bytes, "GrantedLease");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.lease_id = fields.u64(); break;
      case 2: out.reused = fields.flag(); break;
      case 3: out.slot = fields.flag(); break;
      case 4: out.detached = fields.flag(); break;
      default: fields.skip();
    }
  }
  fields.require(out.lease_id != 0 && out.lease_id < kLeaseIdEnd, "lease id from 1 to 2^61 - 1");
}

void decode(std::string_view bytes, Grant& out) {
  Fields fields(bytes, "Grant");
  out.leases.reserve(std::min<size_t>(kMaxBatch, bytes.size() / 4));  // a lease has 4 bytes or more
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.request_id = fields.u64(); break;
      case 2:
        if (out.leases.size() == kMaxBatch) fail("Grant has too many leases");
        decode(fields.bytes(), out.leases.emplace_back());
        break;
      default: fields.skip();
    }
  }
  fields.require(out.request_id != 0, "request id");
  fields.require(!out.leases.empty(), "leases");
}

void decode(std::string_view bytes, Holder& out) {
  Fields fields(bytes, "Holder");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.pid = fields.u32(); break;
      case 2: out.uid = fields.u32(); break;
      case 3: out.command = fields.text("command", kMaxFrameBytes); break;
      case 4: out.held_ms = fields.u64(); break;
      default: fields.skip();
    }
  }
}

Cause cause_of(uint32_t value) {
  const bool known = value <= static_cast<uint32_t>(Cause::kQueueFull);
  return known ? Cause{value} : Cause::kUnspecified;
}

void decode(std::string_view bytes, Why& out) {
  Fields fields(bytes, "Why");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.cause = cause_of(fields.u32()); break;
      case 2: out.leased = fields.u32(); break;
      case 3: out.max_connections = fields.u32(); break;
      case 4: out.waiting = fields.u32(); break;
      case 5: out.dial_failures = fields.u64(); break;
      case 6: out.last_dial_error = fields.text("last_dial_error", kMaxFrameBytes); break;
      case 7: decode(fields.bytes(), out.holders.emplace_back()); break;
      default: fields.skip();
    }
  }
}

void decode(std::string_view bytes, Refusal& out) {
  Fields fields(bytes, "Refusal");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.request_id = fields.u64(); break;
      case 2: out.code = fields.failure(); break;
      case 3: out.message = fields.text("message", kMaxFrameBytes); break;
      case 4: decode(fields.bytes(), out.why.emplace()); break;
      default: fields.skip();
    }
  }
  fields.require(out.request_id != 0, "request id");
}

void decode(std::string_view bytes, Released& out) {
  Fields fields(bytes, "Released");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.request_id = fields.u64(); break;
      case 2: out.code = fields.code(); break;
      case 3: out.message = fields.text("message", kMaxFrameBytes); break;
      default: fields.skip();
    }
  }
  fields.require(out.request_id != 0, "request id");
}

void decode(std::string_view bytes, Revoked& out) {
  Fields fields(bytes, "Revoked");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.lease_id = fields.u64(); break;
      case 2: out.code = fields.failure(); break;
      case 3: out.message = fields.text("message", kMaxFrameBytes); break;
      default: fields.skip();
    }
  }
  fields.require(out.lease_id != 0, "lease id");
}

void decode(std::string_view bytes, KeyList& out) {
  Fields fields(bytes, "KeyList");
  while (fields.next()) {
    switch (fields.tag()) {
      case 1: out.request_id = fields.u64(); break;
      case 2:
        if (out.keys.size() == kMaxKeysPerFrame) fail("KeyList has too many keys");
        out.keys.push_back(fields.text("key", kMaxUrlKeyBytes));
        break;
      case 3: out.more = fields.flag(); break;
      default: fields.skip();
    }
  }
  fields.require(out.request_id != 0, "request id");
}

// Field n of a frame is alternative n - 1 of the variant. Puts the decoded message into `out`;
// false if no kind has that number.
template <class Frame, size_t index = 0>
bool decode_kind(Fields& fields, Frame& out) {
  if constexpr (index == std::variant_size_v<Frame>) {
    return false;
  } else {
    if (fields.tag() != index + 1) return decode_kind<Frame, index + 1>(fields, out);
    decode(fields.bytes(), out.template emplace<index>());
    return true;
  }
}

template <class Frame>
void decode_fields(std::string_view bytes, Frame& out) {
  if (bytes.size() > kMaxFrameBytes) {
    fail("frame has more than " + std::to_string(kMaxFrameBytes) + " bytes");
  }
  Fields fields(bytes, "the frame");
  bool decoded = false;
  uint32_t unknown = 0;
  while (fields.next()) {
    if (decode_kind(fields, out)) {
      decoded = true;
      continue;
    }
    unknown = fields.tag();
    fields.skip();
  }
  if (decoded) return;
  fail(unknown == 0 ? "frame is empty" : "kind " + std::to_string(unknown) + " is unknown");
}

template <class Frame>
std::variant<Frame, DecodeError> decode_frame(std::string_view bytes) {
  std::variant<Frame, DecodeError> result;
  try {
    decode_fields(bytes, std::get<Frame>(result));
  } catch (Fault& fault) {
    result = DecodeError{std::move(fault.message)};
  } catch (const protozero::end_of_buffer_exception&) {
    result = DecodeError{"frame is truncated"};
  } catch (const protozero::exception& e) {
    result = DecodeError{std::string("frame is malformed: ") + e.what()};
  }
  return result;
}

}  // namespace

std::variant<ClientFrame, DecodeError> decode_client_frame(std::string_view bytes) {
  return decode_frame<ClientFrame>(bytes);
}

std::variant<ServerFrame, DecodeError> decode_server_frame(std::string_view bytes) {
  return decode_frame<ServerFrame>(bytes);
}

}  // namespace berth::wire
