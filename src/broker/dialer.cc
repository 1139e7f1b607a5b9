#include "broker/dialer.h"

#include <sys/epoll.h>

#include <memory>
#include <utility>

#include "net/resolve.h"

namespace berth::broker {

Dialer::Dialer(loop::Loop& loop, Callback callback)
    : loop_(loop),
      callback_(std::move(callback)),
      watch_(loop, [this](uint64_t tag, uint32_t) { connected(ConnectionId::from_value(tag)); }),
      self_(std::make_shared<Dialer*>(this)) {}

void Dialer::dial(ConnectionId id, const Endpoint& endpoint, SharedOptions options) {
  attempts_[id] = Attempt{endpoint, std::move(options), {}, 0, {}, {}};
  resolve(id, endpoint);
}

void Dialer::abandon(ConnectionId id) {
  const auto at = attempts_.find(id);
  if (at == attempts_.end()) return;
  if (at->second.fd.valid()) watch_.remove(at->second.fd.get());
  attempts_.erase(at);
}

void Dialer::resolve(ConnectionId id, const Endpoint& endpoint) {
  if (const auto literal = net::literal_address(endpoint)) {
    resolved(id, {*literal}, "");
    return;
  }
  const auto answer = std::make_shared<net::Resolved>();
  const std::weak_ptr<Dialer*> self = self_;
  loop_.run_on_worker([answer, endpoint] { *answer = net::resolve_blocking(endpoint); },
                      [self, id, answer] {
                        const auto dialer = self.lock();
                        if (!dialer) return;
                        (*dialer)->resolved(id, std::move(answer->addresses), answer->error);
                      });
}

void Dialer::resolved(ConnectionId id, std::vector<net::SocketAddress> addresses,
                      const std::string& error) {
  const auto at = attempts_.find(id);
  if (at == attempts_.end()) return;
  at->second.addresses = std::move(addresses);
  at->second.last_error = absl::UnavailableError(error);
  try_next(id);
}

void Dialer::try_next(ConnectionId id) {
  Attempt& attempt = attempts_[id];
  while (attempt.next < attempt.addresses.size()) {
    const net::SocketAddress& address = attempt.addresses[attempt.next++];
    absl::StatusOr<UniqueFd> fd = net::start_connect(address, *attempt.options);
    if (!fd.ok()) {
      attempt.last_error = fd.status();
      continue;
    }
    if (!watch_.add(fd->get(), EPOLLOUT | EPOLLONESHOT, id.value())) {
      attempt.last_error = absl::ResourceExhaustedError("the kernel watches no more descriptors");
      continue;
    }
    attempt.fd = std::move(*fd);
    return;
  }
  finish(id, attempt.last_error);
}

void Dialer::connected(ConnectionId id) {
  const auto at = attempts_.find(id);
  if (at == attempts_.end()) return;
  Attempt& attempt = at->second;
  const net::SocketAddress& address = attempt.addresses[attempt.next - 1];
  watch_.remove(attempt.fd.get());
  const absl::Status status = net::finish_connect(attempt.fd.get(), address);
  if (status.ok()) {
    finish(id, Dialed{std::move(attempt.fd), address, attempt.options});
    return;
  }
  attempt.last_error = status;
  attempt.fd.reset();
  try_next(id);
}

void Dialer::finish(ConnectionId id, absl::StatusOr<Dialed> result) {
  attempts_.erase(id);
  callback_(id, std::move(result));
}

}  // namespace berth::broker
