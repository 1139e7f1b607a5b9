#include "ctl/channel_tables.h"

#include "ctl/print.h"
#include "ctl/table.h"

namespace berth::ctl {
namespace {

uint32_t others(const v1::ChannelCounts& c) {
  return c.connecting() + c.checking() + c.draining() + c.closing();
}

Table pools_table() {
  return Table({{"KEY", Align::left, true},
                {"INTAKE"},
                {"READY", Align::right},
                {"OTHER", Align::right},
                {"CLIENTS", Align::right},
                {"STREAMS", Align::right},
                {"WAITING", Align::right},
                {"BEGUN", Align::right},
                {"ENDED", Align::right},
                {"REFUSED", Align::right},
                {"FAILED", Align::right},
                {"RETRIED", Align::right},
                {"DIALS", Align::right},
                {"DIALFAILS", Align::right}});
}

Table addresses_table() {
  return Table({{"KEY", Align::left, true},
                {"ADDRESS", Align::left, true},
                {"READY", Align::right},
                {"OTHER", Align::right},
                {"STREAMS", Align::right},
                {"BEGUN", Align::right},
                {"ENDED", Align::right},
                {"FAILED", Align::right},
                {"RETRIED", Align::right},
                {"DIALS", Align::right},
                {"DIALFAILS", Align::right},
                {"BACKOFF", Align::right},
                {"ERROR", Align::left, true}});
}

void add(Table& table, const v1::PoolInfo& pool) {
  const v1::ChannelPoolInfo& c = pool.channel_pool();
  table.add({pool.key(), word(v1::PoolInfo::Intake_Name(pool.intake())),
             number(c.channels().ready()), number(others(c.channels())), number(c.clients()),
             number(c.streams() - c.waiting_streams()), number(c.waiting_streams()),
             number(c.begun()), number(c.ended()), number(c.refused()), number(c.failed()),
             number(c.retried() + c.unseen()), number(pool.dials()), number(pool.failed_dials())});
}

void add(Table& table, const std::string& key, const v1::AddressInfo& address) {
  table.add({key, address.address(), number(address.channels().ready()),
             number(others(address.channels())), number(address.streams()), number(address.begun()),
             number(address.ended()), number(address.failed()), number(address.retried()),
             number(address.dials()), number(address.failed_dials()),
             address.has_backoff_ms() ? time(address.backoff_ms()) : "-",
             or_dash(address.last_error())});
}

void add(Table& table, const v1::ConnectionInfo& row) {
  const v1::ChannelInfo& channel = row.channel();
  table.add({number(row.channel_id()), row.key(), state_of(row), time(row.in_state_ms()),
             channel.has_age_ms() ? time(channel.age_ms()) : "-", number(channel.streams()),
             channel.has_max_streams() ? number(channel.max_streams()) : "-",
             number(channel.served()), channel.address(), or_dash(row.endpoint()),
             or_dash(channel.last_error())});
}

}  // namespace

std::string state_of(const v1::ConnectionInfo& row) {
  constexpr size_t kPrefix = 6;  // CLOSE_
  std::string state = word(v1::ConnectionInfo::State_Name(row.state()));
  if (row.close_reason() == v1::CLOSE_REASON_UNSPECIFIED) return state;
  return state + ":" + word(v1::CloseReason_Name(row.close_reason()), kPrefix);
}

std::string channels_text(const v1::ListConnectionsReply& reply, size_t width) {
  Table table({{"CHANNEL", Align::right},
               {"KEY", Align::left, true},
               {"STATE"},
               {"FOR", Align::right},
               {"AGE", Align::right},
               {"STREAMS", Align::right},
               {"MAX", Align::right},
               {"SERVED", Align::right},
               {"ADDRESS", Align::left, true},
               {"ENDPOINT", Align::left, true},
               {"ERROR", Align::left, true}});
  bool some = false;
  for (const v1::ConnectionInfo& row : reply.connections()) {
    if (row.kind() != v1::ConnectionInfo::CHANNEL) continue;
    add(table, row);
    some = true;
  }
  return some ? table.text(width) : "";
}

std::string channel_pools_text(const v1::ListPoolsReply& reply, size_t width) {
  Table pools = pools_table();
  Table addresses = addresses_table();
  size_t pool_rows = 0;
  int address_rows = 0;
  for (const v1::PoolInfo& pool : reply.pools()) {
    if (!pool.has_channel_pool()) continue;
    add(pools, pool);
    ++pool_rows;
    address_rows += pool.channel_pool().addresses_size();
    for (const auto& address : pool.channel_pool().addresses()) add(addresses, pool.key(), address);
  }
  if (pool_rows == 0) return "";
  return pools.text(width) + (address_rows > 0 ? "\n" + addresses.text(width) : "");
}

std::string counts(const v1::ChannelCounts& c) {
  return sum_of({{c.ready(), "ready"},
                 {c.connecting(), "connecting"},
                 {c.checking(), "checking"},
                 {c.draining(), "draining"},
                 {c.closing(), "closing"}});
}

}  // namespace berth::ctl
