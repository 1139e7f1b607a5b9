// View: what there is, as the messages of berth.v1.Admin.
//
// Loop thread only; bounded in rows and in time, see base/limits.h. What takes system calls (the
// names of commands) is left to whoever sends the message on.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <functional>
#include <optional>
#include <string>

#include "base/close_reason.h"
#include "berth/v1/admin.pb.h"
#include "broker/broker.h"

namespace berth::control {

v1::ConnectionInfo::State state_of(pool::State state);
v1::ConnectionInfo::State state_of(channel::State state);
v1::CloseReason reason_of(CloseReason reason);
v1::PoolInfo::Intake intake_of(pool::Intake intake);

class View {
 public:
  // Of the control socket.
  struct Clients {
    size_t connections;
    size_t watchers;
  };

  // Borrows them.
  View(const loop::Loop& loop, const broker::Broker& broker, std::string version,
       std::function<Clients()> clients);

  // The failure names the nearest key.
  absl::StatusOr<PoolId> find_pool(const std::string& key) const;

  // The failure: no pool serves the key, or the bounds of the request are wrong.
  absl::Status show(const v1::StatusRequest& request, v1::StatusReply& reply) const;
  absl::Status show(const v1::ListRequest& request, v1::ListPoolsReply& reply) const;
  absl::Status show(const v1::ListRequest& request, v1::ListConnectionsReply& reply) const;
  absl::Status show(const v1::ListRequest& request, v1::ListLeasesReply& reply) const;
  absl::Status show(const v1::ListRequest& request, v1::ListSessionsReply& reply) const;
  absl::Status show(const v1::ListRequest& request, v1::ListWaitersReply& reply) const;
  // Of a lease by such a program. (explain.cc)
  absl::Status show(const v1::ExplainRequest& request, const pool::SessionInfo& who,
                    v1::ExplainReply& reply) const;

 private:
  const pool::Depot& depot() const { return broker_.driver().depot(); }
  const channel::Hub& hub() const { return broker_.driver().channels(); }
  const std::string& key_of(PoolId pool) const { return depot().pool(pool).policy().key; }
  absl::Status unknown_key(const std::string& key) const;
  // Nothing: all pools.
  absl::StatusOr<std::optional<PoolId>> chosen(const v1::ListRequest& request) const;
  template <class Slab, class Rows, class PoolOf, class Fill>
  absl::Status list(const v1::ListRequest& request, const Slab& slab, Rows& rows, uint64_t& next,
                    PoolOf pool_of, Fill fill) const;
  absl::Status list_channels(const v1::ListRequest& request, v1::ListConnectionsReply& reply) const;
  void fill(const pool::Pool& pool, v1::PoolInfo& row) const;
  void fill(const pool::Connection& connection, v1::ConnectionInfo& row) const;
  void fill(const pool::Lease& lease, v1::LeaseInfo& row) const;
  void fill(const pool::Session& session, v1::SessionInfo& row) const;
  void fill(const pool::Waiter& waiter, v1::WaiterInfo& row) const;
  void show(const pool::Refusal& refusal, uint32_t uid, v1::ExplainReply& reply) const;
  void show(const pool::Forecast& forecast, const pool::Pool& pool, v1::ExplainReply& reply) const;
  // view_channels.cc
  void add_channel_pools(v1::StatusReply& reply) const;
  void fill(const channel::Pool& pool, v1::PoolInfo& row) const;
  void fill(const channel::Channel& channel, v1::ConnectionInfo& row) const;
  std::string words(const channel::Pool& pool) const;

  std::string describe(ConnectionId id) const;
  std::string words(const pool::Forecast& forecast, const pool::Pool& pool) const;

  const loop::Loop& loop_;
  const broker::Broker& broker_;
  const std::string version_;
  const std::function<Clients()> clients_;
  const TimePoint started_;
};

}  // namespace berth::control
