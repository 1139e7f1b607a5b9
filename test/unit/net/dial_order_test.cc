#include "net/dial_order.h"

#include <map>
#include <set>

#include "unit/net/sockets.h"

namespace berth::net {
namespace {

std::vector<SocketAddress> addresses(const std::vector<std::string>& texts) {
  std::vector<SocketAddress> out;
  out.reserve(texts.size());
  for (const std::string& text : texts) out.push_back(test::address_of("tcp://" + text));
  return out;
}

std::vector<std::string> texts(const std::vector<SocketAddress>& addresses) {
  std::vector<std::string> out;
  out.reserve(addresses.size());
  for (const SocketAddress& address : addresses) out.push_back(address.text());
  return out;
}

std::vector<std::string> texts(const std::vector<Place>& places) {
  std::vector<std::string> out;
  out.reserve(places.size());
  for (const Place& place : places) out.push_back(place.address.text());
  return out;
}

using Texts = std::vector<std::string>;

Texts order(const Texts& given, uint64_t turn = 0) {
  return texts(family_order(addresses(given), turn));
}

TEST(DialOrder, FamiliesTakeTurnsBeginningWithTheOneThatStandsFirst) {
  EXPECT_EQ(order({"[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1"}),
            (Texts{"[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1"}));
  EXPECT_EQ(order({"127.0.0.1:1", "127.0.0.2:1", "[::1]:1"}),
            (Texts{"127.0.0.1:1", "[::1]:1", "127.0.0.2:1"}));
  EXPECT_EQ(order({"127.0.0.1:1", "[::1]:1", "[::2]:1", "[::3]:1"}),
            (Texts{"127.0.0.1:1", "[::1]:1", "[::2]:1", "[::3]:1"}));
}

TEST(DialOrder, OneFamilyKeepsTheResolversOrder) {
  const Texts three = {"127.0.0.3:1", "127.0.0.1:1", "127.0.0.2:1"};
  EXPECT_EQ(order(three), three);
  EXPECT_EQ(order({}), Texts{});
}

TEST(DialOrder, EachTurnBeginsWithTheNextOfEachFamily) {
  const Texts given = {"127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1", "[::1]:1", "[::2]:1"};
  EXPECT_EQ(order(given, 1),
            (Texts{"127.0.0.2:1", "[::2]:1", "127.0.0.3:1", "[::1]:1", "127.0.0.1:1"}));
  EXPECT_EQ(order(given, 6), order(given, 0));
}

TEST(DialOrder, ManyTurnsUseEveryAddressEqually) {
  std::map<std::string, int> first;
  for (uint64_t turn = 0; turn < 30; ++turn) {
    ++first[order({"127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"}, turn).front()];
  }
  EXPECT_EQ(first, (std::map<std::string, int>{
                       {"127.0.0.1:1", 10}, {"127.0.0.2:1", 10}, {"127.0.0.3:1", 10}}));
}

Target target(uint16_t priority, uint16_t weight, const Texts& given) {
  return {priority, weight, addresses(given)};
}

TEST(DialOrder, AServicesLowestPriorityComesFirst) {
  Random random(1);
  const std::vector<Target> targets = {target(20, 9, {"127.0.0.3:3"}),
                                       target(10, 0, {"127.0.0.1:1", "[::1]:1"}),
                                       target(30, 9, {"127.0.0.2:2"})};
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(texts(dial_order(targets, 0, random)),
              (Texts{"127.0.0.1:1", "[::1]:1", "127.0.0.3:3", "127.0.0.2:2"}));
  }
  EXPECT_EQ(dial_order(targets, 0, random).front().priority, 10);
  EXPECT_EQ(dial_order(targets, 0, random).back().priority, 30);
}

TEST(DialOrder, EqualPrioritiesComeFirstAsOftenAsTheirWeightsSay) {
  Random random(1);
  const std::vector<Target> targets = {target(1, 30, {"127.0.0.1:1"}),
                                       target(1, 10, {"127.0.0.2:1"}),
                                       target(1, 60, {"127.0.0.3:1"})};
  std::map<std::string, int> first;
  for (int i = 0; i < 10'000; ++i) {
    const Texts order = texts(dial_order(targets, 0, random));
    ASSERT_EQ(std::set<std::string>(order.begin(), order.end()).size(), 3u) << "each once";
    ++first[order.front()];
  }
  EXPECT_NEAR(first["127.0.0.1:1"], 3000, 200);
  EXPECT_NEAR(first["127.0.0.2:1"], 1000, 200);
  EXPECT_NEAR(first["127.0.0.3:1"], 6000, 200);
}

TEST(DialOrder, WithoutWeightOneIsHardlyEverFirst) {
  Random random(1);
  const std::vector<Target> targets = {target(1, 65535, {"127.0.0.1:1"}),
                                       target(1, 0, {"127.0.0.2:1"})};
  int first = 0;
  for (int i = 0; i < 1000; ++i) {
    first += dial_order(targets, 0, random).front().address.text() == "127.0.0.2:1";
  }
  EXPECT_LE(first, 2);
}

TEST(DialOrder, WhereNoneHasWeightEachIsFirstAsOften) {
  Random random(1);
  const std::vector<Target> none = {target(1, 0, {"127.0.0.1:1"}), target(1, 0, {"127.0.0.2:1"})};
  int first = 0;
  for (int i = 0; i < 1000; ++i) {
    first += dial_order(none, 0, random).front().address.text() == "127.0.0.2:1";
  }
  EXPECT_NEAR(first, 500, 100);
}

TEST(DialOrder, AnswersAreComparedWhateverTheirOrder) {
  const Answer one = {{target(0, 0, {"127.0.0.1:1", "127.0.0.2:1"})}, true, {}, {}};
  const Answer other = {
      {target(1, 7, {"127.0.0.2:1"}), target(2, 0, {"127.0.0.1:1"})}, true, {}, {}};
  const Answer less = {{target(0, 0, {"127.0.0.1:1"})}, true, {}, {}};
  EXPECT_TRUE(same_addresses(one, other));
  EXPECT_FALSE(same_addresses(one, less));
  EXPECT_FALSE(same_addresses(less, one));
  EXPECT_TRUE(has_address(one, test::address_of("tcp://127.0.0.2:1")));
  EXPECT_FALSE(has_address(one, test::address_of("tcp://127.0.0.2:2")));
}

}  // namespace
}  // namespace berth::net
