#include "daemon/overview.h"

#include <fmt/format.h>

namespace berth::daemon {
namespace {

std::string counted(size_t count, const char* one, const char* many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

}  // namespace

Overview overview_of(const broker::Broker& broker) {
  const pool::Depot& depot = broker.driver().depot();
  Overview overview;
  depot.for_each_pool([&](const pool::Pool&) { ++overview.pools; });
  broker.sessions().for_each([&](const broker::Session& session) {
    if (session.greeted()) ++overview.sessions;
  });
  overview.leases = depot.shared().leases.size();
  overview.waiters = depot.shared().waiters.size();
  return overview;
}

std::string words_of(const Overview& overview) {
  std::string words = counted(overview.pools, "pool", "pools");
  const auto add = [&](size_t count, const char* one, const char* many) {
    if (count > 0) words += ", " + counted(count, one, many);
  };
  add(overview.sessions, "session", "sessions");
  add(overview.leases, "lease", "leases");
  add(overview.waiters, "request waits", "requests wait");
  return words;
}

}  // namespace berth::daemon
