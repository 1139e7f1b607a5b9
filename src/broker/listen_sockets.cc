#include "broker/listen_sockets.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "base/status_text.h"

namespace berth::broker {
namespace {

// The pool that asks for it; nullptr: none.
const pool::PoolPolicy* owner_of(const Endpoint& endpoint, const ListenSockets::Policies& pools) {
  for (const pool::PoolPolicy& policy : pools) {
    const auto& listen = policy.listen;
    if (std::find(listen.begin(), listen.end(), endpoint) != listen.end()) return &policy;
  }
  return nullptr;
}

std::string address_of(const Endpoint& endpoint) {
  return endpoint.kind == Endpoint::Kind::tcp ? endpoint.url() : endpoint.path;
}

// Under which systemd may pass it: "pool.redis", "pool.redis.2", …
std::string name_of(const pool::PoolPolicy& policy, size_t place) {
  const std::string name = "pool." + policy.key;
  return place == 0 ? name : name + "." + std::to_string(place + 1);
}

}  // namespace

absl::StatusOr<std::vector<ListenSockets::Fresh>> ListenSockets::prepare(net::Listeners& listeners,
                                                                         const Policies& pools) {
  std::vector<Fresh> fresh;
  absl::Status opened;
  for (const pool::PoolPolicy& policy : pools) {
    for (size_t place = 0; place < policy.listen.size() && opened.ok(); ++place) {
      if (is_open(policy.listen[place])) continue;
      absl::StatusOr<net::Listener> listener = open(listeners, policy, place);
      opened = listener.status();
      if (opened.ok()) fresh.push_back({policy.listen[place], *std::move(listener)});
    }
  }
  if (opened.ok()) return fresh;
  driver_.release_slots(static_cast<uint32_t>(fresh.size()));
  return opened;
}

absl::StatusOr<net::Listener> ListenSockets::open(net::Listeners& listeners,
                                                  const pool::PoolPolicy& policy, size_t place) {
  const Endpoint& endpoint = policy.listen[place];
  if (!driver_.reserve_slots(1)) {
    return absl::ResourceExhaustedError("no file descriptor is left for " + address_of(endpoint));
  }
  const std::string name = name_of(policy, place);
  absl::StatusOr<net::Listener> listener =
      endpoint.kind == Endpoint::Kind::tcp
          ? net::Listeners::open_tcp(name, endpoint, kListenBacklog)
          : listeners.open(
                {name, SOCK_STREAM, {endpoint.path, policy.listen_mode}, kListenBacklog});
  if (!listener.ok()) driver_.release_slots(1);
  return listener;
}

bool ListenSockets::is_open(const Endpoint& endpoint) const {
  return std::any_of(open_.begin(), open_.end(),
                     [&](const Open& open) { return open.endpoint == endpoint; });
}

void ListenSockets::adopt(std::vector<Fresh> fresh, const Policies& pools, uint32_t& next_number) {
  const size_t closed = std::erase_if(
      open_, [&](const Open& open) { return owner_of(open.endpoint, pools) == nullptr; });
  if (closed > 0) driver_.release_slots(static_cast<uint32_t>(closed));
  for (Open& open : open_) give(open, *owner_of(open.endpoint, pools));
  for (Fresh& each : fresh) {
    const pool::PoolPolicy& policy = *owner_of(each.endpoint, pools);
    add(std::move(each), policy, next_number++);
  }
}

void ListenSockets::give(Open& open, const pool::PoolPolicy& policy) {
  open.point->key = policy.key;
  if (open.endpoint.kind == Endpoint::Kind::tcp || open.mode == policy.listen_mode) return;
  const absl::Status changed = net::change_mode(open.endpoint.path, policy.listen_mode);
  if (!changed.ok()) log().error("pool {}: {}", policy.key, text_of(changed));
  open.mode = policy.listen_mode;
}

void ListenSockets::add(Fresh fresh, const pool::PoolPolicy& policy, uint32_t number) {
  const bool tcp = fresh.endpoint.kind == Endpoint::Kind::tcp;
  auto point = std::make_shared<ListenPoint>(
      ListenPoint{policy.key, address_of(fresh.endpoint), tcp, number});
  auto door =
      std::make_unique<Door>(loop_, std::move(fresh.listener), LocalClients::kSlots, driver_,
                             [this, point](UniqueFd fd) { clients_.admit(std::move(fd), *point); });
  open_.push_back(
      {std::move(fresh.endpoint), policy.listen_mode, std::move(point), std::move(door)});
}

void ListenSockets::reopen() {
  for (const Open& open : open_) open.door->reopen();
}

void ListenSockets::close_all() {
  open_.clear();
}

}  // namespace berth::broker
