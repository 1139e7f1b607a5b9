#include "wire/http2_headers.h"

#include <gtest/gtest.h>

#include "unit/wire/http2_peer.h"

namespace berth::wire {
namespace {

using frames::Pairs;

TEST(Http2Headers, PseudoHeaderFieldsStandFirst) {
  Http2Headers headers = headers_of({{":path", "/"}, {"a", "b"}});
  headers.set(":authority", "x");
  headers.add("c", "d");
  EXPECT_EQ(pairs_of(headers),
            (Pairs{{":path", "/"}, {":authority", "x"}, {"a", "b"}, {"c", "d"}}));
}

TEST(Http2Headers, SettingReplacesTheFirstOfThatName) {
  Http2Headers headers = headers_of({{"a", "1"}, {"a", "2"}});
  headers.set("a", "");
  headers.set("b", "3", Http2Headers::Text::outlives);
  headers.set("b", "4");
  EXPECT_EQ(pairs_of(headers), (Pairs{{"a", ""}, {"a", "2"}, {"b", "4"}}));
}

TEST(Http2Headers, RemovingTakesAllOfThatName) {
  Http2Headers headers = headers_of({{"a", "1"}, {"b", "2"}, {"a", "3"}});
  headers.remove("a");
  headers.remove("c");
  EXPECT_EQ(pairs_of(headers), (Pairs{{"b", "2"}}));
  EXPECT_EQ(headers.find("a"), nullptr);
  EXPECT_EQ(headers.find("b")->value, "2");
}

TEST(Http2Headers, ACopyIsOnItsOwn) {
  Http2Headers headers = headers_of({{"a", "1"}});
  Http2Headers copy = headers.copy();
  headers = headers_of({{"b", "2"}});
  copy.add("c", "3");
  EXPECT_EQ(pairs_of(copy), (Pairs{{"a", "1"}, {"c", "3"}}));
  EXPECT_EQ(pairs_of(headers), (Pairs{{"b", "2"}}));
}

TEST(Http2Headers, EachFieldCounts32BytesMore) {
  EXPECT_EQ(headers_of({{"abc", "de"}, {"f", ""}}).bytes(), 37u + 33);
  EXPECT_TRUE(Http2Headers().empty());
}

TEST(Http2Headers, MoreThanUsualFit) {
  Pairs pairs;
  for (int i = 0; i < 100; ++i) pairs.emplace_back("name" + std::to_string(i), "value");
  EXPECT_EQ(pairs_of(headers_of(pairs)), pairs);
}

}  // namespace
}  // namespace berth::wire
