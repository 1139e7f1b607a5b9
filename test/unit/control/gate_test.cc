// The control socket without gRPC: the test takes the descriptors over in its place.
#include "control/gate.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit/broker/in_process.h"

namespace berth::control {
namespace {

using namespace std::chrono_literals;

class GateTest : public broker::BrokerTest {
 protected:
  // `numbers`: the limit on descriptors, from whose upper half they are.
  void open(uint32_t numbers = 1000) {
    start();
    slots_before_ = slots_used();
    auto listener = listeners_.open({"control", SOCK_STREAM, {folder_ + "/control.sock", 0600}, 128});
    ASSERT_TRUE(listener.ok());
    gate_ = std::make_unique<Gate>(loop_, *std::move(listener), numbers, broker_->driver(), peers_,
                                   [this](int fd) { adopted_.emplace_back(fd); });
  }

  UniqueFd connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder_ + "/control.sock").copy(address.sun_path, sizeof address.sun_path - 1);
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(0, ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    return fd;
  }
  // Once it is adopted.
  UniqueFd connect_and_wait() {
    const size_t before = adopted_.size();
    UniqueFd client = connect();
    run_until([&] { return adopted_.size() > before; });
    return client;
  }
  static bool is_closed(const UniqueFd& client) {
    char byte;
    return recv(client.get(), &byte, 1, MSG_DONTWAIT) == 0;
  }
  void run_until_connections(size_t count) {
    run_until([&] { return gate_->connections() == count; });
  }

  std::optional<Peer> peer_of(int number) const {
    return peers_.find("fd:" + std::to_string(number));
  }
  uint32_t slots_used() const { return broker_->driver().depot().shared().budget.used(); }
  uint32_t slots_taken() const { return slots_used() - slots_before_; }

  uint32_t slots_before_ = 0;
  Peers peers_;
  std::unique_ptr<Gate> gate_;
  std::vector<UniqueFd> adopted_;
};

TEST_F(GateTest, AConnectionIsIdentifiedBeforeItIsHandedOver) {
  open();
  const UniqueFd client = connect_and_wait();
  ASSERT_EQ(adopted_.size(), 1u);
  EXPECT_EQ(slots_taken(), Gate::kSlots);
  const auto peer = peer_of(adopted_[0].get());
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->uid, getuid());
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(send(adopted_[0].get(), "x", 1, 0), 1);
  char byte = 0;
  EXPECT_EQ(recv(client.get(), &byte, 1, 0), 1);
}

TEST_F(GateTest, CredentialsAndSlotsStayUntilTheAdoptedDescriptorIsClosed) {
  open();
  UniqueFd client = connect_and_wait();
  const int number = adopted_[0].get();
  client.reset();
  const UniqueFd later = connect_and_wait();
  int looks = 0;
  run_until([&] { return ++looks == 3; });  // the end has been seen by then
  EXPECT_TRUE(peer_of(number)) << "a call that is under way may ask";
  EXPECT_EQ(slots_taken(), 2 * Gate::kSlots);
  adopted_[0].reset();
  run_until_connections(1);
  EXPECT_FALSE(peer_of(number));
  EXPECT_EQ(slots_taken(), Gate::kSlots);
  EXPECT_FALSE(is_closed(later));
}

TEST_F(GateTest, AConnectionThatIsEndedFromHereEndsForItsClientToo) {
  open();
  const UniqueFd client = connect_and_wait();
  shutdown(adopted_[0].get(), SHUT_RDWR);
  adopted_[0].reset();
  run_until_connections(0);
  EXPECT_TRUE(is_closed(client));
  EXPECT_EQ(slots_taken(), 0u);
}

TEST_F(GateTest, NumbersAreGivenInTurnFromTheUpperHalfOfAll) {
  constexpr int kNumbers = 400;
  open(kNumbers);
  std::vector<int> given;
  for (int i = 0; i < 5; ++i) {
    const UniqueFd client = connect_and_wait();
    given.push_back(adopted_.back().get());
    shutdown(adopted_.back().get(), SHUT_RDWR);
    adopted_.back().reset();
    run_until_connections(0);
  }
  EXPECT_GE(given[0], kNumbers / 2);
  for (size_t i = 1; i < given.size(); ++i) EXPECT_GT(given[i], given[i - 1]);
}

// All but one of the numbers that the gate may give are taken by others.
std::vector<UniqueFd> all_but_one(int limit) {
  std::vector<UniqueFd> taken;
  for (;;) {
    UniqueFd next(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, limit / 2));
    if (next.get() >= limit) break;
    taken.push_back(std::move(next));
  }
  taken.pop_back();
  return taken;
}

TEST_F(GateTest, WithoutANumberAConnectionIsRefusedAndCostsNothing) {
  constexpr int kNumbers = 400;
  open(kNumbers);
  const auto taken = all_but_one(kNumbers);
  const UniqueFd client = connect_and_wait();
  const UniqueFd other = connect();
  run_until([&] { return is_closed(other); });
  EXPECT_EQ(slots_taken(), Gate::kSlots);
  EXPECT_EQ(gate_->connections(), 1u);
}

TEST_F(GateTest, ANumberThatIsGivenAnewIsItsNewHoldersAlone) {
  constexpr int kNumbers = 400;
  open(kNumbers);
  const auto taken = all_but_one(kNumbers);
  UniqueFd old = connect_and_wait();
  const int number = adopted_[0].get();
  adopted_[0].reset();  // which the gate learns only with the end
  const UniqueFd heir = connect_and_wait();
  ASSERT_EQ(adopted_.back().get(), number);
  old.reset();
  run_until_connections(1);
  EXPECT_TRUE(peer_of(number)) << "the end of the old one is not the end of the new one";
}

TEST_F(GateTest, OneUserHasOnlySoManyConnections) {
  open();
  std::vector<UniqueFd> clients;
  for (size_t i = 0; i < kMaxControlConnectionsPerUser; ++i) clients.push_back(connect());
  run_until_connections(kMaxControlConnectionsPerUser);
  const UniqueFd refused = connect();
  run_until([&] { return is_closed(refused); });
  EXPECT_EQ(slots_taken(), Gate::kSlots * kMaxControlConnectionsPerUser);

  clients.pop_back();
  adopted_.pop_back();
  run_until_connections(kMaxControlConnectionsPerUser - 1);
  connect_and_wait();
  EXPECT_EQ(adopted_.size(), kMaxControlConnectionsPerUser);
}

TEST_F(GateTest, WithoutSlotsAFewAdministratorsGetInOthersWaitAndTheLoopSleeps) {
  open();
  const uint32_t free = broker_->driver().depot().shared().budget.free();
  ASSERT_TRUE(broker_->driver().reserve_slots(free - 1));
  std::vector<UniqueFd> administrators;
  for (size_t i = 0; i < kMaxControlConnectionsOfReserve; ++i) administrators.push_back(connect());
  run_until([&] { return adopted_.size() == kMaxControlConnectionsOfReserve; });
  int turns = 0;
  loop_.at_end_of_turn([&] { ++turns; });
  const UniqueFd client = connect();
  int looks = 0;
  run_until([&] { return ++looks == 20; });
  EXPECT_EQ(adopted_.size(), kMaxControlConnectionsOfReserve);
  EXPECT_LT(turns, 3 * looks) << "the listener is not polled meanwhile";

  broker_->driver().release_slots(1);
  run_until([&] { return adopted_.size() == kMaxControlConnectionsOfReserve + 1; });
  EXPECT_FALSE(is_closed(client));
}

}  // namespace
}  // namespace berth::control
