// What there is: status and the listings.
#include <cstdio>

#include "ctl/channel_tables.h"
#include "ctl/commands.h"
#include "ctl/print.h"
#include "ctl/table.h"

namespace berth::ctl {
namespace {

void print(const Table& table) {
  std::fputs(table.text(terminal_width(stdout)).c_str(), stdout);
}

// All pages of a listing as one reply.
template <class Reply>
absl::StatusOr<Reply> list(Link& link, Link::Method<v1::ListRequest, Reply> method,
                           const Options& options) {
  v1::ListRequest request;
  request.set_key(options.key);
  Reply all;
  for (;;) {
    const absl::StatusOr<Reply> page = link.call(method, request);
    if (!page.ok()) return page.status();
    all.MergeFrom(*page);
    if (!page->has_next()) break;
    request.set_after(page->next());
  }
  all.clear_next();
  return all;
}

std::string process(uint32_t pid) {
  return pid != 0 ? number(pid) : "-";
}

std::string counts(const v1::ConnectionCounts& c) {
  return sum_of({{c.idle(), "idle"},
                 {c.leased(), "leased"},
                 {c.parked(), "parked"},
                 {c.connecting(), "connecting"},
                 {c.resetting(), "resetting"},
                 {c.closing(), "closing"}});
}

// Behind another table, if there was one.
void print_below(bool something, const std::string& text) {
  if (!text.empty()) std::printf("%s%s", something ? "\n" : "", text.c_str());
}

}  // namespace

absl::Status run_status(Link& link, const Options& options) {
  const auto reply = link.call(&Stub::Status, v1::StatusRequest());
  if (!reply.ok()) return reply.status();
  if (options.json) return print_json(*reply);
  const v1::StatusReply& status = *reply;
  std::printf("berthd %s, pid %u (%s), %s for %s\n", status.version().c_str(), status.pid(),
              user(status.uid()).c_str(), status.stopping() ? "stopping; up" : "up",
              time(status.uptime_ms()).c_str());
  std::printf("pools        %u\n", status.pools());
  std::printf("connections  %s\n", counts(status.connections()).c_str());
  const std::string channels = counts(status.channels());
  if (status.clients() > 0 || channels != "0") {
    std::printf("channels     %s\n", channels.c_str());
    std::printf("clients      %u\n", status.clients());
    std::printf("streams      %u, of which %u wait\n", status.streams(), status.waiting_streams());
  }
  std::printf("leases       %u\n", status.leases());
  std::printf("waiters      %u\n", status.waiters());
  std::printf("sessions     %u\n", status.sessions());
  std::printf("descriptors  %u of %u\n", status.slots_used(), status.slots());
  if (status.failed_closes() > 0) {
    std::printf("failed closes   %s\n", number(status.failed_closes()).c_str());
  }
  if (status.lost_log_lines() > 0) {
    std::printf("lost log lines  %s\n", number(status.lost_log_lines()).c_str());
  }
  return absl::OkStatus();
}

absl::Status run_pools(Link& link, const Options& options) {
  const auto reply = list(link, &Stub::ListPools, options);
  if (!reply.ok()) return reply.status();
  if (options.json) return print_json(*reply);
  Table table({{"KEY", Align::left, true},
               {"INTAKE"},
               {"IDLE", Align::right},
               {"LEASED", Align::right},
               {"OTHER", Align::right},
               {"MAX", Align::right},
               {"WAITING", Align::right},
               {"GRANTS", Align::right},
               {"DIALS", Align::right},
               {"FAILED", Align::right}});
  const std::string channel_pools = channel_pools_text(*reply, terminal_width(stdout));
  bool others_too = channel_pools.empty();
  for (const v1::PoolInfo& pool : reply->pools()) {
    if (pool.has_channel_pool()) continue;
    others_too = true;
    const v1::ConnectionCounts& c = pool.connections();
    const uint32_t others = c.connecting() + c.parked() + c.resetting() + c.closing();
    table.add({pool.key(), word(v1::PoolInfo::Intake_Name(pool.intake())), number(c.idle()),
               number(c.leased()), number(others),
               pool.max_connections() != 0 ? number(pool.max_connections()) : "-",
               number(pool.waiting()), number(pool.grants()), number(pool.dials()),
               number(pool.failed_dials())});
  }
  if (others_too) print(table);
  print_below(others_too, channel_pools);
  for (const v1::PoolInfo& pool : reply->pools()) {
    if (pool.dial_failures() == 0) continue;
    std::printf("%s: %s dials have failed since the last that did not: %s\n", pool.key().c_str(),
                number(pool.dial_failures()).c_str(), pool.last_dial_error().c_str());
  }
  return absl::OkStatus();
}

absl::Status run_connections(Link& link, const Options& options) {
  const auto reply = list(link, &Stub::ListConnections, options);
  if (!reply.ok()) return reply.status();
  if (options.json) return print_json(*reply);
  Table table({{"CONNECTION", Align::right},
               {"KEY", Align::left, true},
               {"STATE"},
               {"FOR", Align::right},
               {"USES", Align::right},
               {"LEASE", Align::right},
               {"ENDPOINT", Align::left, true}});
  const std::string channels = channels_text(*reply, terminal_width(stdout));
  bool others_too = channels.empty();
  for (const v1::ConnectionInfo& connection : reply->connections()) {
    if (connection.kind() == v1::ConnectionInfo::CHANNEL) continue;
    others_too = true;
    table.add({number(connection.connection_id()), connection.key(), state_of(connection),
               time(connection.in_state_ms()), number(connection.uses()),
               connection.lease_id() != 0 ? number(connection.lease_id()) : "-",
               or_dash(connection.endpoint())});
  }
  if (others_too) print(table);
  print_below(others_too, channels);
  return absl::OkStatus();
}

absl::Status run_leases(Link& link, const Options& options) {
  const auto reply = list(link, &Stub::ListLeases, options);
  if (!reply.ok()) return reply.status();
  if (options.json) return print_json(*reply);
  Table table({{"LEASE", Align::right},
               {"KEY", Align::left, true},
               {"HELD", Align::right},
               {"PID", Align::right},
               {"COMMAND", Align::left, true},
               {"USER", Align::left, true},
               {"SESSION", Align::right}});
  for (const v1::LeaseInfo& lease : reply->leases()) {
    table.add({number(lease.lease_id()), lease.key(), time(lease.held_ms()), process(lease.pid()),
               or_dash(lease.command()), user(lease.uid()), number(lease.session_id())});
  }
  print(table);
  return absl::OkStatus();
}

absl::Status run_sessions(Link& link, const Options& options) {
  const auto reply = list(link, &Stub::ListSessions, options);
  if (!reply.ok()) return reply.status();
  if (options.json) return print_json(*reply);
  Table table({{"SESSION", Align::right},
               {"PID", Align::right},
               {"COMMAND", Align::left, true},
               {"NAME", Align::left, true},
               {"USER", Align::left, true},
               {"LEASES", Align::right},
               {"WAITING", Align::right}});
  for (const v1::SessionInfo& session : reply->sessions()) {
    table.add({number(session.session_id()), process(session.pid()), or_dash(session.command()),
               or_dash(session.name()), user(session.uid()), number(session.leases()),
               number(session.waiters())});
  }
  print(table);
  return absl::OkStatus();
}

absl::Status run_waiters(Link& link, const Options& options) {
  const auto reply = list(link, &Stub::ListWaiters, options);
  if (!reply.ok()) return reply.status();
  if (options.json) return print_json(*reply);
  Table table({{"KEY", Align::left, true},
               {"WAITED", Align::right},
               {"LEFT", Align::right},
               {"WANTS", Align::right},
               {"LACKS", Align::right},
               {"PID", Align::right},
               {"COMMAND", Align::left, true},
               {"USER", Align::left, true},
               {"SESSION", Align::right}});
  for (const v1::WaiterInfo& waiter : reply->waiters()) {
    table.add({waiter.key(), time(waiter.waited_ms()),
               waiter.has_expires_in_ms() ? time(waiter.expires_in_ms()) : "-",
               number(waiter.count()), number(waiter.missing()), process(waiter.pid()),
               or_dash(waiter.command()), user(waiter.uid()), number(waiter.session_id())});
  }
  print(table);
  return absl::OkStatus();
}

}  // namespace berth::ctl
