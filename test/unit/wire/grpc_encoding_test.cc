#include "wire/grpc_encoding.h"

#include <gtest/gtest.h>

#include <string>

namespace berth::wire {
namespace {

Http2Headers with(std::string_view name, std::string_view value) {
  Http2Headers headers;
  headers.add(name, value);
  return headers;
}

TEST(GrpcEncoding, TheContentTypeTellsHowACallIsFramed) {
  for (const char* type : {"application/grpc", "application/grpc+proto", "application/grpc;a=b"}) {
    EXPECT_TRUE(has_grpc_messages(with("content-type", type))) << type;
  }
  for (const char* type : {"application/grpc-web", "application/grpc-web-text", "text/html", ""}) {
    EXPECT_FALSE(has_grpc_messages(with("content-type", type))) << type;
  }
  EXPECT_FALSE(has_grpc_messages({}));
}

TEST(GrpcEncoding, WhoNamesNoneOrIdentityDoesNotCompress) {
  EXPECT_FALSE(is_compressed({}));
  EXPECT_FALSE(is_compressed(with("grpc-encoding", "identity")));
  EXPECT_TRUE(is_compressed(with("grpc-encoding", "gzip")));
  EXPECT_TRUE(is_compressed(with("grpc-encoding", "zstd")));
}

TEST(GrpcEncoding, WhatIsSetIsNamed) {
  for (const Compression each : {Compression::snappy, Compression::gzip}) {
    Http2Headers headers = with("grpc-encoding", "identity");
    EXPECT_FALSE(is_compressed_by(each, headers));
    set_compression(each, headers);
    EXPECT_TRUE(is_compressed_by(each, headers));
    EXPECT_EQ(headers.fields().size(), 1u);
  }
}

TEST(GrpcEncoding, WhatIsAcceptedIsFoundInTheList) {
  for (const char* list : {"snappy", "gzip,snappy", "snappy , gzip", "gzip,\tsnappy"}) {
    EXPECT_TRUE(accepts(Compression::snappy, with("grpc-accept-encoding", list))) << list;
  }
  for (const char* list : {"", "gzip", "snappyx", "x-snappy,", ",,"}) {
    EXPECT_FALSE(accepts(Compression::snappy, with("grpc-accept-encoding", list))) << list;
  }
  Http2Headers twice = with("grpc-accept-encoding", "gzip");
  twice.add("grpc-accept-encoding", "snappy");
  EXPECT_TRUE(accepts(Compression::snappy, twice));
}

TEST(GrpcEncoding, WhatIsAddedJoinsWhatWasAccepted) {
  Http2Headers headers;
  add_accepted(Compression::gzip, headers);
  EXPECT_EQ(headers.find("grpc-accept-encoding")->value, "identity,gzip");
  add_accepted(Compression::snappy, headers);
  EXPECT_EQ(headers.find("grpc-accept-encoding")->value, "identity,gzip,snappy");
}

}  // namespace
}  // namespace berth::wire
