// Session frames: our codec against libprotobuf's, and against bytes that nobody should send.
#include "wire/session_frames.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/limits.h"
#include "base/utf8.h"
#include "berth/v1/session.pb.h"

namespace berth::wire {
namespace {

constexpr uint64_t kBigLease = (uint64_t{1} << 61) - 1;
const std::string kTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

std::vector<ClientFrame> client_frames() {
  return {
      Hello{1, "php-fpm: pool www"},
      Hello{0, ""},
      LeaseRequest{7, "redis", 1, std::nullopt, ""},
      LeaseRequest{~uint64_t{0}, "tcp://db.example.org:5432", 64, 0, kTrace},
      LeaseRequest{8, "postgres.main", 3, 250, ""},
      LeaseRequest{8, "ssh", 2, 250, kTrace, true},
      Release{kBigLease, Outcome::kReuse, 0},
      Release{1, Outcome::kDiscard, 12},
      Release{0, Outcome::kDiscard, 0},
      Cancel{300},
      ListKeys{1, ""},
      ListKeys{2, "redis"},
  };
}

std::vector<ServerFrame> server_frames() {
  Why why{Cause::kExhausted, 20, 20, 3, 9, "tcp://127.0.0.1:6379: connection refused", {}};
  why.holders = {{4121, 33, "php-fpm", 31000}, {0, 0, "", 0}};
  return {
      Welcome{1, 5, std::string("\0\xff\x80 sixteen bytes", 16), {65536, 64, 4096, 256}},
      Welcome{0, 0, "", {}},
      Goodbye{Code::kVersion, "berthd speaks versions 1 to 1"},
      Goodbye{Code::kOk, ""},
      Grant{7, {{kBigLease, true}}},
      Grant{130, {{1, false}, {128, true}, {16384, false}}},
      Grant{130, {{1, false, true}, {128, true, true}}},
      Refusal{7, Code::kTimedOut, "timed out after 5 s: 20/20 leased", why},
      Refusal{8, Code::kNoSuchKey, "", std::nullopt},
      Refusal{9, Code::kQueueFull, "", Why{}},
      Grant{131, {{1, true, false, true}, {128, false, false, true}}},
      Released{3, Code::kOk, ""},
      Released{4, Code::kNoSuchLease, "lease 9 is not yours"},
      Revoked{kBigLease, Code::kRevoked, "held longer than lease_timeout (1 min)"},
      KeyList{1, {"a", "mysql", "redis"}, true},
      KeyList{2, {}, false},
  };
}

template <class Frame>
std::string bytes_of(const Frame& frame) {
  std::string out;
  encode(frame, out);
  return out;
}

LeaseRequest lease_request(uint64_t id, std::string key) {
  return {id, std::move(key), 1, {}, ""};
}

std::string client_error(std::string_view bytes) {
  const auto result = decode_client_frame(bytes);
  const auto* error = std::get_if<DecodeError>(&result);
  return error != nullptr ? error->message : "no error";
}

std::string server_error(std::string_view bytes) {
  const auto result = decode_server_frame(bytes);
  const auto* error = std::get_if<DecodeError>(&result);
  return error != nullptr ? error->message : "no error";
}

TEST(SessionFrames, EveryFrameComesBackAsItWent) {
  for (const ClientFrame& frame : client_frames()) {
    const auto back = decode_client_frame(bytes_of(frame));
    ASSERT_TRUE(std::holds_alternative<ClientFrame>(back)) << std::get<DecodeError>(back).message;
    EXPECT_EQ(std::get<ClientFrame>(back), frame) << "kind " << frame.index();
  }
  for (const ServerFrame& frame : server_frames()) {
    const auto back = decode_server_frame(bytes_of(frame));
    ASSERT_TRUE(std::holds_alternative<ServerFrame>(back)) << std::get<DecodeError>(back).message;
    EXPECT_EQ(std::get<ServerFrame>(back), frame) << "kind " << frame.index();
  }
}

TEST(SessionFrames, ProtobufReadsOurBytesAndWeReadIts) {
  for (const ClientFrame& frame : client_frames()) {
    v1::ClientFrame message;
    ASSERT_TRUE(message.ParseFromString(bytes_of(frame)));
    EXPECT_EQ(message.kind_case(), static_cast<int>(frame.index() + 1));
    const auto back = decode_client_frame(message.SerializeAsString());
    ASSERT_TRUE(std::holds_alternative<ClientFrame>(back));
    EXPECT_EQ(std::get<ClientFrame>(back), frame) << message.DebugString();
  }
  for (const ServerFrame& frame : server_frames()) {
    v1::ServerFrame message;
    ASSERT_TRUE(message.ParseFromString(bytes_of(frame)));
    EXPECT_EQ(message.kind_case(), static_cast<int>(frame.index() + 1));
    const auto back = decode_server_frame(message.SerializeAsString());
    ASSERT_TRUE(std::holds_alternative<ServerFrame>(back));
    EXPECT_EQ(std::get<ServerFrame>(back), frame) << message.DebugString();
  }
}

TEST(SessionFrames, ProtobufFindsEachFieldOfALeaseRequest) {
  v1::ClientFrame message;
  ASSERT_TRUE(message.ParseFromString(
      bytes_of(ClientFrame{LeaseRequest{9, "redis", 4, 1500, kTrace, true}})));
  EXPECT_EQ(message.lease().request_id(), 9u);
  EXPECT_EQ(message.lease().key(), "redis");
  EXPECT_EQ(message.lease().count(), 4u);
  EXPECT_TRUE(message.lease().has_timeout_ms());
  EXPECT_EQ(message.lease().timeout_ms(), 1500u);
  EXPECT_EQ(message.lease().traceparent(), kTrace);
  EXPECT_TRUE(message.lease().detach());
}

TEST(SessionFrames, ProtobufFindsEachFieldOfARefusal) {
  const ServerFrame frame = server_frames()[7];
  v1::ServerFrame message;
  ASSERT_TRUE(message.ParseFromString(bytes_of(frame)));
  EXPECT_EQ(message.refusal().code(), v1::TIMED_OUT);
  EXPECT_EQ(message.refusal().why().cause(), v1::Why::EXHAUSTED);
  EXPECT_EQ(message.refusal().why().holders(0).command(), "php-fpm");
  EXPECT_EQ(message.refusal().why().holders(0).held_ms(), 31000u);
  EXPECT_EQ(message.refusal().why().holders_size(), 2);
}

TEST(SessionFrames, AbsentAndZeroTimeoutsAreDifferent) {
  const auto absent = decode_client_frame(bytes_of(ClientFrame{lease_request(1, "k")}));
  const auto zero = decode_client_frame(bytes_of(ClientFrame{LeaseRequest{1, "k", 1, 0, ""}}));
  EXPECT_FALSE(std::get<LeaseRequest>(std::get<ClientFrame>(absent)).timeout_ms.has_value());
  EXPECT_EQ(std::get<LeaseRequest>(std::get<ClientFrame>(zero)).timeout_ms, 0u);
}

TEST(SessionFrames, UnsetAndZeroCountsMeanOne) {
  v1::ClientFrame message;
  message.mutable_lease()->set_request_id(1);
  const auto unset = decode_client_frame(message.SerializeAsString());
  EXPECT_EQ(std::get<LeaseRequest>(std::get<ClientFrame>(unset)).count, 1u);
  const auto zero = decode_client_frame(bytes_of(ClientFrame{LeaseRequest{1, "k", 0, {}, ""}}));
  EXPECT_EQ(std::get<LeaseRequest>(std::get<ClientFrame>(zero)).count, 1u);
}

TEST(SessionFrames, EmptyAndUnknownKindsAreNamed) {
  EXPECT_EQ(client_error(""), "frame is empty");
  EXPECT_EQ(server_error(""), "frame is empty");
  EXPECT_EQ(client_error(std::string("\x4a\x00", 2)), "kind 9 is unknown");
  EXPECT_EQ(server_error(std::string("\x42\x00", 2)), "kind 8 is unknown");
}

TEST(SessionFrames, UnknownFieldsAreSkippedEverywhere) {
  const std::string extra = "\x78\x01\x7d....\xf9\x01........\x82\x02\x03xyz";  // 15, 15, 31, 32
  v1::ClientFrame client;
  client.mutable_cancel()->set_request_id(3);
  client.mutable_cancel()
      ->GetReflection()
      ->MutableUnknownFields(client.mutable_cancel())
      ->ParseFromString(extra);
  const auto cancel = decode_client_frame(client.SerializeAsString() + extra);
  ASSERT_TRUE(std::holds_alternative<ClientFrame>(cancel));
  EXPECT_EQ(std::get<ClientFrame>(cancel), ClientFrame{Cancel{3}});
  const ServerFrame grant = Grant{7, {{5, true}}};
  const auto back = decode_server_frame(bytes_of(grant) + extra);
  ASSERT_TRUE(std::holds_alternative<ServerFrame>(back));
  EXPECT_EQ(std::get<ServerFrame>(back), grant);
}

TEST(SessionFrames, TheLastKindWins) {
  const std::string both =
      bytes_of(ClientFrame{Cancel{3}}) + bytes_of(ClientFrame{ListKeys{4, ""}});
  const auto back = decode_client_frame(both);
  EXPECT_EQ(std::get<ClientFrame>(back), (ClientFrame{ListKeys{4, ""}}));
}

TEST(SessionFrames, WrongWireTypesAreErrors) {
  EXPECT_EQ(client_error("\x08\x01"), "field 1 of the frame has the wrong wire type");
  EXPECT_EQ(client_error("\x22\x03\x0a\x01x"), "field 1 of Cancel has the wrong wire type");
  EXPECT_EQ(client_error("\x12\x02\x10\x05"), "field 2 of LeaseRequest has the wrong wire type");
  EXPECT_NE(client_error("\x0b").find("malformed"), std::string::npos);  // a group
}

TEST(SessionFrames, MissingIdsAreErrors) {
  EXPECT_EQ(client_error(bytes_of(ClientFrame{lease_request(0, "redis")})),
            "LeaseRequest has no request id");
  EXPECT_EQ(client_error(bytes_of(ClientFrame{Cancel{0}})), "Cancel has no request id");
  EXPECT_EQ(client_error(bytes_of(ClientFrame{ListKeys{0, ""}})), "ListKeys has no request id");
  EXPECT_EQ(server_error(bytes_of(ServerFrame{Grant{0, {{1, false}}}})), "Grant has no request id");
  EXPECT_EQ(server_error(bytes_of(ServerFrame{Grant{1, {}}})), "Grant has no leases");
  EXPECT_EQ(server_error(bytes_of(ServerFrame{Grant{1, {{kBigLease + 1, false}}}})),
            "GrantedLease has no lease id from 1 to 2^61 - 1");
}

TEST(SessionFrames, TextsBeyondTheirBoundAreErrors) {
  const std::string at(kMaxUrlKeyBytes, 'k');
  EXPECT_EQ(client_error(bytes_of(ClientFrame{lease_request(1, at)})), "no error");
  EXPECT_EQ(client_error(bytes_of(ClientFrame{lease_request(1, at + "k")})),
            "key of LeaseRequest has 301 bytes; at most 300 are allowed");
  const std::string name(kMaxSessionNameBytes + 1, 'n');
  EXPECT_NE(client_error(bytes_of(ClientFrame{Hello{1, name}})), "no error");
  const std::string trace(kMaxTraceparentBytes + 1, 't');
  EXPECT_NE(client_error(bytes_of(ClientFrame{LeaseRequest{1, "k", 1, {}, trace}})), "no error");
  EXPECT_NE(client_error(bytes_of(ClientFrame{ListKeys{1, at + "k"}})), "no error");
  EXPECT_NE(client_error(std::string(kMaxFrameBytes + 1, '\0')), "no error");
}

TEST(SessionFrames, TooManyLeasesOrKeysAreErrors) {
  Grant grant{1, std::vector<GrantedLease>(kMaxBatch, {1, false})};
  EXPECT_EQ(server_error(bytes_of(ServerFrame{grant})), "no error");
  grant.leases.push_back({1, false});
  EXPECT_EQ(server_error(bytes_of(ServerFrame{grant})), "Grant has too many leases");
  KeyList list{1, std::vector<std::string>(kMaxKeysPerFrame, "k"), false};
  EXPECT_EQ(server_error(bytes_of(ServerFrame{list})), "no error");
  list.keys.push_back("k");
  EXPECT_EQ(server_error(bytes_of(ServerFrame{list})), "KeyList has too many keys");
}

TEST(SessionFrames, TextsThatAreNotUtf8AreErrors) {
  EXPECT_EQ(client_error(bytes_of(ClientFrame{Hello{1, "caf\xe9"}})), "name of Hello is not UTF-8");
  EXPECT_EQ(client_error(bytes_of(ClientFrame{Hello{1, "café"}})), "no error");
}

TEST(SessionFrames, WordsForPeopleAreClippedAndMadeUtf8) {
  const std::string longest(kMaxMessageBytes - 1, 'x');
  const auto clipped =
      decode_server_frame(bytes_of(ServerFrame{Goodbye{Code::kInvalid, longest + "é"}}));
  EXPECT_EQ(std::get<Goodbye>(std::get<ServerFrame>(clipped)).message, longest);
  const auto cleaned =
      decode_server_frame(bytes_of(ServerFrame{Goodbye{Code::kInvalid, "a\xff é\xc3"}}));
  EXPECT_EQ(std::get<Goodbye>(std::get<ServerFrame>(cleaned)).message, "a? é?");
}

TEST(SessionFrames, CodesFromTheFutureAreInternalFaults) {
  const auto refusal = decode_server_frame(bytes_of(ServerFrame{Refusal{1, Code{77}, "", {}}}));
  EXPECT_EQ(std::get<Refusal>(std::get<ServerFrame>(refusal)).code, Code::kInternal);
  const auto ok = decode_server_frame(bytes_of(ServerFrame{Refusal{1, Code::kOk, "", {}}}));
  EXPECT_EQ(std::get<Refusal>(std::get<ServerFrame>(ok)).code, Code::kInternal);
  const auto release = decode_client_frame(bytes_of(ClientFrame{Release{1, Outcome{9}, 0}}));
  EXPECT_EQ(std::get<Release>(std::get<ClientFrame>(release)).outcome, Outcome::kDiscard);
}

TEST(SessionFrames, EncodingReplacesWhatWasThere) {
  std::string out = "old bytes";
  encode(ClientFrame{Cancel{3}}, out);
  EXPECT_EQ(out, bytes_of(ClientFrame{Cancel{3}}));
}

// A truncation may end on a field's border and so be a frame too; what counts is that our decoder
// never accepts what libprotobuf refuses.
template <class Message, class Decode>
void expect_stricter_than_protobuf(const std::string& bytes, Decode decode, uint32_t seed) {
  const std::string copy(bytes);  // its own allocation, so that the sanitizer sees an overrun
  const auto result = decode(std::string_view(copy));
  if (const auto* error = std::get_if<DecodeError>(&result)) {
    EXPECT_FALSE(error->message.empty());
    return;
  }
  Message message;
  EXPECT_TRUE(message.ParseFromString(bytes)) << "seed " << seed;
}

TEST(SessionFrames, EveryTruncationIsRefusedOrIsAFrameToProtobufToo) {
  for (const ClientFrame& frame : client_frames()) {
    const std::string bytes = bytes_of(frame);
    for (size_t n = 0; n < bytes.size(); ++n) {
      expect_stricter_than_protobuf<v1::ClientFrame>(bytes.substr(0, n), decode_client_frame, 0);
      EXPECT_NE(client_error(bytes.substr(0, n)), "no error");
    }
  }
  for (const ServerFrame& frame : server_frames()) {
    const std::string bytes = bytes_of(frame);
    for (size_t n = 0; n < bytes.size(); ++n) {
      expect_stricter_than_protobuf<v1::ServerFrame>(bytes.substr(0, n), decode_server_frame, 0);
      EXPECT_NE(server_error(bytes.substr(0, n)), "no error");
    }
  }
}

std::string mutate(std::string bytes, std::mt19937& random) {
  const auto pick = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  for (size_t changes = 1 + pick(3); changes > 0; --changes) {
    const char byte = static_cast<char>(pick(256));
    if (bytes.empty() || pick(4) == 0) {
      bytes.insert(pick(bytes.size() + 1), 1, byte);
    } else if (pick(4) == 0) {
      bytes.erase(pick(bytes.size()), 1);
    } else {
      bytes[pick(bytes.size())] = byte;
    }
  }
  return bytes;
}

// What we accept we can say again, and mean the same.
template <class Frame, class Decode>
void expect_stable(const std::string& bytes, Decode decode, uint32_t seed) {
  const std::string copy(bytes);
  const auto result = decode(std::string_view(copy));
  if (!std::holds_alternative<Frame>(result)) return;
  const auto again = decode(std::string_view(bytes_of(std::get<Frame>(result))));
  ASSERT_TRUE(std::holds_alternative<Frame>(again)) << "seed " << seed;
}

TEST(SessionFrames, RandomMutationsNeitherCrashNorConfuse) {
  const auto clients = client_frames();
  const auto servers = server_frames();
  for (uint32_t seed = 1; seed <= 20000; ++seed) {
    std::mt19937 random(seed);
    const std::string client = mutate(bytes_of(clients[seed % clients.size()]), random);
    expect_stable<ClientFrame>(client, decode_client_frame, seed);
    const std::string server = mutate(bytes_of(servers[seed % servers.size()]), random);
    expect_stable<ServerFrame>(server, decode_server_frame, seed);
    if (HasFailure()) return;
  }
}

TEST(SessionFrames, NoiseIsRefusedOrSkipped) {
  for (uint32_t seed = 1; seed <= 5000; ++seed) {
    std::mt19937 random(seed);
    std::string noise(random() % 64, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    expect_stable<ClientFrame>(noise, decode_client_frame, seed);
    expect_stable<ServerFrame>(noise, decode_server_frame, seed);
    if (HasFailure()) return;
  }
}

TEST(Utf8, KnowsTheBorders) {
  for (const char* good :
       {"", "a", "é", "€", "\xf0\x9f\x9a\xa2", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(is_utf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
        "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xff"}) {
    EXPECT_FALSE(is_utf8(bad));
  }
  EXPECT_EQ(utf8_prefix("aé", 2), 1u);
  EXPECT_EQ(utf8_prefix("aé", 3), 3u);
}

}  // namespace
}  // namespace berth::wire
