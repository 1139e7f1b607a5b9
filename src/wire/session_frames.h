// Session frames as values: encode and decode of proto/berth/v1/session.proto.
//
// Bytes in, bytes out; no sockets. Serves berthd and libberth alike, so it needs protozero alone.
// Decoding accepts any input: a malformed frame is a DecodeError in words, never an exception.
// Fields mean what session.proto says.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/code.h"

namespace berth::wire {

inline constexpr uint32_t kSessionVersion = 1;

using berth::Cause;
using berth::Outcome;

struct Hello {
  uint32_t version = kSessionVersion;
  std::string name;
  friend bool operator==(const Hello&, const Hello&) = default;
};

struct LeaseRequest {
  uint64_t request_id = 0;
  std::string key;
  uint32_t count = 1;  // decoded 0 becomes 1
  std::optional<uint64_t> timeout_ms;
  std::string traceparent;
  bool detach = false;
  friend bool operator==(const LeaseRequest&, const LeaseRequest&) = default;
};

struct Release {
  uint64_t lease_id = 0;
  Outcome outcome = Outcome::kDiscard;  // an unknown value decodes as kDiscard
  uint64_t request_id = 0;
  friend bool operator==(const Release&, const Release&) = default;
};

struct Cancel {
  uint64_t request_id = 0;
  friend bool operator==(const Cancel&, const Cancel&) = default;
};

struct ListKeys {
  uint64_t request_id = 0;
  std::string after;
  friend bool operator==(const ListKeys&, const ListKeys&) = default;
};

using ClientFrame = std::variant<Hello, LeaseRequest, Release, Cancel, ListKeys>;

struct SessionLimits {
  uint32_t max_frame_bytes = 0;
  uint32_t max_count = 0;
  uint32_t max_leases = 0;
  uint32_t max_waiters = 0;
  friend bool operator==(const SessionLimits&, const SessionLimits&) = default;
};

struct Welcome {
  uint32_t version = kSessionVersion;
  uint64_t session_id = 0;
  std::string token;
  SessionLimits limits;
  friend bool operator==(const Welcome&, const Welcome&) = default;
};

struct Goodbye {
  Code code = Code::kOk;
  std::string message;
  friend bool operator==(const Goodbye&, const Goodbye&) = default;
};

struct GrantedLease {
  uint64_t lease_id = 0;
  bool reused = false;
  bool slot = false;  // no descriptor comes with it
  bool detached = false;
  friend bool operator==(const GrantedLease&, const GrantedLease&) = default;
};

struct Grant {
  uint64_t request_id = 0;
  std::vector<GrantedLease> leases;
  friend bool operator==(const Grant&, const Grant&) = default;
};

struct Holder {
  uint32_t pid = 0;
  uint32_t uid = 0;
  std::string command;
  uint64_t held_ms = 0;
  friend bool operator==(const Holder&, const Holder&) = default;
};

struct Why {
  Cause cause = Cause::kUnspecified;
  uint32_t leased = 0;
  uint32_t max_connections = 0;
  uint32_t waiting = 0;
  uint64_t dial_failures = 0;
  std::string last_dial_error;
  std::vector<Holder> holders;
  friend bool operator==(const Why&, const Why&) = default;
};

struct Refusal {
  uint64_t request_id = 0;
  Code code = Code::kInternal;
  std::string message;
  std::optional<Why> why;
  friend bool operator==(const Refusal&, const Refusal&) = default;
};

struct Released {
  uint64_t request_id = 0;
  Code code = Code::kOk;
  std::string message;
  friend bool operator==(const Released&, const Released&) = default;
};

struct Revoked {
  uint64_t lease_id = 0;
  Code code = Code::kRevoked;
  std::string message;
  friend bool operator==(const Revoked&, const Revoked&) = default;
};

struct KeyList {
  uint64_t request_id = 0;
  std::vector<std::string> keys;
  bool more = false;
  friend bool operator==(const KeyList&, const KeyList&) = default;
};

using ServerFrame = std::variant<Welcome, Goodbye, Grant, Refusal, Released, Revoked, KeyList>;

// What is wrong with a frame, for its sender: "frame is empty", "kind 9 is unknown", …
struct DecodeError {
  std::string message;
};

// Decodes one frame. `bytes` need not outlive the call. Texts longer than their bound in
// base/limits.h (key, name, traceparent) and a missing request id are DecodeErrors too.
std::variant<ClientFrame, DecodeError> decode_client_frame(std::string_view bytes);
std::variant<ServerFrame, DecodeError> decode_server_frame(std::string_view bytes);

// Replaces the content of `out` by the frame; reusing `out` saves the allocation.
void encode(const ClientFrame& frame, std::string& out);
void encode(const ServerFrame& frame, std::string& out);
// The same as encode(Grant{request_id, leases}), without the vector: the one frame that is sent
// once per lease.
void encode_grant(uint64_t request_id, std::span<const GrantedLease> leases, std::string& out);

}  // namespace berth::wire
